//! An Engine.IO server that follows a script, and notes what its clients do.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

use crate::net::tls::TlsAcceptor;
use crate::net::{ByteStream, Net as _};
use crate::signaling::engine_io::{EngineIoPacket, Frame, payload};
use crate::signaling::memory_net::MemoryNet;

/// Where the server is.
pub(super) const ADDRESS: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)),
    80,
);

pub(super) const SID: &str = "lv_VI97HAXpY6yYWAAAC";

/// What the server does with requests over one transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conduct {
    Serve,
    /// Answers with this status.
    Refuse(StatusCode),
    /// Never answers.
    Stall,
    /// Accepts the WebSocket or the request, and says nothing then.
    Mute,
    /// Answers a probe, but not the poll that waits.
    Hold,
}

#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) websocket: Conduct,
    /// What is done with a WebSocket that is to take a session over.
    pub(super) probe: Conduct,
    pub(super) polling: Conduct,
    pub(super) open: String,
    /// Waits up to this long before each thing that the server does.
    pub(super) hesitation: Option<(u64, Duration)>,
    pub(super) tls: Option<TlsAcceptor>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            websocket: Conduct::Serve,
            probe: Conduct::Serve,
            polling: Conduct::Serve,
            open: format!(
                r#"{{"sid":"{SID}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}}"#
            ),
            hesitation: None,
            tls: None,
        }
    }
}

/// A server with one session.
#[derive(Debug, Clone)]
pub(super) struct Server {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something changed that a waiting request or WebSocket should look at.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    script: Script,
    generator: ChaCha8Rng,
    requests: Vec<String>,
    outbox: VecDeque<EngineIoPacket>,
    received: Vec<EngineIoPacket>,
    under_way: Counters,
    most_under_way: Counters,
    payload_bytes: Vec<usize>,
    is_probed: bool,
    is_upgraded: bool,
    is_forgotten: bool,
    close_frame: Option<String>,
}

/// How many requests of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    pub(super) gets: usize,
    pub(super) posts: usize,
}

impl Server {
    /// Serves `relay.example` from now on.
    pub(super) async fn start(net: &MemoryNet, script: Script) -> Self {
        net.name("relay.example", &[ADDRESS.ip()]);
        let seed = script.hesitation.map_or(0, |(seed, _)| seed);
        let tls = script.tls.clone();
        let server = Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    script,
                    generator: ChaCha8Rng::seed_from_u64(seed),
                    requests: Vec::new(),
                    outbox: VecDeque::new(),
                    received: Vec::new(),
                    under_way: Counters::default(),
                    most_under_way: Counters::default(),
                    payload_bytes: Vec::new(),
                    is_probed: false,
                    is_upgraded: false,
                    is_forgotten: false,
                    close_frame: None,
                }),
                changed: Notify::new(),
            }),
        };
        let listener = net.listen_stream(ADDRESS).await.expect("free address");
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream, tls.clone()));
            }
        });
        server
    }

    /// Sends a packet to the client.
    pub(super) fn send(&self, packet: EngineIoPacket) {
        self.lock().outbox.push_back(packet);
        self.shared.changed.notify_waiters();
    }

    /// Knows nothing of the session any more, as after a restart.
    pub(super) fn forget_session(&self) {
        self.lock().is_forgotten = true;
    }

    pub(super) fn set_script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.lock().script);
    }

    /// Every request so far, as method and target.
    pub(super) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    /// What the client has sent, over both transports, without what an upgrade consists of.
    pub(super) fn received(&self) -> Vec<EngineIoPacket> {
        self.lock().received.clone()
    }

    /// The most requests that were ever under way at once.
    pub(super) fn most_under_way(&self) -> Counters {
        self.lock().most_under_way
    }

    /// The size of each request's body.
    pub(super) fn payload_bytes(&self) -> Vec<usize> {
        self.lock().payload_bytes.clone()
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.lock().is_upgraded
    }

    /// Closes the WebSocket with this reason.
    pub(super) fn close_websocket(&self, reason: &str) {
        self.lock().close_frame = Some(reason.into());
        self.shared.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, stream: Box<dyn ByteStream>, tls: Option<TlsAcceptor>) {
        let stream: Box<dyn ByteStream> = match tls {
            None => stream,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => Box::new(stream),
                Err(_) => return,
            },
        };
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let _ = http1::Builder::new()
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let target = request.uri().to_string();
        self.lock()
            .requests
            .push(format!("{} {target}", request.method()));
        self.hesitate().await;
        let has_session = target.contains("&sid=");
        if target.contains("transport=websocket") {
            let script = self.lock().script.clone();
            let conduct = if has_session {
                script.probe
            } else {
                script.websocket
            };
            return match conduct {
                Conduct::Refuse(status) => response(status, ""),
                Conduct::Stall => std::future::pending().await,
                Conduct::Serve | Conduct::Mute | Conduct::Hold => {
                    self.upgrade(request, conduct, has_session)
                }
            };
        }
        let conduct = self.lock().script.polling;
        match conduct {
            Conduct::Refuse(status) => return response(status, r#"{"code":0,"message":"no"}"#),
            Conduct::Stall | Conduct::Mute | Conduct::Hold => std::future::pending().await,
            Conduct::Serve => {}
        }
        if !has_session {
            let open = format!("0{}", self.lock().script.open);
            return response(StatusCode::OK, &open);
        }
        let _guard = UnderWay::begin(&self, request.method());
        let is_known = {
            let state = self.lock();
            !state.is_upgraded && !state.is_forgotten && target.contains(SID)
        };
        if !is_known {
            let body = r#"{"code":1,"message":"Session ID unknown"}"#;
            return response(StatusCode::BAD_REQUEST, body);
        }
        let body = if request.method() == Method::POST {
            let body = request
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes();
            self.lock().payload_bytes.push(body.len());
            for packet in payload::decode(&body).expect("a payload") {
                self.hesitate().await;
                self.lock().received.push(packet);
            }
            "ok".into()
        } else {
            self.next_payload().await
        };
        self.hesitate().await;
        response(StatusCode::OK, &body)
    }

    /// What a poll is answered with: as soon as there is something, or a noop once there is a probe.
    async fn next_payload(&self) -> String {
        loop {
            let changed = self.shared.changed.notified();
            {
                let mut state = self.lock();
                if !state.outbox.is_empty() {
                    return payload::take_batch(&mut state.outbox, None);
                }
                if state.is_probed {
                    return "6".into();
                }
            }
            changed.await;
        }
    }

    fn upgrade(
        self,
        mut request: Request<Incoming>,
        conduct: Conduct,
        has_session: bool,
    ) -> Response<Full<Bytes>> {
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
        let accept = derive_accept_key(key.expect("a key").as_bytes());
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.expect("an upgrade");
            let stream = TokioIo::new(upgraded);
            let websocket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            match conduct {
                Conduct::Serve | Conduct::Hold if has_session => {
                    self.take_over(websocket, conduct).await;
                }
                Conduct::Serve => {
                    let open = format!("0{}", self.lock().script.open);
                    self.talk(websocket, vec![Message::text(open)]).await;
                }
                _ => {
                    // Reads until the client goes.
                    let mut websocket = websocket;
                    while let Some(Ok(_)) = websocket.next().await {}
                }
            }
        });
        let mut response = response(StatusCode::SWITCHING_PROTOCOLS, "");
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = accept.parse().expect("base64");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        response
    }

    async fn take_over(
        self,
        mut websocket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
        conduct: Conduct,
    ) {
        let probe = websocket.next().await;
        if !matches!(&probe, Some(Ok(Message::Text(text))) if text.as_str() == "2probe") {
            return;
        }
        self.hesitate().await;
        self.lock().is_probed = conduct == Conduct::Serve;
        self.shared.changed.notify_waiters();
        if websocket.send(Message::text("3probe")).await.is_err() {
            return;
        }
        match websocket.next().await {
            Some(Ok(Message::Text(text))) if text.as_str() == "5" => {}
            _ => {
                self.lock().is_probed = false;
                return;
            }
        }
        self.hesitate().await;
        self.lock().is_upgraded = true;
        self.talk(websocket, Vec::new()).await;
    }

    async fn talk(
        &self,
        mut websocket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
        first: Vec<Message>,
    ) {
        for message in first {
            if websocket.send(message).await.is_err() {
                return;
            }
        }
        loop {
            let changed = self.shared.changed.notified();
            let (next, reason) = {
                let mut state = self.lock();
                (state.outbox.pop_front(), state.close_frame.take())
            };
            if let Some(packet) = next {
                self.hesitate().await;
                let message = match packet.into_frame() {
                    Frame::Text(text) => Message::text(text),
                    Frame::Binary(payload) => Message::binary(payload),
                };
                if websocket.send(message).await.is_err() {
                    return;
                }
                continue;
            }
            if let Some(reason) = reason {
                use tokio_tungstenite::tungstenite::protocol::{
                    CloseFrame, frame::coding::CloseCode,
                };
                let code = CloseCode::Restart;
                let reason = reason.into();
                let _ = websocket.close(Some(CloseFrame { code, reason })).await;
                // The client's answer, and then the end of its stream.
                let answer = timeout(Duration::from_secs(1), websocket.next()).await;
                let is_answered = matches!(answer, Ok(Some(Ok(Message::Close(_)))));
                let note = EngineIoPacket::Message(format!("close answered: {is_answered}"));
                self.lock().received.push(note);
                return;
            }
            tokio::select! {
                biased;
                message = websocket.next() => {
                    let packet = match message {
                        Some(Ok(Message::Text(text))) => {
                            EngineIoPacket::from_text(&text).expect("a packet")
                        }
                        Some(Ok(Message::Binary(payload))) => EngineIoPacket::from_binary(payload),
                        Some(Ok(Message::Ping(_))) => continue,
                        _ => return,
                    };
                    self.lock().received.push(packet);
                }
                () = changed => {}
            }
        }
    }

    async fn hesitate(&self) {
        let wait = {
            let mut state = self.lock();
            let max = state.script.hesitation.map(|(_, max)| max);
            max.map(|max| state.generator.random_range(Duration::ZERO..=max))
        };
        if let Some(wait) = wait {
            sleep(wait).await;
        }
    }
}

/// A request of the session that is under way.
struct UnderWay {
    server: Server,
    is_get: bool,
}

impl UnderWay {
    fn begin(server: &Server, method: &Method) -> Self {
        let guard = Self {
            server: server.clone(),
            is_get: method == Method::GET,
        };
        let mut state = server.lock();
        *guard.count(&mut state.under_way) += 1;
        let now = state.under_way;
        let most = &mut state.most_under_way;
        most.gets = most.gets.max(now.gets);
        most.posts = most.posts.max(now.posts);
        drop(state);
        guard
    }

    fn count<'a>(&self, counters: &'a mut Counters) -> &'a mut usize {
        if self.is_get {
            &mut counters.gets
        } else {
            &mut counters.posts
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.server.lock();
        *self.count(&mut state.under_way) -= 1;
    }
}

fn response(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_owned())));
    *response.status_mut() = status;
    response
}
