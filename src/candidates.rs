//! Remote candidates, held until the generation they belong to can take them (pure).
//!
//! A candidate may overtake the description it belongs to, arrive before the user accepted, or
//! twice over a reconnected socket. W3C `addIceCandidate` rejects one that comes before the remote
//! description, so buffering is the application's duty: [`CandidateBuffer`] is that duty.

mod attribute;
mod buffer;
mod generations;
mod preference;

use std::time::Duration;

use thiserror::Error;

pub(crate) use self::attribute::is_ice_char;
pub use self::attribute::{CandidateAttribute, CandidateSyntaxError, CandidateType};
pub use self::buffer::CandidateBuffer;
pub(crate) use self::preference::{LOCAL_PREFERENCE_MAX, local_preferences, with_local_preference};
use crate::signaling::message::{CallId, PeerName, TrickledCandidate};

/// How much a [`CandidateBuffer`] remembers, and for how long.
///
/// Each distinct candidate takes one *place*, each generation that waits for its description one
/// more, and so does each that waited in vain, for as long as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandidateLimits {
    /// The most distinct candidates of one generation. Default 128: a host with eight interfaces
    /// and six servers gathers fewer. With less, such a host loses its last candidates, which are
    /// the relayed ones.
    pub per_generation_max: usize,
    /// The most places that one sender's part of one call takes. Default 256: several devices of a
    /// callee, each with a generation of its own, may send candidates before one of them answers.
    pub per_call_max: usize,
    /// The most places that one sender takes over all its calls. Default 512, a sixteenth of
    /// `total_max`: so many senders must flood at once before another one's call suffers.
    pub per_sender_max: usize,
    /// The most places over all senders together. Default 8192: 16 MB if every candidate is as
    /// long as one may be, 2 MB of usual ones.
    pub total_max: usize,
    /// How long a generation waits for its description. Default 2 min: longer than signaling keeps
    /// a description that it cannot deliver. It does not run while a call that this side placed is not answered, see
    /// [`CandidateBuffer::expect`]. With less, a description that a long outage of signaling held
    /// up comes into a call without candidates.
    pub wait_max: Duration,
    /// How long the candidates of a generation that waited in vain are refused. Default 5 min.
    /// After that its name is forgotten, and it could wait again.
    pub refusal: Duration,
}

impl Default for CandidateLimits {
    fn default() -> Self {
        Self {
            per_generation_max: 128,
            per_call_max: 256,
            per_sender_max: 512,
            total_max: 8192,
            wait_max: Duration::from_mins(2),
            refusal: Duration::from_mins(5),
        }
    }
}

/// What became of a candidate given to [`CandidateBuffer::push`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// Its generation is not ready; it waits.
    Held {
        /// How many candidates of that generation wait now.
        waiting: usize,
    },
    /// Its generation is ready: add it now.
    Ready(TrickledCandidate),
    /// The same candidate was given before.
    Duplicate,
    /// It was the end of candidates of its generation.
    EndOfCandidates,
}

/// What a generation had waiting when it became ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// The candidates, in the order in which they arrived.
    pub candidates: Vec<TrickledCandidate>,
    /// Whether the end of candidates arrived too.
    pub end_of_candidates: bool,
}

/// A generation whose description did not come in time. Its candidates are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Who sent its candidates.
    pub from: PeerName,
    /// The call they were for.
    pub call: CallId,
    /// The user name fragment of the generation.
    pub ufrag: String,
    /// How many distinct candidates are lost with it.
    pub candidates: usize,
}

/// Why a candidate was not taken. The others are unaffected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CandidateError {
    /// The text is no candidate attribute.
    #[error("malformed candidate: {0}")]
    Malformed(#[from] CandidateSyntaxError),
    /// The candidate does not say which generation it belongs to.
    #[error("candidate names no user name fragment")]
    NoGeneration,
    /// The candidate belongs to a generation that no description can have.
    #[error("candidate has a user name fragment of {bytes} bytes, expected 4 to 256 ice-chars")]
    InvalidGeneration {
        /// The length of the user name fragment, in bytes.
        bytes: usize,
    },
    /// Its generation was retired.
    #[error("generation {ufrag:?} is over")]
    Stale {
        /// The generation.
        ufrag: String,
    },
    /// Its generation waited in vain for its description.
    #[error("no description of generation {ufrag:?} came within {waited:?}")]
    UnknownGeneration {
        /// The generation.
        ufrag: String,
        /// [`CandidateLimits::wait_max`].
        waited: Duration,
    },
    /// Too many distinct candidates for one generation.
    #[error("generation {ufrag:?} has {bound} candidates already, the most that are kept")]
    GenerationFull {
        /// The generation.
        ufrag: String,
        /// [`CandidateLimits::per_generation_max`].
        bound: usize,
    },
    /// Too much is remembered of one sender's part of a call.
    #[error(
        "{bound} candidates and generations of the call are kept already, the most there may be"
    )]
    CallFull {
        /// [`CandidateLimits::per_call_max`].
        bound: usize,
    },
    /// Too much is remembered of one sender.
    #[error(
        "{bound} candidates and generations of the sender are kept already, the most there may be"
    )]
    SenderFull {
        /// [`CandidateLimits::per_sender_max`].
        bound: usize,
    },
    /// Too much is remembered over all senders.
    #[error("{bound} candidates and generations are kept already, the most there may be")]
    BufferFull {
        /// [`CandidateLimits::total_max`].
        bound: usize,
    },
}

#[cfg(test)]
mod tests;
