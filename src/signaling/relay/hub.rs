//! Between Socket.IO and the pure part: tells the switchboard what happens, and carries out what it
//! says.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::service::Service as _;
use serde_json::{Value, json};
use socketioxide::extract::{AckSender, SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::service::SocketIoService;
use socketioxide::socket::{DisconnectReason, Sid};
use socketioxide::{AckError, SendError, SocketError, SocketIo, TransportType};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::admission::{AdmissionError, Auth};
use super::config::RelayConfig;
use super::frame::Frame;
use super::health::NotFound;
use super::refusal::Refusal;
use super::streams::{StreamId, Streams};
use super::switchboard::{Conduct, Delivery, Device, Handled, Switchboard};
use super::turn_credentials;
use crate::signaling::message::EVENT;

/// How long the relay waits for a device to acknowledge: longer than the 45 s after which a silent
/// connection is closed, so that only a dead one is given up.
const DEVICE_ACKNOWLEDGEMENT_LIMIT: Duration = Duration::from_mins(1);

/// How long a new connection waits for the one that it replaces to be gone. That takes no time, since
/// a stream that is told to close waits for nothing.
const REPLACEMENT_LIMIT: Duration = Duration::from_secs(1);

/// How long a session may take to join the namespace.
const JOIN_LIMIT: Duration = Duration::from_secs(45);

/// How long a session may live on after it has left the namespace: long enough for its client to close
/// it by itself.
const LEFT_LIMIT: Duration = Duration::from_secs(5);

/// How long streams that are aborted may take to be dropped.
const ABORT_LIMIT: Duration = Duration::from_secs(1);

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
                admit(Weak::clone(&admission), socket, auth.ok())
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

    /// Closes every connection: in order until `deadline`, and then by force.
    pub(super) async fn shut_down(&self, deadline: Instant) {
        if self.phase.send_replace(Phase::Draining) != Phase::Serving {
            let mut phase = self.phase.subscribe();
            // The sender is this hub's own.
            let _ = phase.wait_for(|phase| *phase == Phase::Closed).await;
            return;
        }
        let sockets: Vec<SocketRef> = self.lock().sockets.values().cloned().collect();
        let joined: BTreeSet<Sid> = sockets.iter().map(|socket| socket.id).collect();
        // What has not joined yet would be told that there is no such namespace, and would not come
        // back.
        self.streams.abort_others(&joined);
        if timeout_at(deadline, self.io.close()).await.is_err() {
            tracing::debug!("some clients do not take their close packet");
        }
        if timeout_at(deadline, self.streams.all_gone()).await.is_err() {
            tracing::info!(streams = self.streams.count(), "streams cut");
            self.streams.abort_all();
            let _ = timeout(ABORT_LIMIT, self.streams.all_gone()).await;
        }
        // socketioxide forgets its namespaces before their sockets are out of them, so that sockets and
        // namespaces hold each other for ever. Leaving the namespace cuts that.
        for socket in sockets {
            // The connection is closed already, which is the only error there can be.
            let _ = socket.disconnect();
        }
        let mut state = self.lock();
        state.sockets.clear();
        state.closing.clear();
        state.board = Switchboard::new(Arc::clone(&self.config));
        drop(state);
        self.phase.send_replace(Phase::Closed);
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

    /// Closes sessions that are in the table. Their clients come back, or not, as they see fit.
    fn close_all(self: &Arc<Self>, sessions: BTreeSet<Sid>) {
        for id in sessions {
            let mut state = self.lock();
            let device = state.take_out(id);
            let socket = state.sockets.remove(&id);
            if let Some(device) = device {
                state.log_disconnected(&device, "closed by the relay");
            }
            drop(state);
            self.close(id, socket);
        }
    }

    /// Closes a session down to its streams.
    fn close(self: &Arc<Self>, id: Sid, socket: Option<SocketRef>) {
        if let Some(socket) = socket {
            // Where even that packet finds no room, the end of the stream has to do.
            let _ = socket.disconnect();
        }
        // A session that polls has no stream while it does not ask, and ends by a packet that is none
        // of Socket.IO: what socketioxide has no call for, it does on its own for that.
        let path = self.config.path.trim_end_matches('/');
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{path}/?EIO=4&transport=polling&sid={id}"))
            .body(Full::new(Bytes::from_static(b"4!")))
            .expect("the session was opened by a request for this path");
        let closed = self.service.call(request);
        let streams = Arc::clone(&self.streams);
        tokio::spawn(async move {
            // A session over WebSocket refuses the request; its stream is all that it has.
            let _ = closed.await;
            // A request that waits for an answer has one now, and is to get it.
            tokio::task::yield_now().await;
            streams.close(id);
        });
    }

    /// Admits a session. An older one of its device is closed first, and gone.
    async fn admit(self: &Arc<Self>, id: Sid, device: &Device) -> Result<(), AdmissionError> {
        let patience = Instant::now() + REPLACEMENT_LIMIT;
        loop {
            let (older, socket, closing) = {
                let mut state = self.lock();
                if !self.is_serving() {
                    return Err(AdmissionError::ShuttingDown);
                }
                let older = state.board.predecessor(device)?;
                let socket = older.and_then(|older| {
                    state.take_out(older);
                    state.sockets.remove(&older)
                });
                let closing = state.closing.get(device).cloned().unwrap_or_default();
                if older.is_none() && (closing.is_empty() || Instant::now() >= patience) {
                    state.board.admit(Instant::now(), id, device.clone());
                    return Ok(());
                }
                (older, socket, closing)
            };
            if let Some(older) = older {
                self.close(older, socket);
            }
            for session in closing {
                if timeout_at(patience, self.streams.gone(session))
                    .await
                    .is_err()
                {
                    tracing::warn!(%session, "a replaced connection is not gone yet");
                }
            }
            if older.is_some() {
                self.lock()
                    .log_disconnected(device, "replaced by a newer connection");
            }
        }
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

/// Decides on a connection and, if it may stay, registers what it will be asked: before the CONNECT
/// reply, so that no event of the client comes too early.
async fn admit(
    hub: Weak<Hub>,
    socket: SocketRef,
    auth: Option<Auth>,
) -> Result<(), AdmissionError> {
    let hub = hub.upgrade().ok_or(AdmissionError::ShuttingDown)?;
    let id = socket.id;
    if let Some(stream) = socket.req_parts().extensions.get::<StreamId>() {
        hub.streams.carry(*stream, id);
    }
    let auth = auth.ok_or(AdmissionError::Malformed)?;
    let config = &hub.config;
    if let Err(error) = auth.check(&config.tokens, config.name_bytes_max) {
        tracing::info!(user = %auth.user, %error, "signaling client refused");
        return Err(error);
    }
    let device = Device {
        user: auth.user,
        // The session's own id is as random as the name that the client should have chosen.
        name: auth.device.unwrap_or_else(|| id.to_string()),
    };
    listen(&hub, &socket);
    let admitted = hub.admit(id, &device).await;
    if let Err(error) = &admitted {
        tracing::info!(user = %device.user, %error, "signaling client refused");
        if *error == AdmissionError::ShuttingDown {
            // It must not read that, or it would not come back.
            hub.streams.abort(id);
        }
    }
    admitted
}

/// Registers what a session may send.
fn listen(hub: &Arc<Hub>, socket: &SocketRef) {
    let (frames, requests, leaving) = (
        Arc::downgrade(hub),
        Arc::downgrade(hub),
        Arc::downgrade(hub),
    );
    socket.on(
        EVENT,
        move |socket: SocketRef, TryData(frame): TryData<Frame>, acknowledge: AckSender| {
            if let Some(hub) = frames.upgrade() {
                answer(acknowledge, &hub.receive(socket.id, frame.ok()));
            }
            ready(())
        },
    );
    socket.on(
        turn_credentials::EVENT,
        move |socket: SocketRef, acknowledge: AckSender| {
            if let Some(hub) = requests.upgrade() {
                answer(acknowledge, &hub.issue_credentials(socket.id));
            }
            ready(())
        },
    );
    socket.on_disconnect(move |socket: SocketRef, reason: DisconnectReason| {
        if let Some(hub) = leaving.upgrade() {
            hub.leave(&socket, reason);
        }
        ready(())
    });
}

fn answer(acknowledge: AckSender, value: &Value) {
    if let Err(error) = acknowledge.send(value) {
        tracing::debug!(%error, "the acknowledgement was not sent");
    }
}
