//! When a call makes its client doubt the path to the signaling server (pure).
//!
//! A path can die without a sign, and the server's heartbeat takes three quarters of a minute to tell.
//! In a call that is too long: while it is set up the other side gives up sooner, and later its hang-up
//! would not arrive. Silence is a sign of its own that something is wrong.

use std::time::Duration;

use tokio::time::Instant;

/// How often the path is doubted in a call. With the time that the server has to answer,
/// an answer that went to a dead connection arrives some 8 s later, which leaves the other side's ICE
/// plenty; and a question is a frame of six bytes.
const DOUBT_EVERY: Duration = Duration::from_secs(4);

/// How long no audio arrives before that counts as silence: a hundred packets, more than any jitter.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Tells when the path is to be checked, from the beginning of a call to its end.
#[derive(Debug)]
pub struct PathWatch {
    doubt_at: Instant,
    silent_at: Option<Instant>,
}

impl PathWatch {
    /// The call begins.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            doubt_at: now + DOUBT_EVERY,
            silent_at: None,
        }
    }

    /// A packet of the other side's audio arrived.
    pub fn handle_audio(&mut self, now: Instant) {
        self.silent_at = Some(now + SILENT_AFTER);
    }

    /// Whether the path is to be checked now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_due = self.poll_timeout() <= now;
        if is_due {
            self.doubt_at = now + DOUBT_EVERY;
            self.silent_at = None;
        }
        is_due
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.silent_at
            .map_or(self.doubt_at, |at| at.min(self.doubt_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_audio_doubts_its_path_again_and_again() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut watch = PathWatch::new(at(0));
        assert_eq!(watch.poll_timeout(), at(4000));
        assert!(!watch.handle_timeout(at(3999)));
        assert!(watch.handle_timeout(at(4000)));
        assert!(!watch.handle_timeout(at(4000)));
        assert!(watch.handle_timeout(at(8000)));
    }

    #[test]
    fn silence_is_doubted_sooner_and_once() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut watch = PathWatch::new(at(0));
        watch.handle_audio(at(980));
        watch.handle_audio(at(1000));
        assert!(!watch.handle_timeout(at(2999)));
        assert!(watch.handle_timeout(at(3000)));
        assert_eq!(watch.poll_timeout(), at(7000));
    }

    #[test]
    fn audio_does_not_put_doubt_off() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut watch = PathWatch::new(at(0));
        for packet in 0..200 {
            watch.handle_audio(at(packet * 20));
        }
        assert!(watch.handle_timeout(at(4000)));
    }
}
