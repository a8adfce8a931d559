//! Probabilities, and the random loss they describe.

use std::fmt;

use rand::{Rng, RngExt as _};

/// A number between 0 (never) and 1 (always), in parts per million, so that it compares exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Probability(u32);

/// Certainty in parts per million.
const CERTAIN: u32 = 1_000_000;

impl Probability {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// Always.
    pub const ALWAYS: Self = Self(CERTAIN);

    /// The probability of `parts` in a million.
    ///
    /// # Errors
    ///
    /// Above a million.
    pub const fn from_parts_per_million(parts: u32) -> Result<Self, ProbabilityError> {
        if parts <= CERTAIN {
            Ok(Self(parts))
        } else {
            Err(ProbabilityError { parts })
        }
    }

    /// How many in a million.
    #[must_use]
    pub const fn parts_per_million(self) -> u32 {
        self.0
    }

    /// The share, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(CERTAIN)
    }

    /// Draws whether the event happens. One draw is made whatever the probability is, so changing
    /// a probability does not shift the later draws of the generator.
    pub fn happens(self, rng: &mut dyn Rng) -> bool {
        rng.random::<f64>() < self.share()
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} %", self.share() * 100.0)
    }
}

/// A number that is no probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a probability of {parts} in a million is more than always, which is {CERTAIN}")]
pub struct ProbabilityError {
    /// What was given, in parts per million.
    pub parts: u32,
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn nothing_is_likelier_than_always() {
        assert_eq!(
            Probability::from_parts_per_million(1_000_000),
            Ok(Probability::ALWAYS)
        );
        let error = Probability::from_parts_per_million(1_300_000).expect_err("too much");
        assert_eq!(
            error.to_string(),
            "a probability of 1300000 in a million is more than always, which is 1000000"
        );
    }

    #[test]
    fn a_probability_is_shown_in_percent() {
        let loss = Probability::from_parts_per_million(25_000).expect("a probability");
        assert_eq!(loss.to_string(), "2.5 %");
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
