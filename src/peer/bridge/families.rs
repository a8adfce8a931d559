//! What two address families ask of the bridge (pure).
//!
//! The agent gathers from servers on IPv4 sockets only and cannot name a server by an IPv6 address,
//! so its IPv4 sockets stand for the host as a whole towards servers: which family a packet really
//! goes over is settled here. Between peers both families pass as they are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::address::{real_of, virtual_of};

/// Where the agent's sockets to servers seem to be on a host without an IPv4 address. Of class E,
/// like the addresses of the servers themselves, and never announced.
const PLACEHOLDER: IpAddr = IpAddr::V4(Ipv4Addr::new(246, 0, 0, 1));

/// The version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The addresses of this host that candidates are gathered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostAddresses {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

/// What a server is asked for, which decides how the addresses of its name are chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A server reflexive candidate.
    Stun,
    /// A relayed candidate.
    Turn,
}

/// Where a server may be reached: at most one address of each family, the preferred one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerAddresses {
    addresses: Vec<SocketAddr>,
    next: usize,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl HostAddresses {
    /// Keeps those that candidates may be gathered from, each once. `None` where none is left.
    pub(super) fn new(interfaces: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        let mut addresses = Self {
            v4: Vec::new(),
            v6: Vec::new(),
        };
        for address in interfaces {
            let known = match address {
                IpAddr::V4(_) => &mut addresses.v4,
                IpAddr::V6(_) => &mut addresses.v6,
            };
            if is_candidate(address) && !known.contains(&address) {
                known.push(address);
            }
        }
        (!addresses.v4.is_empty() || !addresses.v6.is_empty()).then_some(addresses)
    }

    pub(super) fn has(&self, family: Family) -> bool {
        !self.of(family).is_empty()
    }

    /// The real addresses of one family.
    pub(super) fn of(&self, family: Family) -> &[IpAddr] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The addresses of one family that the agent sees. There is always one of IPv4.
    pub(super) fn seen(&self, family: Family) -> Vec<IpAddr> {
        if family == Family::V4 && self.v4.is_empty() {
            return vec![PLACEHOLDER];
        }
        self.of(family).iter().copied().map(virtual_of).collect()
    }

    /// Where the agent's sockets on the unspecified address send from.
    pub(super) fn first_seen(&self) -> IpAddr {
        self.v4.first().copied().map_or(PLACEHOLDER, virtual_of)
    }

    /// The address to bind for what the agent sends from `seen` over `family`. `None` where this
    /// host has no address of that family.
    pub(super) fn real_for(&self, seen: IpAddr, family: Family) -> Option<IpAddr> {
        let own = Family::of(seen) == family && seen != PLACEHOLDER;
        if own {
            Some(real_of(seen))
        } else {
            self.of(family).first().copied()
        }
    }
}

impl ServerAddresses {
    /// Chooses from `found`, the addresses of a server's name in the order in which they should be
    /// tried. `None` where this host has none of their families.
    ///
    /// A TURN server relays alike whatever it is reached over, so the order stands, and the other
    /// family is there in case the first leads nowhere. A STUN server is asked what a NAT makes of
    /// an IPv4 address wherever there is one: an IPv6 address is known already, and an answer over
    /// IPv6 would take the place of the one that is needed.
    pub(super) fn choose(
        found: &[IpAddr],
        port: u16,
        host: &HostAddresses,
        purpose: Purpose,
    ) -> Option<Self> {
        let first_of = |family| {
            found
                .iter()
                .position(|address| Family::of(*address) == family)
                .filter(|_| host.has(family))
        };
        let chosen: Vec<usize> = match (purpose, first_of(Family::V4), first_of(Family::V6)) {
            (_, None, None) => return None,
            (Purpose::Turn, Some(v4), Some(v6)) => vec![v4.min(v6), v4.max(v6)],
            (_, Some(only), _) | (_, None, Some(only)) => vec![only],
        };
        Some(Self {
            addresses: chosen
                .into_iter()
                .map(|index| SocketAddr::new(found[index], port))
                .collect(),
            next: 0,
        })
    }

    /// Where the next packet goes: to each address in turn until one answers. A request is
    /// repeated by whoever sent it, so a family that leads nowhere costs one repetition.
    pub(super) fn next(&mut self) -> SocketAddr {
        let address = self.addresses[self.next % self.addresses.len()];
        self.next += 1;
        address
    }

    /// Something came from `source`: all packets go there from now on.
    pub(super) fn answered(&mut self, source: SocketAddr) {
        if self.addresses.len() > 1 && self.addresses.contains(&source) {
            self.addresses = vec![source];
        }
    }
}

/// Whether candidates may be gathered from `address`, or checks sent to it (RFC 8445 section
/// 5.1.1.1). Link-local addresses mean nothing without an interface, which no candidate names;
/// site-local, IPv4-compatible and IPv4-mapped ones belong to mechanisms that are gone.
pub(crate) fn is_candidate(address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else {
        return true;
    };
    if address.is_loopback() {
        return true;
    }
    let first = address.segments()[0];
    let is_site_local = first & 0xffc0 == 0xfec0;
    // `::/96`, with the unspecified address, and `::ffff:0:0/96`.
    let is_ipv4_inside = address.to_ipv4().is_some();
    !(address.is_unicast_link_local() || address.is_multicast() || is_site_local || is_ipv4_inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn host(addresses: &[&str]) -> HostAddresses {
        HostAddresses::new(addresses.iter().map(|each| ip(each))).expect("one is usable")
    }

    /// The addresses to which three packets go.
    #[track_caller]
    fn check(found: &[&str], own: &[&str], purpose: Purpose, expected: [&str; 3]) {
        let found: Vec<_> = found.iter().map(|each| ip(each)).collect();
        let mut chosen =
            ServerAddresses::choose(&found, 3478, &host(own), purpose).expect("a family in common");
        let sent = [(); 3].map(|()| chosen.next());
        assert_eq!(sent, expected.map(|each| SocketAddr::new(ip(each), 3478)));
    }

    const V4: &str = "10.0.0.2";
    const V6: &str = "2001:db8::2";
    const SERVER_V4: &str = "203.0.113.9";
    const SERVER_V6: &str = "2001:db8:5::9";

    #[test]
    fn only_addresses_that_candidates_may_have_are_kept() {
        for kept in ["10.0.0.1", "2001:db8::1", "fd12::1", "::1"] {
            assert!(is_candidate(ip(kept)), "{kept}");
        }
        for left_out in [
            "fe80::1",
            "febf::1",
            "fec0::1",
            "feff::1",
            "ff02::1",
            "::",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
        ] {
            assert!(!is_candidate(ip(left_out)), "{left_out}");
        }
        assert_eq!(HostAddresses::new([ip("fe80::1")]), None);
        assert_eq!(host(&[V6, V6, "fe80::1"]).of(Family::V6), [ip(V6)]);
    }

    #[test]
    fn a_host_without_ipv4_seems_to_have_an_address_for_its_sockets_to_servers() {
        let host = host(&[V6]);
        assert!(!host.has(Family::V4));
        let [seen] = host.seen(Family::V4)[..] else {
            panic!("one address");
        };
        assert_eq!(seen, host.first_seen());
        assert_eq!(host.real_for(seen, Family::V6), Some(ip(V6)));
        assert_eq!(host.real_for(seen, Family::V4), None);
    }

    #[test]
    fn an_ipv4_socket_reaches_an_ipv6_server_from_the_ipv6_address() {
        let host = host(&["10.0.0.1", V4, V6]);
        assert_eq!(host.real_for(ip(V4), Family::V4), Some(ip(V4)));
        assert_eq!(host.real_for(ip(V4), Family::V6), Some(ip(V6)));
    }

    #[test]
    fn a_turn_server_is_tried_in_the_order_given_until_one_family_answers() {
        check(
            &[SERVER_V6, SERVER_V4],
            &[V4, V6],
            Purpose::Turn,
            [SERVER_V6, SERVER_V4, SERVER_V6],
        );
        check(
            &[SERVER_V4, SERVER_V6],
            &[V4, V6],
            Purpose::Turn,
            [SERVER_V4, SERVER_V6, SERVER_V4],
        );
        let found = [ip(SERVER_V6), ip(SERVER_V4)];
        let mut chosen =
            ServerAddresses::choose(&found, 3478, &host(&[V4, V6]), Purpose::Turn).expect("two");
        let answering = SocketAddr::new(ip(SERVER_V4), 3478);
        chosen.answered(SocketAddr::new(ip(V4), 3478));
        chosen.answered(answering);
        assert_eq!([chosen.next(), chosen.next()], [answering; 2]);
    }

    #[test]
    fn families_that_the_host_lacks_are_left_out() {
        check(
            &[SERVER_V6, SERVER_V4],
            &[V4],
            Purpose::Turn,
            [SERVER_V4; 3],
        );
        check(
            &[SERVER_V4, SERVER_V6],
            &[V6],
            Purpose::Stun,
            [SERVER_V6; 3],
        );
        let only_v6 = [ip(SERVER_V6)];
        assert_eq!(
            ServerAddresses::choose(&only_v6, 3478, &host(&[V4]), Purpose::Turn),
            None
        );
    }

    #[test]
    fn a_stun_server_is_asked_about_the_ipv4_address_where_there_is_one() {
        check(
            &[SERVER_V6, SERVER_V4],
            &[V4, V6],
            Purpose::Stun,
            [SERVER_V4; 3],
        );
        check(&[SERVER_V6], &[V4, V6], Purpose::Stun, [SERVER_V6; 3]);
    }
}
