//! What a client can tell of the NAT that it is behind, with a STUN server of two addresses and two
//! ports (RFC 5780): mapping, filtering, hairpinning, and how long UDP is remembered.
//!
//! [`classify`] asks on any network. [`classify_nat`] asks in a world made for it, so that a NAT's
//! configuration can be checked: whether it comes out as what it is meant to be.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use thiserror::Error;

use crate::determinism::RunError;
use crate::net::nat::{Filtering, Hairpin, Mapping, NatConfig};
use crate::net::topology::TopologyError;

mod client;
mod lifetime;
mod world;

pub use client::classify;
pub use world::classify_nat;

/// How patiently a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeConfig {
    /// How long to wait for an answer before the request is repeated. Default 500 ms (RFC 8489
    /// section 6.2.1); it has to exceed the round trip.
    pub retransmission_timeout: Duration,
    /// How often a request is sent before the answer counts as filtered. Default 7, as in RFC 8489
    /// section 6.2.1.
    pub requests_max: u32,
    /// The longest lifetime of a binding that is looked for. Default 20 min; the search takes up to
    /// twice as long.
    pub lifetime_max: Duration,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            retransmission_timeout: Duration::from_millis(500),
            requests_max: 7,
            lifetime_max: Duration::from_mins(20),
        }
    }
}

/// What a NAT looks like from inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classification {
    /// When an outer port is reused (RFC 5780 section 4.3).
    pub mapping: Mapping,
    /// Who is let in (RFC 5780 section 4.4).
    pub filtering: Filtering,
    /// What becomes of packets to the NAT's own address (RFC 5780 section 4.5). `None` where it
    /// cannot be told: with a mapping and a filtering that both depend on the address, and outer
    /// ports that cannot be foretold, no packet could be aimed so that it comes back, whatever the
    /// NAT does.
    pub hairpin: Option<Hairpin>,
    /// Between these two is the time for which UDP is remembered (RFC 5780 section 4.6); `None`
    /// where that is longer than [`ProbeConfig::lifetime_max`].
    pub udp_lifetime: Option<RangeInclusive<Duration>>,
}

/// Whether a NAT looks as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// In everything that can be told.
    Agrees,
    /// Not in everything.
    Differs,
}

/// Why a NAT was not classified.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// A socket was refused.
    #[error("no socket for the probe: {0}")]
    Socket(#[from] std::io::Error),
    /// The server is not there, or UDP does not pass.
    #[error("the STUN server at {server} does not answer")]
    NoAnswer {
        /// Where the request went.
        server: SocketAddr,
    },
    /// The server has no second address (RFC 5780 section 7.4).
    #[error("the STUN server at {server} names no other address, so NATs cannot be told apart")]
    NoOtherAddress {
        /// The server.
        server: SocketAddr,
    },
    /// There is no NAT: the server sees the very address that the socket has.
    #[error("there is no NAT before {local}")]
    NoNat {
        /// The address.
        local: SocketAddr,
    },
    /// The world of the probe could not be built.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The world of the probe fell apart.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The world of the probe came to no end.
    #[error("the probe was not done after {0:?}")]
    Endless(Duration),
}

impl Classification {
    /// Whether this is what a NAT with this configuration has to look like.
    #[must_use]
    pub fn agreement_with(&self, config: &NatConfig) -> Agreement {
        let hairpin = self.hairpin.is_none_or(|seen| seen == config.hairpin);
        let lifetime = self
            .udp_lifetime
            .as_ref()
            .is_some_and(|seen| seen.contains(&config.udp_timer.idle));
        let agrees = self.mapping == config.mapping
            && self.filtering == config.filtering
            && hairpin
            && lifetime;
        if agrees {
            Agreement::Agrees
        } else {
            Agreement::Differs
        }
    }
}

impl fmt::Display for Classification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "mapping {:?}, filtering {:?}, ",
            self.mapping, self.filtering
        )?;
        match self.hairpin {
            Some(hairpin) => write!(formatter, "hairpin {hairpin:?}, ")?,
            None => formatter.write_str("hairpin not to be told, ")?,
        }
        match &self.udp_lifetime {
            Some(range) => write!(
                formatter,
                "UDP remembered for {:?} to {:?}",
                range.start(),
                range.end()
            ),
            None => formatter.write_str("UDP remembered longer than was waited for"),
        }
    }
}
