//! When a call makes its client doubt the path to the signaling server (pure).
//!
//! The client doubts that path by itself where nothing arrives over it for a while. A call knows sooner
//! that something is wrong: its audio falls silent, and the hang-up that would explain it may have gone
//! to a dead connection.

use std::time::Duration;

use tokio::time::Instant;

/// How long no audio arrives before that counts as silence: a hundred packets, more than any jitter.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Tells when the path is to be checked, from the beginning of a call to its end.
#[derive(Debug, Default)]
pub struct PathWatch {
    silent_at: Option<Instant>,
}

impl PathWatch {
    /// A packet of the other side's audio arrived.
    pub fn handle_audio(&mut self, now: Instant) {
        self.silent_at = Some(now + SILENT_AFTER);
    }

    /// Whether the path is to be checked now: once for each silence.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_due = self.silent_at.is_some_and(|at| at <= now);
        if is_due {
            self.silent_at = None;
        }
        is_due
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while there is no audio.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.silent_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_doubted_once() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut watch = PathWatch::default();
        assert_eq!(watch.poll_timeout(), None);
        watch.handle_audio(at(980));
        watch.handle_audio(at(1000));
        assert_eq!(watch.poll_timeout(), Some(at(3000)));
        assert!(!watch.handle_timeout(at(2999)));
        assert!(watch.handle_timeout(at(3000)));
        assert!(!watch.handle_timeout(at(4000)));
        assert_eq!(watch.poll_timeout(), None);
        watch.handle_audio(at(5000));
        assert!(watch.handle_timeout(at(7000)));
    }

    #[test]
    fn audio_puts_the_doubt_off() {
        let start = Instant::now();
        let mut watch = PathWatch::default();
        for packet in 0..500 {
            let now = start + Duration::from_millis(packet * 20);
            assert!(!watch.handle_timeout(now));
            watch.handle_audio(now);
        }
    }
}
