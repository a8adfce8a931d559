//! Which calls are over (pure).

use std::collections::{BTreeSet, VecDeque};

use super::conversation::ConversationId;

/// The calls that were closed last. Bounded: what is sent in a closed call stops once it is
/// acknowledged or expired, so that the oldest can be forgotten.
#[derive(Debug)]
pub(super) struct ClosedCalls {
    max: usize,
    order: VecDeque<ConversationId>,
    known: BTreeSet<ConversationId>,
}

impl ClosedCalls {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            order: VecDeque::new(),
            known: BTreeSet::new(),
        }
    }

    pub(super) fn insert(&mut self, id: ConversationId) {
        if !self.known.insert(id.clone()) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, id: &ConversationId) -> bool {
        self.known.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::message::CallId;

    fn id(number: usize) -> ConversationId {
        ConversationId {
            peer: "anna".into(),
            call: CallId(number.to_string()),
        }
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut closed = ClosedCalls::new(2);
        for number in [1, 2, 1, 3] {
            closed.insert(id(number));
        }
        let known: Vec<_> = (1..=3).map(|number| closed.contains(&id(number))).collect();
        assert_eq!(known, [false, true, true]);
        assert_eq!((closed.order.len(), closed.known.len()), (2, 2));
    }
}
