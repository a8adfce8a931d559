//! How much of the other side's audio has arrived, window by window.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PACKET_DURATION;

/// The length of one window.
pub const WINDOW: Duration = Duration::from_secs(2);

/// How many windows are remembered, the newest ones: an hour.
pub const MAX_WINDOWS: u64 = 1_800;

/// What arrived of the audio that should have, in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When the window begins, on the clock that the sink was given.
    pub start: Duration,
    /// Packets that arrived in the window and matched. Jitter can bring in a packet of the window
    /// before, so this can exceed `expected`.
    pub matched: u32,
    /// Packets that a sender of 50 a second sends in the window; 100, but for a last one cut short.
    pub expected: u32,
}

impl Window {
    /// The share that arrived, from 0 to 1. An empty window has lost nothing.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.expected == 0 {
            return 1.0;
        }
        (f64::from(self.matched) / f64::from(self.expected)).min(1.0)
    }
}

/// Counts matched packets by the window they arrive in. The first one begins the first window.
#[derive(Debug, Clone, Default)]
pub struct KeptAudio {
    span: Option<(Duration, Duration)>,
    /// Only windows in which something arrived.
    matched_by_index: BTreeMap<u64, u32>,
}

impl KeptAudio {
    /// Counts one matched packet. A time before the first one's counts as that.
    pub fn record(&mut self, now: Duration) {
        let (first, last) = self.span.get_or_insert((now, now));
        *last = now.max(*last);
        let newest = window_index(last.saturating_sub(*first));
        let index = window_index(now.saturating_sub(*first));
        let oldest = (newest + 1).saturating_sub(MAX_WINDOWS);
        while self
            .matched_by_index
            .first_entry()
            .is_some_and(|entry| *entry.key() < oldest)
        {
            self.matched_by_index.pop_first();
        }
        if index >= oldest {
            *self.matched_by_index.entry(index).or_default() += 1;
        }
    }

    /// When the first and the last matched packet arrived.
    #[must_use]
    pub fn span(&self) -> Option<(Duration, Duration)> {
        self.span
    }

    /// The windows from the first audio to `end`, oldest first, empty ones included, at most
    /// [`MAX_WINDOWS`]. The last one is as short as `end` makes it.
    #[must_use]
    pub fn windows_until(&self, end: Duration) -> Vec<Window> {
        let Some((first, _)) = self.span else {
            return Vec::new();
        };
        let length = end.saturating_sub(first);
        let Some(last_instant) = length.checked_sub(Duration::from_nanos(1)) else {
            return Vec::new();
        };
        let newest = window_index(last_instant);
        let oldest = (newest + 1).saturating_sub(MAX_WINDOWS);
        (oldest..=newest)
            .map(|index| {
                let offset = Duration::from_secs(index * WINDOW.as_secs());
                Window {
                    start: first + offset,
                    matched: self.matched_by_index.get(&index).copied().unwrap_or(0),
                    expected: packets_in(length.saturating_sub(offset).min(WINDOW)),
                }
            })
            .collect()
    }
}

fn window_index(offset: Duration) -> u64 {
    offset.as_secs() / WINDOW.as_secs()
}

fn packets_in(length: Duration) -> u32 {
    u32::try_from(length.as_nanos() / PACKET_DURATION.as_nanos()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_millis(1_234);

    fn heard(packets: impl IntoIterator<Item = u32>) -> KeptAudio {
        let mut kept = KeptAudio::default();
        for packet in packets {
            kept.record(START + PACKET_DURATION * packet);
        }
        kept
    }

    fn counts(windows: &[Window]) -> Vec<(u32, u32)> {
        windows
            .iter()
            .map(|window| (window.matched, window.expected))
            .collect()
    }

    #[test]
    fn a_window_without_audio_is_listed_with_nothing_matched() {
        let windows = heard((0..100).chain(300..350)).windows_until(START + Duration::from_secs(7));
        assert_eq!(counts(&windows), [(100, 100), (0, 100), (0, 100), (50, 50)]);
        assert_eq!(windows[1].start, START + WINDOW);
        assert!((windows[0].share() - 1.0).abs() < f64::EPSILON);
        assert!(windows[1].share().abs() < f64::EPSILON);
    }

    #[test]
    fn an_end_on_the_border_of_a_window_adds_no_empty_one() {
        let windows = heard(0..100).windows_until(START + WINDOW);
        assert_eq!(counts(&windows), [(100, 100)]);
        assert_eq!(heard(0..100).windows_until(START), []);
    }

    #[test]
    fn only_the_newest_hour_is_remembered() {
        let mut kept = heard([0]);
        kept.record(Duration::MAX);
        assert_eq!(kept.matched_by_index.len(), 1);
        kept.record(START);
        assert_eq!(kept.matched_by_index.len(), 1);
        assert_eq!(kept.windows_until(Duration::MAX).len(), 1_800);
        assert_eq!(KeptAudio::default().windows_until(Duration::MAX), []);
    }
}
