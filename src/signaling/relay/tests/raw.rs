//! A client that writes every packet itself, over WebSocket or by polling.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::net::{ByteStream, Net as _};
use crate::signaling::memory_net::MemoryNet;

/// How long a test listens for what may come.
const A_WHILE: Duration = Duration::from_secs(1);

const PATH: &str = "/socket.io/?EIO=4";

fn relay() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1], 80))
}

pub(super) async fn dial(net: &MemoryNet) -> Box<dyn ByteStream> {
    let stream = net.connect_stream(relay()).await;
    stream.expect("the relay listens")
}

/// A message as a client sends it.
pub(super) fn message(to: &str, call: &str, number: u64) -> Value {
    json!({
        "to": to, "call": call, "kind": "message", "number": number, "body": { "type": "ringing" },
    })
}

/// The auth of a CONNECT.
pub(super) fn auth(user: &str, device: &str) -> Value {
    json!({ "user": user, "token": "secret", "device": device })
}

/// A client over WebSocket.
pub(super) struct Client {
    websocket: WebSocketStream<Box<dyn ByteStream>>,
    next: u64,
    /// Frames that came while something else was waited for.
    frames: Vec<Value>,
}

/// What ended a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The namespace's DISCONNECT packet.
    Disconnect,
    /// The engine's close packet.
    ClosePacket,
    /// A close frame of WebSocket.
    CloseFrame,
    /// The end of the stream, or an error of it.
    Stream,
}

impl Client {
    /// Opens a session and joins nothing.
    pub(super) async fn open(net: &MemoryNet) -> Self {
        let uri = format!("ws://relay.example{PATH}&transport=websocket");
        let opened = tokio_tungstenite::client_async(uri, dial(net).await).await;
        let (websocket, _) = opened.expect("the relay takes WebSockets");
        let mut client = Self::over(websocket);
        let open = client.read().await.expect("an open packet");
        assert!(open.starts_with("0{\"sid\":"), "{open}");
        client
    }

    fn over(websocket: WebSocketStream<Box<dyn ByteStream>>) -> Self {
        Self {
            websocket,
            next: 0,
            frames: Vec::new(),
        }
    }

    /// Joins as this device, or says with what text that is refused.
    pub(super) async fn join(net: &MemoryNet, auth: &Value) -> Result<Self, String> {
        let mut client = Self::open(net).await;
        client.send(format!("40{auth}")).await;
        let reply = client.read().await.expect("a reply");
        if let Some(error) = reply.strip_prefix("44") {
            let error: Value = serde_json::from_str(error).expect("json");
            return Err(error["message"].as_str().expect("a text").to_owned());
        }
        assert!(reply.starts_with("40{\"sid\":"), "{reply}");
        Ok(client)
    }

    /// Joins as this device of this user.
    pub(super) async fn of(net: &MemoryNet, user: &str, device: &str) -> Self {
        Self::join(net, &auth(user, device))
            .await
            .expect("it is admitted")
    }

    pub(super) async fn send(&mut self, packet: impl Into<String>) {
        let packet: String = packet.into();
        let sent = self.websocket.send(Message::text(packet)).await;
        sent.expect("the connection is open");
    }

    /// Sends what the connection does not live through.
    pub(super) async fn send_to_the_end(mut self, packet: String) {
        // The relay reads no more than it takes, so that sending may fail before it is done.
        let _ = self.websocket.send(Message::text(packet)).await;
        self.ends().await;
    }

    /// The next packet that is no ping; pings are answered.
    pub(super) async fn read(&mut self) -> Result<String, End> {
        loop {
            match self.websocket.next().await {
                Some(Ok(Message::Text(packet))) => match packet.as_str() {
                    "2" => self.send("3").await,
                    "41" => return Err(End::Disconnect),
                    "1" => return Err(End::ClosePacket),
                    _ => return Ok(packet.to_string()),
                },
                Some(Ok(Message::Close(_))) => return Err(End::CloseFrame),
                Some(Ok(other)) => panic!("{other:?}"),
                None | Some(Err(Error::ConnectionClosed | Error::Io(_) | Error::Protocol(_))) => {
                    return Err(End::Stream);
                }
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    /// Emits an event and gives its answer.
    pub(super) async fn ask(&mut self, event: &str, argument: Option<&Value>) -> Value {
        let id = self.next;
        self.next += 1;
        let event: Vec<Value> = [Value::from(event)]
            .into_iter()
            .chain(argument.cloned())
            .collect();
        self.send(format!("42{id}{}", json!(event))).await;
        loop {
            let packet = self.read().await.expect("an answer");
            if let Some(answer) = packet.strip_prefix(&format!("43{id}")) {
                let mut answer: Vec<Value> = serde_json::from_str(answer).expect("an array");
                return answer.remove(0);
            }
            self.take(&packet).await;
        }
    }

    /// Sends a frame and gives its answer.
    pub(super) async fn call(&mut self, frame: &Value) -> Value {
        self.ask("call", Some(frame)).await
    }

    /// Sends a frame that is not answered.
    pub(super) async fn tell(&mut self, frame: &Value) {
        self.send(format!("42{}", json!(["call", frame]))).await;
    }

    /// The frames that come within a while, each acknowledged where that is asked for.
    pub(super) async fn frames(&mut self) -> Vec<Value> {
        while let Ok(packet) = timeout(A_WHILE, self.read()).await {
            let packet = packet.expect("the connection stays");
            self.take(&packet).await;
        }
        std::mem::take(&mut self.frames)
    }

    /// The calls of the frames that come within a while.
    pub(super) async fn calls(&mut self) -> Vec<String> {
        let calls = self.frames().await.into_iter();
        let calls = calls.map(|frame| frame["call"].as_str().expect("a text").to_owned());
        calls.collect()
    }

    /// What the connection ends with, in order.
    pub(super) async fn ends(&mut self) -> Vec<End> {
        let mut ends = Vec::new();
        loop {
            match self.read().await {
                Ok(packet) => drop(packet),
                Err(End::Stream) => return ends,
                Err(end) => ends.push(end),
            }
        }
    }

    async fn take(&mut self, packet: &str) {
        let event = packet.strip_prefix("42").expect("an event");
        let (id, event) = event.split_at(event.find('[').expect("an array"));
        let mut event: Vec<Value> = serde_json::from_str(event).expect("an array");
        assert_eq!(event[0], "call");
        self.frames.push(event.remove(1));
        if !id.is_empty() {
            self.send(format!("43{id}[]")).await;
        }
    }
}

/// A client that polls, with one stream for what it asks and one for what it tells.
pub(super) struct Poller {
    asks: http1::SendRequest<Full<Bytes>>,
    tells: http1::SendRequest<Full<Bytes>>,
    pub(super) session: String,
}

/// A stream for requests.
pub(super) async fn http(net: &MemoryNet) -> http1::SendRequest<Full<Bytes>> {
    let handshake = http1::handshake(TokioIo::new(dial(net).await)).await;
    let (sender, connection) = handshake.expect("nothing is exchanged");
    tokio::spawn(connection);
    sender
}

/// One request and its answer; the status alone where the body breaks off.
pub(super) async fn request(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    method: Method,
    uri: &str,
    body: &str,
) -> Result<(StatusCode, String), hyper::Error> {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "relay.example")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .expect("a request");
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((
        status,
        String::from_utf8(body.to_vec()).expect("answers are text"),
    ))
}

impl Poller {
    pub(super) async fn open(net: &MemoryNet) -> Self {
        let (mut asks, tells) = (http(net).await, http(net).await);
        let uri = format!("{PATH}&transport=polling");
        let opened = request(&mut asks, Method::GET, &uri, "").await;
        let (status, open) = opened.expect("an answer");
        assert_eq!(status, StatusCode::OK);
        let open: Value = serde_json::from_str(&open[1..]).expect("json");
        let session = open["sid"].as_str().expect("a text").to_owned();
        Self {
            asks,
            tells,
            session,
        }
    }

    /// Joins as this device of this user.
    pub(super) async fn of(net: &MemoryNet, user: &str, device: &str) -> Self {
        let mut poller = Self::open(net).await;
        poller.tell(&format!("40{}", auth(user, device))).await;
        loop {
            let packets = poller.poll().await.expect("the session is open");
            if packets.iter().any(|packet| packet.starts_with("40{")) {
                return poller;
            }
        }
    }

    /// Sends packets; the status of the answer.
    pub(super) async fn tell(&mut self, packets: &str) -> StatusCode {
        let uri = self.uri();
        let told = request(&mut self.tells, Method::POST, &uri, packets).await;
        told.expect("an answer").0
    }

    /// The packets of one answer; pings are answered.
    pub(super) async fn poll(&mut self) -> Result<Vec<String>, Option<StatusCode>> {
        let uri = self.uri();
        let polled = request(&mut self.asks, Method::GET, &uri, "").await;
        match polled {
            Ok((StatusCode::OK, body)) => {
                let packets: Vec<String> = body.split('\u{1e}').map(str::to_owned).collect();
                if packets.iter().any(|packet| packet == "2") {
                    self.tell("3").await;
                }
                Ok(packets)
            }
            Ok((status, _)) => Err(Some(status)),
            Err(_) => Err(None),
        }
    }

    /// Goes over to WebSocket, as a client has to do it.
    pub(super) async fn upgrade(mut self, net: &MemoryNet) -> Client {
        let uri = format!(
            "ws://relay.example{PATH}&transport=websocket&sid={}",
            self.session
        );
        let opened = tokio_tungstenite::client_async(uri, dial(net).await).await;
        let (websocket, _) = opened.expect("the relay takes WebSockets");
        let mut client = Client::over(websocket);
        client.send("2probe").await;
        let (packets, probe) = tokio::join!(self.poll(), client.read());
        assert_eq!(packets, Ok(vec!["6".to_owned()]), "a poll that waits ends");
        assert_eq!(probe.as_deref(), Ok("3probe"));
        client.send("5").await;
        client
    }

    fn uri(&self) -> String {
        format!("{PATH}&transport=polling&sid={}", self.session)
    }
}
