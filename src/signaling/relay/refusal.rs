//! Why a frame is not passed on.

use serde_json::{Value, json};
use thiserror::Error;

use super::config::Rate;
use super::frame::FrameError;
use crate::signaling::message::PeerName;

/// Why a frame is not passed on. Its sender is answered with the text and the
/// [`code`](Self::code).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is no frame.
    #[error(transparent)]
    Malformed(#[from] FrameError),
    /// The connection sends too fast.
    #[error("frames come faster than {} at once and one each {:?}", rate.burst, rate.interval)]
    TooFast {
        /// How fast they may come.
        rate: Rate,
    },
    /// The call is between other users.
    #[error("the call is not between the sender and the receiver")]
    NotAMember,
    /// The sender has begun as many calls as it may have.
    #[error("the sender has begun {max} calls already")]
    TooManyCallsOfUser {
        /// How many it may have.
        max: usize,
    },
    /// There are as many calls as there may be.
    #[error("there are {max} calls already")]
    TooManyCalls {
        /// How many there may be.
        max: usize,
    },
    /// The receiver has no connection, and as many messages as are kept for it.
    #[error("{max} messages wait for {to:?} already")]
    TooManyKept {
        /// The receiver.
        to: PeerName,
        /// How many are kept.
        max: usize,
    },
    /// The receiver has no connection, and there is no room to keep the message.
    #[error("{max} bytes of messages wait already")]
    NoRoom {
        /// How many bytes are kept for all receivers.
        max: usize,
    },
    /// The connection was replaced by a newer one of its device, or the relay is shutting down.
    #[error("the connection is closed")]
    Closed,
    /// The relay has no secret to make credentials with.
    #[error("the relay issues no turn credentials")]
    NoTurnSecret,
}

impl Refusal {
    /// The name of the variant on the wire.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooFast { .. } => "too-fast",
            Self::NotAMember => "not-a-member",
            Self::TooManyCallsOfUser { .. } => "too-many-calls-of-user",
            Self::TooManyCalls { .. } => "too-many-calls",
            Self::TooManyKept { .. } => "too-many-kept",
            Self::NoRoom { .. } => "no-room",
            Self::Closed => "closed",
            Self::NoTurnSecret => "no-turn-secret",
        }
    }

    /// What the sender is answered.
    pub(super) fn answer(&self) -> Value {
        json!({ "error": self.to_string(), "code": self.code() })
    }

    /// Whether the sender itself is to blame, as no client of good will is.
    pub(super) fn is_abuse(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::TooFast { .. }
            | Self::NotAMember
            | Self::TooManyCallsOfUser { .. } => true,
            Self::TooManyCalls { .. }
            | Self::TooManyKept { .. }
            | Self::NoRoom { .. }
            | Self::Closed
            | Self::NoTurnSecret => false,
        }
    }
}
