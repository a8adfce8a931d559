//! Gathers the timeline of a run from its trace.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;

use super::{PacketOrEvent, TimelineEntry};
use crate::trace::digest::Chain;
use crate::trace::{Event, EventKind, Observer};

/// Gathers what a reader wants to see. Clones share what they gather.
#[derive(Debug, Clone)]
pub struct TimelineCollector {
    detail: PacketOrEvent,
    entries: Arc<Mutex<Vec<TimelineEntry>>>,
}

impl TimelineCollector {
    /// Gathers events, or packets as well.
    #[must_use]
    pub fn new(detail: PacketOrEvent) -> Self {
        Self {
            detail,
            entries: Arc::default(),
        }
    }

    /// Everything gathered, in order of virtual time.
    #[must_use]
    pub fn take(&self) -> Vec<TimelineEntry> {
        let mut entries =
            std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        // Applications run one after the other in steps, so the record is in order only within
        // each of them.
        entries.sort_by_key(|entry| entry.at);
        entries
    }
}

impl Observer for TimelineCollector {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        if let Some(entry) = entry_of(event, self.detail) {
            self.entries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(entry);
        }
    }
}

/// The timeline of events that were kept, which are in order.
#[must_use]
pub fn entries_of(events: &[Event], detail: PacketOrEvent) -> Vec<TimelineEntry> {
    let entries = events.iter().map(|event| entry_of(event, detail));
    entries.flatten().collect()
}

fn entry_of(event: &Event, detail: PacketOrEvent) -> Option<TimelineEntry> {
    let packet = match &event.kind {
        EventKind::PacketSent(_)
        | EventKind::PacketDelivered(_)
        | EventKind::PacketDropped { .. }
        | EventKind::Retransmission { .. }
        | EventKind::Wire(_)
            if detail == PacketOrEvent::Packet =>
        {
            PacketOrEvent::Packet
        }
        kind if kind.is_milestone() => PacketOrEvent::Event,
        // What a client or server says to who looks closely.
        EventKind::Log { level, .. }
            if *level == Level::DEBUG && detail == PacketOrEvent::Packet =>
        {
            PacketOrEvent::Packet
        }
        _ => return None,
    };
    Some(TimelineEntry {
        at: event.at,
        host: event.host.to_string(),
        text: event.kind.to_string(),
        packet,
    })
}
