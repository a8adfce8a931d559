//! Probabilities, and the random loss they describe: each packet by itself, or in bursts.

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
        self.includes(rng.random())
    }

    /// Whether the event happens, given a draw that is uniform from 0 (included) to 1 (excluded).
    #[must_use]
    pub fn includes(self, draw: f64) -> bool {
        draw < self.share()
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

/// Which packets a link loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossModel {
    /// Each packet by itself.
    Uniform(Probability),
    /// In bursts.
    GilbertElliott(GilbertElliott),
}

impl LossModel {
    /// No loss.
    pub const NONE: Self = Self::Uniform(Probability::NEVER);

    /// The share of packets that is lost in the long run.
    #[must_use]
    pub const fn mean(self) -> Probability {
        match self {
            Self::Uniform(loss) => loss,
            Self::GilbertElliott(bursts) => bursts.loss,
        }
    }

    /// How many packets are lost at once, on average.
    #[must_use]
    pub fn mean_burst_packets(self) -> f64 {
        match self {
            Self::Uniform(_) => 1.0,
            Self::GilbertElliott(bursts) => bursts.mean_burst_packets(),
        }
    }
}

impl Default for LossModel {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<Probability> for LossModel {
    fn from(loss: Probability) -> Self {
        Self::Uniform(loss)
    }
}

/// Loss in bursts: a channel that is good and passes everything, or bad and loses everything, and
/// may change its state with each packet (E. N. Gilbert, "Capacity of a Burst-Noise Channel", 1960,
/// the case of E. O. Elliott's model that has one free parameter for each state).
///
/// It is given by what can be measured, the mean loss *L* and the mean length of a burst *B* in
/// packets. A bad channel becomes good with probability *r* = 1 / *B*, so that bursts are *B* packets
/// long on average. A good one becomes bad with *p* = *L* / ((1 - *L*) *B*), so that the stationary
/// probability of the bad state *p* / (*p* + *r*) is *L*.
///
/// The channel changes with packets and not with time, so a burst outlasts any silence: long bursts
/// keep a link dead for long where little is sent, as while TCP opens a connection.
///
/// Packets lost by themselves come in bursts too: of 1 / (1 - *L*) packets on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GilbertElliott {
    loss: Probability,
    mean_burst_thousandths: u32,
}

impl GilbertElliott {
    /// A loss of `loss` in the long run, in bursts of `mean_burst_thousandths` thousandths of a
    /// packet on average.
    ///
    /// # Errors
    ///
    /// When a burst would be shorter than a packet, or when so much is lost that the bursts cannot
    /// be that short: *p* would be over 1.
    pub const fn new(
        loss: Probability,
        mean_burst_thousandths: u32,
    ) -> Result<Self, GilbertElliottError> {
        const PACKET: u32 = 1000;
        if mean_burst_thousandths < PACKET {
            return Err(GilbertElliottError::BurstUnderAPacket);
        }
        // p <= 1, without dividing. The casts widen, and `From` is not const.
        let in_bursts = loss.0 as u64 * PACKET as u64;
        let between_bursts = (CERTAIN - loss.0) as u64 * mean_burst_thousandths as u64;
        if in_bursts > between_bursts {
            return Err(GilbertElliottError::BurstsTooShort { loss });
        }
        Ok(Self {
            loss,
            mean_burst_thousandths,
        })
    }

    /// The share of packets that is lost in the long run.
    #[must_use]
    pub const fn loss(self) -> Probability {
        self.loss
    }

    /// The mean number of packets that are lost one after the other.
    #[must_use]
    pub fn mean_burst_packets(self) -> f64 {
        f64::from(self.mean_burst_thousandths) / 1000.0
    }

    /// The probability *p* that a good channel becomes bad.
    fn begin_of_burst(self) -> f64 {
        let loss = self.loss.share();
        if loss == 0.0 {
            return 0.0;
        }
        loss / ((1.0 - loss) * self.mean_burst_packets())
    }

    /// The probability *r* that a bad channel becomes good.
    fn end_of_burst(self) -> f64 {
        1.0 / self.mean_burst_packets()
    }
}

/// A mean loss and a mean burst length that no channel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GilbertElliottError {
    /// A burst is one lost packet at least.
    #[error("a burst of less than 1 packet is none")]
    BurstUnderAPacket,
    /// Between two bursts there is at least one packet that passes.
    #[error("a loss of {loss} needs longer bursts, since a packet passes between two of them")]
    BurstsTooShort {
        /// The loss that was asked for.
        loss: Probability,
    },
}

/// What a link remembers of the packets before, to lose them in bursts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LossProcess {
    channel: Channel,
}

#[derive(Debug, Clone, Copy, Default)]
enum Channel {
    /// No packet has passed yet. The first one meets the channel in its long-run state.
    #[default]
    Unknown,
    Good,
    Bad,
}

impl LossProcess {
    /// Whether the next packet is lost, given a draw that is uniform from 0 to 1. The channel changes
    /// its state at most once a packet.
    pub(super) fn loses(&mut self, model: LossModel, draw: f64) -> bool {
        let bursts = match model {
            LossModel::Uniform(loss) => return loss.includes(draw),
            LossModel::GilbertElliott(bursts) => bursts,
        };
        let is_bad = match self.channel {
            Channel::Unknown => bursts.loss.includes(draw),
            Channel::Good => draw < bursts.begin_of_burst(),
            Channel::Bad => draw >= bursts.end_of_burst(),
        };
        self.channel = if is_bad { Channel::Bad } else { Channel::Good };
        is_bad
    }
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

    #[test]
    fn a_burst_is_a_packet_at_least() {
        let loss = Probability::from_parts_per_million(50_000).expect("a probability");
        let error = GilbertElliott::new(loss, 999).expect_err("too short");
        assert_eq!(error, GilbertElliottError::BurstUnderAPacket);
        GilbertElliott::new(loss, 1000).expect("single losses, never two in a row");
    }

    #[test]
    fn between_two_bursts_a_packet_passes() {
        let loss = Probability::from_parts_per_million(900_000).expect("a probability");
        let error = GilbertElliott::new(loss, 8_999).expect_err("too short");
        assert_eq!(
            error.to_string(),
            "a loss of 90 % needs longer bursts, since a packet passes between two of them"
        );
        GilbertElliott::new(loss, 9_000).expect("nine lost, one passed");
        GilbertElliott::new(Probability::ALWAYS, u32::MAX).expect_err("a burst without end");
    }
}
