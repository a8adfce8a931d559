//! One direction of a link between two nodes.

use std::time::Duration;

use rand::Rng;

use super::loss::Probability;

/// What one direction of a link does to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// How long a packet is on its way.
    pub delay: Duration,
    /// The share of packets that are lost, each by itself.
    pub loss: Probability,
}

impl LinkConfig {
    /// A link that loses nothing.
    #[must_use]
    pub const fn lossless(delay: Duration) -> Self {
        Self {
            delay,
            loss: Probability::NEVER,
        }
    }

    /// The same link with loss.
    #[must_use]
    pub const fn with_loss(self, loss: Probability) -> Self {
        Self {
            delay: self.delay,
            loss,
        }
    }
}

impl Default for LinkConfig {
    /// 5 ms without loss: a wireless LAN at its best, or a short way to a server.
    fn default() -> Self {
        Self::lossless(Duration::from_millis(5))
    }
}

/// Both directions of a link, as seen from the end that is further from the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkPair {
    /// Towards the core.
    pub up: LinkConfig,
    /// From the core.
    pub down: LinkConfig,
}

impl LinkPair {
    /// A link that is the same in both directions.
    #[must_use]
    pub const fn symmetric(config: LinkConfig) -> Self {
        Self {
            up: config,
            down: config,
        }
    }
}

impl From<Duration> for LinkPair {
    /// A lossless link with this delay in both directions.
    fn from(delay: Duration) -> Self {
        Self::symmetric(LinkConfig::lossless(delay))
    }
}

/// The state of one direction of a link.
#[derive(Debug, Clone)]
pub struct Link {
    config: LinkConfig,
    last_arrival: Duration,
}

impl Link {
    /// An idle link.
    #[must_use]
    pub const fn new(config: LinkConfig) -> Self {
        Self {
            config,
            last_arrival: Duration::ZERO,
        }
    }

    /// What the link does now.
    #[must_use]
    pub const fn config(&self) -> LinkConfig {
        self.config
    }

    /// Changes what the link does to the packets sent from now on.
    pub fn reconfigure(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// Sends a packet into the link at `now`. A link is first in, first out: also after a
    /// reconfiguration no packet arrives before one that was sent earlier.
    pub fn transmit(&mut self, now: Duration, rng: &mut dyn Rng) -> Transmission {
        if self.config.loss.happens(rng) {
            return Transmission::Lost;
        }
        self.last_arrival = self.last_arrival.max(now + self.config.delay);
        Transmission::Arrives(self.last_arrival)
    }
}

/// What became of a packet in a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmission {
    /// It arrives at this time.
    Arrives(Duration),
    /// It was lost at random.
    Lost,
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const PACKETS: u32 = 100_000;

    #[test]
    fn a_packet_arrives_after_the_delay() {
        let mut link = Link::new(LinkConfig::lossless(Duration::from_millis(7)));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert_eq!(
            link.transmit(Duration::from_millis(3), &mut rng),
            Transmission::Arrives(Duration::from_millis(10))
        );
    }

    #[test]
    fn a_shorter_delay_does_not_let_packets_overtake() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut link = Link::new(LinkConfig::lossless(Duration::from_millis(100)));
        let first = link.transmit(Duration::ZERO, &mut rng);
        link.reconfigure(LinkConfig::lossless(Duration::from_millis(1)));
        let second = link.transmit(Duration::from_millis(1), &mut rng);
        assert_eq!(first, second);
    }

    #[test]
    fn the_share_of_lost_packets_is_what_was_configured() {
        for parts in [10_000, 50_000, 300_000] {
            let loss = Probability::from_parts_per_million(parts).expect("a probability");
            let share = loss.share();
            let mut link = Link::new(LinkConfig::default().with_loss(loss));
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let losses = (0..PACKETS)
                .filter(|_| link.transmit(Duration::ZERO, &mut rng) == Transmission::Lost)
                .count();
            let measured = losses as f64 / f64::from(PACKETS);
            // Four standard deviations of a binomial distribution.
            let tolerance = 4.0 * (share * (1.0 - share) / f64::from(PACKETS)).sqrt();
            assert!(
                (measured - share).abs() < tolerance,
                "{measured} lost instead of {share}"
            );
        }
    }
}
