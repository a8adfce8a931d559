//! Why a packet was not delivered.

use std::fmt;

/// The reason why a packet did not reach its destination. Every packet that is not delivered has
/// exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropCause {
    /// A link lost it at random.
    Loss,
    /// No network and no server owns the destination address.
    NoRoute,
    /// The firewall of a gateway lets no UDP pass.
    FirewallUdpBlocked,
    /// No live mapping of the NAT owns the external port (or, for a TCP reset from inside, the
    /// connection).
    NatNoMapping,
    /// A mapping exists, but its filter does not admit this sender (RFC 4787 section 5).
    NatFiltered,
    /// A TCP connection attempt from outside that nobody inside asked for (RFC 5382 section 4.3).
    NatUnsolicitedTcp,
    /// Every external port of the NAT is in use.
    NatPortsExhausted,
    /// A host inside sent to the NAT's own external address and the NAT does not hairpin
    /// (RFC 4787 section 6).
    NatHairpinRefused,
}

impl DropCause {
    /// All causes, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Loss,
        Self::NoRoute,
        Self::FirewallUdpBlocked,
        Self::NatNoMapping,
        Self::NatFiltered,
        Self::NatUnsolicitedTcp,
        Self::NatPortsExhausted,
        Self::NatHairpinRefused,
    ];

    /// The text that timelines and reports show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::NoRoute => "no route",
            Self::FirewallUdpBlocked => "firewall: udp blocked",
            Self::NatNoMapping => "nat: no mapping",
            Self::NatFiltered => "nat: filtered",
            Self::NatUnsolicitedTcp => "nat: unsolicited tcp connection",
            Self::NatPortsExhausted => "nat: ports exhausted",
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
