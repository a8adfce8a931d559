//! Stateful NAT64 (RFC 6146): hosts that have IPv6 only reach IPv4 through a prefix that stands for
//! all of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::net::cause::DropCause;
use crate::net::flow::Flow;

/// Between which families of addresses a NAT translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Translation {
    /// Inside and outside have the same family.
    #[default]
    SameFamily,
    /// IPv6 inside, IPv4 outside. Inside hosts reach an IPv4 address through the IPv6 address that
    /// embeds it after [`WELL_KNOWN_PREFIX`] (RFC 6052 section 2.1).
    Nat64,
}

/// The prefix of IPv6 addresses that embed an IPv4 address, `64:ff9b::/96` (RFC 6052 section 2.1).
pub const WELL_KNOWN_PREFIX: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

impl Translation {
    /// A packet from inside with the destination that the outside knows.
    pub(super) fn towards_outside(self, flow: Flow) -> Result<Flow, DropCause> {
        match self {
            Self::SameFamily => Ok(flow),
            Self::Nat64 => {
                let destination = match (flow.source.ip(), flow.destination.ip()) {
                    (IpAddr::V6(_), IpAddr::V6(destination)) => extracted(destination),
                    _ => None,
                };
                let destination = destination.ok_or(DropCause::NatWrongFamily)?;
                Ok(Flow {
                    destination: SocketAddr::new(destination.into(), flow.destination.port()),
                    ..flow
                })
            }
        }
    }

    /// An outside address as the inside knows it.
    pub(super) fn as_seen_inside(self, outside: IpAddr) -> IpAddr {
        match (self, outside) {
            (Self::Nat64, IpAddr::V4(address)) => embedded(address).into(),
            (Self::SameFamily | Self::Nat64, address) => address,
        }
    }
}

/// The IPv6 address that stands for an IPv4 address (RFC 6052 section 2.2).
#[must_use]
pub const fn embedded(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(WELL_KNOWN_PREFIX.to_bits() | address.to_bits() as u128)
}

/// The IPv4 address that an IPv6 address stands for; none where it has another prefix.
#[must_use]
pub fn extracted(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let is_embedded = address.octets()[..12] == WELL_KNOWN_PREFIX.octets()[..12];
    let [.., first, second, third, fourth] = address.octets();
    is_embedded.then_some(Ipv4Addr::new(first, second, third, fourth))
}
