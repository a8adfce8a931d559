//! The task that carries a manager over an engine.

use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};
use tokio::select;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::event::SocketEvent;
use super::{Manager, ManagerAction, Reading, SocketId, SocketSettings};
use crate::config::SignalingConfig;
use crate::net::Net;
use crate::redaction;
use crate::signaling::engine_io::OpenPacket;
use crate::signaling::socket_io::Namespace;
use crate::signaling::socket_io::emit::{Acknowledgement, Emit, EmitId, Outcome};
use crate::signaling::socket_io::namespace::Flow;
use crate::signaling::socket_io::outbox::Answer;
use crate::signaling::socket_io::received::AcknowledgementTicket;
use crate::signaling::transport::engine::{Engine, EngineEvent, EngineOptions};
use crate::signaling::transport::{ConnectError, TransportError};

/// How many events wait for the application before the connection is read no further.
const EVENT_BACKLOG_MAX: usize = 1024;

/// What the sockets of a manager want of it, in the order of calls.
#[derive(Debug)]
pub(in crate::signaling) enum Command {
    Open {
        socket: SocketId,
        namespace: Namespace,
        settings: SocketSettings,
        events: EventSender,
    },
    Connect {
        socket: SocketId,
    },
    Disconnect {
        socket: SocketId,
    },
    Release {
        socket: SocketId,
    },
    SetAuth {
        socket: SocketId,
        auth: Map<String, Value>,
    },
    Emit {
        socket: SocketId,
        emit: Emit,
        outcome: Option<oneshot::Sender<Outcome>>,
    },
    Acknowledge {
        socket: SocketId,
        ticket: AcknowledgementTicket,
        answer: Acknowledgement,
    },
    CheckPath,
    NetworkChanged,
}

type EventSender = mpsc::UnboundedSender<(SocketEvent, BacklogSlot)>;

/// Starts the task of a manager. It ends when the sender is dropped and the farewell is said; then
/// the receiver is told so.
pub(in crate::signaling) fn start(
    net: Arc<dyn Net>,
    url: String,
    options: EngineOptions,
    config: &SignalingConfig,
) -> (mpsc::UnboundedSender<Command>, watch::Receiver<()>) {
    let (commands, inbox) = mpsc::unbounded_channel();
    let (running, ended) = watch::channel(());
    let generator = ChaCha8Rng::from_rng(&mut rand::rng());
    let driver = Driver {
        net,
        url,
        options: Arc::new(options),
        manager: Manager::new(config, generator),
        connection: Connection::None,
        sockets: BTreeMap::new(),
        pending: BTreeMap::new(),
        backlog: Arc::default(),
    };
    tokio::spawn(async move {
        driver.run(inbox).await;
        drop(running);
    });
    (commands, ended)
}

/// A place in the backlog, which an event holds until the application has it or drops it.
#[derive(Debug)]
pub(in crate::signaling) struct BacklogSlot(Arc<Backlog>);

#[derive(Debug, Default)]
struct Backlog {
    waiting: AtomicUsize,
    changed: Notify,
}

impl Backlog {
    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= EVENT_BACKLOG_MAX
    }
}

impl BacklogSlot {
    fn take(backlog: &Arc<Backlog>) -> Self {
        backlog.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(backlog))
    }
}

impl Drop for BacklogSlot {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

struct Driver {
    net: Arc<dyn Net>,
    url: String,
    options: Arc<EngineOptions>,
    manager: Manager,
    connection: Connection,
    sockets: BTreeMap<SocketId, EventSender>,
    pending: BTreeMap<(SocketId, EmitId), oneshot::Sender<Outcome>>,
    backlog: Arc<Backlog>,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Opened = Result<(Engine, OpenPacket), ConnectError>;

/// What there is of a connection, with its generation.
enum Connection {
    None,
    Opening(u64, Boxed<Opened>),
    Open(u64, Box<Engine>),
    Closing(u64, Boxed<Result<(), TransportError>>),
}

enum Progress {
    Attempted(u64, Opened),
    Event(u64, Result<EngineEvent, TransportError>),
    /// Everything is written.
    Drained,
    Closed(u64, Result<(), TransportError>),
}

impl Connection {
    /// Waits for what happens next. Safe to cancel.
    async fn progress(&mut self) -> Progress {
        match self {
            Self::None => pending().await,
            Self::Opening(generation, attempt) => Progress::Attempted(*generation, attempt.await),
            Self::Open(generation, engine) => {
                let was_blocked = !engine.is_writable();
                poll_fn(|context| match engine.poll_next(context) {
                    Poll::Ready(event) => Poll::Ready(Progress::Event(*generation, event)),
                    Poll::Pending if was_blocked && engine.is_writable() => {
                        Poll::Ready(Progress::Drained)
                    }
                    Poll::Pending => Poll::Pending,
                })
                .await
            }
            Self::Closing(generation, farewell) => Progress::Closed(*generation, farewell.await),
        }
    }
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let mut is_held = true;
        while is_held || !self.manager.is_finished() {
            // One command for each turn of the connection, so that neither keeps the other from its
            // turn, and what is emitted in one go is written as it comes.
            if let Ok(command) = inbox.try_recv() {
                self.execute(command);
            }
            self.carry_out();
            // Where every socket is gone, nobody will fetch anything, and the farewell goes on.
            let is_full = self.backlog.is_full() && !self.sockets.is_empty();
            let reading = if is_full {
                Reading::Paused
            } else {
                Reading::On
            };
            self.manager.handle_reading(Instant::now(), reading);
            let timeout = self.manager.poll_timeout();
            let changed = Arc::clone(&self.backlog);
            select! {
                biased;
                () = until(timeout.map(|(at, _)| at)) => {
                    self.manager.handle_timeout(Instant::now());
                }
                progress = self.connection.progress(), if !is_full => self.on_progress(progress),
                () = changed.changed.notified(), if is_full => {}
                command = inbox.recv(), if is_held => match command {
                    Some(command) => self.execute(command),
                    None => is_held = false,
                },
            }
            self.carry_out();
        }
    }

    fn execute(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Open {
                socket,
                namespace,
                settings,
                events,
            } => {
                self.sockets.insert(socket, events);
                self.manager.open_socket(now, socket, namespace, settings);
            }
            Command::Connect { socket } => self.manager.connect(now, socket),
            Command::Disconnect { socket } => self.manager.disconnect(now, socket),
            Command::Release { socket } => {
                self.manager.release(now, socket);
                self.sockets.remove(&socket);
            }
            Command::SetAuth { socket, auth } => self.manager.set_auth(socket, auth),
            Command::Emit {
                socket,
                emit,
                outcome: None,
            } => {
                self.manager.emit(now, socket, emit, Answer::Unwanted);
            }
            Command::Emit {
                socket,
                emit,
                outcome: Some(outcome),
            } => {
                if let Some(id) = self.manager.emit(now, socket, emit, Answer::Wanted) {
                    self.pending.insert((socket, id), outcome);
                }
            }
            Command::Acknowledge {
                socket,
                ticket,
                answer,
            } => self.manager.acknowledge(now, socket, ticket, answer),
            Command::CheckPath => self.manager.check_path(now),
            Command::NetworkChanged => self.manager.network_changed(now),
        }
    }

    fn on_progress(&mut self, progress: Progress) {
        let now = Instant::now();
        // Before anything else: what the server says may let something out that waits.
        self.report_flow(now);
        match progress {
            Progress::Attempted(generation, Ok((engine, open))) => {
                self.connection = Connection::Open(generation, Box::new(engine));
                self.manager.handle_opened(now, generation, &open);
            }
            Progress::Attempted(generation, Err(error)) => {
                tracing::warn!(%error, cause = redaction::cause(&error), "signaling attempt failed");
                self.connection = Connection::None;
                self.manager.handle_open_failed(now, generation, error);
            }
            Progress::Event(generation, Ok(EngineEvent::Packet(packet))) => {
                self.manager.handle_packet(now, generation, packet);
            }
            Progress::Event(generation, Ok(EngineEvent::SignOfLife)) => {
                self.manager.handle_sign_of_life(now, generation);
            }
            Progress::Event(generation, Ok(EngineEvent::Progress)) => {
                self.manager.handle_progress(now, generation);
            }
            Progress::Event(generation, Ok(EngineEvent::Upgraded { to })) => {
                tracing::debug!(%to, "the session moved");
                self.manager.handle_sign_of_life(now, generation);
            }
            Progress::Event(_, Ok(EngineEvent::UpgradeFailed { error })) => {
                tracing::debug!(%error, cause = redaction::cause(&error), "the session stays where it is");
            }
            Progress::Event(generation, Err(error)) => {
                self.connection = Connection::None;
                self.manager.handle_closed(now, generation, error);
            }
            Progress::Drained => {}
            Progress::Closed(generation, farewell) => {
                if let Err(error) = farewell {
                    tracing::debug!(%error, cause = redaction::cause(&error), "the farewell failed");
                }
                self.connection = Connection::None;
                self.manager.handle_close_finished(now, generation);
            }
        }
    }

    /// Does all that the manager says.
    fn carry_out(&mut self) {
        loop {
            while let Some(action) = self.manager.poll_action() {
                self.act(action);
            }
            self.report_flow(Instant::now());
            let Some(action) = self.manager.poll_action() else {
                break;
            };
            self.act(action);
        }
        while let Some((socket, emit, outcome)) = self.manager.poll_outcome() {
            if let Some(pending) = self.pending.remove(&(socket, emit)) {
                // The application may have lost interest.
                let _ = pending.send(outcome);
            }
        }
        while let Some((socket, event)) = self.manager.poll_event() {
            self.tell(socket, event);
        }
    }

    fn act(&mut self, action: ManagerAction) {
        match action {
            ManagerAction::Open {
                generation,
                attempt,
            } => {
                tracing::info!(url = %redaction::url(&self.url), attempt, "🔌 WebSocket connecting");
                let (net, options) = (Arc::clone(&self.net), Arc::clone(&self.options));
                let attempt = async move { Engine::open(net, &options).await };
                self.connection = Connection::Opening(generation, Box::pin(attempt));
            }
            ManagerAction::Transmit { generation, packet } => {
                if let Some(engine) = self.engine(generation) {
                    engine.queue(packet);
                }
            }
            ManagerAction::Provoke { generation, packet } => {
                if let Some(engine) = self.engine(generation) {
                    engine.provoke(packet);
                }
            }
            ManagerAction::Close { generation } => {
                match std::mem::replace(&mut self.connection, Connection::None) {
                    Connection::Open(present, engine) if present == generation => {
                        let farewell = Box::pin(engine.close());
                        self.connection = Connection::Closing(generation, farewell);
                    }
                    other => self.connection = other,
                }
            }
            ManagerAction::Abandon { .. } => self.connection = Connection::None,
        }
    }

    fn tell(&mut self, socket: SocketId, event: SocketEvent) {
        if self.backlog.is_full()
            && let SocketEvent::Dropped { name, reason } = &event
        {
            // An application that sends and never listens must not fill the memory with reports.
            tracing::warn!(name, %reason, "event dropped");
            return;
        }
        if let Some(events) = self.sockets.get(&socket) {
            // Nobody may listen any more.
            let _ = events.send((event, BacklogSlot::take(&self.backlog)));
        }
    }

    fn report_flow(&mut self, now: Instant) {
        if let Connection::Open(generation, engine) = &self.connection {
            let flow = if engine.is_writable() {
                Flow::Writable
            } else {
                Flow::Blocked
            };
            self.manager.handle_flow(now, *generation, flow);
        }
    }

    fn engine(&mut self, generation: u64) -> Option<&mut Engine> {
        match &mut self.connection {
            Connection::Open(present, engine) if *present == generation => Some(engine),
            _ => None,
        }
    }
}

/// Waits for an instant, or for ever where there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
