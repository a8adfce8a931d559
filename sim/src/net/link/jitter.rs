//! How much longer than the least a packet may be on its way.

use std::time::Duration;

use super::fraction;

/// The distribution of what is added to a link's delay.
///
/// Where the [order is kept](super::Order::Kept) a packet also waits for those before it, so the
/// distribution holds exactly only for packets that are sent further apart than the jitter reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Nothing.
    #[default]
    None,
    /// Anything up to a bound, equally likely: what a bounded queue adds.
    Uniform {
        /// The bound.
        up_to: Duration,
    },
    /// A bell curve. What would be under zero is drawn again, so with a mean that is small against
    /// the deviation the mean of what is added is larger.
    Normal {
        /// The mean of the curve.
        mean: Duration,
        /// Its standard deviation.
        deviation: Duration,
    },
    /// Mostly little, rarely much: what a lightly loaded queue or repeated attempts to send add.
    Exponential {
        /// The mean.
        mean: Duration,
    },
}

impl Jitter {
    pub(super) fn draw(self, fates: &mut fastrand::Rng) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Uniform { up_to } => up_to.mul_f64(fraction(fates.u64(..))),
            Self::Normal { mean, deviation } => loop {
                let offset = deviation.as_secs_f64() * standard_normal(fates);
                let seconds = mean.as_secs_f64() + offset;
                if seconds >= 0.0 {
                    break Duration::from_secs_f64(seconds);
                }
            },
            // The argument is over 0, since a fraction is under 1.
            Self::Exponential { mean } => {
                mean.mul_f64(-natural_logarithm(1.0 - fraction(fates.u64(..))))
            }
        }
    }
}

/// A draw from the normal distribution with mean 0 and deviation 1, by the polar method (G. Marsaglia
/// and T. A. Bray, "A Convenient Method for Generating Normal Variables", 1964).
fn standard_normal(fates: &mut fastrand::Rng) -> f64 {
    loop {
        let [x, y] = [(); 2].map(|()| 2.0 * fraction(fates.u64(..)) - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * natural_logarithm(square) / square).sqrt();
        }
    }
}

/// The natural logarithm of a positive number that is not subnormal.
///
/// Made of operations that IEEE 754 defines to the last bit, unlike [`f64::ln`], which may differ
/// between machines: the same seed must give the same delays everywhere.
fn natural_logarithm(number: f64) -> f64 {
    const MANTISSA_BITS: u32 = 52;
    const EXPONENT_OF_ONE: u64 = 1023 << MANTISSA_BITS;
    const TERMS: u32 = 11;
    // number = mantissa * 2^exponent, with a mantissa around 1, where the series is fast.
    let bits = number.to_bits();
    let mut exponent = (bits >> MANTISSA_BITS) as f64 - 1023.0;
    let mut mantissa = f64::from_bits(bits & ((1 << MANTISSA_BITS) - 1) | EXPONENT_OF_ONE);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1.0;
    }
    // ln m = 2 (z + z^3/3 + z^5/5 + ...) with z = (m - 1) / (m + 1).
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let series = (0..TERMS).rev().fold(0.0, |sum, term| {
        sum * square + 1.0 / f64::from(2 * term + 1)
    });
    exponent * std::f64::consts::LN_2 + 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_library_but_for_the_last_bits() {
        for number in [
            1.0, 0.5, 2.0, 1e-16, 0.999_999, 1.414, 1.415, 0.707, 123.456,
        ] {
            let difference = (natural_logarithm(number) - number.ln()).abs();
            assert!(difference < 1e-14, "ln {number} is off by {difference}");
        }
    }

    #[test]
    fn no_jitter_adds_nothing() {
        let mut fates = fastrand::Rng::with_seed(1);
        assert_eq!(Jitter::None.draw(&mut fates), Duration::ZERO);
    }
}
