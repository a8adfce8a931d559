//! One direction of a link between two nodes.
//!
//! A packet first waits in the queue of a [`Shaper`](shaper::Shaper), where the link has a
//! [`Rate`], and then goes through a [`Link`], which loses it, doubles it, damages it and lets it
//! arrive.

use std::num::NonZero;
use std::time::Duration;

use rand::Rng;
use ringtrue::net::TrafficClass;
use serde::Deserialize;

use super::cause::DropCause;
use super::flow::Protocol;
use super::loss::{LossModel, LossProcess, Probability};

pub mod jitter;
pub mod preset;
pub mod shaper;

pub use jitter::Jitter;
pub use preset::LinkPreset;
pub use shaper::{Priority, QueueConfig, Rate, Shaper};

/// What one direction of a link does to a packet. Times are exact to the nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// The least time that a packet is on its way. Default: 5 ms, a short way to a server.
    pub delay: Duration,
    /// What is added to the delay, for each packet anew. Default: nothing.
    pub jitter: Jitter,
    /// Whether jitter lets packets overtake each other. Default: it does not.
    pub order: Order,
    /// Which packets are lost. Default: none.
    pub loss: LossModel,
    /// The share of packets that arrive twice. Each copy has a jitter and a damage of its own.
    /// Default: none.
    pub duplication: Probability,
    /// Which packets arrive damaged. Default: none.
    pub corruption: Corruption,
    /// How fast packets enter the link, and the queue before it. Default: at once.
    pub rate: Option<Rate>,
    /// The length, with all headers, of the longest packet that passes. Default: any length.
    pub mtu_bytes: Option<NonZero<u32>>,
}

/// Whether packets arrive in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// First in, first out: a packet that jitter delays holds up those behind it, as in a radio link
    /// that repeats what was lost.
    #[default]
    Kept,
    /// Every packet arrives when its own jitter lets it, as on parallel paths. TCP segments keep
    /// their order all the same: a receiver would put them in order again, and the application would
    /// see nothing but the wait.
    Jittered,
}

/// Damage to packets on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Corruption {
    /// The share of packets that are damaged. Default: none.
    pub probability: Probability,
    /// The share of damaged UDP packets whose checksum does not tell. Default: none, though damage in
    /// the memory of routers and hosts happens in the field (J. Stone and C. Partridge, "When the CRC
    /// and TCP checksum disagree", SIGCOMM 2000).
    pub undetected: Probability,
}

impl Corruption {
    /// Nothing is damaged.
    pub const NONE: Self = Self {
        probability: Probability::NEVER,
        undetected: Probability::NEVER,
    };
}

impl LinkConfig {
    /// A link that only takes time.
    #[must_use]
    pub const fn lossless(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Jitter::None,
            order: Order::Kept,
            loss: LossModel::NONE,
            duplication: Probability::NEVER,
            corruption: Corruption::NONE,
            rate: None,
            mtu_bytes: None,
        }
    }

    /// The same link with loss of each packet by itself.
    #[must_use]
    pub const fn with_loss(self, loss: Probability) -> Self {
        Self {
            loss: LossModel::Uniform(loss),
            ..self
        }
    }

    /// The least time from entering the link to arriving. Nothing on the link takes less.
    #[must_use]
    pub const fn delay_min(&self) -> Duration {
        self.delay
    }

    /// The share of packets, 0 to 1, that do not arrive intact in the long run: lost or damaged. What
    /// a full queue drops depends on the traffic and is not in it.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        1.0 - (1.0 - self.loss.mean().share()) * (1.0 - self.corruption.probability.share())
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

/// What a link sees of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parcel {
    /// Its length with all headers.
    pub size_bytes: usize,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// How its sender asked for it to be treated.
    pub class: TrafficClass,
}

/// What became of a packet in a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmission {
    /// It arrives.
    Arrives(Arrival),
    /// It arrives twice: the packet, then its copy, which overtakes it only where the link keeps no
    /// order.
    Duplicated([Arrival; 2]),
    /// It does not arrive: [`DropCause::Loss`] or [`DropCause::TooLarge`].
    Dropped(DropCause),
}

/// When and how a packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Duration,
    /// In which state.
    pub damage: Damage,
}

/// What happened to the bits of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It is intact.
    None,
    /// Its checksum tells, so whoever verifies it drops it. That of TCP always does.
    Detected,
    /// Its checksum is right, and its payload is not.
    Undetected {
        /// Which bit: this number modulo the number of bits.
        bit: u32,
    },
}

impl Damage {
    /// Does to a packet's payload what happened to it. Only [`Damage::Undetected`] changes anything,
    /// since the payload of a packet that is dropped does not matter.
    pub fn apply(self, payload: &mut [u8]) {
        let (Self::Undetected { bit }, false) = (self, payload.is_empty()) else {
            return;
        };
        let position = bit as usize % (payload.len() * 8);
        payload[position / 8] ^= 1 << (position % 8);
    }
}

/// The state of one direction of a link, without the queue before it.
#[derive(Debug, Clone)]
pub struct Link {
    config: LinkConfig,
    loss: LossProcess,
    latest_arrival: Duration,
    latest_tcp_arrival: Duration,
}

impl Link {
    /// An idle link.
    #[must_use]
    pub fn new(config: LinkConfig) -> Self {
        Self {
            config,
            loss: LossProcess::default(),
            latest_arrival: Duration::ZERO,
            latest_tcp_arrival: Duration::ZERO,
        }
    }

    /// What the link does now.
    #[must_use]
    pub const fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Changes what the link does to the packets sent from now on. What is on its way arrives as it
    /// would have, and is not overtaken where the order is kept.
    pub fn reconfigure(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// Sends a packet into the link at `now`, after it has left the shaper where there is one.
    ///
    /// One number is drawn for each packet, whatever the link does to it: no setting shifts what
    /// later packets meet.
    pub fn transmit(&mut self, now: Duration, parcel: Parcel, rng: &mut dyn Rng) -> Transmission {
        let draw = rng.next_u64();
        let mtu_bytes = self.config.mtu_bytes.map(NonZero::get);
        if mtu_bytes.is_some_and(|mtu| parcel.size_bytes > mtu as usize) {
            return Transmission::Dropped(DropCause::TooLarge);
        }
        if self.loss.loses(self.config.loss, fraction(draw)) {
            return Transmission::Dropped(DropCause::Loss);
        }
        // What else happens to the packet follows from the one number.
        let mut fates = fastrand::Rng::with_seed(draw);
        let is_duplicated = self.config.duplication.includes(fraction(fates.u64(..)));
        let arrival = self.arrive(now, parcel.protocol, &mut fates);
        if is_duplicated {
            let copy = self.arrive(now, parcel.protocol, &mut fates);
            return Transmission::Duplicated([arrival, copy]);
        }
        Transmission::Arrives(arrival)
    }

    fn arrive(&mut self, now: Duration, protocol: Protocol, fates: &mut fastrand::Rng) -> Arrival {
        let damage = self.damage(protocol, fates);
        let undisturbed = now + self.config.delay + self.config.jitter.draw(fates);
        let not_before = match (self.config.order, protocol) {
            (Order::Kept, _) => self.latest_arrival,
            (Order::Jittered, Protocol::Tcp) => self.latest_tcp_arrival,
            (Order::Jittered, Protocol::Udp) => Duration::ZERO,
        };
        let at = undisturbed.max(not_before);
        self.latest_arrival = self.latest_arrival.max(at);
        if protocol == Protocol::Tcp {
            self.latest_tcp_arrival = self.latest_tcp_arrival.max(at);
        }
        Arrival { at, damage }
    }

    fn damage(&self, protocol: Protocol, fates: &mut fastrand::Rng) -> Damage {
        let Corruption {
            probability,
            undetected,
        } = self.config.corruption;
        let is_damaged = probability.includes(fraction(fates.u64(..)));
        let is_undetected = undetected.includes(fraction(fates.u64(..)));
        let bit = fates.u32(..);
        match (is_damaged, protocol) {
            (false, _) => Damage::None,
            (true, Protocol::Udp) if is_undetected => Damage::Undetected { bit },
            (true, _) => Damage::Detected,
        }
    }
}

/// A uniform number from 0 (included) to 1 (excluded), of the 53 bits that a float holds.
fn fraction(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
