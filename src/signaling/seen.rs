//! Which envelopes have arrived already (pure).

use std::collections::{BTreeSet, VecDeque};

use super::message::PeerName;

/// The most recent envelopes, by sender and id.
///
/// Bounded: a repetition comes within a reconnect or two, so that the oldest entries can go.
#[derive(Debug, Clone)]
pub struct SeenEnvelopes {
    entries_max: usize,
    order: VecDeque<(PeerName, u64)>,
    known: BTreeSet<(PeerName, u64)>,
}

impl SeenEnvelopes {
    /// Remembers the last `entries_max` envelopes.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            order: VecDeque::new(),
            known: BTreeSet::new(),
        }
    }

    /// Notes an envelope; false if it is a repetition.
    pub fn insert(&mut self, from: &str, id: u64) -> bool {
        let entry = (PeerName::from(from), id);
        if !self.known.insert(entry.clone()) {
            return false;
        }
        self.order.push_back(entry);
        while self.order.len() > self.entries_max {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_is_told_by_sender_and_id() {
        let mut seen = SeenEnvelopes::new(8);
        assert!(seen.insert("anna", 1));
        assert!(seen.insert("boris", 1));
        assert!(seen.insert("anna", 2));
        assert!(!seen.insert("anna", 1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = SeenEnvelopes::new(2);
        for id in 0..100 {
            assert!(seen.insert("anna", id));
        }
        assert_eq!((seen.order.len(), seen.known.len()), (2, 2));
        assert!(!seen.insert("anna", 99));
    }
}
