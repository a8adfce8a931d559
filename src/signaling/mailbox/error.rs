//! Why a message is not taken in, and why a frame is dropped.

use thiserror::Error;

use crate::signaling::message::{CallId, FrameError, PeerName};

/// Why a message cannot be posted. Nothing is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PostError {
    /// Misuse: the call is closed.
    #[error("call {call} is closed")]
    CallClosed {
        /// The call.
        call: CallId,
    },
    /// Misuse: the message is too long, or names nobody.
    #[error(transparent)]
    Invalid(#[from] FrameError),
    /// The other side has not acknowledged what was posted in this call.
    #[error("{max} messages of call {call} wait for the other side, the most that are kept")]
    CallFull {
        /// The call.
        call: CallId,
        /// [`MailboxLimits::messages_per_call_max`](super::MailboxLimits::messages_per_call_max).
        max: usize,
    },
    /// The others have not acknowledged what was posted.
    #[error("{max} messages wait for the other sides, the most that are kept")]
    Full {
        /// [`MailboxLimits::messages_max`](super::MailboxLimits::messages_max).
        max: usize,
    },
    /// Too many calls are not closed.
    #[error("{max} calls are not closed, the most that are kept")]
    TooManyCalls {
        /// [`MailboxLimits::calls_max`](super::MailboxLimits::calls_max).
        max: usize,
    },
}

/// Why a frame is dropped. It is the fault of who sent it, or of the server; everything else goes
/// on, and what is lost by it is sent again where that helps.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerFault {
    /// The frame is out of its bounds.
    #[error(transparent)]
    Invalid(#[from] FrameError),
    /// The server's: the frame is for another user or device, or is one that this device sent.
    #[error("a frame from {from} was delivered to the wrong device")]
    Misdirected {
        /// Its sender.
        from: PeerName,
    },
    /// The user has begun too many calls.
    #[error("{from} begins a call over the {max} that are kept")]
    TooManyCalls {
        /// The sender.
        from: PeerName,
        /// [`MailboxLimits::calls_per_peer_max`](super::MailboxLimits::calls_per_peer_max) or
        /// [`MailboxLimits::calls_max`](super::MailboxLimits::calls_max).
        max: usize,
    },
    /// Too many devices answer in one call.
    #[error("{from} is at more than {max} devices in call {call}")]
    TooManyDevices {
        /// The sender.
        from: PeerName,
        /// The call.
        call: CallId,
        /// [`MailboxLimits::devices_max`](super::MailboxLimits::devices_max).
        max: usize,
    },
    /// Too many messages wait for those before them.
    #[error("message {number} of {from} is too far ahead of those that are missing")]
    TooFarAhead {
        /// The sender.
        from: PeerName,
        /// Its number.
        number: u64,
    },
}
