//! What one sender has said of its generations in one call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::time::Instant;

use super::{CandidateAttribute, CandidateError, CandidateLimits, Pushed, Released};
use crate::signaling::message::TrickledCandidate;

/// How many generations that are over a call remembers. Every restart adds one, and a candidate does
/// not arrive so late that sixteen restarts lie between.
const OVER_MAX: usize = 16;

/// What tells one candidate of a generation from another: its media section and what it says.
pub(super) type Content = (String, CandidateAttribute);

/// The generations of one sender in one call.
#[derive(Debug, Default)]
pub(super) struct Generations {
    /// Whether the first description may take as long as it likes.
    is_expected: bool,
    alive: BTreeMap<String, Generation>,
    /// The generations that are over, the oldest first.
    over: VecDeque<(String, Over)>,
}

/// A generation that is ready or waits.
#[derive(Debug)]
pub(super) struct Generation {
    state: State,
    /// Every candidate that was ever taken.
    seen: BTreeSet<Content>,
    end_of_candidates: bool,
}

#[derive(Debug)]
enum State {
    Waiting {
        since: Instant,
        held: Vec<TrickledCandidate>,
    },
    Ready,
}

/// Why a generation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// It was retired.
    Retired,
    /// Its description had not come by then.
    Expired(Instant),
}

impl Generations {
    pub(super) fn expect(&mut self) {
        self.is_expected = !self.alive.values().any(Generation::is_ready);
    }

    /// The generation `ufrag`, which begins to wait if it is new.
    pub(super) fn generation(&mut self, now: Instant, ufrag: &str) -> &mut Generation {
        self.alive
            .entry(ufrag.to_owned())
            .or_insert_with(|| Generation {
                state: State::Waiting {
                    since: now,
                    held: Vec::new(),
                },
                seen: BTreeSet::new(),
                end_of_candidates: false,
            })
    }

    pub(super) fn ready(&mut self, now: Instant, ufrag: &str) -> Released {
        if self.alive.get(ufrag).is_some_and(Generation::is_ready) {
            return Released::default();
        }
        self.over.retain(|(each, _)| each != ufrag);
        let released = self.generation(now, ufrag).ready();
        if std::mem::take(&mut self.is_expected) {
            // Now the others have a reason to hurry.
            for generation in self.alive.values_mut() {
                generation.wait_from(now);
            }
        }
        released
    }

    pub(super) fn retire(&mut self, ufrag: &str) {
        self.alive.remove(ufrag);
        self.end(ufrag.to_owned(), Over::Retired);
    }

    pub(super) fn poll_timeout(&self, limits: &CandidateLimits) -> Option<Instant> {
        let waiting = self.waiting().map(|(_, since)| since + limits.wait_max);
        let refusing = self.over.iter().filter_map(|(_, over)| match over {
            Over::Retired => None,
            Over::Expired(at) => Some(*at + limits.refusal),
        });
        waiting.chain(refusing).min()
    }

    /// Drops what waited too long: the names, and the number of candidates of each.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        limits: &CandidateLimits,
    ) -> Vec<(String, usize)> {
        let in_vain: Vec<String> = self
            .waiting()
            .filter(|(_, since)| *since + limits.wait_max <= now)
            .map(|(ufrag, _)| ufrag.to_owned())
            .collect();
        let mut expired = Vec::new();
        for ufrag in in_vain {
            if let Some(generation) = self.alive.remove(&ufrag) {
                expired.push((ufrag.clone(), generation.seen.len()));
                self.end(ufrag, Over::Expired(now));
            }
        }
        self.over.retain(|(_, over)| match over {
            Over::Retired => true,
            Over::Expired(at) => now < *at + limits.refusal,
        });
        expired
    }

    /// How many places the end of candidates, or the candidate `content`, of `ufrag` needs.
    pub(super) fn places_needed(
        &self,
        ufrag: &str,
        content: Option<&Content>,
        limits: &CandidateLimits,
    ) -> Result<usize, CandidateError> {
        match self.over.iter().find(|(each, _)| each == ufrag) {
            Some((_, Over::Retired)) => Err(CandidateError::Stale {
                ufrag: ufrag.to_owned(),
            }),
            Some((_, Over::Expired(_))) => Err(CandidateError::UnknownGeneration {
                ufrag: ufrag.to_owned(),
                waited: limits.wait_max,
            }),
            None => match (self.alive.get(ufrag), content) {
                (None, content) => Ok(1 + usize::from(content.is_some())),
                (Some(_), None) => Ok(0),
                (Some(known), Some(content)) if known.seen.contains(content) => Ok(0),
                (Some(known), Some(_)) if known.seen.len() >= limits.per_generation_max => {
                    Err(CandidateError::GenerationFull {
                        ufrag: ufrag.to_owned(),
                        bound: limits.per_generation_max,
                    })
                }
                (Some(_), Some(_)) => Ok(1),
            },
        }
    }

    /// How many places are taken. What this side decides, which generation is ready and which is
    /// retired, takes none: there are few, and no sender can make them more.
    pub(super) fn places(&self) -> usize {
        let alive: usize = self
            .alive
            .values()
            .map(|each| each.seen.len() + usize::from(!each.is_ready()))
            .sum();
        let expired = self.over.iter().filter(|(_, over)| *over != Over::Retired);
        alive + expired.count()
    }

    pub(super) fn is_complete(&self, ufrag: &str) -> bool {
        self.alive
            .get(ufrag)
            .is_some_and(|each| each.end_of_candidates)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_expected && self.alive.is_empty() && self.over.is_empty()
    }

    /// The generations whose time to wait runs, and since when.
    fn waiting(&self) -> impl Iterator<Item = (&str, Instant)> {
        self.alive
            .iter()
            .filter(|_| !self.is_expected)
            .filter_map(|(ufrag, each)| match each.state {
                State::Waiting { since, .. } => Some((ufrag.as_str(), since)),
                State::Ready => None,
            })
    }

    fn end(&mut self, ufrag: String, over: Over) {
        self.over.retain(|(each, _)| *each != ufrag);
        if self.over.len() >= OVER_MAX {
            self.over.pop_front();
        }
        self.over.push_back((ufrag, over));
    }
}

impl Generation {
    /// Takes a candidate, for which there is place.
    pub(super) fn take(&mut self, content: Content, candidate: TrickledCandidate) -> Pushed {
        if !self.seen.insert(content) {
            return Pushed::Duplicate;
        }
        match &mut self.state {
            State::Ready => Pushed::Ready(candidate),
            State::Waiting { held, .. } => {
                held.push(candidate);
                Pushed::Held {
                    waiting: held.len(),
                }
            }
        }
    }

    /// Takes the end of candidates.
    pub(super) fn end(&mut self) -> Pushed {
        if std::mem::replace(&mut self.end_of_candidates, true) {
            Pushed::Duplicate
        } else {
            Pushed::EndOfCandidates
        }
    }

    fn ready(&mut self) -> Released {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Ready => Released::default(),
            State::Waiting { held, .. } => Released {
                candidates: held,
                end_of_candidates: self.end_of_candidates,
            },
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    fn wait_from(&mut self, now: Instant) {
        if let State::Waiting { since, .. } = &mut self.state {
            *since = now;
        }
    }
}
