//! When the other side has fallen silent (pure).

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing arrives before that counts as silence: a hundred packets, more than any jitter.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Tells each silence once. It begins with the first audio.
#[derive(Debug, Default)]
pub struct SilenceWatch {
    silent_at: Option<Instant>,
}

impl SilenceWatch {
    /// A packet of the other side arrived.
    pub fn handle_audio(&mut self, now: Instant) {
        self.silent_at = Some(now + SILENT_AFTER);
    }

    /// Whether a silence has begun since the last call.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.silent_at.take_if(|at| *at <= now).is_some()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.silent_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_silence_is_told_once() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut watch = SilenceWatch::default();
        assert!(!watch.handle_timeout(at(0)), "nothing has begun");
        watch.handle_audio(at(0));
        watch.handle_audio(at(20));
        assert_eq!(watch.poll_timeout(), Some(at(2020)));
        assert!(!watch.handle_timeout(at(2019)));
        assert!(watch.handle_timeout(at(2020)));
        assert!(!watch.handle_timeout(at(9000)));
        assert_eq!(watch.poll_timeout(), None);
        watch.handle_audio(at(9000));
        assert!(watch.handle_timeout(at(11_000)));
    }
}
