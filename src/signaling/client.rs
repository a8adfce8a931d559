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
            Connection::establish(net, &config, auth).await
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
mod tests;
