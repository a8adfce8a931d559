//! Which addresses the ICE agent sees in place of the real ones (pure).
//!
//! The agent's virtual network delivers loopback destinations inside itself and knows no names.
//! So loopback addresses and servers stand under addresses of class E (240.0.0.0/4) or, for `::1`,
//! of the prefix that routers discard (RFC 6666), which no real host has; everything else keeps its
//! own address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first octet under which 127.0.0.0/8 appears.
const LOOPBACK_OCTET: u8 = 247;

/// Under which `::1` appears.
const LOOPBACK_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

/// The first octet of the addresses that stand for servers.
const SERVER_OCTET: u8 = 248;

/// The most servers that can be told apart.
pub(super) const SERVERS_MAX: usize = 250;

/// No packet goes here: whoever sends to it learns that all earlier packets have left.
pub(super) const FLUSH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(249, 0, 0, 1)), 9);

/// What the agent sees in place of `real`.
pub(crate) fn virtual_of(real: IpAddr) -> IpAddr {
    match real {
        IpAddr::V4(address) if address.is_loopback() => with_first_octet(address, LOOPBACK_OCTET),
        IpAddr::V6(address) if address.is_loopback() => LOOPBACK_V6.into(),
        _ => real,
    }
}

/// What the agent's `seen` address really is.
pub(crate) fn real_of(seen: IpAddr) -> IpAddr {
    match seen {
        IpAddr::V4(address) if address.octets()[0] == LOOPBACK_OCTET => {
            with_first_octet(address, 127)
        }
        IpAddr::V6(LOOPBACK_V6) => Ipv6Addr::LOCALHOST.into(),
        _ => seen,
    }
}

/// The address that stands for the server number `index`, from 0.
pub(super) fn server(index: usize, port: u16) -> Option<SocketAddr> {
    let last = u8::try_from(index).ok().filter(|_| index < SERVERS_MAX)? + 1;
    Some(SocketAddr::new(
        Ipv4Addr::new(SERVER_OCTET, 0, 0, last).into(),
        port,
    ))
}

fn with_first_octet(address: Ipv4Addr, first: u8) -> IpAddr {
    let [_, second, third, fourth] = address.octets();
    Ipv4Addr::new(first, second, third, fourth).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_hidden_and_found_again() {
        for loopback in [[127, 0, 0, 5].into(), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            assert!(!virtual_of(loopback).is_loopback());
            assert_eq!(real_of(virtual_of(loopback)), loopback);
        }
        for ordinary in [
            [10, 0, 0, 5].into(),
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 5]),
        ] {
            assert_eq!(virtual_of(ordinary), ordinary);
            assert_eq!(real_of(ordinary), ordinary);
        }
    }

    #[test]
    fn servers_beyond_the_bound_have_no_address() {
        assert!(server(SERVERS_MAX - 1, 3478).is_some());
        assert_eq!(server(SERVERS_MAX, 3478), None);
    }
}
