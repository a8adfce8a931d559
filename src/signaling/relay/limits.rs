//! How often something may happen (pure): a token bucket, and what a connection has used up.

use tokio::time::Instant;

use super::config::Rate;

/// A token bucket, full at the start.
///
/// Only one moment is kept: when it will be full again. Taking a token moves that moment by one
/// interval, and the bucket is empty where it is a whole burst ahead.
#[derive(Debug, Clone)]
pub(super) struct TokenBucket {
    rate: Rate,
    full_at: Instant,
}

/// What one connection has used up of its limits.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    frames: TokenBucket,
    refusals: TokenBucket,
}

impl TokenBucket {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// Takes a token; false where there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.rate.interval;
        let is_free = full_at - now <= self.rate.interval * self.rate.burst;
        if is_free {
            self.full_at = full_at;
        }
        is_free
    }
}

impl Traffic {
    pub(super) fn new(frames: Rate, refusals: Rate, now: Instant) -> Self {
        Self {
            frames: TokenBucket::new(frames, now),
            refusals: TokenBucket::new(refusals, now),
        }
    }

    /// Counts a frame; false where it comes too fast.
    pub(super) fn admit_frame(&mut self, now: Instant) -> bool {
        self.frames.take(now)
    }

    /// Counts a refusal; false where there were too many.
    pub(super) fn forgive(&mut self, now: Instant) -> bool {
        self.refusals.take(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::signaling::relay::RelayConfig;

    const RATE: Rate = Rate {
        burst: 3,
        interval: Duration::from_millis(100),
    };

    #[test]
    fn a_burst_passes_and_then_one_each_interval() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(RATE, start);
        let mut at = |milliseconds| bucket.take(start + Duration::from_millis(milliseconds));
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(99), at(100), at(100)], [false, true, false]);
        assert_eq!([at(900), at(900), at(900)], [true, true, true]);
        assert!(!at(900));
    }

    #[test]
    fn a_call_that_trickles_for_3_s_meets_no_limit() {
        let (config, start) = (RelayConfig::default(), Instant::now());
        let mut traffic = Traffic::new(config.frame_rate, config.refusal_rate, start);
        // A candidate each 10 ms, each acknowledged by a frame of its own, after a reconnect that sent
        // again all that can be kept.
        for _ in 0..config.kept_messages_max {
            assert!(traffic.admit_frame(start));
        }
        for step in 0..300 {
            let now = start + Duration::from_millis(10) * step;
            assert!(
                traffic.admit_frame(now) && traffic.admit_frame(now),
                "{step}"
            );
        }
    }

    proptest! {
        /// Whatever comes when: in any stretch of time, no more pass than a burst and one for each
        /// interval, and what is refused costs nothing.
        #[test]
        fn no_stretch_of_time_has_more_than_it_may(
            gaps in proptest::collection::vec(0_u64..250, 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(RATE, start);
            let mut now = Duration::ZERO;
            let mut passed: Vec<Duration> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if bucket.take(start + now) {
                    passed.push(now);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (last, until) in passed.iter().enumerate().skip(first) {
                    let stretch = until.saturating_sub(*from);
                    let intervals = stretch.as_millis() / RATE.interval.as_millis();
                    prop_assert!(last - first < 3 + usize::try_from(intervals).expect("few"));
                }
            }
        }
    }
}
