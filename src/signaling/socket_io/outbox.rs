//! The events that wait to be written.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::emit::{DropReason, EmitId, Outgoing};
use super::later;

/// The most that may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxBounds {
    /// How many events.
    pub messages_max: usize,
    /// How many bytes of JSON and attachments.
    pub bytes_max: usize,
}

/// Events in the order of emits, with a bound on their number and on their bytes.
#[derive(Debug)]
pub struct Outbox {
    bounds: OutboxBounds,
    bytes: usize,
    messages: VecDeque<Waiting>,
    expiries: BTreeSet<(Instant, EmitId)>,
}

/// Whether the application waits for what comes of an emit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It waits for the peer's acknowledgement.
    Wanted,
    /// It does not.
    Unwanted,
}

/// One event that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: EmitId,
    pub(super) outgoing: Outgoing,
    pub(super) answer: Answer,
    /// How long the answer to it may take.
    pub(super) within: Duration,
    /// How often it was written.
    pub(super) tries: u32,
    expires: Option<Instant>,
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: OutboxBounds) -> Self {
        Self {
            bounds,
            bytes: 0,
            messages: VecDeque::new(),
            expiries: BTreeSet::new(),
        }
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// When the next event's time to live is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Takes an event, unless it is one too many.
    pub(super) fn push(
        &mut self,
        now: Instant,
        id: EmitId,
        outgoing: Outgoing,
        answer: Answer,
        within: Duration,
    ) -> Result<(), (Outgoing, DropReason)> {
        let OutboxBounds {
            messages_max,
            bytes_max,
        } = self.bounds;
        if self.messages.len() >= messages_max {
            return Err((outgoing, DropReason::TooManyMessages { messages_max }));
        }
        let (bytes, waiting) = (outgoing.bytes(), self.bytes);
        if bytes > bytes_max.saturating_sub(waiting) {
            let reason = DropReason::TooManyBytes {
                bytes,
                waiting,
                bytes_max,
            };
            return Err((outgoing, reason));
        }
        self.bytes += bytes;
        let expires = outgoing.time_to_live.map(|limit| later(now, limit));
        self.expiries.extend(expires.map(|at| (at, id)));
        self.messages.push_back(Waiting {
            id,
            outgoing,
            answer,
            within,
            tries: 0,
            expires,
        });
        Ok(())
    }

    /// Takes the oldest event out.
    pub(super) fn pop_front(&mut self) -> Option<Waiting> {
        let id = self.messages.front()?.id;
        self.remove(id)
    }

    /// Takes an event out, wherever it stands.
    pub(super) fn remove(&mut self, id: EmitId) -> Option<Waiting> {
        let index = self
            .messages
            .binary_search_by_key(&id, |waiting| waiting.id);
        let waiting = self.messages.remove(index.ok()?)?;
        self.bytes -= waiting.outgoing.bytes();
        if let Some(at) = waiting.expires {
            self.expiries.remove(&(at, id));
        }
        Some(waiting)
    }

    /// Notes that the oldest event is being written, but stays until it is acknowledged. Its time to
    /// live is not looked at meanwhile.
    pub(super) fn start_try(&mut self) -> Option<&Waiting> {
        let waiting = self.messages.front_mut()?;
        waiting.tries += 1;
        if let Some(at) = waiting.expires {
            self.expiries.remove(&(at, waiting.id));
        }
        Some(waiting)
    }

    /// Notes that the oldest event was written in vain.
    pub(super) fn end_try(&mut self) -> Option<&Waiting> {
        let waiting = self.messages.front()?;
        let expiry = waiting.expires.map(|at| (at, waiting.id));
        self.expiries.extend(expiry);
        Some(waiting)
    }

    /// Takes out an event whose time to live is over. To be asked until there is none.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Waiting> {
        let (_, id) = *self.expiries.first().filter(|(at, _)| *at <= now)?;
        self.remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::socket_io::emit::Emit;
    use serde_json::json;

    fn outbox(messages_max: usize, bytes_max: usize) -> Outbox {
        Outbox::new(OutboxBounds {
            messages_max,
            bytes_max,
        })
    }

    /// Pushes an event of 9 bytes: `["a",100]`.
    fn push(outbox: &mut Outbox, id: u64, time_to_live: Option<Duration>) -> Option<DropReason> {
        let mut emit = Emit::new("a", vec![json!(100)]).expect("not reserved");
        if let Some(limit) = time_to_live {
            emit = emit.with_time_to_live(limit);
        }
        let (id, now) = (EmitId(id), Instant::now());
        let pushed = outbox.push(
            now,
            id,
            emit.into_outgoing(),
            Answer::Unwanted,
            Duration::MAX,
        );
        pushed.err().map(|(_, reason)| reason)
    }

    #[tokio::test(start_paused = true)]
    async fn what_exceeds_a_bound_is_refused_until_there_is_room() {
        let mut outbox = outbox(2, 18);
        assert_eq!(push(&mut outbox, 0, None), None);
        assert_eq!(push(&mut outbox, 1, None), None);
        let messages_max = 2;
        assert_eq!(
            push(&mut outbox, 2, None),
            Some(DropReason::TooManyMessages { messages_max })
        );
        outbox.bounds.messages_max = 9;
        assert_eq!(
            push(&mut outbox, 2, None),
            Some(DropReason::TooManyBytes {
                bytes: 9,
                waiting: 18,
                bytes_max: 18
            })
        );
        assert!(
            outbox
                .pop_front()
                .is_some_and(|first| first.id == EmitId(0))
        );
        assert_eq!(push(&mut outbox, 2, None), None);
        assert_eq!(outbox.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn time_to_live_takes_an_event_out_of_the_middle() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut outbox = outbox(9, 999);
        push(&mut outbox, 0, None);
        push(&mut outbox, 1, Some(second));
        push(&mut outbox, 2, Some(Duration::MAX));
        assert_eq!(outbox.deadline(), Some(start + second));
        assert!(
            outbox
                .expire(start + second)
                .is_some_and(|out| out.id == EmitId(1))
        );
        assert!(outbox.expire(start + second).is_none());
        let left: Vec<_> = std::iter::from_fn(|| outbox.pop_front())
            .map(|out| out.id.0)
            .collect();
        assert_eq!(left, [0, 2]);
        assert_eq!((outbox.bytes, outbox.deadline()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn time_to_live_stands_still_while_an_event_is_tried() {
        let second = Duration::from_secs(1);
        let late = Instant::now() + 2 * second;
        let mut outbox = outbox(9, 999);
        push(&mut outbox, 0, Some(second));
        outbox.start_try();
        assert!(outbox.expire(late).is_none());
        outbox.end_try();
        assert!(outbox.expire(late).is_some_and(|out| out.tries == 1));
    }
}
