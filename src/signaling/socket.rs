//! Sockets: what an application holds of a namespace on a server.
//!
//! A [`SocketIo`] opens them, and lets those of one server share a connection. Each connection is
//! carried by one task, which ends when the last of its sockets is dropped.

mod registry;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::endpoint::EndpointError;
use super::manager::driver::{BacklogSlot, Command};
pub use super::manager::event::{DisconnectReason, SocketConnectError, SocketEvent};
use super::manager::{SocketId, SocketSettings};
use super::socket_io::Namespace;
pub use super::socket_io::emit::{
    Acknowledgement, AcknowledgementError, Delivery, DropReason, Emit, EmitError,
};
pub use super::socket_io::received::{AcknowledgementTicket, ReceivedEvent, Recovered};
use crate::config::SignalingConfig;
use crate::net::Net;
use registry::{ManagerHandle, Placed, Registry};

/// Opens sockets on one network. Sockets of one server share a connection, unless
/// [`ConnectionReuse::Separate`](crate::config::ConnectionReuse::Separate) is configured, their
/// settings differ, or the namespace is taken on it.
#[derive(Debug, Clone)]
pub struct SocketIo {
    registry: Arc<Registry>,
}

/// How a socket connects and sends.
#[derive(Clone, PartialEq)]
pub struct SocketOptions {
    /// How its server is reached. The URL in it is replaced by the one that the socket is opened
    /// with.
    pub signaling: SignalingConfig,
    /// What CONNECT carries to prove who this is. Never logged. Default: nothing.
    pub auth: Map<String, Value>,
    /// How often an event is written again that was not acknowledged. Default 0. With retries,
    /// events are written one at a time, each after the one before it is acknowledged; the server
    /// must acknowledge all of them, and tell repetitions by an
    /// [idempotency key](Emit::with_idempotency_key).
    pub retries: u32,
    /// How long the server may take to acknowledge an event. Default 30 s.
    pub acknowledgement_timeout: Duration,
}

/// A namespace on a server. Clones are one socket; when the last of them is dropped, the namespace
/// is left, and what waits to be sent is dropped.
///
/// The order of calls is the order of sending.
#[derive(Debug, Clone)]
pub struct Socket {
    owner: Arc<Owner>,
}

/// The events of one socket, in order.
///
/// Read them: while 1024 of them wait, the connection is read no further. Nothing is lost by that,
/// except that a server whose pings are not answered will close the connection.
#[derive(Debug)]
pub struct SocketEvents {
    events: mpsc::UnboundedReceiver<(SocketEvent, BacklogSlot)>,
}

/// An event on its way: resolves once, when the answer is there or will not come. Dropping it takes
/// nothing back.
#[derive(Debug)]
#[must_use = "an event that needs no answer is sent by emit"]
pub struct PendingAcknowledgement {
    outcome: oneshot::Receiver<Result<Acknowledgement, AcknowledgementError>>,
}

/// Why a socket cannot be opened.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The server's address cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl SocketIo {
    /// Opens sockets through this network.
    #[must_use]
    pub fn new(net: Arc<dyn Net>) -> Self {
        Self {
            registry: Arc::new(Registry::new(net)),
        }
    }

    /// Makes a socket for `scheme://host[:port][/namespace][?query]`. It is down until
    /// [`Socket::connect`]. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// Every [`SocketError`].
    pub fn socket(
        &self,
        url: &str,
        options: SocketOptions,
    ) -> Result<(Socket, SocketEvents), SocketError> {
        let SocketOptions {
            mut signaling,
            auth,
            retries,
            acknowledgement_timeout,
        } = options;
        signaling.url = url.into();
        let settings = SocketSettings {
            auth,
            retries,
            acknowledgement_timeout,
        };
        let Placed {
            manager,
            id,
            namespace,
        } = self.registry.place(signaling)?;
        let (events, receiver) = mpsc::unbounded_channel();
        manager.send(Command::Open {
            socket: id,
            namespace: namespace.clone(),
            settings,
            events,
        });
        let owner = Owner {
            manager,
            id,
            namespace,
        };
        let socket = Socket {
            owner: Arc::new(owner),
        };
        Ok((socket, SocketEvents { events: receiver }))
    }
}

impl Socket {
    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.owner.namespace
    }

    /// Joins the namespace, and comes back to it after every drop, until the server or
    /// [`disconnect`](Self::disconnect) ends that. While the connection is being opened or waits for
    /// its next attempt, the socket joins with that attempt.
    pub fn connect(&self) {
        self.send(Command::Connect { socket: self.id() });
    }

    /// Leaves the namespace. The connection is closed if no other socket needs it. What waits to be
    /// sent stays, for a later [`connect`](Self::connect).
    pub fn disconnect(&self) {
        self.send(Command::Disconnect { socket: self.id() });
    }

    /// Changes what the next CONNECT carries, such as a token that was renewed.
    pub fn set_auth(&self, auth: Map<String, Value>) {
        let socket = self.id();
        self.send(Command::SetAuth { socket, auth });
    }

    /// Sends an event. Where it is dropped, [`SocketEvent::Dropped`] says so.
    pub fn emit(&self, emit: Emit) {
        let socket = self.id();
        let outcome = None;
        self.send(Command::Emit {
            socket,
            emit,
            outcome,
        });
    }

    /// Sends an event and asks for an answer.
    pub fn emit_with_acknowledgement(&self, emit: Emit) -> PendingAcknowledgement {
        let (done, outcome) = oneshot::channel();
        let socket = self.id();
        self.send(Command::Emit {
            socket,
            emit,
            outcome: Some(done),
        });
        PendingAcknowledgement { outcome }
    }

    /// Answers an event of this socket. The answer is not sent where the connection that the event
    /// came over is gone: the server would not know what it belongs to.
    pub fn acknowledge(&self, ticket: AcknowledgementTicket, answer: Acknowledgement) {
        let socket = self.id();
        self.send(Command::Acknowledge {
            socket,
            ticket,
            answer,
        });
    }

    /// Doubts the path: the server is asked for a sign of life, and if none comes within
    /// [`check_limit`](SignalingConfig::check_limit) the connection is given up and opened again at
    /// once.
    pub fn check_path(&self) {
        self.send(Command::CheckPath);
    }

    /// Says that the host's network is another one now: the connection is given up and opened again
    /// at once, and a wait before the next attempt is cut short.
    pub fn network_changed(&self) {
        self.send(Command::NetworkChanged);
    }

    /// Resolves once the connection is closed for good: when all of its sockets are dropped, and the
    /// server has been told, which takes a second at the most.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.owner.manager.ended()
    }

    fn id(&self) -> SocketId {
        self.owner.id
    }

    fn send(&self, command: Command) {
        self.owner.manager.send(command);
    }
}

impl SocketEvents {
    /// Waits for the next event; `None` once the socket is dropped. Safe to cancel.
    pub async fn recv(&mut self) -> Option<SocketEvent> {
        self.events.recv().await.map(|(event, _)| event)
    }

    /// The next event, if it is there.
    ///
    /// # Errors
    ///
    /// [`mpsc::error::TryRecvError`]: there is none now, or none will come any more.
    pub fn try_recv(&mut self) -> Result<SocketEvent, mpsc::error::TryRecvError> {
        self.events.try_recv().map(|(event, _)| event)
    }
}

impl Future for PendingAcknowledgement {
    type Output = Result<Acknowledgement, AcknowledgementError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome)
            .poll(context)
            .map(|outcome| outcome.unwrap_or(Err(AcknowledgementError::Closed)))
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            signaling: SignalingConfig::default(),
            auth: Map::new(),
            retries: 0,
            acknowledgement_timeout: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for SocketOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SocketOptions")
            .field("signaling", &self.signaling)
            .field("auth", &"…")
            .field("retries", &self.retries)
            .field("acknowledgement_timeout", &self.acknowledgement_timeout)
            .finish()
    }
}

/// What all clones of a socket share; its end is the socket's end.
#[derive(Debug)]
struct Owner {
    manager: Arc<ManagerHandle>,
    id: SocketId,
    namespace: Namespace,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.manager.release(self.id, &self.namespace);
    }
}

#[cfg(test)]
mod tests;
