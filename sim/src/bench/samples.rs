//! What was measured again and again, and what stands for all of it.

use std::time::Duration;

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// How long it took.
    pub(super) wall: Duration,
    /// How long it lasted for those in it.
    pub(super) virtual_time: Duration,
}

/// The value that `share` of all values are not above: the nearest one, never one between two.
///
/// # Panics
///
/// Misuse: there is none of no values.
pub(super) fn quantile(values: impl Iterator<Item = Duration>, share: f64) -> Duration {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    assert!(!values.is_empty(), "nothing was measured");
    let mut rank = 1;
    while (rank as f64) < share * values.len() as f64 {
        rank += 1;
    }
    values[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[u64], share: f64, expected: u64) {
        let values = values.iter().copied().map(Duration::from_millis);
        assert_eq!(
            quantile(values, share),
            Duration::from_millis(expected),
            "{share}"
        );
    }

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        check(&[5, 1, 3], 0.5, 3);
        check(&[4, 1, 2, 3], 0.5, 2);
        check(&[7], 0.95, 7);
        let hundred: Vec<u64> = (1..=100).rev().collect();
        check(&hundred, 0.95, 95);
        check(&hundred, 0.0, 1);
        check(&hundred, 1.0, 100);
    }
}
