//! Probabilities, and the random loss they describe.

use std::fmt;

use rand::{Rng, RngExt as _};

/// A number between 0 (never) and 1 (always).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Probability(f64);

impl Probability {
    /// Never.
    pub const NEVER: Self = Self(0.0);
    /// Always.
    pub const ALWAYS: Self = Self(1.0);

    /// Takes a share between 0 and 1.
    ///
    /// # Errors
    ///
    /// When `share` is outside of 0 to 1 or no number.
    pub fn new(share: f64) -> Result<Self, ProbabilityError> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(ProbabilityError { share })
        }
    }

    /// The share, 0 to 1.
    #[must_use]
    pub const fn share(self) -> f64 {
        self.0
    }

    /// Draws whether the event happens. One draw is made whatever the probability is, so changing
    /// a probability does not shift the later draws of the generator.
    pub fn happens(self, rng: &mut dyn Rng) -> bool {
        rng.random::<f64>() < self.0
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} %", self.0 * 100.0)
    }
}

/// A share that is no probability.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("probability {share} is not between 0 and 1")]
pub struct ProbabilityError {
    /// What was given.
    pub share: f64,
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn only_shares_between_zero_and_one_are_probabilities() {
        for share in [-0.1, 1.3, f64::NAN, f64::INFINITY] {
            Probability::new(share).expect_err("not a probability");
        }
        assert_eq!(
            Probability::new(1.3).expect_err("too much").to_string(),
            "probability 1.3 is not between 0 and 1"
        );
        assert_eq!(Probability::new(0.0), Ok(Probability::NEVER));
        assert_eq!(Probability::new(1.0), Ok(Probability::ALWAYS));
    }

    #[test]
    fn never_and_always_mean_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..10_000 {
            assert!(!Probability::NEVER.happens(&mut rng));
            assert!(Probability::ALWAYS.happens(&mut rng));
        }
    }
}
