//! Keeps the events of a run whole, for what is written of it once it is over.

use std::sync::{Arc, Mutex, PoisonError};

use super::digest::Chain;
use super::{Event, Observer};

/// Keeps every event. Clones share what they keep.
///
/// A minute of talk is some 50,000 events. Their payloads are shared with the world and not copied.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    events: Arc<Mutex<Vec<Event>>>,
}

impl Recording {
    /// Everything kept so far, in order of virtual time; events at the same time in the order in which they
    /// were recorded. Nothing is kept any more.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        let mut events =
            std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        // Applications run one after the other in steps, so the record is in order only within each of them.
        events.sort_by_key(|event| event.at);
        events
    }
}

impl Observer for Recording {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event.clone());
    }
}
