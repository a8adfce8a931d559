//! What a socket reports.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::redaction;
use crate::signaling::socket_io::emit::DropReason;
use crate::signaling::socket_io::received::{ReceivedEvent, Recovered};
use crate::signaling::socket_io::{Namespace, Refusal, SocketIoError};
use crate::signaling::transport::{ConnectError, ConnectPhase, TransportError};

/// What happens to a socket, in order.
///
/// An outage reads `Disconnected`, then for each attempt `ReconnectWait`, `ReconnectAttempt`, and
/// `ConnectFailed` with `ReconnectError`, until `Reconnected` and, once the namespace is joined
/// again, `Connected`.
#[derive(Debug)]
pub enum SocketEvent {
    /// The namespace is joined. Whatever waited to be sent is written, and whatever came before the
    /// server's reply was reported, before this.
    Connected {
        /// The server's name for this socket.
        sid: String,
        /// Whether what came before is still known to the server.
        recovered: Recovered,
    },
    /// An attempt to connect or to join failed. A reconnect follows unless the error
    /// [is final](SocketConnectError::is_final) or the attempts are used up.
    ConnectFailed {
        /// Why.
        error: SocketConnectError,
    },
    /// The namespace was joined, and is no more. A reconnect follows unless one of the two sides
    /// wanted this ([`DisconnectReason::is_final`]).
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// The next attempt comes after a wait.
    ReconnectWait {
        /// The number of that attempt.
        attempt: u32,
        /// The wait.
        delay: Duration,
    },
    /// A reconnect attempt starts.
    ReconnectAttempt {
        /// Its number, counted from 1 since a connection was last stable.
        attempt: u32,
    },
    /// A reconnect attempt failed. It follows the `ConnectFailed` of the same attempt.
    ReconnectError {
        /// The number of the attempt.
        attempt: u32,
        /// Why.
        error: Arc<ConnectError>,
    },
    /// A reconnect attempt succeeded: the connection is open, and the namespace is being joined.
    Reconnected {
        /// The number of the attempt.
        attempt: u32,
    },
    /// The attempts that the configuration allows are used up. The socket stays down until it is told
    /// to connect.
    ReconnectFailed {
        /// How many attempts were made.
        attempts: u32,
    },
    /// The server sent an event.
    Event(ReceivedEvent),
    /// An emit without acknowledgement was dropped; of one with acknowledgement its own future tells.
    Dropped {
        /// The event's name.
        name: String,
        /// Why.
        reason: DropReason,
    },
}

impl SocketEvent {
    /// What kind of event it is. A log says no more of it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::ConnectFailed { .. } => "connect failed",
            Self::Disconnected { .. } => "disconnected",
            Self::ReconnectWait { .. } => "reconnect wait",
            Self::ReconnectAttempt { .. } => "reconnect attempt",
            Self::ReconnectError { .. } => "reconnect error",
            Self::Reconnected { .. } => "reconnected",
            Self::ReconnectFailed { .. } => "reconnect failed",
            Self::Event(_) => "event",
            Self::Dropped { .. } => "dropped",
        }
    }
}

/// Why a socket is no longer joined.
#[derive(Debug, Clone, Error)]
pub enum DisconnectReason {
    /// No packet arrived for the server's ping interval plus ping timeout.
    #[error("no packet arrived within the heartbeat's limit")]
    PingTimeout,
    /// The server left the namespace: it wants this client gone.
    #[error("the server disconnected this socket")]
    ServerDisconnect,
    /// The application left the namespace.
    #[error("the application disconnected this socket")]
    ClientDisconnect,
    /// The transport closed or broke.
    #[error("the transport ended")]
    Transport(#[source] Arc<TransportError>),
    /// The server sent something that cannot be read.
    #[error("the server sent an invalid packet")]
    Parse(#[source] Arc<SocketIoError>),
    /// The path was doubted, and the server showed no sign of life.
    #[error("the server showed no sign of life within {limit:?}")]
    PathCheck {
        /// The time that it had.
        limit: Duration,
    },
    /// The application says that the network changed.
    #[error("the network changed")]
    NetworkChanged,
    /// The server left the CONNECT of the only namespace unanswered.
    #[error("the server left CONNECT unanswered")]
    NamespaceTimeout,
}

/// Why a socket could not connect.
#[derive(Debug, Clone, Error)]
pub enum SocketConnectError {
    /// The connection could not be opened.
    #[error(transparent)]
    Attempt(Arc<ConnectError>),
    /// The server did not answer CONNECT in time.
    #[error("joining namespace {namespace} took too long: the server has {limit:?} to answer")]
    NamespaceTimedOut {
        /// The namespace.
        namespace: Namespace,
        /// The limit.
        limit: Duration,
    },
    /// The connection was lost before the namespace was joined.
    #[error("the connection was lost before the namespace was joined")]
    Lost(#[source] DisconnectReason),
    /// The server refuses this socket.
    #[error("the server refuses the connection: {:?}", redaction::scrubbed(&.0.message).to_string())]
    Refused(Refusal),
    /// The server speaks protocol 2: its CONNECT reply names no session.
    #[error("the server's reply to CONNECT has no sid, so it speaks an older socket.io protocol")]
    OldProtocol,
}

impl DisconnectReason {
    /// The reason in the words of the reference client.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PingTimeout => "ping_timeout",
            Self::ServerDisconnect => "io_server_disconnect",
            Self::ClientDisconnect => "io_client_disconnect",
            Self::Transport(error) => match **error {
                TransportError::Closed { .. } => "transport_close",
                TransportError::EngineIo(_)
                | TransportError::SocketIo(_)
                | TransportError::Payload(_) => "parse_error",
                TransportError::Broken(_)
                | TransportError::Http(_)
                | TransportError::SessionUnknown => "transport_error",
            },
            Self::Parse(_) => "parse_error",
            Self::PathCheck { .. } => "path_check",
            Self::NetworkChanged => "network_changed",
            Self::NamespaceTimeout => "namespace_timeout",
        }
    }

    /// Whether one of the two sides wanted this, so that no reconnect follows by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::ServerDisconnect | Self::ClientDisconnect)
    }
}

impl SocketConnectError {
    /// Whether no further attempt follows by itself: it would fail in the same way.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Attempt(error) => error.is_permanent(),
            Self::Refused(_) | Self::OldProtocol => true,
            Self::Lost(reason) => reason.is_final(),
            Self::NamespaceTimedOut { .. } => false,
        }
    }

    /// The step whose time ran out, where that is what happened; of several transports, the last
    /// one's.
    #[must_use]
    pub fn timed_out_phase(&self) -> Option<ConnectPhase> {
        match self {
            Self::NamespaceTimedOut { .. } => Some(ConnectPhase::Namespace),
            Self::Attempt(error) => timed_out_phase(error),
            Self::Lost(_) | Self::Refused(_) | Self::OldProtocol => None,
        }
    }
}

fn timed_out_phase(error: &ConnectError) -> Option<ConnectPhase> {
    match error {
        ConnectError::TimedOut { phase, .. } => Some(*phase),
        ConnectError::EveryTransport { failures } => {
            let (_, last) = failures.last()?;
            timed_out_phase(last)
        }
        _ => None,
    }
}
