//! Conflicting addresses (RFC 4787 section 4.4): a NAT behind another one, where both networks use
//! the same private prefix.

use std::net::IpAddr;

/// What a NAT does with packets between an inside host and an outside node whose address lies in the
/// inside network too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum AddressConflict {
    /// They are translated and forwarded as all others. RFC 4787 REQ-7 demands it of a NAT whose
    /// external address is configured from outside and that cannot move its inside network away.
    #[default]
    Translated,
    /// The router takes them for its own network's and forwards none: whatever outside is in the /24
    /// (of IPv6 the /64) of the inside host is out of reach.
    Refused,
}

impl AddressConflict {
    /// Whether packets between the two are forwarded.
    pub(super) fn admits(self, inside: IpAddr, outside: IpAddr) -> bool {
        match self {
            Self::Translated => true,
            Self::Refused => !share_a_network(inside, outside),
        }
    }
}

fn share_a_network(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => one.segments()[..4] == other.segments()[..4],
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(inside: &str, outside: &str, is_refused: bool) {
        let [inside, outside] = [inside, outside].map(|text| text.parse().expect("an address"));
        assert!(AddressConflict::Translated.admits(inside, outside));
        let is_admitted = AddressConflict::Refused.admits(inside, outside);
        assert_eq!(is_admitted, !is_refused, "{inside} and {outside}");
    }

    #[test]
    fn addresses_of_one_network_are_in_conflict() {
        check("192.168.1.2", "192.168.1.200", true);
        check("192.168.1.2", "192.168.2.2", false);
        check("2001:db8:0:1::2", "2001:db8:0:1:ffff::9", true);
        check("2001:db8:0:1::2", "2001:db8:0:2::2", false);
        check("192.168.1.2", "::ffff:192.168.1.3", false);
    }
}
