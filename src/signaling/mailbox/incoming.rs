//! What one device has said in one call (pure).

use std::collections::{BTreeMap, BTreeSet};

use crate::signaling::message::{CallMessage, Received};

/// The most numbers that are remembered beyond a gap, as many as one acknowledgement can name.
const BEYOND_MAX: usize = 256;

/// The most messages of one device that wait for one before them.
const HELD_MAX: usize = 8;

/// A message as it arrived.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) number: u64,
    pub(super) follows: Option<u64>,
    pub(super) oldest: Option<u64>,
    pub(super) body: CallMessage,
}

/// Which messages of one device have been handed up, and which wait for those before them.
///
/// What waits does not count as received: its sender keeps it, and can still say that it follows
/// another message.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    up_to: u64,
    beyond: BTreeSet<u64>,
    /// The last message handed up that keeps its order.
    last_ordered: u64,
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    follows: u64,
    body: CallMessage,
}

impl Incoming {
    /// Takes a message in, and returns what is to be handed up now, in order. `None` if there is no
    /// room to remember it.
    pub(super) fn take(&mut self, heard: Heard, held_room: usize) -> Option<Vec<CallMessage>> {
        let Heard {
            number,
            follows,
            oldest,
            body,
        } = heard;
        self.skip_below(oldest.unwrap_or_default());
        if number <= self.up_to || self.beyond.contains(&number) {
            return Some(Vec::new());
        }
        if number > self.up_to + 1 && self.beyond.len() >= BEYOND_MAX {
            return None;
        }
        let Some(follows) = follows else {
            self.note(number);
            return Some(vec![body]);
        };
        if number < self.last_ordered {
            // Its sender gave it up, and what came after it was handed up already.
            self.note(number);
            return Some(Vec::new());
        }
        let is_known = self.held.contains_key(&number);
        if follows > self.last_ordered
            && !is_known
            && (self.held.len() >= HELD_MAX || held_room == 0)
        {
            return None;
        }
        self.held.insert(number, Held { follows, body });
        Some(self.release())
    }

    /// What has arrived.
    pub(super) fn received(&self) -> Received {
        Received {
            up_to: self.up_to,
            beyond: self.beyond.iter().copied().collect(),
        }
    }

    /// How many messages wait for those before them.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes everything out that follows nothing which is missing.
    fn release(&mut self) -> Vec<CallMessage> {
        let mut released = Vec::new();
        loop {
            let last = self.last_ordered;
            let next = self.held.iter().find(|(_, held)| held.follows <= last);
            let Some(number) = next.map(|(number, _)| *number) else {
                return released;
            };
            // What is held below it was given up by the sender, or this one would follow that.
            let later = self.held.split_off(&number);
            for given_up in std::mem::replace(&mut self.held, later).into_keys() {
                self.note(given_up);
            }
            if let Some(held) = self.held.remove(&number) {
                self.last_ordered = number;
                self.note(number);
                released.push(held.body);
            }
        }
    }

    /// Counts everything below this number as received: its sender keeps none of it.
    fn skip_below(&mut self, oldest: u64) {
        self.up_to = self.up_to.max(oldest.saturating_sub(1));
        self.held = self.held.split_off(&(self.up_to + 1));
        self.beyond = self.beyond.split_off(&(self.up_to + 1));
        self.close_gap();
    }

    fn note(&mut self, number: u64) {
        self.beyond.insert(number);
        self.close_gap();
    }

    fn close_gap(&mut self) {
        while self.beyond.first() == Some(&(self.up_to + 1)) {
            self.beyond.pop_first();
            self.up_to += 1;
        }
    }
}

#[cfg(test)]
mod tests;
