//! One connection to a server, and all namespaces on it (pure).
//!
//! A [`Manager`] decides: when to open a connection, what to write, when to give it up, and when the
//! next attempt comes. Its [driver] does what it says. Every connection has a generation, and what an
//! older one still brings is ignored.
//!
//! Feed what happens by the `handle_` methods and what the application wants by the others, each with
//! the present time; then carry out [`poll_action`](Manager::poll_action), pass on
//! [`poll_event`](Manager::poll_event) and [`poll_outcome`](Manager::poll_outcome) until all are
//! empty, and call [`handle_timeout`](Manager::handle_timeout) when
//! [`poll_timeout`](Manager::poll_timeout) says so.

pub mod driver;
pub mod event;
pub mod link;
pub mod path_check;
mod reconnecting;
mod sockets;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};
use tokio::time::Instant;

use self::event::{DisconnectReason, SocketEvent};
use self::link::{LinkInput, LinkState, Retry};
use self::path_check::{PathCheck, PathLimits, PathTimer};
use super::backoff::Backoff;
use super::engine_io::heartbeat::Heartbeat;
use super::engine_io::{EngineIoPacket, OpenPacket};
use super::socket_io::Namespace;
use super::socket_io::emit::{EmitId, Outcome};
use super::socket_io::namespace::{Flow, NamespaceState, NamespaceTimer};
use super::socket_io::outbox::OutboxBounds;
use super::socket_io::reassembly::Reassembler;
use super::transport::{ConnectError, TransportError};
use crate::config::SignalingConfig;

/// How long a farewell may take: it is a courtesy, and the streams are closed all the same.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// One connection to a server, and all namespaces on it.
#[derive(Debug)]
pub struct Manager {
    limits: Limits,
    generator: ChaCha8Rng,
    backoff: Backoff,
    link: Link,
    /// Counts the connections that were opened or tried.
    generation: u64,
    /// The number of the present or last attempt; 0 if it is no reconnect.
    attempt: u32,
    reading: Reading,
    sockets: BTreeMap<SocketId, Slot>,
    /// No socket that is gone has written an acknowledgement id from here on. A server may still
    /// answer what it wrote, and the answer must not meet an event of the socket after it.
    acknowledgement_ids_from: u64,
    /// Namespaces of sockets that are gone, to be left as soon as the server answers CONNECT.
    leaving: BTreeMap<Namespace, NamespaceState>,
    actions: VecDeque<ManagerAction>,
    events: VecDeque<(SocketId, SocketEvent)>,
    outcomes: VecDeque<(SocketId, EmitId, Outcome)>,
}

/// Tells one socket of a manager from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// How a socket joins its namespace and sends.
#[derive(Clone, PartialEq)]
pub struct SocketSettings {
    /// What CONNECT carries.
    pub auth: Map<String, Value>,
    /// How often an event is written again that was not acknowledged; 0 for not at all.
    pub retries: u32,
    /// How long an acknowledgement may take.
    pub acknowledgement_timeout: Duration,
}

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum ManagerAction {
    /// Open a connection, and answer by [`Manager::handle_opened`] or
    /// [`Manager::handle_open_failed`].
    Open {
        /// Its generation.
        generation: u64,
        /// The number of the reconnect attempt; 0 if it is none.
        attempt: u32,
    },
    /// Write a packet.
    Transmit {
        /// The connection.
        generation: u64,
        /// The packet.
        packet: EngineIoPacket,
    },
    /// Make the server show a sign of life.
    Provoke {
        /// The connection.
        generation: u64,
        /// A packet without any effect, to be written where the transport has no question of its own.
        packet: EngineIoPacket,
    },
    /// Close the connection politely, and answer by [`Manager::handle_close_finished`].
    Close {
        /// The connection.
        generation: u64,
    },
    /// Drop the connection, or the attempt to open it.
    Abandon {
        /// The connection.
        generation: u64,
    },
}

/// What a manager waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ManagerTimer {
    /// The heartbeat of the server.
    Heartbeat,
    /// The silence after which the path is doubted.
    Silence,
    /// A sign of life on a doubted path.
    PathCheck,
    /// The next attempt.
    Reconnect,
    /// The end of a farewell.
    Close,
    /// The deadline of a namespace.
    Namespace(NamespaceTimer),
}

/// Whether the driver reads from the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It does.
    On,
    /// It does not, because the application has not fetched what was read before. Silence means
    /// nothing then.
    Paused,
}

#[derive(Debug)]
struct Limits {
    attempts_max: Option<u32>,
    stable_after: Duration,
    path: PathLimits,
    join_timeout: Duration,
    bounds: OutboxBounds,
}

#[derive(Debug)]
enum Link {
    Idle,
    Opening,
    Open(Box<OpenLink>),
    Closing { deadline: Instant },
    Waiting { until: Instant },
}

#[derive(Debug)]
struct OpenLink {
    heartbeat: Heartbeat,
    path: PathCheck,
    reassembler: Reassembler,
    /// When the first namespace was joined.
    joined: Option<Instant>,
    flow: Flow,
}

#[derive(Debug)]
struct Slot {
    state: NamespaceState,
    wish: Wish,
}

/// What the application wants of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Up,
    Down,
}

impl Manager {
    /// A manager without a connection and without sockets. The generator draws the waits between
    /// attempts.
    #[must_use]
    pub fn new(config: &SignalingConfig, generator: ChaCha8Rng) -> Self {
        Self {
            limits: Limits {
                attempts_max: config.reconnection_attempts_max,
                stable_after: config.stable_after,
                path: PathLimits::from_config(config),
                join_timeout: config.namespace_timeout,
                bounds: OutboxBounds {
                    messages_max: config.send_buffer_messages_max,
                    bytes_max: config.send_buffer_bytes_max,
                },
            },
            generator,
            backoff: Backoff::new(
                config.reconnection_delay,
                config.reconnection_delay_max,
                config.randomization_factor,
                config.jitter,
            ),
            link: Link::Idle,
            generation: 0,
            attempt: 0,
            reading: Reading::On,
            sockets: BTreeMap::new(),
            acknowledgement_ids_from: 0,
            leaving: BTreeMap::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            outcomes: VecDeque::new(),
        }
    }

    /// What the link is doing.
    #[must_use]
    pub fn link_state(&self) -> LinkState {
        match self.link {
            Link::Idle => LinkState::Idle,
            Link::Opening => LinkState::Opening,
            Link::Open(_) => LinkState::Open,
            Link::Closing { .. } => LinkState::Closing,
            Link::Waiting { .. } => LinkState::Waiting,
        }
    }

    /// Whether every socket is released and no connection is left.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.sockets.is_empty() && self.link_state() == LinkState::Idle
    }

    /// The connection of this generation is open.
    pub fn handle_opened(&mut self, now: Instant, generation: u64, open: &OpenPacket) {
        if !self.is_present(generation, LinkState::Opening) {
            return;
        }
        let heartbeat = Heartbeat::new(open, now);
        self.enter(now, LinkInput::Opened);
        self.link = Link::Open(Box::new(OpenLink {
            heartbeat,
            path: PathCheck::new(self.limits.path, now),
            reassembler: Reassembler::default(),
            joined: None,
            flow: Flow::Writable,
        }));
        let attempt = self.attempt;
        if attempt > 0 {
            self.tell_wanted(|| SocketEvent::Reconnected { attempt });
        }
        self.join_wanted(now);
    }

    /// The attempt of this generation failed.
    pub fn handle_open_failed(&mut self, now: Instant, generation: u64, error: ConnectError) {
        if self.is_present(generation, LinkState::Opening) {
            self.on_attempt_failed(now, &Arc::new(error));
        }
    }

    /// A packet arrived over the connection of this generation.
    pub fn handle_packet(&mut self, now: Instant, generation: u64, packet: EngineIoPacket) {
        if !self.is_present(generation, LinkState::Open) || self.give_up_expired(now) {
            return;
        }
        let Link::Open(open) = &mut self.link else {
            return;
        };
        open.heartbeat.on_packet(now);
        open.path.handle_heard(now);
        match packet {
            EngineIoPacket::Ping(payload) => {
                let packet = EngineIoPacket::Pong(payload);
                self.actions
                    .push_back(ManagerAction::Transmit { generation, packet });
            }
            EngineIoPacket::Message(_) | EngineIoPacket::Binary(_) => {
                match open.reassembler.read(packet) {
                    Ok(None) => {}
                    Ok(Some(packet)) => self.on_socket_packet(now, packet),
                    Err(error) => self.on_parse_error(now, error),
                }
            }
            EngineIoPacket::Close => {
                let how = "engine.io close packet".into();
                self.handle_closed(now, generation, TransportError::Closed { how });
            }
            other => tracing::debug!(packet = other.name(), "skipped"),
        }
    }

    /// The server of this generation's connection is there, though it sent no packet. The heartbeat
    /// goes on all the same: packets are what a session is for.
    pub fn handle_sign_of_life(&mut self, now: Instant, generation: u64) {
        if generation == self.generation
            && let Link::Open(open) = &mut self.link
        {
            open.path.handle_answered(now);
        }
    }

    /// What is being written over this generation's connection goes out. No answer can come while the
    /// question waits behind it.
    pub fn handle_progress(&mut self, now: Instant, generation: u64) {
        if generation == self.generation
            && let Link::Open(open) = &mut self.link
        {
            open.path.handle_heard(now);
        }
    }

    /// The transport of this generation takes more, or does not.
    pub fn handle_flow(&mut self, now: Instant, generation: u64, flow: Flow) {
        if !self.is_present(generation, LinkState::Open) || self.give_up_expired(now) {
            return;
        }
        if let Link::Open(open) = &mut self.link {
            open.flow = flow;
        }
        for id in self.ids() {
            self.with(now, id, |slot| slot.state.set_flow(now, flow));
        }
    }

    /// The driver stops to read, or goes on.
    pub fn handle_reading(&mut self, now: Instant, reading: Reading) {
        if std::mem::replace(&mut self.reading, reading) == Reading::Paused
            && let Link::Open(open) = &mut self.link
        {
            // What came in the meantime has yet to be read.
            open.heartbeat.on_packet(now);
            open.path.handle_heard(now);
        }
    }

    /// The connection of this generation ended.
    pub fn handle_closed(&mut self, now: Instant, generation: u64, error: TransportError) {
        if self.is_present(generation, LinkState::Open) {
            let reason = DisconnectReason::Transport(Arc::new(error));
            self.lose(now, &reason, Retry::Later);
        } else {
            self.handle_close_finished(now, generation);
        }
    }

    /// The farewell of this generation is said.
    pub fn handle_close_finished(&mut self, now: Instant, generation: u64) {
        if self.is_present(generation, LinkState::Closing) {
            self.enter(now, LinkInput::Closed);
            self.reopen_wanted(now);
        }
    }

    /// Doubts the path: asks for a sign of life, and gives the connection up if there is none.
    pub fn check_path(&mut self, now: Instant) {
        if self.reading == Reading::On
            && !self.give_up_expired(now)
            && let Link::Open(open) = &mut self.link
            && open.path.doubt(now)
        {
            let (generation, packet) = (self.generation, self.idle_packet());
            self.actions
                .push_back(ManagerAction::Provoke { generation, packet });
        }
    }

    /// The host's network is another one: gives the connection up, or the wait, or the attempt, and
    /// tries at once. The waits between attempts start over.
    pub fn network_changed(&mut self, now: Instant) {
        match self.link {
            Link::Idle | Link::Opening => self.enter(now, LinkInput::Renewed),
            Link::Open(_) => {
                self.backoff.reset();
                self.lose(now, &DisconnectReason::NetworkChanged, Retry::AtOnce);
            }
            Link::Closing { .. } => {
                self.enter(now, LinkInput::Renewed);
                self.reopen_wanted(now);
            }
            Link::Waiting { .. } => {
                self.backoff.reset();
                self.backoff.skip_delay();
                self.attempt = self.backoff.attempts();
                self.start_attempt(now, LinkInput::Renewed);
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.link {
            Link::Open(_) if self.reading == Reading::On => self.handle_path_timeout(now),
            Link::Waiting { until } if *until <= now => {
                self.start_attempt(now, LinkInput::Elapsed);
            }
            Link::Closing { deadline } if *deadline <= now => {
                self.enter(now, LinkInput::Elapsed);
                self.reopen_wanted(now);
            }
            _ => {}
        }
        self.handle_namespace_timeouts(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, ManagerTimer)> {
        let link = match &self.link {
            Link::Open(open) if self.reading == Reading::On => {
                let heartbeat = (open.heartbeat.deadline(), ManagerTimer::Heartbeat);
                let path = open.path.poll_timeout().map(|(at, timer)| match timer {
                    PathTimer::Silence => (at, ManagerTimer::Silence),
                    PathTimer::Answer => (at, ManagerTimer::PathCheck),
                });
                Some(path.map_or(heartbeat, |path| path.min(heartbeat)))
            }
            Link::Waiting { until } => Some((*until, ManagerTimer::Reconnect)),
            Link::Closing { deadline } => Some((*deadline, ManagerTimer::Close)),
            Link::Idle | Link::Opening | Link::Open(_) => None,
        };
        let states = self.sockets.values().map(|slot| &slot.state);
        let namespaces = states.chain(self.leaving.values()).filter_map(|state| {
            let (at, timer) = state.poll_timeout()?;
            Some((at, ManagerTimer::Namespace(timer)))
        });
        link.into_iter().chain(namespaces).min()
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<ManagerAction> {
        self.actions.pop_front()
    }

    /// What to tell a socket next.
    pub fn poll_event(&mut self) -> Option<(SocketId, SocketEvent)> {
        self.events.pop_front()
    }

    /// What came of an emit with acknowledgement. Each is told of once.
    pub fn poll_outcome(&mut self) -> Option<(SocketId, EmitId, Outcome)> {
        self.outcomes.pop_front()
    }

    fn is_present(&self, generation: u64, state: LinkState) -> bool {
        generation == self.generation && self.link_state() == state
    }
}

impl std::fmt::Debug for SocketSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SocketSettings")
            .field("auth", &"…")
            .field("retries", &self.retries)
            .field("acknowledgement_timeout", &self.acknowledgement_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests;
