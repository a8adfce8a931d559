//! The signaling server: hands envelopes from user to user, over Socket.IO, on any byte stream.
//!
//! A message is kept until one device of its receiver has acknowledged it, so that nothing is lost
//! to a socket whose other end is gone already. Kept messages are sent again to the next device of
//! that user; who gets one twice tells the repetition by sender and id.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use socketioxide::extract::{AckSender, Data, SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use socketioxide::{AckError, SocketIo};
use thiserror::Error;
use tokio::time::Instant;

use super::message::{EVENT, PeerName};
use crate::net::{ByteStream, StreamListener};

/// How long the relay waits for a device to acknowledge: longer than the 45 s after which a silent
/// connection is closed, so that only a dead one is given up.
const DEVICE_ACKNOWLEDGEMENT_LIMIT: Duration = Duration::from_mins(1);

/// What can be set on a [`Relay`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// Who may connect. Default [`TokenPolicy::Any`].
    pub tokens: TokenPolicy,
    /// The most messages that are kept for one user. Default 256; a call needs some 40. Beyond it,
    /// messages for a user without a connection are refused.
    pub kept_messages_max: usize,
    /// How long a message is kept. Default 60 s: an offer that is delivered later than that rings
    /// for a call that its caller has given up.
    pub kept_for: Duration,
}

/// Who may connect.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum TokenPolicy {
    /// Everybody, under any name.
    #[default]
    Any,
    /// These users, each with this token.
    Listed(BTreeMap<PeerName, String>),
}

/// Why a connection is refused. The text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdmissionError {
    /// What authenticates the client cannot be read.
    #[error("auth must be an object with the texts user and token")]
    Malformed,
    /// The user has no name.
    #[error("user is empty")]
    EmptyUser,
    /// The user is not known, or the token is another one; which of them is not told.
    #[error("user {user:?} has no such token")]
    WrongToken {
        /// The user's name.
        user: PeerName,
    },
}

/// The signaling server.
#[derive(Clone)]
pub struct Relay {
    service: SocketIoService<NotFound>,
    io: SocketIo,
    /// Owned here alone: the handlers inside `io` hold it weakly, because it holds their sockets.
    shared: Arc<Shared>,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            tokens: TokenPolicy::Any,
            kept_messages_max: 256,
            kept_for: Duration::from_mins(1),
        }
    }
}

impl std::fmt::Debug for TokenPolicy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => formatter.write_str("Any"),
            Self::Listed(tokens) => formatter
                .debug_tuple("Listed")
                .field(&tokens.keys().collect::<Vec<_>>())
                .finish(),
        }
    }
}

impl TokenPolicy {
    /// Checks a user's token.
    ///
    /// # Errors
    ///
    /// [`AdmissionError::EmptyUser`] or [`AdmissionError::WrongToken`].
    pub fn admit(&self, user: &str, token: &str) -> Result<(), AdmissionError> {
        if user.is_empty() {
            return Err(AdmissionError::EmptyUser);
        }
        match self {
            Self::Listed(tokens) if tokens.get(user).is_none_or(|listed| listed != token) => {
                Err(AdmissionError::WrongToken { user: user.into() })
            }
            _ => Ok(()),
        }
    }
}

impl Relay {
    /// A server without connections. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(config: RelayConfig) -> Self {
        let (service, io) = SocketIo::builder()
            .ack_timeout(DEVICE_ACKNOWLEDGEMENT_LIMIT)
            .build_with_inner_svc(NotFound);
        let shared = Arc::new(Shared {
            config,
            state: Mutex::default(),
        });
        let (admission, arrival) = (Arc::downgrade(&shared), Arc::downgrade(&shared));
        // Handlers do their work before they return a future, because socketioxide spawns those and
        // keeps no order among them.
        let arrive = move |socket: SocketRef, Data(auth): Data<Auth>| {
            if let Some(shared) = arrival.upgrade() {
                shared.arrive(&auth.user, socket);
            }
            ready(())
        };
        let admit = move |socket: SocketRef, TryData(auth): TryData<Auth>| {
            ready(admit(&admission, &socket, auth.ok()))
        };
        io.ns("/", arrive.with(admit));
        Self {
            service,
            io,
            shared,
        }
    }

    /// How many devices of `user` are connected, as far as the relay knows.
    #[must_use]
    pub fn connected_devices(&self, user: &str) -> usize {
        let state = self.shared.lock();
        state.users.get(user).map_or(0, |user| user.devices.len())
    }

    /// Closes every connection and releases what they hold. Clients see an orderly close and come
    /// back; the relay accepts nobody any more.
    pub async fn shut_down(&self) {
        self.io.close().await;
        self.shared.lock().users.clear();
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Relay")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

/// Serves every connection of `listener`, each in a task of its own, until the listener fails.
/// Dropping the future stops accepting and leaves open connections alone.
///
/// # Errors
///
/// What the listener answers when it can accept no more.
pub async fn serve(relay: Relay, listener: Box<dyn StreamListener>) -> io::Result<()> {
    loop {
        let (stream, remote) = listener.accept().await?;
        tracing::debug!(%remote, "signaling connection accepted");
        tokio::spawn(serve_stream(relay.service.clone(), stream));
    }
}

async fn serve_stream(service: SocketIoService<NotFound>, stream: Box<dyn ByteStream>) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // It would be read from the operating system's clock.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "signaling connection ended");
    }
}

/// Answers requests for anything but the Engine.IO endpoint.
#[derive(Debug, Clone)]
struct NotFound;

impl Service<Request<Incoming>> for NotFound {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, _: Request<Incoming>) -> Self::Future {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok(response))
    }
}

/// The payload of a client's CONNECT.
#[derive(Deserialize)]
struct Auth {
    user: PeerName,
    #[serde(default)]
    token: String,
}

/// Decides on a connection and, if it may stay, registers what it will be asked: before the CONNECT
/// reply, so that no event of the client comes too early.
fn admit(
    shared: &Weak<Shared>,
    socket: &SocketRef,
    auth: Option<Auth>,
) -> Result<(), AdmissionError> {
    let auth = auth.ok_or(AdmissionError::Malformed)?;
    let Some(relay) = shared.upgrade() else {
        return Ok(());
    };
    if let Err(error) = relay.config.tokens.admit(&auth.user, &auth.token) {
        tracing::info!(user = %auth.user, %error, "signaling client refused");
        return Err(error);
    }
    let (sending, leaving) = (Weak::clone(shared), Weak::clone(shared));
    let sender = auth.user.clone();
    socket.on(
        EVENT,
        move |TryData(message): TryData<Map<String, Value>>, acknowledge: AckSender| {
            let answer = match (sending.upgrade(), message) {
                (Some(shared), Ok(message)) => shared.forward(&sender, message),
                _ => Err("the argument must be an envelope".into()),
            };
            let answer = match answer {
                Ok(devices) => json!({ "delivered": devices }),
                Err(error) => json!({ "error": error }),
            };
            if let Err(error) = acknowledge.send(&answer) {
                tracing::debug!(%error, "the acknowledgement was not sent");
            }
            ready(())
        },
    );
    socket.on_disconnect(move |socket: SocketRef| {
        if let Some(shared) = leaving.upgrade() {
            shared.leave(&auth.user, socket.id);
        }
        ready(())
    });
    Ok(())
}

struct Shared {
    config: RelayConfig,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    users: BTreeMap<PeerName, User>,
    next_kept: u64,
    /// Every message that was ever kept and is not yet too old, oldest first.
    ages: VecDeque<(Instant, PeerName, u64)>,
}

/// A user with a device or a kept message; others have no entry.
#[derive(Default)]
struct User {
    /// In the order in which they connected; after a drop the dead one stays for a while.
    devices: Vec<SocketRef>,
    /// Messages that no device has acknowledged, oldest first.
    kept: VecDeque<Kept>,
}

struct Kept {
    number: u64,
    message: Map<String, Value>,
}

impl State {
    fn expire(&mut self, kept_for: Duration) {
        while let Some((since, ..)) = self.ages.front()
            && since.elapsed() >= kept_for
            && let Some((_, name, number)) = self.ages.pop_front()
        {
            self.forget(&name, number);
        }
    }

    fn forget(&mut self, name: &str, number: u64) {
        if let Some(user) = self.users.get_mut(name) {
            user.kept.retain(|kept| kept.number != number);
        }
        self.drop_if_idle(name);
    }

    fn drop_if_idle(&mut self, name: &str) {
        let is_idle = |user: &User| user.devices.is_empty() && user.kept.is_empty();
        if self.users.get(name).is_some_and(is_idle) {
            self.users.remove(name);
        }
    }
}

impl Shared {
    /// The present state, without what has grown too old.
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so a panic elsewhere leaves it usable.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expire(self.config.kept_for);
        state
    }

    fn arrive(self: &Arc<Self>, name: &str, socket: SocketRef) {
        let mut state = self.lock();
        let user = state.users.entry(name.into()).or_default();
        let kept = user.kept.len();
        tracing::info!(user = name, kept, "signaling client connected");
        for kept in &user.kept {
            self.deliver(name, kept, &socket);
        }
        user.devices.push(socket);
    }

    fn leave(&self, name: &str, id: Sid) {
        let mut state = self.lock();
        if let Some(user) = state.users.get_mut(name) {
            user.devices.retain(|device| device.id != id);
        }
        state.drop_if_idle(name);
        tracing::info!(user = name, "signaling client disconnected");
    }

    /// Hands a message on and returns to how many devices.
    fn forward(
        self: &Arc<Self>,
        from: &str,
        mut message: Map<String, Value>,
    ) -> Result<usize, String> {
        message.insert("from".into(), from.into());
        let Some(Value::String(to)) = message.get("to") else {
            return Err("the envelope must have the text to".into());
        };
        let to = to.clone();
        let mut guard = self.lock();
        let state = &mut *guard;
        let user = state.users.entry(to.clone()).or_default();
        let devices = user.devices.len();
        let repeated = user
            .kept
            .iter()
            .find(|kept| is_repetition(&kept.message, &message));
        if let Some(kept) = repeated {
            for device in &user.devices {
                self.deliver(&to, kept, device);
            }
            return Ok(devices);
        }
        let number = state.next_kept;
        state.next_kept += 1;
        let kept = Kept { number, message };
        for device in &user.devices {
            self.deliver(&to, &kept, device);
        }
        let max = self.config.kept_messages_max;
        if user.kept.len() < max {
            user.kept.push_back(kept);
            state.ages.push_back((Instant::now(), to, number));
        } else if devices > 0 {
            tracing::warn!(from, %to, max, "message not kept: its receiver has too many");
        } else {
            tracing::warn!(from, %to, max, "message refused: its receiver has too many");
            return Err(format!("{max} messages wait for {to:?} already"));
        }
        Ok(devices)
    }

    /// Sends one message to one device, and forgets it once that acknowledges.
    fn deliver(self: &Arc<Self>, to: &str, kept: &Kept, device: &SocketRef) {
        match device.emit_with_ack::<_, Value>(EVENT, &kept.message) {
            Ok(acknowledged) => {
                let (shared, to, number) = (Arc::downgrade(self), PeerName::from(to), kept.number);
                tokio::spawn(async move {
                    // A decoding error is an acknowledgement too: one without a value.
                    if let Ok(_) | Err(AckError::Decode(_)) = acknowledged.await
                        && let Some(shared) = shared.upgrade()
                    {
                        shared.lock().forget(&to, number);
                    }
                });
            }
            // The device is on its way out; the message stays for the next one.
            Err(error) => tracing::debug!(to, %error, "device not reached"),
        }
    }
}

fn is_repetition(kept: &Map<String, Value>, message: &Map<String, Value>) -> bool {
    let is_same = |key| kept.get(key) == message.get(key);
    message.contains_key("id") && is_same("id") && is_same("from")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::client::{Identity, SendError, SignalingClient, SignalingEvent};
    use crate::signaling::memory_net::{MemoryNet, envelope, identity, serve_relay, settings};
    use tokio::sync::mpsc::Receiver;
    use tokio::time::{sleep, timeout};

    fn start(net: &MemoryNet, identity: Identity) -> (SignalingClient, Receiver<SignalingEvent>) {
        SignalingClient::start(Arc::new(net.clone()), settings(), identity)
    }

    async fn calls(events: &mut Receiver<SignalingEvent>) -> Vec<String> {
        let mut calls = Vec::new();
        while let Ok(Some(event)) = timeout(Duration::from_secs(1), events.recv()).await {
            if let SignalingEvent::Message(envelope) = event {
                calls.push(envelope.call.0);
            }
        }
        calls
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_token_is_refused_and_not_tried_again() {
        let net = MemoryNet::default();
        let tokens = BTreeMap::from([("anna".into(), "secret".into())]);
        let config = RelayConfig {
            tokens: TokenPolicy::Listed(tokens),
            ..RelayConfig::default()
        };
        let _relay = serve_relay(&net, config).await;
        let (_anna, mut events) = start(&net, identity("anna"));
        let event = events.recv().await;
        assert!(
            matches!(event, Some(SignalingEvent::Connected)),
            "{event:?}"
        );

        let (boris, mut events) = start(&net, identity("boris"));
        match events.recv().await {
            Some(SignalingEvent::Rejected { message }) => {
                assert_eq!(message, "user \"boris\" has no such token");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            boris.send(envelope("anna", "1")).await,
            Err(SendError::Closed)
        );
        sleep(Duration::from_mins(1)).await;
        assert_eq!(net.opened(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_for_an_absent_user_wait_in_order_within_bounds() {
        let net = MemoryNet::default();
        let config = RelayConfig {
            kept_messages_max: 3,
            ..RelayConfig::default()
        };
        let _relay = serve_relay(&net, config).await;
        let (anna, _events) = start(&net, identity("anna"));
        for call in ["1", "2", "3"] {
            assert_eq!(anna.send(envelope("boris", call)).await, Ok(()));
        }
        assert!(matches!(
            anna.send(envelope("boris", "4")).await,
            Err(SendError::Refused { .. })
        ));
        let (boris, mut events) = start(&net, identity("boris"));
        assert_eq!(calls(&mut events).await, ["1", "2", "3"]);
        boris.close().await;
        let (_boris, mut events) = start(&net, identity("boris"));
        assert_eq!(
            calls(&mut events).await,
            [""; 0],
            "what was acknowledged is gone"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_older_than_its_caller_waits_rings_nobody() {
        let net = MemoryNet::default();
        let relay = serve_relay(&net, RelayConfig::default()).await;
        let (anna, _events) = start(&net, identity("anna"));
        assert_eq!(anna.send(envelope("boris", "old")).await, Ok(()));
        sleep(Duration::from_secs(59)).await;
        assert_eq!(anna.send(envelope("boris", "new")).await, Ok(()));
        sleep(Duration::from_secs(2)).await;
        let (_boris, mut events) = start(&net, identity("boris"));
        assert_eq!(calls(&mut events).await, ["new"]);
        assert_eq!(relay.connected_devices("boris"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_to_a_dead_socket_reaches_the_next_one() {
        let net = MemoryNet::default();
        let relay = serve_relay(&net, RelayConfig::default()).await;
        let (boris, mut events) = start(&net, identity("boris"));
        assert_eq!(calls(&mut events).await, [""; 0]);
        net.freeze_all();
        drop(boris);
        sleep(Duration::from_secs(2)).await;
        let (anna, _events) = start(&net, identity("anna"));
        assert_eq!(anna.send(envelope("boris", "1")).await, Ok(()));
        assert_eq!(
            relay.connected_devices("boris"),
            1,
            "the relay cannot know yet"
        );
        let (_boris, mut events) = start(&net, identity("boris"));
        assert_eq!(calls(&mut events).await, ["1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn every_device_of_a_user_gets_a_message() {
        let net = MemoryNet::default();
        let relay = serve_relay(&net, RelayConfig::default()).await;
        let (_phone, mut phone) = start(&net, identity("boris"));
        let (_tablet, mut tablet) = start(&net, identity("boris"));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(relay.connected_devices("boris"), 2);
        let (anna, _events) = start(&net, identity("anna"));
        assert_eq!(anna.send(envelope("boris", "1")).await, Ok(()));
        assert_eq!(calls(&mut phone).await, ["1"]);
        assert_eq!(calls(&mut tablet).await, ["1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_leaves_a_trace_for_ever() {
        let net = MemoryNet::default();
        let relay = serve_relay(&net, RelayConfig::default()).await;
        let (anna, _events) = start(&net, identity("anna"));
        for user in 0..100 {
            let sent = anna.send(envelope(&user.to_string(), "1")).await;
            assert_eq!(sent, Ok(()));
        }
        assert_eq!(relay.shared.lock().users.len(), 101);
        anna.close().await;
        sleep(Duration::from_mins(1)).await;
        let state = relay.shared.lock();
        assert_eq!((state.users.len(), state.ages.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_shuts_down_lets_everything_go() {
        let net = MemoryNet::default();
        let relay = serve_relay(&net, RelayConfig::default()).await;
        let (anna, mut events) = start(&net, identity("anna"));
        let _ = events.recv().await;
        let shared = Arc::downgrade(&relay.shared);
        relay.shut_down().await;
        let event = events.recv().await;
        assert!(
            matches!(event, Some(SignalingEvent::Disconnected { .. })),
            "{event:?}"
        );
        sleep(Duration::from_millis(1)).await;
        assert_eq!(net.live(), 0);
        assert_eq!(relay.connected_devices("anna"), 0);
        anna.close().await;
        drop((net, relay));
        sleep(Duration::from_millis(1)).await;
        assert!(
            shared.upgrade().is_none(),
            "a task or a handler holds the relay"
        );
    }
}
