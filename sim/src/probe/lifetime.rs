//! The search for the lifetime of a binding (RFC 5780 section 4.6), as pure arithmetic: which waits
//! to try next, and what is known after them.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How many waits are tried at once, each on a binding of its own.
const WAITS: u32 = 16;

/// How exact the answer should be.
const PRECISION: Duration = Duration::from_secs(1);

/// What is known of the lifetime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    /// A binding was still there after this long.
    alive: Duration,
    /// A binding was gone after this long.
    dead: Option<Duration>,
    max: Duration,
    /// How much the search was narrowed last.
    rounds: u32,
}

/// What became of a binding that nobody used for a while. How long exactly is known up to the time
/// that packets take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// It was there after at least this long.
    Alive {
        /// The shortest that it may have been.
        for_at_least: Duration,
    },
    /// It was gone after at most this long.
    Dead {
        /// The longest that it may have been.
        after_at_most: Duration,
    },
}

impl Search {
    pub(super) fn new(max: Duration) -> Self {
        Self {
            alive: Duration::ZERO,
            dead: None,
            max,
            rounds: 0,
        }
    }

    /// The waits to try at once, shortest first; empty when the search is over. After a binding that
    /// is gone, longer waits of the same round need not be waited for.
    pub(super) fn next_waits(&self) -> Vec<Duration> {
        let is_known = self
            .dead
            .is_some_and(|dead| dead.saturating_sub(self.alive) <= PRECISION * 2);
        if is_known || self.rounds >= 3 || (self.dead.is_none() && self.rounds > 0) {
            return Vec::new();
        }
        match self.dead {
            // Timers are from some seconds to many minutes: each wait is by the same factor longer.
            None => {
                let shortest = PRECISION.as_secs_f64() * 10.0;
                let factor = self.max.as_secs_f64() / shortest;
                (0..WAITS)
                    .map(|index| {
                        let exponent = f64::from(index) / f64::from(WAITS - 1);
                        Duration::from_secs_f64(shortest * factor.powf(exponent))
                    })
                    .collect()
            }
            Some(dead) => {
                let step = (dead.saturating_sub(self.alive) / (WAITS + 1)).max(PRECISION);
                (1..=WAITS)
                    .map(|index| self.alive + step * index)
                    .take_while(|wait| *wait < dead)
                    .collect()
            }
        }
    }

    /// Takes in what came of a round.
    pub(super) fn note(&mut self, trials: &[Trial]) {
        self.rounds += 1;
        for trial in trials {
            match *trial {
                Trial::Alive { for_at_least } => self.alive = self.alive.max(for_at_least),
                Trial::Dead { after_at_most } => {
                    self.dead = Some(
                        self.dead
                            .map_or(after_at_most, |dead| dead.min(after_at_most)),
                    );
                }
            }
        }
    }

    /// Between which two the lifetime is; `None` where nothing was gone in the longest wait.
    pub(super) fn result(&self) -> Option<RangeInclusive<Duration>> {
        Some(self.alive..=self.dead?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(lifetime: Duration) -> (Option<RangeInclusive<Duration>>, u32) {
        let mut search = Search::new(Duration::from_mins(20));
        loop {
            let waits = search.next_waits();
            if waits.is_empty() {
                return (search.result(), search.rounds);
            }
            let trials: Vec<Trial> = waits
                .iter()
                .map(|wait| {
                    if *wait < lifetime {
                        Trial::Alive {
                            for_at_least: *wait,
                        }
                    } else {
                        Trial::Dead {
                            after_at_most: *wait,
                        }
                    }
                })
                .collect();
            search.note(&trials);
        }
    }

    #[test]
    fn every_lifetime_is_found_to_a_few_seconds_in_three_rounds() {
        for seconds in [1, 5, 20, 30, 31, 59, 120, 299, 300, 301, 600, 1199] {
            let lifetime = Duration::from_secs(seconds);
            let (range, rounds) = search(lifetime);
            let range = range.expect("the lifetime is not too long");
            assert!(range.contains(&lifetime), "{range:?} of {lifetime:?}");
            assert!(
                range.end().saturating_sub(*range.start()) <= PRECISION * 3,
                "{range:?} of {lifetime:?}"
            );
            assert!(rounds <= 3, "{rounds} rounds for {lifetime:?}");
        }
    }

    #[test]
    fn a_lifetime_beyond_the_longest_wait_is_not_known() {
        assert_eq!(search(Duration::from_hours(1)).0, None);
    }
}
