//! The answers that a namespace waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::emit::EmitId;
use super::later;

/// Emits that want an answer, from the call until it came, timed out, or cannot come any more.
#[derive(Debug, Default)]
pub struct Acknowledgements {
    /// Counts on through reconnects, so that a late answer meets no other emit.
    next_id: u64,
    expected: BTreeMap<EmitId, Expected>,
    /// The emits that are written, by their acknowledgement ids.
    written: BTreeMap<u64, EmitId>,
    deadlines: BTreeSet<(Instant, EmitId)>,
}

#[derive(Debug)]
struct Expected {
    deadline: Instant,
    within: Duration,
    id: Option<u64>,
}

impl Acknowledgements {
    /// Counts from this id on, unless it counts from a later one already.
    pub fn count_from(&mut self, id: u64) {
        self.next_id = self.next_id.max(id);
    }

    /// The id that the next emit is written with.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Waits for the answer to `emit` for as long as `within` from now on.
    pub fn expect(&mut self, now: Instant, emit: EmitId, within: Duration) {
        self.forget(emit);
        let deadline = later(now, within);
        self.deadlines.insert((deadline, emit));
        let id = None;
        self.expected.insert(
            emit,
            Expected {
                deadline,
                within,
                id,
            },
        );
    }

    /// The id that `emit` is written with; `None` if no answer to it is expected.
    pub fn assign_id(&mut self, emit: EmitId) -> Option<u64> {
        let expected = self.expected.get_mut(&emit)?;
        let id = self.next_id;
        self.next_id += 1;
        if let Some(earlier) = expected.id.replace(id) {
            self.written.remove(&earlier);
        }
        self.written.insert(id, emit);
        Some(id)
    }

    /// The emit that an answer with this id belongs to, which is waited for no more. Unknown ids,
    /// and those answered before, belong to none.
    pub fn answer(&mut self, id: u64) -> Option<EmitId> {
        let emit = *self.written.get(&id)?;
        self.forget(emit);
        Some(emit)
    }

    /// Waits no more for the answer to `emit`. Says whether it was waited for.
    pub fn forget(&mut self, emit: EmitId) -> bool {
        let Some(expected) = self.expected.remove(&emit) else {
            return false;
        };
        self.deadlines.remove(&(expected.deadline, emit));
        if let Some(id) = expected.id {
            self.written.remove(&id);
        }
        true
    }

    /// The connection is gone: the emits that were written get no answer any more.
    pub fn fail_written(&mut self) -> Vec<EmitId> {
        let emits: Vec<_> = self.written.values().copied().collect();
        for emit in &emits {
            self.forget(*emit);
        }
        emits
    }

    /// Waits for nothing any more. Gives what was waited for.
    pub fn forget_all(&mut self) -> Vec<EmitId> {
        self.written.clear();
        self.deadlines.clear();
        std::mem::take(&mut self.expected).into_keys().collect()
    }

    /// An emit whose time is up, and the time that it had. To be asked until there is none.
    pub fn expire(&mut self, now: Instant) -> Option<(EmitId, Duration)> {
        let (_, emit) = *self.deadlines.first().filter(|(at, _)| *at <= now)?;
        let within = self.expected.get(&emit).map(|expected| expected.within);
        self.forget(emit);
        within.map(|within| (emit, within))
    }

    /// When the next emit's time is up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// How many answers are waited for.
    #[must_use]
    pub fn len(&self) -> usize {
        debug_assert_eq!(self.expected.len(), self.deadlines.len());
        debug_assert!(self.written.len() <= self.expected.len());
        self.expected.len()
    }

    /// Whether no answer is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_taken_once_and_leaves_nothing() {
        let now = Instant::now();
        let mut waiting = Acknowledgements::default();
        waiting.expect(now, EmitId(4), LIMIT);
        let id = waiting.assign_id(EmitId(4)).expect("expected");
        assert_eq!(waiting.answer(id + 1), None);
        assert_eq!(waiting.answer(id), Some(EmitId(4)));
        assert_eq!(waiting.answer(id), None);
        assert_eq!(waiting.assign_id(EmitId(4)), None);
        assert_eq!((waiting.len(), waiting.deadline()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn ids_are_never_used_again() {
        let now = Instant::now();
        let mut waiting = Acknowledgements::default();
        waiting.expect(now, EmitId(0), LIMIT);
        let first = waiting.assign_id(EmitId(0));
        assert_eq!(waiting.fail_written(), [EmitId(0)]);
        waiting.expect(now, EmitId(1), LIMIT);
        assert_ne!(waiting.assign_id(EmitId(1)), first);
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_from_the_emit_whether_it_is_written_or_not() {
        let now = Instant::now();
        let mut waiting = Acknowledgements::default();
        waiting.expect(now, EmitId(0), LIMIT);
        waiting.expect(now, EmitId(1), LIMIT);
        waiting.expect(now, EmitId(2), Duration::MAX);
        waiting.assign_id(EmitId(1));
        assert_eq!(waiting.expire(now + LIMIT - Duration::from_millis(1)), None);
        assert_eq!(waiting.expire(now + LIMIT), Some((EmitId(0), LIMIT)));
        assert_eq!(waiting.expire(now + LIMIT), Some((EmitId(1), LIMIT)));
        assert_eq!(waiting.expire(now + LIMIT), None);
        assert_eq!(waiting.len(), 1);
    }
}
