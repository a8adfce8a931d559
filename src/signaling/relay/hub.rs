//! Between Socket.IO and the pure part: tells the switchboard what happens, and carries out what it
//! says.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::service::SocketIoService;
use socketioxide::socket::{DisconnectReason, Sid};
use socketioxide::{AckError, SendError, SocketError, SocketIo, TransportType};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::admission::Auth;
use super::config::RelayConfig;
use super::frame::Frame;
use super::health::NotFound;
use super::refusal::Refusal;
use super::streams::Streams;
use super::switchboard::{Conduct, Delivery, Device, Handled, Switchboard};
use crate::signaling::message::EVENT;

mod entry;
mod exit;

/// How long the relay waits for a device to acknowledge: longer than the 45 s after which a silent
/// connection is closed, so that only a dead one is given up.
const DEVICE_ACKNOWLEDGEMENT_LIMIT: Duration = Duration::from_mins(1);

/// How long a session may take to join the namespace.
const JOIN_LIMIT: Duration = Duration::from_secs(45);

/// How long a session may live on after it has left the namespace: long enough for its client to close
/// it by itself.
const LEFT_LIMIT: Duration = Duration::from_secs(5);

/// What the server may have to send to a client beside the messages that are kept for it.
const OTHER_PACKETS_MAX: usize = 128;

/// The relay's state and its Socket.IO server. The handlers in that server hold it weakly, because it
/// holds their sockets.
pub(super) struct Hub {
    pub(super) config: Arc<RelayConfig>,
    pub(super) service: SocketIoService<NotFound>,
    io: SocketIo,
    pub(super) streams: Arc<Streams>,
    pub(super) phase: watch::Sender<Phase>,
    state: Mutex<State>,
}

/// How far the relay's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Nobody is accepted any more, and who is there is asked to leave.
    Draining,
    Closed,
}

struct State {
    board: Switchboard,
    /// The sockets of the sessions that have joined.
    sockets: BTreeMap<Sid, SocketRef>,
    /// The sessions that the relay has closed, until their streams are gone.
    closing: BTreeMap<Device, Vec<Sid>>,
}

impl Hub {
    pub(super) fn new(config: RelayConfig) -> Arc<Self> {
        let config = Arc::new(config);
        let (service, io) = SocketIo::builder()
            .req_path(config.path.clone())
            .ack_timeout(DEVICE_ACKNOWLEDGEMENT_LIMIT)
            .connect_timeout(JOIN_LIMIT)
            .max_buffer_size(config.kept_messages_max + OTHER_PACKETS_MAX)
            .max_payload(config.payload_bytes_max as u64)
            .ws_max_message_size(config.payload_bytes_max)
            .ws_max_frame_size(config.payload_bytes_max)
            .build_with_inner_svc(NotFound);
        let board = Switchboard::new(Arc::clone(&config));
        Arc::new_cyclic(|hub: &Weak<Self>| {
            let (admission, arrival) = (Weak::clone(hub), Weak::clone(hub));
            let admit = move |socket: SocketRef, TryData(auth): TryData<Auth>| {
                entry::admit(Weak::clone(&admission), socket, auth.ok())
            };
            // Handlers do their work before they return a future, because socketioxide spawns those
            // and keeps no order among them.
            let arrive = move |socket: SocketRef| {
                if let Some(hub) = arrival.upgrade() {
                    hub.arrive(socket);
                }
                ready(())
            };
            io.ns("/", arrive.with(admit));
            Self {
                config,
                service,
                io,
                streams: Arc::default(),
                phase: watch::Sender::new(Phase::Serving),
                state: Mutex::new(State {
                    board,
                    sockets: BTreeMap::new(),
                    closing: BTreeMap::new(),
                }),
            }
        })
    }

    pub(super) fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// How many devices of a user are connected.
    pub(super) fn devices_of(&self, user: &str) -> usize {
        self.lock().board.sessions_of(user)
    }

    /// How many devices are connected, and how many calls there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.board.sessions(), state.board.calls())
    }

    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        let state = self.lock();
        state.board.is_empty() && state.sockets.is_empty() && state.closing.is_empty()
    }

    /// The present state, without what has grown too old.
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so a panic elsewhere leaves it usable.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.board.expire(Instant::now());
        let streams = &self.streams;
        state.closing.retain(|_, sessions| {
            sessions.retain(|session| streams.has(*session));
            !sessions.is_empty()
        });
        state
    }

    /// A session has its CONNECT reply.
    fn arrive(self: &Arc<Self>, socket: SocketRef) {
        let id = socket.id;
        let mut state = self.lock();
        if !self.is_serving() {
            drop(state);
            // What it would read now would make it stay away.
            self.streams.abort(id);
            self.close(id, Some(socket));
            return;
        }
        let Some((device, waiting)) = state.board.join(id) else {
            drop(state);
            self.close(id, Some(socket));
            return;
        };
        state.sockets.insert(id, socket);
        let kept = waiting.len();
        let sockets = state.sockets_of(&device);
        let (user, name) = (&device.user, &device.name);
        tracing::info!(%user, device = %name, sockets, kept, "signaling client connected");
        let overrun = self.deliver(&state, &waiting);
        drop(state);
        self.close_all(overrun);
    }

    /// A session has left the namespace, most often because its engine is closed.
    fn leave(self: &Arc<Self>, socket: &SocketRef, reason: DisconnectReason) {
        let id = socket.id;
        let mut state = self.lock();
        state.sockets.remove(&id);
        // Whoever has taken it out before sees to its streams.
        let Some(device) = state.board.leave(id) else {
            return;
        };
        state.log_disconnected(&device, &reason.to_string());
        drop(state);
        if reason == DisconnectReason::ClientNSDisconnect {
            let hub = Arc::downgrade(self);
            tokio::spawn(async move {
                sleep(LEFT_LIMIT).await;
                if let Some(hub) = hub.upgrade()
                    && !hub.lock().sockets.contains_key(&id)
                {
                    hub.close(id, None);
                }
            });
        } else if socket.transport_type() == TransportType::Websocket {
            // Its tasks let go of it by themselves, unless one of them waits to write.
            self.streams.close(id);
        } else {
            self.streams.release(id);
        }
    }

    /// A session sent a frame, or something else in its place.
    fn receive(self: &Arc<Self>, id: Sid, frame: Option<Frame>) -> Value {
        let mut state = self.lock();
        let Handled {
            answer,
            deliveries,
            conduct,
        } = state.board.handle_frame(Instant::now(), id, frame);
        let mut closing = self.deliver(&state, &deliveries);
        drop(state);
        if conduct == Conduct::Abusive {
            tracing::warn!(session = %id, "signaling client refused too often");
            closing.insert(id);
        }
        self.close_all(closing);
        match answer {
            Ok(devices) => json!({ "delivered": devices }),
            Err(refusal) => {
                tracing::debug!(session = %id, %refusal, "frame refused");
                refusal.answer()
            }
        }
    }

    fn issue_credentials(&self, id: Sid) -> Value {
        let user = self.lock().board.handle_request(Instant::now(), id);
        let issued = user.and_then(|user| {
            let issuer = self.config.turn.as_ref().ok_or(Refusal::NoTurnSecret)?;
            Ok(issuer.issue(&user))
        });
        match issued {
            Ok(credentials) => json!(credentials),
            Err(refusal) => refusal.answer(),
        }
    }

    /// Sends frames, and returns the sessions that cannot take any more.
    fn deliver(self: &Arc<Self>, state: &State, deliveries: &[Delivery]) -> BTreeSet<Sid> {
        let mut overrun = BTreeSet::new();
        for delivery in deliveries {
            let Some(socket) = state.sockets.get(&delivery.session) else {
                continue;
            };
            let sent = match delivery.receipt {
                None => socket.emit(EVENT, &*delivery.frame),
                Some(receipt) => socket
                    .emit_with_ack::<_, Value>(EVENT, &*delivery.frame)
                    .map(|acknowledged| {
                        let hub = Arc::downgrade(self);
                        tokio::spawn(async move {
                            // A decoding error is an acknowledgement too: one without a value.
                            if let Ok(_) | Err(AckError::Decode(_)) = acknowledged.await
                                && let Some(hub) = hub.upgrade()
                            {
                                hub.lock().board.handle_acknowledged(receipt);
                            }
                        });
                    }),
            };
            match sent {
                Ok(()) => {}
                Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                    overrun.insert(delivery.session);
                }
                // The device is on its way out; a message stays for the next one.
                Err(error) => tracing::debug!(session = %delivery.session, %error, "not sent"),
            }
        }
        overrun
    }
}

impl State {
    /// Takes a session out that is about to be closed.
    fn take_out(&mut self, id: Sid) -> Option<Device> {
        let device = self.board.leave(id)?;
        self.closing.entry(device.clone()).or_default().push(id);
        Some(device)
    }

    /// How many sockets a device has: one that is in use, and those that are not gone yet.
    fn sockets_of(&self, device: &Device) -> usize {
        let closing = self.closing.get(device).map_or(0, Vec::len);
        closing + usize::from(self.board.has(device))
    }

    fn log_disconnected(&self, device: &Device, reason: &str) {
        let sockets = self.sockets_of(device);
        let Device { user, name } = device;
        tracing::info!(%user, device = %name, sockets, reason, "signaling client disconnected");
    }
}
