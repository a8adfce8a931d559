//! The client as the tests use it: every wait has a limit, and what is not expected fails.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringtrue::config::{SignalingConfig, TransportKind};
use ringtrue::signaling::socket::{
    Acknowledgement, DisconnectReason, Emit, PendingAcknowledgement, ReceivedEvent, Recovered,
    Socket, SocketConnectError, SocketEvent, SocketEvents, SocketIo, SocketOptions,
};
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use crate::counting_net::CountingNet;
use crate::server::Server;

/// How long a wait may take. On loopback nothing that works takes a tenth of it.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);

/// One socket, on a host of its own or beside another one.
#[derive(Debug)]
pub(crate) struct Client {
    name: String,
    net: Arc<CountingNet>,
    sockets: SocketIo,
    transports: Vec<TransportKind>,
    pub(crate) socket: Socket,
    events: SocketEvents,
}

impl Client {
    /// A client of the root namespace, connected.
    pub(crate) async fn start(server: &Server, name: &str, transports: &[TransportKind]) -> Self {
        let mut client = Self::new(server, "/", name, transports, Map::new());
        client.socket.connect();
        client.connected().await;
        client
    }

    /// A client of any namespace that is not yet told to connect.
    pub(crate) fn new(
        server: &Server,
        namespace: &str,
        name: &str,
        transports: &[TransportKind],
        auth: Map<String, Value>,
    ) -> Self {
        let net = Arc::new(CountingNet::default());
        let sockets = SocketIo::new(Arc::clone(&net) as _);
        let transports = transports.to_vec();
        Self::on(sockets, net, transports, server, namespace, name, auth)
    }

    /// Another socket of the same host.
    pub(crate) fn beside(
        &self,
        server: &Server,
        namespace: &str,
        auth: Map<String, Value>,
    ) -> Self {
        let (sockets, net) = (self.sockets.clone(), Arc::clone(&self.net));
        let transports = self.transports.clone();
        Self::on(
            sockets, net, transports, server, namespace, &self.name, auth,
        )
    }

    fn on(
        sockets: SocketIo,
        net: Arc<CountingNet>,
        transports: Vec<TransportKind>,
        server: &Server,
        namespace: &str,
        name: &str,
        auth: Map<String, Value>,
    ) -> Self {
        let signaling = SignalingConfig {
            transports: transports.clone(),
            reconnection_delay: Duration::from_millis(100),
            reconnection_delay_max: Duration::from_millis(500),
            ..SignalingConfig::default()
        };
        let options = SocketOptions {
            signaling,
            auth,
            ..SocketOptions::default()
        };
        let opened = sockets.socket(&server.url(namespace, name), options);
        let (socket, events) = opened.expect("the server's own URL");
        Self {
            name: name.into(),
            net,
            sockets,
            transports,
            socket,
            events,
        }
    }

    /// The next thing that the socket reports.
    pub(crate) async fn next(&mut self) -> SocketEvent {
        let event = within(self.events.recv()).await;
        event.expect("the socket is not dropped")
    }

    /// Waits for `Connected`; attempts may come before it, and fail, but no event.
    pub(crate) async fn connected(&mut self) -> Recovered {
        let (recovered, events) = self.connected_after().await;
        assert_eq!(events, [], "events before Connected");
        recovered
    }

    /// The same with the events that come before it: those that recovery sends again.
    pub(crate) async fn connected_after(&mut self) -> (Recovered, Vec<ReceivedEvent>) {
        let (mut events, mut failures) = (Vec::new(), Vec::new());
        let connected = async {
            loop {
                match self.next().await {
                    SocketEvent::Connected { recovered, .. } => return recovered,
                    SocketEvent::Event(event) => events.push(event),
                    SocketEvent::ConnectFailed { error } if !error.is_final() => {
                        failures.push(error);
                    }
                    SocketEvent::ReconnectWait { .. }
                    | SocketEvent::ReconnectAttempt { .. }
                    | SocketEvent::ReconnectError { .. }
                    | SocketEvent::Reconnected { .. } => {}
                    other => panic!("{other:?} in place of Connected"),
                }
            }
        };
        let done = timeout(LIMIT, connected).await.ok();
        let recovered = done.unwrap_or_else(|| {
            let last = failures.last();
            panic!("not connected within {LIMIT:?}; the last attempt: {last:#?}")
        });
        (recovered, events)
    }

    /// The next thing is that the namespace is no more.
    pub(crate) async fn disconnected(&mut self) -> DisconnectReason {
        match self.next().await {
            SocketEvent::Disconnected { reason } => reason,
            other => panic!("{other:?} in place of Disconnected"),
        }
    }

    /// The next thing is that the connection fails.
    pub(crate) async fn connect_failed(&mut self) -> SocketConnectError {
        match self.next().await {
            SocketEvent::ConnectFailed { error } => error,
            other => panic!("{other:?} in place of ConnectFailed"),
        }
    }

    /// The next thing is an event of this name.
    pub(crate) async fn event(&mut self, name: &str) -> ReceivedEvent {
        match self.next().await {
            SocketEvent::Event(event) if event.name == name => event,
            other => panic!("{other:?} in place of the event {name}"),
        }
    }

    /// The next things are `counted` events with these numbers.
    pub(crate) async fn counts(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            assert_eq!(self.event("counted").await.arguments, [json!(number)]);
        }
    }

    /// Nothing happens for so long.
    pub(crate) async fn nothing_for(&mut self, duration: Duration) {
        let event = timeout(duration, self.events.recv()).await;
        assert!(event.is_err(), "{event:?}");
    }

    /// Sends an event without acknowledgement.
    pub(crate) fn emit(&self, name: &str, arguments: Value) {
        self.socket.emit(event(name, arguments));
    }

    /// Sends an event, and hands on the acknowledgement to come.
    pub(crate) fn ask(&self, name: &str, arguments: Value) -> PendingAcknowledgement {
        self.socket
            .emit_with_acknowledgement(event(name, arguments))
    }

    /// Sends an event, and waits for the arguments of its acknowledgement.
    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Vec<Value> {
        answer(self.ask(name, arguments)).await.arguments
    }

    /// The same with attachments.
    pub(crate) async fn call_with_attachments(
        &self,
        name: &str,
        arguments: Value,
        attachments: Vec<Bytes>,
    ) -> Acknowledgement {
        let emit = event(name, arguments).with_attachments(attachments);
        let emit = emit.expect("the placeholders are right");
        answer(self.socket.emit_with_acknowledgement(emit)).await
    }

    /// What the server says about this connection.
    pub(crate) async fn about(&self) -> Value {
        let mut answer = self.call("about", json!([])).await;
        answer.pop().expect("an argument")
    }

    /// The transport on which the server sees this connection.
    pub(crate) async fn transport(&self) -> Value {
        self.about().await["transport"].take()
    }

    /// Waits until the host of this client holds so many streams.
    pub(crate) async fn holds_streams(&self, count: usize) {
        eventually(count, async || self.net.streams()).await;
    }

    /// Waits until the server counts so many sessions of this client.
    pub(crate) async fn holds_sessions(&self, count: usize) {
        let sessions = async || self.about().await["sessions"].take();
        eventually(json!(count), sessions).await;
    }

    /// Leaves the namespace, which is the host's last, and finds that nothing is left at the server.
    pub(crate) async fn leave_no_trace(mut self, server: &Server) {
        self.socket.disconnect();
        let reason = self.disconnected().await;
        assert_eq!(reason.name(), "io_client_disconnect");
        self.holds_streams(0).await;
        assert_no_session(server, &self.name).await;
    }
}

/// Asks the server, by a client of its own, until it counts no session of this name.
pub(crate) async fn assert_no_session(server: &Server, name: &str) {
    let observer = Client::new(
        server,
        "/",
        "observer",
        &[TransportKind::WebSocket],
        Map::new(),
    );
    observer.socket.connect();
    let sessions = async || observer.call("sessions", json!([name])).await;
    eventually(vec![json!(0)], sessions).await;
}

/// The acknowledgement of what was asked.
pub(crate) async fn answer(pending: PendingAcknowledgement) -> Acknowledgement {
    within(pending).await.expect("the server acknowledges")
}

/// Waits for something, but not for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let done = timeout(LIMIT, future).await;
    done.unwrap_or_else(|_| panic!("nothing came within {LIMIT:?}"))
}

/// Asks again and again until the answer is the expected one.
async fn eventually<T: PartialEq + Debug>(expected: T, mut ask: impl AsyncFnMut() -> T) {
    let mut last = None;
    let answered = async {
        loop {
            let answer = ask().await;
            if answer == expected {
                break;
            }
            last = Some(answer);
            sleep(Duration::from_millis(10)).await;
        }
    };
    let done = timeout(LIMIT, answered).await;
    assert!(
        done.is_ok(),
        "still {last:?} after {LIMIT:?}, not {expected:?}"
    );
}

fn event(name: &str, arguments: Value) -> Emit {
    let Value::Array(arguments) = arguments else {
        panic!("{arguments} are no arguments");
    };
    Emit::new(name, arguments).expect("no reserved name")
}
