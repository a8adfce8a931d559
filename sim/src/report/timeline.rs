//! Gathers the timeline of a run from its trace.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;

use super::traffic::{Traffic, TrafficCount};
use super::{PacketOrEvent, TimelineEntry, Topic};
use crate::trace::digest::Chain;
use crate::trace::{AppEvent, Event, EventKind, MessagePhase, Observer};

/// Gathers what a reader wants to see. Clones share what they gather.
#[derive(Debug, Clone)]
pub struct TimelineCollector {
    detail: PacketOrEvent,
    gathered: Arc<Mutex<Gathered>>,
}

#[derive(Debug, Default)]
struct Gathered {
    entries: Vec<TimelineEntry>,
    traffic: TrafficCount,
}

impl TimelineCollector {
    /// Gathers events, or packets as well.
    #[must_use]
    pub fn new(detail: PacketOrEvent) -> Self {
        Self {
            detail,
            gathered: Arc::default(),
        }
    }

    /// Everything gathered, in order of virtual time, and what was counted beside it.
    #[must_use]
    pub fn take(&self) -> (Vec<TimelineEntry>, Traffic) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let Gathered {
            mut entries,
            traffic,
        } = std::mem::take(&mut *gathered);
        // Applications run one after the other in steps, so the record is in order only within
        // each of them.
        entries.sort_by_key(|entry| entry.at);
        (entries, traffic.finish())
    }
}

impl Topic {
    /// What an event is about.
    #[must_use]
    pub fn of(kind: &EventKind) -> Self {
        match kind {
            EventKind::Fault(_) => Self::Fault,
            EventKind::Message(message) => match message.phase {
                MessagePhase::Released => Self::Release,
                _ => Self::Perturbation,
            },
            EventKind::App(event) => Self::of_app(event),
            EventKind::Log { level, .. } if *level <= Level::WARN => Self::Warning,
            // What the client does about silence; no event of the application says so before there was audio.
            EventKind::Log { text, .. } if text.starts_with("looking for another path") => {
                Self::Audio
            }
            _ => Self::Other,
        }
    }

    fn of_app(event: &AppEvent) -> Self {
        match event {
            AppEvent::Calling { .. } => Self::CallBegins,
            AppEvent::Ended { .. } | AppEvent::Killed | AppEvent::Refused { .. } => Self::CallEnds,
            AppEvent::Started | AppEvent::SignalingConnected | AppEvent::SignalingLost { .. } => {
                Self::Signaling
            }
            AppEvent::PathSelected { .. } => Self::Path,
            AppEvent::AudioInterrupted | AppEvent::AudioReported | AppEvent::AudioConnected => {
                Self::Audio
            }
            AppEvent::RemoteRinging
            | AppEvent::Incoming { .. }
            | AppEvent::Pushed { .. }
            | AppEvent::Answered
            | AppEvent::Resumed
            | AppEvent::Replaced => Self::Call,
            AppEvent::Heard => Self::Other,
        }
    }
}

impl Observer for TimelineCollector {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        let gathered = || self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if TrafficCount::counts(&event.kind) {
            gathered().traffic.note(event);
        }
        if let Some(entry) = entry_of(event, self.detail) {
            gathered().entries.push(entry);
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
        topic: Topic::of(&event.kind),
    })
}
