//! The signaling client: one connection that comes back for ever, and the messages that wait for it.
//!
//! One task owns everything. Its link is in one of four states, and the old connection is dropped
//! before the next attempt starts, so there are never two live sockets:
//!
//! ```text
//! Connecting ── joined ──▶ Up ── dropped ──▶ Waiting ── delay over ──▶ Connecting
//!     │                     │                  ▲
//!     ├──── failed ─────────┼──────────────────┘
//!     └──── refused ────────┴── server DISCONNECT ──▶ Down
//! ```

use std::collections::VecDeque;
use std::error::Error as _;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};
use tokio::select;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::backoff::{Backoff, Jitter};
use super::connection::{Connection, DisconnectReason};
use super::message::{EVENT, Envelope, NumberedEnvelope, PeerName};
use super::seen::SeenEnvelopes;
pub use super::send_buffer::SendError;
use super::send_buffer::{Outcome, SendBuffer};
use super::socket_io::SocketIoBody;
use super::transport::ConnectError;
use crate::config::SignalingConfig;
use crate::net::Net;

/// How long a connection must have been up before the back-off starts over. A server that accepts
/// and closes at once, as one that is starting often does, would otherwise be hammered.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

/// How long closing may take: the farewell is a courtesy, and the stream is closed all the same.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How many events wait for the application before the connection is read no further.
const EVENT_BACKLOG_MAX: usize = 1024;

/// How many received envelopes are remembered, to tell repetitions: some hundred calls' worth.
const SEEN_ENVELOPES_MAX: usize = 4096;

/// A connection to the signaling server that is kept up until it is closed or dropped.
#[derive(Debug)]
pub struct SignalingClient {
    commands: mpsc::UnboundedSender<Outgoing>,
    task: JoinHandle<()>,
}

/// Who the client is to the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub name: PeerName,
    /// What proves it. Never logged.
    pub token: String,
}

/// What happens to the connection, in order.
#[derive(Debug)]
pub enum SignalingEvent {
    /// The namespace is joined, and everything that waited is written.
    Connected,
    /// The connection is gone. [`Reconnecting`](Self::Reconnecting) follows unless the server itself
    /// disconnected this client.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// An attempt failed. [`Reconnecting`](Self::Reconnecting) follows unless the error
    /// [is permanent](ConnectError::is_permanent).
    ConnectFailed {
        /// Why.
        error: ConnectError,
    },
    /// The next attempt comes after a wait.
    Reconnecting {
        /// How many attempts have been made since the connection was last stable, this one included.
        attempt: u32,
        /// The wait.
        delay: Duration,
    },
    /// A message for this user. Each is reported once, though the network may carry it twice.
    Message(Envelope),
    /// The server refuses this client. There is no further attempt: the same name and token would be
    /// refused again.
    Rejected {
        /// The server's words.
        message: String,
    },
}

impl SignalingClient {
    /// Starts to connect as `identity` and returns at once. Must be called inside a tokio runtime.
    ///
    /// Read the events: while 1024 of them wait, the connection is read no further.
    #[must_use]
    pub fn start(
        net: Arc<dyn Net>,
        config: SignalingConfig,
        identity: Identity,
    ) -> (Self, mpsc::Receiver<SignalingEvent>) {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (events, receiver) = mpsc::channel(64);
        let generator = ChaCha8Rng::from_rng(&mut rand::rng());
        let driver = Driver::new(net, config, identity, generator);
        let task = tokio::spawn(driver.run(inbox, events));
        (Self { commands, task }, receiver)
    }

    /// Sends a message. The order of calls is the order of sending; the returned future says what
    /// came of it.
    ///
    /// Without a connection the message waits, and goes out in order right after the next one is
    /// there. If the connection drops before the server's acknowledgement came, the message is sent
    /// again on the next one.
    pub fn send(&self, envelope: Envelope) -> PendingSend {
        let (done, outcome) = oneshot::channel();
        // Where the task has ended, `done` is dropped with the message, which reads as closed.
        let _ = self.commands.send(Outgoing {
            envelope,
            outcome: done,
        });
        PendingSend { outcome }
    }

    /// Leaves the server politely, within a second, and ends the client.
    pub async fn close(self) {
        drop(self.commands);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the signaling task failed");
        }
    }
}

/// A message on its way: resolves when the server has taken it. Dropping it takes a message back
/// that is not written yet.
#[derive(Debug)]
#[must_use = "dropping it takes the message back"]
pub struct PendingSend {
    outcome: oneshot::Receiver<Result<(), SendError>>,
}

impl Future for PendingSend {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome)
            .poll(context)
            .map(|outcome| outcome.unwrap_or(Err(SendError::Closed)))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("name", &self.name)
            .field("token", &"…")
            .finish()
    }
}

struct Outgoing {
    envelope: Envelope,
    outcome: Outcome,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>;

enum Link {
    Connecting(Attempt),
    Up {
        connection: Box<Connection>,
        since: Instant,
    },
    Waiting {
        until: Instant,
    },
    Down,
}

enum Progress {
    Attempted(Result<Box<Connection>, ConnectError>),
    Received(Result<SocketIoBody, DisconnectReason>),
    Waited,
}

impl Link {
    /// Waits for what happens next in the present state. Safe to cancel.
    async fn progress(&mut self) -> Progress {
        match self {
            Self::Connecting(attempt) => Progress::Attempted(attempt.await.map(Box::new)),
            Self::Up { connection, .. } => Progress::Received(connection.next().await),
            Self::Waiting { until } => {
                sleep_until(*until).await;
                Progress::Waited
            }
            Self::Down => pending().await,
        }
    }
}

struct Driver {
    net: Arc<dyn Net>,
    config: Arc<SignalingConfig>,
    identity: Identity,
    generator: ChaCha8Rng,
    backoff: Backoff,
    link: Link,
    outgoing: SendBuffer,
    seen: SeenEnvelopes,
    /// Events that the application has no room for yet.
    backlog: VecDeque<SignalingEvent>,
}

impl Driver {
    fn new(
        net: Arc<dyn Net>,
        config: SignalingConfig,
        identity: Identity,
        mut generator: ChaCha8Rng,
    ) -> Self {
        let backoff = Backoff::new(
            config.reconnection_delay,
            config.reconnection_delay_max,
            config.randomization_factor,
            Jitter::AfterCap,
        );
        // At random, because a client that is started again must not repeat the ids of the one
        // before it; 48 bits, so that they stay under 2^53 however many are sent.
        let first_id = generator.next_u64() >> 16;
        Self {
            net,
            backoff,
            link: Link::Down,
            outgoing: SendBuffer::new(config.send_buffer_messages_max, first_id),
            config: Arc::new(config),
            identity,
            seen: SeenEnvelopes::new(SEEN_ENVELOPES_MAX),
            backlog: VecDeque::new(),
            generator,
        }
    }

    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Outgoing>,
        events: mpsc::Sender<SignalingEvent>,
    ) {
        self.connect();
        loop {
            select! {
                biased;
                permit = events.reserve(), if !self.backlog.is_empty() => {
                    let event = self.backlog.pop_front();
                    match (permit, event) {
                        (Ok(permit), Some(event)) => permit.send(event),
                        // Nobody listens any more.
                        _ => self.backlog.clear(),
                    }
                }
                outgoing = inbox.recv() => match outgoing {
                    Some(outgoing) => self.accept(outgoing),
                    None => break,
                },
                progress = self.link.progress(), if self.backlog.len() < EVENT_BACKLOG_MAX => {
                    self.on_progress(progress);
                }
            }
        }
        if let Link::Up { connection, .. } = self.link {
            match timeout(CLOSE_LIMIT, connection.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the farewell failed"),
                Err(_) => tracing::debug!(limit = ?CLOSE_LIMIT, "the farewell took too long"),
            }
        }
    }

    fn on_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Attempted(Ok(connection)) => self.on_connected(connection),
            Progress::Attempted(Err(error)) => self.on_connect_failed(error),
            Progress::Received(Ok(body)) => self.on_packet(body),
            Progress::Received(Err(reason)) => self.on_disconnected(reason),
            Progress::Waited => self.connect(),
        }
    }

    fn connect(&mut self) {
        // The link before this one is gone: its stream was dropped when it left `Up` or
        // `Connecting`.
        tracing::info!(
            url = %self.config.url,
            attempt = self.backoff.attempts(),
            "🔌 WebSocket connecting"
        );
        let (net, config) = (Arc::clone(&self.net), Arc::clone(&self.config));
        let auth = Map::from_iter([
            ("user".into(), Value::String(self.identity.name.clone())),
            ("token".into(), Value::String(self.identity.token.clone())),
        ]);
        self.link = Link::Connecting(Box::pin(async move {
            Connection::establish(&*net, &config, auth).await
        }));
    }

    fn on_connected(&mut self, connection: Box<Connection>) {
        tracing::info!(user = %self.identity.name, waiting = self.outgoing.len(), "signaling connected");
        let since = Instant::now();
        self.link = Link::Up { connection, since };
        self.write_waiting();
        self.backlog.push_back(SignalingEvent::Connected);
    }

    fn on_connect_failed(&mut self, error: ConnectError) {
        tracing::warn!(%error, cause = error.source(), "signaling attempt failed");
        if !error.is_permanent() {
            self.backlog
                .push_back(SignalingEvent::ConnectFailed { error });
            return self.wait();
        }
        self.shut_down();
        self.backlog.push_back(match error {
            ConnectError::Refused(refusal) => SignalingEvent::Rejected {
                message: refusal.message,
            },
            error => SignalingEvent::ConnectFailed { error },
        });
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        tracing::warn!(%reason, cause = reason.source(), "signaling disconnected");
        if let Link::Up { since, .. } = self.link
            && since.elapsed() >= STABLE_AFTER
        {
            self.backoff.reset();
        }
        let dismissed = matches!(reason, DisconnectReason::ServerDisconnect);
        self.backlog
            .push_back(SignalingEvent::Disconnected { reason });
        if dismissed {
            self.shut_down();
        } else {
            self.wait();
        }
    }

    /// Drops the old link and waits for the next attempt.
    fn wait(&mut self) {
        let delay = self.backoff.next_delay(&mut self.generator);
        let until = Instant::now() + delay;
        self.link = Link::Waiting { until };
        self.outgoing.rewind();
        let attempt = self.backoff.attempts();
        self.backlog
            .push_back(SignalingEvent::Reconnecting { attempt, delay });
    }

    fn shut_down(&mut self) {
        self.link = Link::Down;
        self.outgoing.fail_all();
    }

    fn accept(&mut self, outgoing: Outgoing) {
        self.outgoing.push(outgoing.envelope, outgoing.outcome);
        match &self.link {
            Link::Down => self.outgoing.fail_all(),
            Link::Up { .. } => self.write_waiting(),
            Link::Connecting(_) | Link::Waiting { .. } => {}
        }
    }

    /// Writes what waits, unless the connection is known to be dead: then it waits for the next.
    fn write_waiting(&mut self) {
        if let Link::Up { connection, .. } = &mut self.link
            && !connection.is_expired(Instant::now())
        {
            while let Some(packet) = self.outgoing.next_packet() {
                connection.queue(packet);
            }
        }
    }

    fn on_packet(&mut self, body: SocketIoBody) {
        match body {
            SocketIoBody::Event {
                name,
                arguments,
                acknowledge,
            } => {
                if let (Some(id), Link::Up { connection, .. }) = (acknowledge, &mut self.link) {
                    let arguments = Vec::new();
                    connection.queue(SocketIoBody::Acknowledgement { id, arguments });
                }
                if name == EVENT {
                    self.on_envelope(arguments);
                }
            }
            SocketIoBody::Acknowledgement { id, arguments } => {
                self.outgoing.acknowledge(id, &arguments);
            }
            other => tracing::debug!(packet = ?other, "skipped"),
        }
    }

    fn on_envelope(&mut self, arguments: Vec<Value>) {
        let argument = arguments.into_iter().next().unwrap_or_default();
        match serde_json::from_value::<NumberedEnvelope>(argument) {
            Ok(NumberedEnvelope { id, envelope }) => {
                if self.seen.insert(&envelope.from, id) {
                    self.backlog.push_back(SignalingEvent::Message(envelope));
                } else {
                    tracing::debug!(from = %envelope.from, id, "repetition dropped");
                }
            }
            // A newer client may say things that this one does not know.
            Err(error) => tracing::warn!(%error, "unreadable message dropped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::engine_io::{EngineIoPacket, Frame};
    use crate::signaling::memory_net::{MemoryNet, envelope, identity, serve_relay, settings};
    use crate::signaling::message::CallMessage;
    use crate::signaling::relay::RelayConfig;
    use crate::signaling::transport::ConnectPhase;
    use futures_util::{SinkExt, StreamExt};
    use std::net::SocketAddr;
    use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
    use tokio_tungstenite::{WebSocketStream, accept_async};

    use crate::net::{ByteStream, StreamListener};

    type Events = mpsc::Receiver<SignalingEvent>;

    fn start(net: &MemoryNet, name: &str) -> (SignalingClient, Events) {
        SignalingClient::start(Arc::new(net.clone()), settings(), identity(name))
    }

    async fn next(events: &mut Events) -> SignalingEvent {
        let event = timeout(Duration::from_mins(5), events.recv()).await;
        event
            .expect("an event within 300 s")
            .expect("a living client")
    }

    async fn connected(events: &mut Events) {
        while !matches!(next(events).await, SignalingEvent::Connected) {}
    }

    async fn message(events: &mut Events) -> Envelope {
        loop {
            if let SignalingEvent::Message(envelope) = next(events).await {
                return envelope;
            }
        }
    }

    /// A server that does what the test says.
    struct Script {
        listener: Box<dyn StreamListener>,
    }

    struct Peer(WebSocketStream<Box<dyn ByteStream>>);

    impl Script {
        async fn new(net: &MemoryNet) -> Self {
            let address = SocketAddr::from(([203, 0, 113, 1], 80));
            net.name("relay.example", &[address.ip()]);
            let listener = net.listen_stream(address).await.expect("free address");
            Self { listener }
        }

        async fn accept(&self) -> Peer {
            let (stream, _) = self.listener.accept().await.expect("open listener");
            Peer(accept_async(stream).await.expect("a websocket client"))
        }

        /// Accepts a client up to the CONNECT reply.
        async fn join(&self) -> Peer {
            let mut peer = self.accept().await;
            peer.open().await;
            assert!(peer.text().await.starts_with("40{"));
            peer.say(r#"40{"sid":"s"}"#).await;
            peer
        }
    }

    impl Peer {
        async fn open(&mut self) {
            self.say(r#"0{"sid":"e","pingInterval":25000,"pingTimeout":20000}"#)
                .await;
        }

        async fn say(&mut self, text: &str) {
            let message = Message::text(text);
            self.0.send(message).await.expect("an open websocket");
        }

        async fn text(&mut self) -> Utf8Bytes {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => text,
                other => panic!("not a text frame: {other:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_go_from_client_to_client_in_order() {
        let net = MemoryNet::default();
        let _relay = serve_relay(&net, RelayConfig::default()).await;
        let (anna, _anna_events) = start(&net, "anna");
        let (_boris, mut boris_events) = start(&net, "boris");
        connected(&mut boris_events).await;
        for call in 0..20 {
            let mut spoofed = envelope("boris", &call.to_string());
            spoofed.from = "mallory".into();
            anna.send(spoofed).await.expect("acknowledged");
        }
        for call in 0..20 {
            let received = message(&mut boris_events).await;
            assert_eq!(received.from, "anna");
            assert_eq!(received.call.0, call.to_string());
            assert_eq!(received.body, CallMessage::Ringing);
        }
        anna.close().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_while_disconnected_goes_out_once_connected() {
        let net = MemoryNet::default();
        net.name("relay.example", &[[203, 0, 113, 1].into()]);
        let (anna, mut anna_events) = start(&net, "anna");
        assert!(matches!(
            next(&mut anna_events).await,
            SignalingEvent::ConnectFailed {
                error: ConnectError::Network {
                    phase: ConnectPhase::Tcp,
                    ..
                }
            }
        ));
        let anna = Arc::new(anna);
        let sends: Vec<_> = (0..5)
            .map(|call| {
                let anna = Arc::clone(&anna);
                tokio::spawn(async move { anna.send(envelope("boris", &call.to_string())).await })
            })
            .collect();
        let _relay = serve_relay(&net, RelayConfig::default()).await;
        for send in sends {
            assert_eq!(send.await.expect("no panic"), Ok(()));
        }
        let (_boris, mut boris_events) = start(&net, "boris");
        for call in 0..5 {
            assert_eq!(message(&mut boris_events).await.call.0, call.to_string());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_send_buffer_is_bounded() {
        let net = MemoryNet::default();
        let config = SignalingConfig {
            send_buffer_messages_max: 1,
            ..settings()
        };
        let (anna, _events) = SignalingClient::start(Arc::new(net), config, identity("anna"));
        let (first, second) = tokio::join!(
            timeout(Duration::from_secs(1), anna.send(envelope("boris", "1"))),
            anna.send(envelope("boris", "2")),
        );
        assert!(first.is_err(), "the first one waits for a connection");
        assert_eq!(second, Err(SendError::BufferFull { max: 1 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_stream_is_replaced_and_nothing_is_lost_or_doubled() {
        let net = MemoryNet::default();
        let relay = serve_relay(&net, RelayConfig::default()).await;
        let (anna, mut anna_events) = start(&net, "anna");
        let (_boris, mut boris_events) = start(&net, "boris");
        connected(&mut anna_events).await;
        connected(&mut boris_events).await;
        for call in 0..10 {
            let send = anna.send(envelope("boris", &call.to_string()));
            let (outcome, ()) = tokio::join!(send, async { net.cut_all() });
            assert_eq!(outcome, Ok(()));
            assert_eq!(message(&mut boris_events).await.call.0, call.to_string());
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(net.live(), 2, "one stream each");
        assert_eq!(relay.connected_devices("boris"), 1);
        while let Ok(event) = boris_events.try_recv() {
            assert!(!matches!(event, SignalingEvent::Message(_)), "{event:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_path_is_given_up_at_the_deadline() {
        let net = MemoryNet::default();
        let _relay = serve_relay(&net, RelayConfig::default()).await;
        let (_anna, mut events) = start(&net, "anna");
        connected(&mut events).await;
        let frozen = Instant::now();
        net.freeze_all();
        let event = next(&mut events).await;
        assert!(
            matches!(
                event,
                SignalingEvent::Disconnected {
                    reason: DisconnectReason::PingTimeout
                }
            ),
            "{event:?}"
        );
        assert_eq!(frozen.elapsed().as_secs(), 45);
        connected(&mut events).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_connection_outlasts_many_heartbeats() {
        let net = MemoryNet::default();
        let _relay = serve_relay(&net, RelayConfig::default()).await;
        let (_anna, mut events) = start(&net, "anna");
        connected(&mut events).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(events.try_recv().is_err());
        assert_eq!(net.opened(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_but_connect_and_pongs_comes_before_the_connect_reply() {
        let net = MemoryNet::default();
        let script = Script::new(&net).await;
        let (anna, mut events) = start(&net, "anna");
        let server = async {
            let mut peer = script.accept().await;
            peer.open().await;
            peer.say("2").await;
            peer.say("2now").await;
            let connect = peer.text().await;
            assert_eq!(connect.as_str(), r#"40{"token":"secret","user":"anna"}"#);
            assert_eq!(peer.text().await.as_str(), "3");
            assert_eq!(peer.text().await.as_str(), "3now");
            let early = r#"42["call",{"id":1,"from":"boris","to":"anna","call":"early","body":{"type":"ringing"}}]"#;
            peer.say(early).await;
            let nothing = timeout(Duration::from_secs(5), peer.text()).await;
            assert!(nothing.is_err(), "{nothing:?}");
            peer.say(r#"40{"sid":"s"}"#).await;
            let event = peer.text().await;
            assert!(event.starts_with(r#"420["call",{"#), "{event}");
            peer.say("430[]").await;
            peer.say(early).await;
            peer.say("2").await;
            assert_eq!(peer.text().await.as_str(), "3");
        };
        let (sent, ()) = tokio::join!(anna.send(envelope("boris", "1")), server);
        assert_eq!(sent, Ok(()));
        assert!(matches!(next(&mut events).await, SignalingEvent::Connected));
        assert_eq!(message(&mut events).await.call.0, "early");
        assert!(events.try_recv().is_err(), "the repetition is dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_and_close_frames_lead_to_a_reconnect() {
        let net = MemoryNet::default();
        let script = Script::new(&net).await;
        let (_anna, mut events) = start(&net, "anna");
        let garbage = [
            Message::text(""),
            Message::text("9"),
            Message::text("42{"),
            Message::text(r#"451-["a",{"_placeholder":true,"num":0}]"#),
            Message::text("1"),
            Message::Close(None),
        ];
        for message in garbage {
            let mut peer = script.join().await;
            connected(&mut events).await;
            let sent_at = Instant::now();
            peer.0.send(message.clone()).await.expect("open");
            let event = next(&mut events).await;
            assert!(
                matches!(
                    event,
                    SignalingEvent::Disconnected {
                        reason: DisconnectReason::Transport(_)
                    }
                ),
                "{message:?} gave {event:?}"
            );
            assert_eq!(sent_at.elapsed(), Duration::ZERO);
            assert!(!matches!(peer.0.next().await, Some(Ok(Message::Text(_)))));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(net.live(), 0, "no stream outlives its connection");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_accepts_and_closes_sees_growing_delays() {
        let net = MemoryNet::default();
        let script = Script::new(&net).await;
        let (_anna, mut events) = start(&net, "anna");
        let mut delays = Vec::new();
        for round in 1..=6 {
            drop(script.join().await);
            let (attempt, delay) = loop {
                if let SignalingEvent::Reconnecting { attempt, delay } = next(&mut events).await {
                    break (attempt, delay.as_secs_f64());
                }
            };
            assert_eq!(attempt, round);
            delays.push(delay);
        }
        for (delay, grown) in delays.iter().zip([2.0, 4.0, 8.0, 10.0, 10.0, 10.0]) {
            assert!((grown / 2.0 - 0.001..=grown).contains(delay), "{delays:?}");
        }
        let stable = script.join().await;
        connected(&mut events).await;
        tokio::time::sleep(STABLE_AFTER).await;
        drop(stable);
        let _ = next(&mut events).await;
        assert!(matches!(
            next(&mut events).await,
            SignalingEvent::Reconnecting { attempt: 1, .. }
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_disconnect_is_final() {
        let net = MemoryNet::default();
        let script = Script::new(&net).await;
        let (anna, mut events) = start(&net, "anna");
        let mut peer = script.join().await;
        connected(&mut events).await;
        peer.say("41").await;
        assert!(matches!(
            next(&mut events).await,
            SignalingEvent::Disconnected {
                reason: DisconnectReason::ServerDisconnect
            }
        ));
        assert_eq!(
            anna.send(envelope("boris", "1")).await,
            Err(SendError::Closed)
        );
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(net.opened(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_says_goodbye() {
        let net = MemoryNet::default();
        let script = Script::new(&net).await;
        let (anna, mut events) = start(&net, "anna");
        let mut peer = script.join().await;
        connected(&mut events).await;
        let farewell = async {
            let leave = EngineIoPacket::Message("1".into()).into_frame();
            assert_eq!(Frame::Text(peer.text().await.to_string()), leave);
            assert!(matches!(peer.0.next().await, Some(Ok(Message::Close(_)))));
        };
        tokio::join!(anna.close(), farewell);
        assert!(peer.0.next().await.is_none(), "the stream is closed");
        drop(peer);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(net.live(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_configuration_that_cannot_work_is_not_retried() {
        let net = MemoryNet::default();
        for config in [
            SignalingConfig {
                url: "https://relay.example".into(),
                ..settings()
            },
            SignalingConfig {
                transports: vec![crate::config::TransportKind::Polling],
                ..settings()
            },
        ] {
            let net = Arc::new(net.clone());
            let (anna, mut events) = SignalingClient::start(net, config, identity("anna"));
            match next(&mut events).await {
                SignalingEvent::ConnectFailed { error } => assert!(error.is_permanent()),
                other => panic!("{other:?}"),
            }
            let sent = anna.send(envelope("boris", "1")).await;
            assert_eq!(sent, Err(SendError::Closed));
        }
    }
}
