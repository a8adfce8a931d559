//! Transports: Engine.IO packets over streams of a [`Net`](crate::net::Net).
//!
//! [`engine`] is a session, over whichever transport carries it now; the others are its parts. No task
//! is spawned anywhere below: streams live inside of what owns them and close when that is dropped.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio_tungstenite::tungstenite;

pub use self::http::HttpError;
use super::endpoint::EndpointError;
use super::engine_io::payload::PayloadError;
use super::engine_io::upgrade::UpgradeError;
use super::engine_io::{EngineIoError, EngineIoPacket};
use super::socket_io::{Refusal, SocketIoError};
use crate::config::TransportKind;
use crate::net::tls::{TlsConfigError, TlsError};
use crate::redaction;

mod dial;
pub mod engine;
mod http;
mod meter;
mod polling;
mod probe;
mod race;
mod websocket;

/// The steps of a connection attempt, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectPhase {
    /// The host name is resolved.
    Resolve,
    /// The TCP connection is opened.
    Tcp,
    /// The stream is protected by TLS.
    Tls,
    /// The HTTP request is answered: by an upgrade to WebSocket, or by the response to a first poll.
    Http,
    /// The server's open packet is awaited.
    Open,
    /// The namespace is joined.
    Namespace,
}

/// Why a connection attempt failed.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The server's address cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The certificates to trust cannot be used.
    #[error("the configured trust in certificates cannot be used")]
    Trust(#[from] TlsConfigError),
    /// No transport is configured.
    #[error("no transport is configured; at least one is needed")]
    NoTransport,
    /// The attempt ran out of time.
    #[error("{phase} took too long: it is limited to {limit:?}")]
    TimedOut {
        /// The step that was under way.
        phase: ConnectPhase,
        /// The limit: of the whole attempt, or of one transport's share.
        limit: Duration,
    },
    /// The network refused.
    #[error("{phase} failed")]
    Network {
        /// The step that was under way.
        phase: ConnectPhase,
        /// What the network says.
        #[source]
        source: io::Error,
    },
    /// TLS did not come up.
    #[error("{} failed", ConnectPhase::Tls)]
    Tls(#[from] TlsError),
    /// The server did not upgrade to WebSocket.
    #[error("{} failed", ConnectPhase::Http)]
    HttpUpgrade(#[source] Box<tungstenite::Error>),
    /// The transport failed before the session was open or the namespace joined.
    #[error("{phase} failed")]
    Transport {
        /// The step that was under way.
        phase: ConnectPhase,
        /// What failed.
        #[source]
        source: TransportError,
    },
    /// The server sent something that does not belong there.
    #[error("{phase} failed: the server sent {found} out of turn")]
    OutOfTurn {
        /// The step that was under way.
        phase: ConnectPhase,
        /// What it sent.
        found: &'static str,
    },
    /// More than one transport was tried and none opened a session.
    #[error("no transport opened a session: {}", list(.failures))]
    EveryTransport {
        /// What each failed with, in the order in which they were tried.
        failures: Vec<(TransportKind, ConnectError)>,
    },
    /// The WebSocket that was to take a session over failed before it did.
    #[error("the websocket failed during the probe")]
    Probe(#[source] TransportError),
    /// A session stays with polling.
    #[error("moving the session to websocket failed")]
    Upgrade(#[from] UpgradeError),
    /// The server speaks protocol 2: its CONNECT reply names no session.
    #[error(
        "{} failed: the server's reply has no sid, so it speaks an older socket.io protocol",
        ConnectPhase::Namespace
    )]
    OldProtocol,
    /// The server refuses this client.
    #[error("the server refuses the connection: {:?}", redaction::scrubbed(&.0.message).to_string())]
    Refused(Refusal),
}

/// Why an open transport can carry no more.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The server closed it: a WebSocket close frame, an Engine.IO close packet, or the end of the
    /// stream.
    #[error("the server closed the connection: {how}")]
    Closed {
        /// How it did so.
        how: String,
    },
    /// The stream or the WebSocket on it broke.
    #[error("the websocket broke")]
    Broken(#[source] Box<tungstenite::Error>),
    /// A request of long-polling failed.
    #[error("a polling request failed")]
    Http(#[source] HttpError),
    /// The server knows the session no more.
    #[error("the server does not know the session")]
    SessionUnknown,
    /// A polling response carries no packets.
    #[error("the server sent an invalid payload")]
    Payload(#[from] PayloadError),
    /// A frame is no Engine.IO packet.
    #[error("the server sent an invalid frame")]
    EngineIo(#[from] EngineIoError),
    /// A message is no Socket.IO packet.
    #[error("the server sent an invalid packet")]
    SocketIo(#[from] SocketIoError),
}

/// What arrives over a transport.
#[derive(Debug)]
enum Inbound {
    Packet(EngineIoPacket),
    /// Something below Engine.IO that only a live server sends.
    SignOfLife,
}

impl ConnectError {
    /// Whether another attempt would fail in the same way: the configuration is wrong, or the server
    /// refuses this client.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            // Another session has another id.
            Self::Endpoint(error) => !matches!(error, EndpointError::SessionId { .. }),
            other => matches!(other, Self::Trust(_) | Self::NoTransport | Self::Refused(_)),
        }
    }

    /// The step that failed; of several transports, the last one's.
    #[must_use]
    pub fn phase(&self) -> Option<ConnectPhase> {
        match self {
            Self::TimedOut { phase, .. }
            | Self::Network { phase, .. }
            | Self::Transport { phase, .. }
            | Self::OutOfTurn { phase, .. } => Some(*phase),
            Self::Tls(_) => Some(ConnectPhase::Tls),
            Self::HttpUpgrade(_) => Some(ConnectPhase::Http),
            Self::OldProtocol | Self::Refused(_) => Some(ConnectPhase::Namespace),
            Self::EveryTransport { failures } => failures.last().and_then(|(_, last)| last.phase()),
            Self::Endpoint(_)
            | Self::Trust(_)
            | Self::NoTransport
            | Self::Probe(_)
            | Self::Upgrade(_) => None,
        }
    }

    /// Whether the failure lies below every transport, so that another one would meet it as well.
    fn is_below_transports(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Tls(_))
    }
}

impl From<HttpError> for TransportError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Exchange(error) if error.is_incomplete_message() => Self::Closed {
                how: "end of stream during a request".into(),
            },
            other => Self::Http(other),
        }
    }
}

impl Display for ConnectPhase {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Resolve => "resolving the server's name",
            Self::Tcp => "opening the tcp connection",
            Self::Tls => "protecting the connection by tls",
            Self::Http => "waiting for the http response",
            Self::Open => "waiting for the open packet",
            Self::Namespace => "joining the namespace",
        })
    }
}

fn list(failures: &[(TransportKind, ConnectError)]) -> String {
    let describe = |(transport, error): &(TransportKind, ConnectError)| {
        // The causes are told as well, because an error has one source and here are several.
        format!("{transport}: {}", redaction::chain(error))
    };
    let described: Vec<_> = failures.iter().map(describe).collect();
    described.join("; ")
}

#[cfg(test)]
mod tests;
