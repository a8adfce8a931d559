//! The client of a test: a socket, what it reports, and how to wait for it.

use std::time::Duration;

use ringtrue::config::{Jitter, SignalingConfig, TransportKind};
use ringtrue::signaling::socket::{
    DisconnectReason, Emit, PendingAcknowledgement, ReceivedEvent, Recovered, Socket,
    SocketConnectError, SocketEvent, SocketEvents, SocketIo, SocketOptions,
};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::bench::{Bench, URL};

/// Longer than anything that a client does takes.
const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) const WEBSOCKET: [TransportKind; 1] = [TransportKind::WebSocket];
pub(crate) const POLLING: [TransportKind; 1] = [TransportKind::Polling];
pub(crate) const UPGRADING: [TransportKind; 2] = [TransportKind::Polling, TransportKind::WebSocket];
pub(crate) const FALLING_BACK: [TransportKind; 2] =
    [TransportKind::WebSocket, TransportKind::Polling];

/// A socket with its events.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    events: SocketEvents,
}

impl Bench {
    /// The settings of a client, over these transports, that comes back quickly and without chance.
    pub(crate) fn options(&self, transports: &[TransportKind]) -> SocketOptions {
        SocketOptions {
            signaling: SignalingConfig {
                transports: transports.to_vec(),
                trust: self.trust.clone(),
                reconnection_delay: Duration::from_millis(500),
                reconnection_delay_max: Duration::from_secs(4),
                randomization_factor: 0.0,
                jitter: Jitter::AfterCap,
                ..SignalingConfig::default()
            },
            ..SocketOptions::default()
        }
    }

    /// A socket of its own connection, told to connect.
    pub(crate) fn connect(&self, options: SocketOptions) -> Client {
        self.connect_to(&SocketIo::new(self.net.clone()), URL, options)
    }

    /// A socket for `url`, told to connect.
    #[expect(
        clippy::unused_self,
        reason = "`io` opens sockets on the network of this bench"
    )]
    pub(crate) fn connect_to(&self, io: &SocketIo, url: &str, options: SocketOptions) -> Client {
        let (socket, events) = io.socket(url, options).expect("a good url");
        socket.connect();
        Client { socket, events }
    }

    /// A socket that is connected over these transports.
    pub(crate) async fn connected(&self, transports: &[TransportKind]) -> Client {
        let mut client = self.connect(self.options(transports));
        client.connected().await;
        client
    }
}

impl Client {
    /// The next event, whatever it is.
    pub(crate) async fn next(&mut self) -> SocketEvent {
        let next = timeout(PATIENCE, self.events.recv()).await;
        let event = next.expect("an event comes").expect("the socket is there");
        tracing::debug!(target: "ringtrue_test", "event: {event:?}");
        event
    }

    /// What is there already of the events.
    pub(crate) fn ready(&mut self) -> Vec<SocketEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// The first event of which `pick` makes something; the ones before it are gone.
    pub(crate) async fn first<T>(&mut self, pick: impl Fn(&SocketEvent) -> Option<T>) -> T {
        loop {
            let event = self.next().await;
            if let Some(picked) = pick(&event) {
                return picked;
            }
        }
    }

    /// Waits until the namespace is joined, and gives the server's name for the socket.
    pub(crate) async fn connected(&mut self) -> (String, Recovered) {
        self.first(|event| match event {
            SocketEvent::Connected { sid, recovered } => Some((sid.clone(), *recovered)),
            _ => None,
        })
        .await
    }

    /// The next event must be that the namespace is joined.
    pub(crate) async fn joined(&mut self) -> (String, Recovered) {
        match self.next().await {
            SocketEvent::Connected { sid, recovered } => (sid, recovered),
            other => panic!("{other:?} where the namespace was to be joined"),
        }
    }

    /// Waits until the namespace is no longer joined.
    pub(crate) async fn disconnected(&mut self) -> DisconnectReason {
        self.first(|event| match event {
            SocketEvent::Disconnected { reason } => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until an attempt fails.
    pub(crate) async fn failed(&mut self) -> SocketConnectError {
        self.first(|event| match event {
            SocketEvent::ConnectFailed { error } => Some(error.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until an attempt is announced, and gives the wait before it.
    pub(crate) async fn wait(&mut self) -> Duration {
        self.first(|event| match event {
            SocketEvent::ReconnectWait { delay, .. } => Some(*delay),
            _ => None,
        })
        .await
    }

    /// The next event of the server, which must be the next event at all.
    pub(crate) async fn event(&mut self) -> ReceivedEvent {
        match self.next().await {
            SocketEvent::Event(event) => event,
            other => panic!("{other:?} where an event of the server was expected"),
        }
    }

    pub(crate) fn emit(&self, name: &str, arguments: &[Value]) {
        self.socket.emit(event(name, arguments));
    }

    pub(crate) fn ask(&self, name: &str, arguments: &[Value]) -> PendingAcknowledgement {
        self.socket
            .emit_with_acknowledgement(event(name, arguments))
    }
}

/// An event to send.
pub(crate) fn event(name: &str, arguments: &[Value]) -> Emit {
    Emit::new(name, arguments.to_vec()).expect("a good name")
}

/// What CONNECT carries to prove who this is.
pub(crate) fn auth() -> Map<String, Value> {
    let auth = json!({"user": "anna", "token": "secret"});
    auth.as_object().expect("an object").clone()
}
