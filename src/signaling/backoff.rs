//! How long to wait before the next reconnect attempt (pure).

use std::time::Duration;

use rand::{Rng, RngExt};

/// The exponent beyond which the wait grows no more: `2^31` times any wait is over every ceiling.
const EXPONENT_MAX: u32 = 31;

/// The growing wait between reconnect attempts. It starts over only when its owner says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    randomization_factor: f64,
    jitter: Jitter,
    attempts: u32,
}

/// Where chance enters the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// The formula of the JavaScript client: chance first, then the ceiling. From the fifth attempt
    /// on, with the field's settings, every client waits exactly the ceiling and all of them return
    /// to a restarted server in the same millisecond.
    BeforeCap,
    /// The formula of the Java client: as [`BeforeCap`](Self::BeforeCap), and no wait is shorter
    /// than the first one would be without chance.
    BeforeBounds,
    /// The ceiling first, then equal jitter: the wait is even between `1 - randomization_factor`
    /// and one times the grown wait, so a herd spreads over that range and none exceeds the
    /// ceiling.
    #[default]
    AfterCap,
}

impl Backoff {
    /// Waits from `min`, doubling up to `max`. `randomization_factor` is clamped to 0..=1 and is
    /// taken as 0 if it is not a number.
    #[must_use]
    pub fn new(min: Duration, max: Duration, randomization_factor: f64, jitter: Jitter) -> Self {
        Self {
            min,
            max,
            // `max` then `min` turns NaN into 0, which `clamp` would keep.
            randomization_factor: randomization_factor.clamp(0.0, 1.0),
            jitter,
            attempts: 0,
        }
    }

    /// How many waits were handed out since the last reset.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The wait before the next attempt, in whole milliseconds. Takes one number from `generator`.
    pub fn next_delay(&mut self, generator: &mut impl Rng) -> Duration {
        let exponent = self.attempts.min(EXPONENT_MAX);
        self.attempts = self.attempts.saturating_add(1);
        let grown = milliseconds(self.min) * 2_f64.powi(exponent.cast_signed());
        let max = milliseconds(self.max);
        let random: f64 = generator.random();
        let wait = match self.jitter {
            Jitter::BeforeCap | Jitter::BeforeBounds => {
                let deviation = (random * self.randomization_factor * grown).floor();
                let even = (random * 10.0).floor() % 2.0 == 0.0;
                let jittered = if even {
                    grown - deviation
                } else {
                    grown + deviation
                };
                let capped = jittered.min(max);
                if self.jitter == Jitter::BeforeBounds {
                    capped.max(milliseconds(self.min))
                } else {
                    capped
                }
            }
            Jitter::AfterCap => {
                let capped = grown.min(max);
                capped * (1.0 - self.randomization_factor * (1.0 - random))
            }
        };
        whole_milliseconds(wait)
    }

    /// Counts an attempt that is made without a wait, because something else than time says that it
    /// can succeed. The wait after it is that of the attempt after it.
    pub fn skip_delay(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Starts over from the smallest wait.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// Exact for whole milliseconds: a product of seconds would not be, and the formula cuts fractions
/// off.
#[expect(
    clippy::cast_precision_loss,
    reason = "up to a hundred days are counted exactly"
)]
fn milliseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1_000_000.0
}

/// The reference client cuts fractions off (`| 0`).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is finite, not negative, and a float cast saturates"
)]
fn whole_milliseconds(value: f64) -> Duration {
    Duration::from_millis(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng, TryRng};
    use rand_chacha::ChaCha8Rng;
    use std::convert::Infallible;

    /// Hands out a list of numbers of `[0, 1)`, over and over.
    struct Sequence(Vec<f64>, usize);

    impl TryRng for Sequence {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok((self.try_next_u64()? >> 32) as u32)
        }

        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            let value = self.0[self.1 % self.0.len()];
            self.1 += 1;
            // The generator's 53 high bits become the number.
            Ok(((value * 2_f64.powi(53)) as u64) << 11)
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            bytes.fill(0);
            Ok(())
        }
    }

    fn field(jitter: Jitter) -> Backoff {
        Backoff::new(Duration::from_secs(2), Duration::from_secs(10), 0.5, jitter)
    }

    fn delays(mut backoff: Backoff, numbers: &[f64]) -> Vec<u128> {
        let mut generator = Sequence(numbers.to_vec(), 0);
        (0..numbers.len())
            .map(|_| backoff.next_delay(&mut generator).as_millis())
            .collect()
    }

    const NUMBERS: [f64; 6] = [0.123, 0.25, 0.999, 0.5, 0.777, 0.0];

    #[test]
    fn jitter_before_the_cap_is_the_reference_formula() {
        // Computed by the formula of the JavaScript client, run in Node.
        assert_eq!(
            delays(field(Jitter::BeforeCap), &NUMBERS),
            [2123, 3500, 10_000, 10_000, 10_000, 10_000]
        );
    }

    #[test]
    fn whole_milliseconds_are_exact() {
        // In seconds 1.001 is a little less.
        for wait in 1..100_000 {
            let wait = Duration::from_millis(wait);
            let mut backoff = Backoff::new(wait, wait, 0.0, Jitter::BeforeCap);
            assert_eq!(backoff.next_delay(&mut Sequence(vec![0.5], 0)), wait);
        }
    }

    #[test]
    fn jitter_before_both_bounds_is_never_under_the_first_wait() {
        // Sums of powers of two, which no rounding touches.
        let numbers = [0.0625, 0.0625, 0.3125, 0.75];
        assert_eq!(
            delays(field(Jitter::BeforeCap), &numbers),
            [1938, 3875, 9250, 10_000]
        );
        assert_eq!(
            delays(field(Jitter::BeforeBounds), &numbers),
            [2000, 3875, 9250, 10_000]
        );
    }

    #[test]
    fn jitter_after_the_cap_stays_between_half_and_the_whole() {
        assert_eq!(
            delays(field(Jitter::AfterCap), &NUMBERS),
            [1123, 2500, 7996, 7500, 8885, 5000]
        );
    }

    #[test]
    fn a_herd_spreads_over_half_of_the_cap() {
        let mut generator = ChaCha8Rng::seed_from_u64(7);
        let mut counts = std::collections::BTreeMap::<u128, u32>::new();
        for _ in 0..2_000 {
            let mut backoff = field(Jitter::AfterCap);
            let mut last = Duration::ZERO;
            for _ in 0..5 {
                last = backoff.next_delay(&mut generator);
            }
            *counts.entry(last.as_millis()).or_default() += 1;
        }
        let first = *counts.keys().next().expect("2000 delays");
        let last = *counts.keys().next_back().expect("2000 delays");
        assert!(last <= 10_000 && last - first > 4_900, "{first}..{last}");
        assert!(
            counts.values().all(|&count| count < 20),
            "one millisecond has over 1 %"
        );
    }

    #[test]
    fn reset_starts_over() {
        let mut backoff = field(Jitter::AfterCap);
        let mut generator = Sequence(vec![0.5], 0);
        let first = backoff.next_delay(&mut generator);
        assert!(backoff.next_delay(&mut generator) > first);
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
        assert_eq!(backoff.next_delay(&mut generator), first);
    }

    #[test]
    fn an_attempt_without_a_wait_counts() {
        let mut backoff = field(Jitter::BeforeCap);
        backoff.skip_delay();
        assert_eq!(backoff.attempts(), 1);
        // Even tenths shorten the wait: 4000 ms less 0.25 * 0.5 of it.
        let mut generator = Sequence(vec![0.25], 0);
        assert_eq!(backoff.next_delay(&mut generator).as_millis(), 3500);
    }

    proptest! {
        #[test]
        fn no_delay_exceeds_the_ceiling(
            min in 0_u64..100_000,
            max in 0_u64..100_000,
            factor in prop_oneof![any::<f64>(), 0.0..=1.0],
            seed: u64,
            rounds in 1_usize..80,
        ) {
            for jitter in [Jitter::BeforeCap, Jitter::AfterCap] {
                let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
                let mut backoff = Backoff::new(min, max, factor, jitter);
                let mut generator = ChaCha8Rng::seed_from_u64(seed);
                for _ in 0..rounds {
                    prop_assert!(backoff.next_delay(&mut generator) <= max);
                }
            }
        }
    }
}
