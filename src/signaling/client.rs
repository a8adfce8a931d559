//! The signaling client: a [mailbox](super::mailbox) over a [socket](super::socket).
//!
//! One task owns both. The socket comes back for ever, and the mailbox keeps what a call must not
//! lose meanwhile: frames are handed to the socket only while it is connected, and whatever was not
//! acknowledged by the other device is handed to the next connection again.

mod driver;
mod returning;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::driver::{Command, Driver};
pub use super::channel::PendingSend;
use super::mailbox::PostError;
use super::message::{CallId, Envelope, FrameError, PeerName};
pub use super::socket::{DisconnectReason, SocketConnectError};
use super::turn_credentials::TurnCredentials;
use crate::config::SignalingConfig;
use crate::net::Net;
use crate::redaction;

/// A connection to the signaling server that is kept up until it is closed or dropped.
#[derive(Debug)]
pub struct SignalingClient {
    commands: mpsc::UnboundedSender<Command>,
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
    /// The namespace is joined, and everything that waited is on its way.
    Connected,
    /// The connection is gone. [`Reconnecting`](Self::Reconnecting) follows, unless the next attempt
    /// starts at once; one that the server itself ended comes back without it, after the same wait.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// An attempt failed. [`Reconnecting`](Self::Reconnecting) follows unless the error
    /// [is final](SocketConnectError::is_final).
    ConnectFailed {
        /// Why.
        error: SocketConnectError,
    },
    /// The next attempt comes after a wait.
    Reconnecting {
        /// How many attempts have been made since the connection was last stable, this one included.
        attempt: u32,
        /// The wait.
        delay: Duration,
    },
    /// As many attempts failed as the configuration allows. There is no further one.
    GaveUp {
        /// How many they were.
        attempts: u32,
    },
    /// A message for this user. Each is reported once, though the network may carry it twice, and
    /// those of a call in the order of sending, but for candidates and their end: they are reported
    /// as they come.
    Message(Envelope),
    /// The server gives credentials for TURN servers, in place of those before.
    TurnCredentials(TurnCredentials),
    /// The server refuses this client. There is no further attempt: the same name and token would be
    /// refused again.
    Rejected {
        /// The server's words.
        message: String,
    },
}

/// Why a message did not get to the other side.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// Too many messages wait for the other sides already.
    #[error("{max} messages wait for the other side, the most that are kept")]
    Full {
        /// The bound.
        max: usize,
    },
    /// Misuse: the message cannot be sent at all.
    #[error("a message that cannot be sent")]
    Invalid(#[from] FrameError),
    /// The server does not take the message.
    #[error(
        "the signaling server refuses the message: {}",
        redaction::scrubbed(message)
    )]
    Refused {
        /// The server's words.
        message: String,
    },
    /// No device of the other side has acknowledged the message in time.
    #[error("the other side did not acknowledge the message within {limit:?}")]
    Expired {
        /// How long it had.
        limit: Duration,
    },
    /// The call is closed, or the client is, or the server wants it gone.
    #[error("the call or the signaling client is closed")]
    Closed,
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
        let mut generator = ChaCha8Rng::from_rng(&mut rand::rng());
        let driver = Driver::new(config, identity, &mut generator);
        let task = tokio::spawn(driver.run(net, inbox, events));
        (Self { commands, task }, receiver)
    }

    /// Sends a message. The order of calls is the order of sending; the returned future says what
    /// came of it.
    ///
    /// The message is kept until a device of the other side has acknowledged it, or for 90 s.
    /// Without a connection it waits, and goes out in order right after the next one is there.
    pub fn send(&self, envelope: Envelope) -> PendingSend {
        let (outcome, pending) = PendingSend::pair();
        self.tell(Command::Send { envelope, outcome });
        pending
    }

    /// Ends a call: what others still say in it is not reported, and of what was sent in it only a
    /// hang-up still goes out.
    pub fn close_call(&self, call: CallId) {
        self.tell(Command::CloseCall { call });
    }

    /// Doubts the path to the server: a server that shows no sign of life is given up soon, and the
    /// connection opened again.
    pub fn check_path(&self) {
        self.tell(Command::CheckPath);
    }

    /// Says that the host's network is another one now: the connection is opened again at once.
    pub fn network_changed(&self) {
        self.tell(Command::NetworkChanged);
    }

    /// Asks the server for credentials for TURN servers, and again on every connection and before
    /// they end. [`SignalingEvent::TurnCredentials`] has them, if the server gives any.
    pub fn keep_turn_credentials(&self) {
        self.tell(Command::KeepTurnCredentials);
    }

    /// Resolves once the server has taken every message that was sent before this call, or nothing
    /// more is to be expected of them: what an application waits for before it exits. Without a
    /// connection that is when there is one again.
    pub fn flushed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, outcome) = oneshot::channel();
        self.tell(Command::Flush { done });
        async move {
            // A client that has ended has nothing left to send.
            let _ = outcome.await;
        }
    }

    /// Leaves the server politely, within a second, and ends the client.
    pub async fn close(self) {
        drop(self.commands);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the signaling task failed");
        }
    }

    fn tell(&self, command: Command) {
        // Where the task has ended, the command is dropped, and whoever waits for it reads that as
        // closed.
        let _ = self.commands.send(command);
    }
}

impl From<PostError> for SendError {
    fn from(error: PostError) -> Self {
        match error {
            PostError::CallClosed { .. } => Self::Closed,
            PostError::Invalid(error) => Self::Invalid(error),
            PostError::CallFull { max, .. }
            | PostError::Full { max }
            | PostError::TooManyCalls { max } => Self::Full { max },
        }
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

#[cfg(test)]
mod tests;
