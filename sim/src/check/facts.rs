//! What the checkers remember of a trace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::Level;

use crate::trace::digest::Chain;
use crate::trace::{AppEvent, Event, EventKind, HostName, Observer};

/// One thing that a peer application did or saw, with its place in time.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Virtual time.
    pub at: Duration,
    /// The peer.
    pub peer: HostName,
    /// What.
    pub event: AppEvent,
}

/// An `ERROR` line in the log of a client or server, which no run may have.
#[derive(Debug, Clone)]
pub struct ErrorLine {
    /// Virtual time.
    pub at: Duration,
    /// Where.
    pub host: HostName,
    /// The line.
    pub text: String,
}

/// Everything that the checkers need of a run.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What the peer applications did and saw, in order of recording, but for the audio.
    pub app: Vec<Fact>,
    /// When each peer heard a packet of the other side's tone: fifty times a second.
    pub heard: BTreeMap<HostName, Vec<Duration>>,
    /// The log lines that no run may have.
    pub errors: Vec<ErrorLine>,
}

/// Gathers [`Facts`] from a trace. Clones share what they gather.
#[derive(Debug, Clone, Default)]
pub struct FactCollector(Arc<Mutex<Facts>>);

impl FactCollector {
    /// Looks at what was gathered so far.
    pub fn with<R>(&self, look: impl FnOnce(&Facts) -> R) -> R {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for FactCollector {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &event.kind {
            EventKind::App(AppEvent::Heard) => facts
                .heard
                .entry(event.host.clone())
                .or_default()
                .push(event.at),
            EventKind::App(app) => facts.app.push(Fact {
                at: event.at,
                peer: event.host.clone(),
                event: app.clone(),
            }),
            EventKind::Log { level, text, .. } if *level == Level::ERROR => {
                facts.errors.push(ErrorLine {
                    at: event.at,
                    host: event.host.clone(),
                    text: text.clone(),
                });
            }
            _ => {}
        }
    }
}
