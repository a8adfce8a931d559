//! What arrived of a stream, and how evenly.

use std::time::Duration;

use super::RTP_CLOCK_HZ;

/// Counters of one received stream. Every packet is in `received` and in exactly one of `matched`,
/// `unmatched`, `duplicates` and `out_of_reach`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reception {
    /// Packets received, of every kind.
    pub received: u64,
    /// Packets with the content that belongs at their sequence number.
    pub matched: u64,
    /// Packets with any other content.
    pub unmatched: u64,
    /// Packets whose sequence number had been received before, whatever their content.
    pub duplicates: u64,
    /// Packets too far from the newest sequence number to be told from a duplicate or a stray.
    pub out_of_reach: u64,
    /// Packets the other side has sent, as far as sequence numbers tell: from the lowest to the
    /// highest one.
    pub expected: u64,
}

impl Reception {
    /// How many of the expected packets have not arrived, at least not yet. Unlike the cumulative
    /// count of RFC 3550 section 6.4.1 it leaves duplicates out and so is never negative.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.matched + self.unmatched)
    }
}

/// Interarrival jitter (RFC 3550 section 6.4.1), by the integer arithmetic of appendix A.8.
#[derive(Debug, Clone, Default)]
pub struct InterarrivalJitter {
    transit: Option<u32>,
    /// Sixteen times the jitter, so that nothing is lost to rounding.
    scaled_ticks: u64,
}

impl InterarrivalJitter {
    /// Takes note of a packet in the order of arrival: when it came and its RTP timestamp.
    pub fn observe(&mut self, now: Duration, timestamp: u32) {
        let transit = arrival_ticks(now).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            self.scaled_ticks -= (self.scaled_ticks + 8) >> 4;
            self.scaled_ticks += u64::from(difference);
        }
    }

    /// The jitter in ticks of 48 kHz, as it goes into a reception report.
    #[must_use]
    pub fn ticks(&self) -> u32 {
        u32::try_from(self.scaled_ticks >> 4).unwrap_or(u32::MAX)
    }

    /// The jitter as a duration.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs(u64::from(self.ticks())) / RTP_CLOCK_HZ
    }
}

/// Arrival on the RTP clock. Only differences count, so that it wraps as timestamps do.
fn arrival_ticks(now: Duration) -> u32 {
    let ticks = now.as_nanos() * u128::from(RTP_CLOCK_HZ) / 1_000_000_000;
    let [.., a, b, c, d] = ticks.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{PACKET_DURATION, TICKS_PER_PACKET};
    use super::*;

    fn jitter_of(delays: impl IntoIterator<Item = Duration>) -> InterarrivalJitter {
        let mut jitter = InterarrivalJitter::default();
        // Near the end of the range, so that the timestamp wraps.
        let mut timestamp = u32::MAX - 5_000;
        let mut sent = Duration::from_secs(100_000);
        for delay in delays {
            jitter.observe(sent + delay, timestamp);
            sent += PACKET_DURATION;
            timestamp = timestamp.wrapping_add(TICKS_PER_PACKET);
        }
        jitter
    }

    #[test]
    fn a_constant_delay_is_no_jitter() {
        assert_eq!(jitter_of([Duration::from_millis(300); 500]).ticks(), 0);
    }

    #[test]
    fn delays_that_alternate_by_10_ms_settle_at_10_ms() {
        let delays = (0..500).map(|packet| Duration::from_millis(packet % 2 * 10));
        let jitter = jitter_of(delays).duration();
        assert!(
            jitter.abs_diff(Duration::from_millis(10)) < Duration::from_micros(50),
            "{jitter:?}"
        );
    }

    #[test]
    fn one_late_packet_adds_a_sixteenth_for_each_way() {
        let mut delays = [Duration::ZERO; 3];
        delays[1] = Duration::from_millis(16);
        // 768 ticks late, then as many early: 768 / 16 = 48, then 48 + (768 - 48) / 16 = 93.
        assert_eq!(jitter_of(delays).ticks(), 93);
    }

    #[test]
    fn lost_is_what_was_expected_and_never_came() {
        let reception = Reception {
            expected: 100,
            matched: 80,
            unmatched: 5,
            ..Reception::default()
        };
        assert_eq!(reception.lost(), 15);
    }

    proptest! {
        #[test]
        fn no_packets_make_it_panic(
            packets in prop::collection::vec((any::<Duration>(), any::<u32>()), 0..50),
        ) {
            let mut jitter = InterarrivalJitter::default();
            for (now, timestamp) in packets {
                jitter.observe(now, timestamp);
            }
        }
    }
}
