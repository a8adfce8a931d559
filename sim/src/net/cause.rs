//! Why a packet was not delivered.

use std::fmt;

/// The reason why a packet did not reach its destination. Every packet that is not delivered has
/// exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropCause {
    /// A link lost it at random.
    Loss,
    /// The queue before a slow link had no room left (tail drop).
    QueueFull,
    /// It is larger than the link's maximum transmission unit.
    TooLarge,
    /// A link damaged it, and its checksum told.
    Checksum,
    /// No network and no server owns the destination address.
    NoRoute,
    /// A fault makes everything vanish there.
    Blackhole,
    /// The interface that it was sent from or to is down.
    InterfaceDown,
    /// The host that it was sent to is switched off.
    HostDown,
    /// A fault cut the TCP connection that it belongs to.
    ConnectionCut,
    /// The firewall of a gateway lets no UDP pass.
    FirewallUdpBlocked,
    /// The firewall of a gateway lets no packet to this TCP port pass.
    FirewallPortBlocked,
    /// The stateful firewall of a gateway knows no flow that it belongs to (RFC 6092 section 3).
    FirewallUnsolicited,
    /// A middlebox has cut the TCP connection that it belongs to, for it was idle.
    FirewallIdleCut,
    /// A captive portal lets nothing pass but the way to itself.
    CaptivePortal,
    /// No live mapping of the NAT owns the external port.
    NatNoMapping,
    /// A mapping exists, but its filter does not admit this sender (RFC 4787 section 5).
    NatFiltered,
    /// A TCP connection attempt from outside that nobody inside asked for (RFC 5382 section 4.3).
    NatUnsolicitedTcp,
    /// A TCP segment in the middle of a connection that the NAT does not know, or knows no more (RFC
    /// 6146 section 3.5.2.2).
    NatUnknownTcp,
    /// Every external port of the NAT is in use.
    NatPortsExhausted,
    /// The inside host has as many mappings as the NAT allows one host (RFC 6888 section 3).
    NatHostLimit,
    /// The address outside is one of the inside network too, and the NAT cannot tell them apart (RFC
    /// 4787 section 4.4).
    NatAddressConflict,
    /// The NAT does not translate between these families of addresses.
    NatWrongFamily,
    /// The NAT forwards no such fragment (RFC 4787 section 11).
    NatFragmentRefused,
    /// The NAT forwards no ICMP errors (RFC 4787 section 9).
    NatIcmpRefused,
    /// A host inside sent to the NAT's own external address and the NAT does not hairpin
    /// (RFC 4787 section 6).
    NatHairpinRefused,
}

impl DropCause {
    /// All causes, in the order of their declaration.
    pub const ALL: [Self; 25] = [
        Self::Loss,
        Self::QueueFull,
        Self::TooLarge,
        Self::Checksum,
        Self::NoRoute,
        Self::Blackhole,
        Self::InterfaceDown,
        Self::HostDown,
        Self::ConnectionCut,
        Self::FirewallUdpBlocked,
        Self::FirewallPortBlocked,
        Self::FirewallUnsolicited,
        Self::FirewallIdleCut,
        Self::CaptivePortal,
        Self::NatNoMapping,
        Self::NatFiltered,
        Self::NatUnsolicitedTcp,
        Self::NatUnknownTcp,
        Self::NatPortsExhausted,
        Self::NatHostLimit,
        Self::NatAddressConflict,
        Self::NatWrongFamily,
        Self::NatFragmentRefused,
        Self::NatIcmpRefused,
        Self::NatHairpinRefused,
    ];

    /// The text that timelines and reports show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::QueueFull => "link: queue full",
            Self::TooLarge => "link: larger than the mtu",
            Self::Checksum => "link: checksum",
            Self::NoRoute => "no route",
            Self::Blackhole => "fault: blackhole",
            Self::InterfaceDown => "interface down",
            Self::HostDown => "host down",
            Self::ConnectionCut => "fault: connection cut",
            Self::FirewallUdpBlocked => "firewall: udp blocked",
            Self::FirewallPortBlocked => "firewall: port blocked",
            Self::FirewallUnsolicited => "firewall: unsolicited",
            Self::FirewallIdleCut => "firewall: idle connection cut",
            Self::CaptivePortal => "captive portal",
            Self::NatNoMapping => "nat: no mapping",
            Self::NatFiltered => "nat: filtered",
            Self::NatUnsolicitedTcp => "nat: unsolicited tcp connection",
            Self::NatUnknownTcp => "nat: unknown tcp connection",
            Self::NatPortsExhausted => "nat: ports exhausted",
            Self::NatHostLimit => "nat: limit of one host",
            Self::NatAddressConflict => "nat: address conflict",
            Self::NatWrongFamily => "nat: wrong family of addresses",
            Self::NatFragmentRefused => "nat: fragment refused",
            Self::NatIcmpRefused => "nat: icmp refused",
            Self::NatHairpinRefused => "nat: hairpin refused",
        }
    }
}

impl fmt::Display for DropCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_has_a_text_of_its_own() {
        let texts: BTreeSet<_> = DropCause::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), DropCause::ALL.len());
    }
}
