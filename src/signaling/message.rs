//! What two clients say to each other through the signaling server (pure).
//!
//! On the wire everything is one Socket.IO event, [`EVENT`], whose only argument is a [`Frame`] as
//! JSON. The server reads `to`, `to_device`, `call` and `kind`, writes `from` and `device`, and hands
//! everything else on as it came.

mod frame;
pub(crate) mod line;

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
    /// A session description (RFC 8866), trickling (RFC 8840), that asks for an answer.
    Offer {
        /// The description as SDP text.
        sdp: String,
        /// What it is for. An offer that does not say so calls.
        #[serde(default, skip_serializing_if = "OfferAim::is_call")]
        aim: OfferAim,
        /// A call of the same two users in whose place this one comes, as with the `Replaces` header of
        /// SIP (RFC 3891): its app was started again and knows nothing else of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<CallId>,
    },
    /// The callee's device rings.
    Ringing,
    /// What the other side says to an offer; to the first one of a call, that it accepts.
    Answer {
        /// The description as SDP text.
        sdp: String,
        /// The user name fragment of the offer that is answered, since another one may have taken its
        /// place meanwhile. An answer that does not say so is to the only offer there is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<String>,
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
    /// An offer that calls.
    #[must_use]
    pub fn offer(sdp: impl Into<String>) -> Self {
        Self::Offer {
            sdp: sdp.into(),
            aim: OfferAim::Call,
            replaces: None,
        }
    }

    /// The answer to the only offer there is.
    #[must_use]
    pub fn answer(sdp: impl Into<String>) -> Self {
        Self::Answer {
            sdp: sdp.into(),
            offer: None,
        }
    }

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

/// What an offer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfferAim {
    /// To ring, and to be answered by a person.
    #[default]
    Call,
    /// To find another path for a call that was answered (an ICE restart, RFC 8445 section 9), or to take
    /// it up again: answered without asking anybody.
    Restart,
    /// To find a direct path for a call that is relayed. Neither side uses a relay for it.
    Upgrade,
    /// Something that this version does not know. It is never sent.
    #[serde(other)]
    Unknown,
}

impl OfferAim {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands a reference to whoever decides what is skipped"
    )]
    fn is_call(&self) -> bool {
        *self == Self::Call
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
    /// Nobody answered in time.
    Unanswered,
    /// Another device of the callee answered.
    AnsweredElsewhere,
    /// No path for audio was found, or it was lost for good.
    Unreachable,
    /// Another reason, which this version does not know. It is never sent.
    #[serde(other)]
    Other,
}
