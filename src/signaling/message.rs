//! What two clients say to each other through the signaling server (pure).
//!
//! On the wire everything is one Socket.IO event, [`EVENT`], whose only argument is a [`Frame`] as
//! JSON. The server reads `to`, `to_device`, `call` and `kind`, writes `from` and `device`, and hands
//! everything else on as it came.

mod frame;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

pub use self::frame::{Frame, FrameContent, FrameError, NUMBER_MAX, Received};

/// The name of the Socket.IO event that carries a [`Frame`].
pub const EVENT: &str = "call";

/// A user of the signaling server, by name.
pub type PeerName = String;

/// A message of one call, with its sender and receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Who sends it. The server overwrites it with the name that the connection is authenticated
    /// for, so that nobody speaks in another's name.
    pub from: PeerName,
    /// Who shall receive it.
    pub to: PeerName,
    /// The call it belongs to.
    pub call: CallId,
    /// What is said.
    pub body: CallMessage,
}

/// One call, as both sides name it: chosen at random by the caller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub String);

impl std::fmt::Display for CallId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One running client: chosen at random when it starts, so that a user can be at several devices,
/// and one that is started again does not pass for the one before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub String);

impl DeviceId {
    /// A device that nobody else is: 128 random bits as hexadecimal digits.
    #[must_use]
    pub fn draw(generator: &mut impl Rng) -> Self {
        Self(format!("{:032x}", generator.random::<u128>()))
    }
}

impl std::fmt::Display for DeviceId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What is said in a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum CallMessage {
    /// The caller's session description (RFC 8866), trickling (RFC 8840).
    Offer {
        /// The description as SDP text.
        sdp: String,
    },
    /// The callee's device rings.
    Ringing,
    /// The callee accepted; its session description.
    Answer {
        /// The description as SDP text.
        sdp: String,
    },
    /// One trickled candidate (RFC 8838).
    Candidate(TrickledCandidate),
    /// No more candidates come for this generation (RFC 8838 section 13).
    EndOfCandidates {
        /// The user name fragment of the generation that is complete.
        ufrag: String,
    },
    /// The call is over, or refused.
    HangUp {
        /// Why.
        reason: HangUpReason,
    },
    /// Something that this version does not know. It is never sent; a newer client's message becomes
    /// this one, so that what follows it is not held up.
    #[serde(other)]
    Unknown,
}

impl CallMessage {
    /// The name of what is said, as `type` has it on the wire: `end-of-candidates`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "offer",
            Self::Ringing => "ringing",
            Self::Answer { .. } => "answer",
            Self::Candidate(_) => "candidate",
            Self::EndOfCandidates { .. } => "end-of-candidates",
            Self::HangUp { .. } => "hang-up",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is handed over in the order of sending. Candidates and their end are not: they
    /// pass on arrival, because each may be the one that works.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        !matches!(self, Self::Candidate(_) | Self::EndOfCandidates { .. })
    }
}

/// A candidate as W3C `RTCIceCandidateInit` writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrickledCandidate {
    /// The candidate attribute (RFC 8839 section 5.1), starting with `candidate:`. Empty text means
    /// end of candidates, as browsers send it.
    pub candidate: String,
    /// The media section it belongs to.
    pub sdp_mid: String,
    /// The user name fragment of the generation it belongs to.
    pub username_fragment: String,
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HangUpReason {
    /// One side ended it.
    Normal,
    /// The callee refused it.
    Rejected,
    /// The callee is in another call.
    Busy,
    /// No path for audio was found, or it was lost for good.
    Unreachable,
    /// Another reason, which this version does not know. It is never sent.
    #[serde(other)]
    Other,
}
