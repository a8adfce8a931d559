//! The links of a fabric: each direction with its queue and its own random stream.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::Packet;
use crate::net::link::{Link, LinkConfig, LinkPair, Parcel, Shaper, Transmission};

/// Both directions of a link.
#[derive(Debug)]
pub(super) struct Wires<P> {
    pub(super) up: Wire<P>,
    pub(super) down: Wire<P>,
}

/// One direction of a link, with its own random stream so that no other link shifts its draws.
#[derive(Debug)]
pub(super) struct Wire<P> {
    pub(super) label: String,
    /// The queue before it, where it has a rate.
    pub(super) shaper: Option<Shaper<P>>,
    /// When the fabric looks at the queue next.
    pub(super) departure_at: Option<Duration>,
    /// How many packets were sent into it.
    pub(super) carried: u64,
    link: Link,
    rng: ChaCha8Rng,
}

impl<P> Wires<P> {
    pub(super) fn new(
        name: &str,
        config: LinkPair,
        stream: &mut impl FnMut(&str) -> ChaCha8Rng,
    ) -> Self {
        Self {
            up: Wire::new(format!("link {name} up"), config.up, stream),
            down: Wire::new(format!("link {name} down"), config.down, stream),
        }
    }

    pub(super) fn carried(&self) -> u64 {
        self.up.carried + self.down.carried
    }

    pub(super) fn config(&self) -> LinkPair {
        LinkPair {
            up: *self.up.link.config(),
            down: *self.down.link.config(),
        }
    }
}

impl<P> Wire<P> {
    fn new(label: String, config: LinkConfig, stream: &mut impl FnMut(&str) -> ChaCha8Rng) -> Self {
        let rng = stream(&label);
        Self {
            label,
            shaper: config.rate.map(Shaper::new),
            departure_at: None,
            carried: 0,
            link: Link::new(config),
            rng,
        }
    }

    /// The least time that a packet takes.
    pub(super) fn delay_min(&self) -> Duration {
        self.link.config().delay_min()
    }

    /// Changes what the link does from now on. Gives what waited before it, where nothing has to wait
    /// any more.
    pub(super) fn reconfigure(&mut self, now: Duration, config: LinkConfig) -> Vec<P> {
        self.link.reconfigure(config);
        match (&mut self.shaper, config.rate) {
            (Some(shaper), Some(rate)) => {
                shaper.reconfigure(now, rate);
                Vec::new()
            }
            (shaper, rate) => {
                let released = shaper.as_mut().map(|shaper| shaper.drain().collect());
                *shaper = rate.map(Shaper::new);
                released.unwrap_or_default()
            }
        }
    }
}

impl<B> Wire<Packet<B>> {
    pub(super) fn transmit(&mut self, at: Duration, packet: &Packet<B>) -> Transmission {
        self.carried += 1;
        let parcel = Parcel {
            size_bytes: packet.size_bytes,
            protocol: packet.flow.protocol,
            class: packet.class,
        };
        self.link.transmit(at, parcel, &mut self.rng)
    }
}
