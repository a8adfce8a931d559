//! Remote candidates, held until the generation they belong to can take them (pure).
//!
//! A candidate may overtake the description it belongs to, arrive before the user accepted, or
//! twice over a reconnected socket. W3C `addIceCandidate` rejects one that comes before the remote
//! description, so buffering is the application's duty: [`CandidateBuffer`] is that duty.

mod attribute;
mod preference;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

pub(crate) use self::attribute::is_ice_char;
pub use self::attribute::{CandidateAttribute, CandidateSyntaxError, CandidateType};
pub(crate) use self::preference::{LOCAL_PREFERENCE_MAX, local_preferences, with_local_preference};
use crate::signaling::message::{CallId, TrickledCandidate};

/// How much a [`CandidateBuffer`] remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandidateLimits {
    /// The most distinct candidates of one generation. Default 128: a host with eight interfaces
    /// and six servers gathers fewer.
    pub per_generation_max: usize,
    /// The most distinct candidates and generations over all calls together. Default 2048.
    pub total_max: usize,
}

impl Default for CandidateLimits {
    fn default() -> Self {
        Self {
            per_generation_max: 128,
            total_max: 2048,
        }
    }
}

/// Holds the remote candidates of every call, by generation, and hands each over exactly once.
///
/// A generation is the sender's user name fragment. It is *ready* once its description has been
/// applied: what was held comes out in the order in which it arrived, and what arrives later
/// passes straight through.
#[derive(Debug, Default)]
pub struct CandidateBuffer {
    limits: CandidateLimits,
    calls: BTreeMap<CallId, BTreeMap<String, Generation>>,
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

/// Why a candidate was not taken. The others are unaffected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CandidateError {
    /// The text is no candidate attribute.
    #[error("malformed candidate {text:?}: {reason}")]
    Malformed {
        /// The first 200 characters of the text.
        text: String,
        /// What is wrong with it.
        reason: CandidateSyntaxError,
    },
    /// The candidate does not say which generation it belongs to.
    #[error("candidate names no user name fragment")]
    NoGeneration,
    /// Too many distinct candidates for one generation.
    #[error("generation {ufrag:?} has {bound} candidates already, the most that are kept")]
    GenerationFull {
        /// The generation.
        ufrag: String,
        /// [`CandidateLimits::per_generation_max`].
        bound: usize,
    },
    /// Too much is remembered over all calls.
    #[error("{bound} candidates and generations are remembered already, the most that are kept")]
    BufferFull {
        /// [`CandidateLimits::total_max`].
        bound: usize,
    },
}

#[derive(Debug, Default)]
struct Generation {
    ready: bool,
    held: Vec<TrickledCandidate>,
    /// Media section and text of every candidate that was ever taken.
    seen: BTreeSet<(String, String)>,
    end_of_candidates: bool,
}

impl CandidateBuffer {
    /// An empty buffer with these limits.
    #[must_use]
    pub fn new(limits: CandidateLimits) -> Self {
        Self {
            limits,
            calls: BTreeMap::new(),
        }
    }

    /// Takes a candidate, or the end of candidates (the empty candidate), of `call`.
    ///
    /// A candidate that follows the end of candidates is still taken: signaling that reorders
    /// messages may let the end overtake a candidate that is the only one that works.
    ///
    /// # Errors
    ///
    /// [`CandidateError`]: the candidate is dropped, everything else goes on.
    pub fn push(
        &mut self,
        call: &CallId,
        mut candidate: TrickledCandidate,
    ) -> Result<Pushed, CandidateError> {
        let text = candidate.candidate.trim();
        let end_of_candidates = text.is_empty();
        if !end_of_candidates {
            let attribute: CandidateAttribute =
                text.parse().map_err(|reason| CandidateError::Malformed {
                    text: text.chars().take(200).collect(),
                    reason,
                })?;
            if candidate.username_fragment.is_empty()
                && let Some((_, ufrag)) = attribute
                    .extensions
                    .iter()
                    .find(|(name, _)| name == "ufrag")
            {
                candidate.username_fragment.clone_from(ufrag);
            }
        }
        if candidate.username_fragment.is_empty() {
            return Err(CandidateError::NoGeneration);
        }

        let remembered = self.remembered();
        let limits = self.limits;
        let known = self
            .calls
            .get(call)
            .is_some_and(|generations| generations.contains_key(&candidate.username_fragment));
        // A new generation takes a place of its own, so that no flood of user name fragments
        // without candidates gets past the bound.
        let places = usize::from(!known) + usize::from(!end_of_candidates);
        let full = CandidateError::BufferFull {
            bound: limits.total_max,
        };
        if !known && remembered + places > limits.total_max {
            return Err(full);
        }
        let generation = self
            .calls
            .entry(call.clone())
            .or_default()
            .entry(candidate.username_fragment.clone())
            .or_default();

        if end_of_candidates {
            if std::mem::replace(&mut generation.end_of_candidates, true) {
                return Ok(Pushed::Duplicate);
            }
            return Ok(Pushed::EndOfCandidates);
        }
        let content = (
            candidate.sdp_mid.clone(),
            candidate.candidate.trim().to_owned(),
        );
        if generation.seen.contains(&content) {
            return Ok(Pushed::Duplicate);
        }
        if remembered + places > limits.total_max {
            return Err(full);
        }
        if generation.seen.len() >= limits.per_generation_max {
            return Err(CandidateError::GenerationFull {
                ufrag: candidate.username_fragment,
                bound: limits.per_generation_max,
            });
        }
        generation.seen.insert(content);
        if generation.ready {
            return Ok(Pushed::Ready(candidate));
        }
        generation.held.push(candidate);
        Ok(Pushed::Held {
            waiting: generation.held.len(),
        })
    }

    /// Marks the generation `ufrag` of `call` as ready and hands over what waited for it. A second
    /// call hands over nothing.
    #[must_use = "what is handed over is gone from the buffer"]
    pub fn ready(&mut self, call: &CallId, ufrag: &str) -> Released {
        let generation = self
            .calls
            .entry(call.clone())
            .or_default()
            .entry(ufrag.to_owned())
            .or_default();
        let end_of_candidates = generation.end_of_candidates && !generation.ready;
        generation.ready = true;
        Released {
            candidates: std::mem::take(&mut generation.held),
            end_of_candidates,
        }
    }

    /// Whether the end of candidates of this generation has arrived.
    #[must_use]
    pub fn is_complete(&self, call: &CallId, ufrag: &str) -> bool {
        self.calls
            .get(call)
            .and_then(|generations| generations.get(ufrag))
            .is_some_and(|generation| generation.end_of_candidates)
    }

    /// How many candidates wait, over all generations of `call`.
    #[must_use]
    pub fn waiting(&self, call: &CallId) -> usize {
        self.calls.get(call).map_or(0, |generations| {
            generations.values().map(|each| each.held.len()).sum()
        })
    }

    /// Drops everything about a call that is over.
    pub fn forget(&mut self, call: &CallId) {
        self.calls.remove(call);
    }

    fn remembered(&self) -> usize {
        self.calls
            .values()
            .flat_map(BTreeMap::values)
            .map(|generation| 1 + generation.seen.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(name: &str) -> CallId {
        CallId(name.into())
    }

    fn candidate(ufrag: &str, port: u16) -> TrickledCandidate {
        TrickledCandidate {
            candidate: format!("candidate:1 1 udp 2130706431 192.0.2.1 {port} typ host"),
            sdp_mid: "0".into(),
            username_fragment: ufrag.into(),
        }
    }

    fn end(ufrag: &str) -> TrickledCandidate {
        TrickledCandidate {
            candidate: String::new(),
            sdp_mid: "0".into(),
            username_fragment: ufrag.into(),
        }
    }

    #[test]
    fn candidates_that_overtake_the_description_wait_for_it() {
        let mut buffer = CandidateBuffer::default();
        let pushed = buffer.push(&call("a"), candidate("one", 1));
        assert_eq!(pushed, Ok(Pushed::Held { waiting: 1 }));
        assert_eq!(buffer.waiting(&call("a")), 1);

        let released = buffer.ready(&call("a"), "one");
        assert_eq!(released.candidates, [candidate("one", 1)]);
        assert_eq!(buffer.ready(&call("a"), "one"), Released::default());

        let late = candidate("one", 2);
        assert_eq!(
            buffer.push(&call("a"), late.clone()),
            Ok(Pushed::Ready(late.clone()))
        );
        assert_eq!(buffer.push(&call("a"), late), Ok(Pushed::Duplicate));
    }

    #[test]
    fn the_empty_candidate_ends_its_generation_only() {
        let mut buffer = CandidateBuffer::default();
        assert_eq!(
            buffer.push(&call("a"), end("one")),
            Ok(Pushed::EndOfCandidates)
        );
        assert_eq!(buffer.push(&call("a"), end("one")), Ok(Pushed::Duplicate));
        assert!(buffer.is_complete(&call("a"), "one"));
        assert!(!buffer.is_complete(&call("a"), "two"));
        assert!(buffer.ready(&call("a"), "one").end_of_candidates);
        assert!(!buffer.ready(&call("a"), "one").end_of_candidates);
    }

    #[test]
    fn a_malformed_candidate_is_reported_and_the_next_one_works() {
        let mut buffer = CandidateBuffer::default();
        let mut broken = candidate("one", 1);
        broken.candidate = "candidate:nonsense".into();
        let error = buffer.push(&call("a"), broken).expect_err("malformed");
        assert_eq!(
            error.to_string(),
            "malformed candidate \"candidate:nonsense\": candidate has no component"
        );
        assert!(buffer.push(&call("a"), candidate("one", 1)).is_ok());
    }

    #[test]
    fn a_candidate_without_fragment_is_placed_by_its_own_extension() {
        let mut buffer = CandidateBuffer::default();
        let mut bare = candidate("", 1);
        assert_eq!(
            buffer.push(&call("a"), bare.clone()),
            Err(CandidateError::NoGeneration)
        );
        bare.candidate.push_str(" ufrag one");
        assert!(buffer.push(&call("a"), bare).is_ok());
        assert_eq!(buffer.ready(&call("a"), "one").candidates.len(), 1);
    }

    #[test]
    fn both_bounds_hold_and_name_themselves() {
        let mut buffer = CandidateBuffer::new(CandidateLimits {
            per_generation_max: 2,
            total_max: 5,
        });
        for port in 1..=2 {
            assert!(buffer.push(&call("a"), candidate("one", port)).is_ok());
        }
        assert_eq!(
            buffer.push(&call("a"), candidate("one", 3)),
            Err(CandidateError::GenerationFull {
                ufrag: "one".into(),
                bound: 2
            })
        );
        assert!(buffer.push(&call("b"), candidate("one", 1)).is_ok());
        for flood in [candidate("two", 1), end("two")] {
            assert_eq!(
                buffer.push(&call("b"), flood),
                Err(CandidateError::BufferFull { bound: 5 })
            );
        }
        buffer.forget(&call("a"));
        assert!(buffer.push(&call("b"), candidate("two", 1)).is_ok());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push { call: u8, generation: u8, port: u16 },
        Ready { call: u8, generation: u8 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let push = (0..2u8, 0..3u8, 1..12u16).prop_map(|(call, generation, port)| Step::Push {
            call,
            generation,
            port,
        });
        let ready =
            (0..2u8, 0..3u8).prop_map(|(call, generation)| Step::Ready { call, generation });
        prop::collection::vec(prop_oneof![4 => push, 1 => ready], 0..120)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_doubled_or_misplaced(steps in steps()) {
            let mut buffer = CandidateBuffer::default();
            let mut pushed: BTreeMap<(u8, u8), Vec<TrickledCandidate>> = BTreeMap::new();
            let mut delivered: BTreeMap<(u8, u8), Vec<TrickledCandidate>> = BTreeMap::new();
            let everything_ready = (0..2).flat_map(|call| {
                (0..3).map(move |generation| Step::Ready { call, generation })
            });
            for step in steps.into_iter().chain(everything_ready) {
                match step {
                    Step::Push { call: number, generation, port } => {
                        let each = candidate(&generation.to_string(), port);
                        let expected = pushed.entry((number, generation)).or_default();
                        if !expected.contains(&each) {
                            expected.push(each.clone());
                        }
                        let outcome = buffer.push(&call(&number.to_string()), each);
                        if let Pushed::Ready(each) = outcome.expect("within bounds") {
                            delivered.entry((number, generation)).or_default().push(each);
                        }
                    }
                    Step::Ready { call: number, generation } => {
                        let ufrag = generation.to_string();
                        let released = buffer.ready(&call(&number.to_string()), &ufrag);
                        for each in &released.candidates {
                            prop_assert_eq!(&each.username_fragment, &ufrag);
                        }
                        delivered
                            .entry((number, generation))
                            .or_default()
                            .extend(released.candidates);
                    }
                }
            }
            pushed.retain(|_, each| !each.is_empty());
            delivered.retain(|_, each| !each.is_empty());
            prop_assert_eq!(pushed, delivered);
        }
    }
}
