//! One direction of a link between two nodes.

use std::time::Duration;

use rand::Rng;

use ringtrue::net::TrafficClass;

use super::cause::DropCause;
use super::flow::Protocol;
use super::loss::Probability;

/// What one direction of a link does to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// How long a packet is on its way.
    pub delay: Duration,
    /// The share of packets that are lost, each by itself.
    pub loss: Probability,
    /// Rate.
    pub rate: Option<Rate>,
}

impl LinkConfig {
    /// Least.
    pub const fn delay_min(self) -> Duration {
        self.delay
    }
    /// A link that loses nothing.
    #[must_use]
    pub const fn lossless(delay: Duration) -> Self {
        Self {
            delay,
            loss: Probability::NEVER,
            rate: None,
        }
    }

    /// The same link with loss.
    #[must_use]
    pub const fn with_loss(self, loss: Probability) -> Self {
        Self {
            delay: self.delay,
            loss,
            rate: self.rate,
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

    /// Sends a packet into the link at `now`.
    pub fn transmit(&mut self, now: Duration, _parcel: Parcel, rng: &mut dyn Rng) -> Transmission {
        if self.config.loss.happens(rng) {
            return Transmission::Dropped(DropCause::Loss);
        }
        self.last_arrival = self.last_arrival.max(now + self.config.delay);
        Transmission::Arrives(Arrival {
            at: self.last_arrival,
            damage: Damage::None,
        })
    }
}

/// What a link reads of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parcel {
    /// Its length with all headers.
    pub size_bytes: usize,
    /// UDP or TCP.
    pub protocol: Protocol,
    /// How it wants to be treated.
    pub class: TrafficClass,
}

/// What became of a packet in a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmission {
    /// It arrives.
    Arrives(Arrival),
    /// It arrives twice.
    Duplicated([Arrival; 2]),
    /// It does not.
    Dropped(DropCause),
}

/// One arrival of a packet at the end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Duration,
    /// In which state.
    pub damage: Damage,
}

/// What a link did to the bits of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Damage {
    /// Nothing.
    #[default]
    None,
    /// The checksum tells.
    Detected,
    /// The checksum does not tell.
    Undetected {
        /// Which.
        position: u32,
    },
}

/// The bounded queue before a slow link.
#[derive(Debug)]
pub struct Shaper<P>(std::marker::PhantomData<P>);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate;
impl<P> Shaper<P> {
    pub fn new(_rate: Rate) -> Self {
        Self(std::marker::PhantomData)
    }
    pub fn reconfigure(&mut self, _now: Duration, _rate: Rate) {}
    pub fn release(&mut self, _now: Duration) {}
    pub fn offer(
        &mut self,
        _now: Duration,
        _size: usize,
        _class: TrafficClass,
        _packet: P,
    ) -> Result<(), P> {
        Ok(())
    }
    pub fn next_departure(&self) -> Option<Duration> {
        None
    }
    pub fn depart(&mut self, _now: Duration) -> Option<P> {
        None
    }
}
