//! The buffer over all senders and calls.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::generations::{Content, Generations};
use super::{
    CandidateAttribute, CandidateError, CandidateLimits, Expired, Pushed, Released, is_ice_char,
};
use crate::signaling::message::{CallId, PeerName, TrickledCandidate};

/// Holds the remote candidates of every sender and call, by generation, and hands each over exactly
/// once.
///
/// A generation is the sender's user name fragment. It is *ready* once its description has been
/// applied: what was held comes out in the order in which it arrived, and what arrives later
/// passes straight through, until the generation is retired. Several may be ready at once, since a
/// connection that is to take another's place is made beside it. One whose description does not come is dropped after
/// [`CandidateLimits::wait_max`]: see [`CandidateBuffer::handle_timeout`].
///
/// Senders share nothing: a candidate never comes out for another sender than its own, whatever call
/// it names, and a sender that floods uses up its own places.
#[derive(Debug, Default)]
pub struct CandidateBuffer {
    limits: CandidateLimits,
    senders: BTreeMap<PeerName, BTreeMap<CallId, Generations>>,
}

impl CandidateBuffer {
    /// An empty buffer with these limits.
    #[must_use]
    pub fn new(limits: CandidateLimits) -> Self {
        Self {
            limits,
            senders: BTreeMap::new(),
        }
    }

    /// Says that `from` may think about its first description of `call` for as long as it likes: a
    /// callee whose phone rings sends candidates long before its user answers.
    ///
    /// Its generations wait without limit until one of them is ready. From then on
    /// [`CandidateLimits::wait_max`] counts for the others. Follow it by [`Self::forget`] when the
    /// call is over.
    pub fn expect(&mut self, from: &str, call: &CallId) {
        self.generations(from, call).expect();
    }

    /// Takes a candidate, or the end of candidates (the empty candidate), that `from` sent in `call`.
    ///
    /// The same candidate in other letters, spaces or order of extensions is a duplicate: what counts
    /// is what it says.
    ///
    /// A candidate that follows the end of candidates is still taken. RFC 8838 section 14 lets an agent
    /// ignore it, but counts on signaling that keeps the order (section 9); here each candidate passes
    /// on arrival, so the end may overtake the only candidate that works.
    ///
    /// # Errors
    ///
    /// [`CandidateError`]: the candidate is dropped, everything else goes on.
    pub fn push(
        &mut self,
        now: Instant,
        from: &str,
        call: &CallId,
        mut candidate: TrickledCandidate,
    ) -> Result<Pushed, CandidateError> {
        let content = read(&mut candidate)?;
        let places =
            self.places_needed(from, call, &candidate.username_fragment, content.as_ref())?;
        self.check_places(from, call, places)?;
        let generation = self
            .generations(from, call)
            .generation(now, &candidate.username_fragment);
        Ok(match content {
            None => generation.end(),
            Some(content) => generation.take(content, candidate),
        })
    }

    /// Marks the generation `ufrag` as ready, because its description from `from` for `call` has been
    /// applied, and hands over what waited for it. A second call hands over nothing.
    ///
    /// Those that were ready before stay so, until they are [retired](Self::retire). To make a generation
    /// ready that was retired or given up begins it anew.
    #[must_use = "what is handed over is gone from the buffer"]
    pub fn ready(&mut self, now: Instant, from: &str, call: &CallId, ufrag: &str) -> Released {
        self.generations(from, call).ready(now, ufrag)
    }

    /// Refuses the generation `ufrag` of `from` in `call` from now on, whether or not anything of it
    /// has come yet, and drops what waits for it: its description was rejected or rolled back, or its
    /// connection is closed.
    pub fn retire(&mut self, from: &str, call: &CallId, ufrag: &str) {
        self.generations(from, call).retire(ufrag);
    }

    /// Drops everything about a call that is over, whoever sent it.
    pub fn forget(&mut self, call: &CallId) {
        self.senders.retain(|_, calls| {
            calls.remove(call);
            !calls.is_empty()
        });
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.every_call()
            .filter_map(|generations| generations.poll_timeout(&self.limits))
            .min()
    }

    /// Drops the generations whose description did not come in time, and names them.
    #[must_use = "lost candidates should be reported"]
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Expired> {
        let mut expired = Vec::new();
        self.senders.retain(|from, calls| {
            calls.retain(|call, generations| {
                let dropped = generations.handle_timeout(now, &self.limits);
                expired.extend(dropped.into_iter().map(|(ufrag, candidates)| Expired {
                    from: from.clone(),
                    call: call.clone(),
                    ufrag,
                    candidates,
                }));
                !generations.is_empty()
            });
            !calls.is_empty()
        });
        expired
    }

    /// Whether the end of candidates of this generation has arrived.
    #[must_use]
    pub fn is_complete(&self, from: &str, call: &CallId, ufrag: &str) -> bool {
        self.part(from, call)
            .is_some_and(|generations| generations.is_complete(ufrag))
    }

    /// Whether nothing is remembered of any call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    /// How many places what is to be taken needs.
    fn places_needed(
        &self,
        from: &str,
        call: &CallId,
        ufrag: &str,
        content: Option<&Content>,
    ) -> Result<usize, CandidateError> {
        match self.part(from, call) {
            Some(generations) => generations.places_needed(ufrag, content, &self.limits),
            // A new generation takes a place of its own, so that no flood of user name fragments
            // without candidates gets past the bounds.
            None => Ok(1 + usize::from(content.is_some())),
        }
    }

    fn check_places(&self, from: &str, call: &CallId, needed: usize) -> Result<(), CandidateError> {
        let limits = &self.limits;
        let of_call = self.part(from, call).map_or(0, Generations::places);
        if of_call + needed > limits.per_call_max {
            return Err(CandidateError::CallFull {
                bound: limits.per_call_max,
            });
        }
        let of_sender = self.senders.get(from).map_or(0, |calls| {
            calls.values().map(Generations::places).sum::<usize>()
        });
        if of_sender + needed > limits.per_sender_max {
            return Err(CandidateError::SenderFull {
                bound: limits.per_sender_max,
            });
        }
        if self.places() + needed > limits.total_max {
            return Err(CandidateError::BufferFull {
                bound: limits.total_max,
            });
        }
        Ok(())
    }

    pub(super) fn places(&self) -> usize {
        self.every_call().map(Generations::places).sum()
    }

    fn every_call(&self) -> impl Iterator<Item = &Generations> {
        self.senders.values().flat_map(BTreeMap::values)
    }

    /// What is known of the part that `from` has in `call`.
    fn part(&self, from: &str, call: &CallId) -> Option<&Generations> {
        self.senders.get(from)?.get(call)
    }

    fn generations(&mut self, from: &str, call: &CallId) -> &mut Generations {
        self.senders
            .entry(from.to_owned())
            .or_default()
            .entry(call.clone())
            .or_default()
    }
}

/// What a candidate says, or nothing for the end of candidates. A candidate that names its generation
/// only in its text is given the name in its field.
fn read(candidate: &mut TrickledCandidate) -> Result<Option<Content>, CandidateError> {
    let text = candidate.candidate.trim();
    let attribute = match text {
        "" => None,
        _ => Some(text.parse::<CandidateAttribute>()?),
    };
    if candidate.username_fragment.is_empty()
        && let Some(ufrag) = attribute.as_ref().and_then(CandidateAttribute::ufrag)
    {
        ufrag.clone_into(&mut candidate.username_fragment);
    }
    let ufrag = &candidate.username_fragment;
    if ufrag.is_empty() {
        return Err(CandidateError::NoGeneration);
    }
    // A description with any other user name fragment is refused (RFC 8839 section 5.4), so it could
    // only wait in vain.
    if !(4..=256).contains(&ufrag.len()) || !ufrag.bytes().all(is_ice_char) {
        return Err(CandidateError::InvalidGeneration { bytes: ufrag.len() });
    }
    Ok(attribute.map(|attribute| (candidate.sdp_mid.clone(), attribute.content())))
}
