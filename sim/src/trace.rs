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

/// Sees the events of a run, in order. It is dropped when the run is over.
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
    /// more, and the observers are dropped.
    ///
    /// A recorder can live on: engineioxide 0.17 keeps a session for good that was open and not joined when its
    /// server was killed, the session keeps its runtime, and the runtime this. It must not keep what the
    /// observers remember.
    pub fn close(&self) {
        let observers = {
            let mut record = self.lock();
            record.closed = true;
            std::mem::take(&mut record.observers)
        };
        // Not before the lock is: one of them may have a recorder and use it as it is dropped.
        drop(observers);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Records something once more as it is dropped.
    struct LastWords {
        recorder: Recorder,
        _held: Arc<()>,
    }

    impl Observer for LastWords {
        fn observe(&mut self, _index: u64, _event: &Event, _chain: &Chain) {}
    }

    impl Drop for LastWords {
        fn drop(&mut self) {
            self.recorder
                .record(Duration::ZERO, &"alice".into(), EventKind::Timer);
        }
    }

    #[test]
    fn a_record_that_is_closed_lets_go_of_its_observers() {
        let (recorder, held) = (Recorder::new(Vec::new()), Arc::new(()));
        let observer = LastWords {
            recorder: recorder.clone(),
            _held: Arc::clone(&held),
        };
        recorder.lock().observers.push(Box::new(observer));
        recorder.record(Duration::ZERO, &"alice".into(), EventKind::Timer);
        recorder.close();
        assert_eq!((recorder.count(), Arc::strong_count(&held)), (1, 1));
    }
}
