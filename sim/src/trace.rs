//! What happened in a run: typed events, and one digest over all of them.
//!
//! Every packet, timer, draw of entropy and state change of a run becomes an [`Event`]. The
//! [`Recorder`] chains them into one SHA-256 digest: two runs are the same run exactly when their
//! digests are equal. Observers see every event and change none.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub mod digest;
pub mod event;
pub mod log;
pub mod recording;

pub use digest::Digest;
pub use event::{
    AppEvent, Event, EventKind, FaultEvent, FaultPhase, HostName, MessageEvent, MessagePhase,
    PacketSummary, Purpose, WireEvent, WirePhase,
};

pub use recording::Recording;

use digest::Chain;

/// Sees the events of a run, in order.
pub trait Observer: Send {
    /// One event, its index from 0, and the chain as it stands after it.
    fn observe(&mut self, index: u64, event: &Event, chain: &Chain);
}

/// Collects the events of one run. Clones share one record.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Mutex<Record>>,
}

struct Record {
    /// Nothing is recorded any more.
    closed: bool,
    chain: Chain,
    count: u64,
    observers: Vec<Box<dyn Observer>>,
}

impl Recorder {
    /// A record that nothing has happened in yet.
    #[must_use]
    pub fn new(observers: Vec<Box<dyn Observer>>) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Record {
                closed: false,
                chain: Chain::default(),
                count: 0,
                observers,
            })),
        }
    }

    /// Adds one event.
    pub fn record(&self, at: Duration, host: &HostName, kind: EventKind) {
        let event = Event {
            at,
            host: host.clone(),
            kind,
        };
        let mut record = self.lock();
        let record = &mut *record;
        if record.closed {
            return;
        }
        record.chain.append(&event);
        for observer in &mut record.observers {
            observer.observe(record.count, &event, &record.chain);
        }
        record.count += 1;
    }

    /// Ends the record: what happens while a world is taken down belongs to no run. Nobody sees anything any
    /// more, and the observers are let go of: a library that keeps hold of its runtime keeps this recorder,
    /// and would keep all that they remember.
    pub fn close(&self) {
        let mut record = self.lock();
        record.closed = true;
        record.observers = Vec::new();
    }

    /// The digest of everything recorded so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.lock().chain.digest()
    }

    /// How many events were recorded so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Record> {
        // A panic while recording fails the run anyway; what was recorded until then is still true.
        self.shared
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Recorder")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
