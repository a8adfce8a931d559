//! The stateless packet filter of a gateway.

use serde::Deserialize;

use super::cause::DropCause;
use super::flow::Protocol;

/// What a gateway lets pass between its network and the core, in both directions. Packets between
/// two hosts of the network do not meet it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FirewallConfig {
    /// What becomes of UDP: many company and hotel networks pass TCP only.
    pub udp: Passage,
}

impl FirewallConfig {
    /// Judges a packet by its protocol.
    ///
    /// # Errors
    ///
    /// The cause for which the packet is dropped.
    pub fn check(self, protocol: Protocol) -> Result<(), DropCause> {
        match (protocol, self.udp) {
            (Protocol::Udp, Passage::Blocked) => Err(DropCause::FirewallUdpBlocked),
            (Protocol::Udp, Passage::Open) | (Protocol::Tcp, _) => Ok(()),
        }
    }
}

/// Whether a kind of packet passes a firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passage {
    /// It passes.
    #[default]
    Open,
    /// It is dropped without an answer.
    Blocked,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_is_open_unless_told_otherwise() {
        assert_eq!(FirewallConfig::default().check(Protocol::Udp), Ok(()));
        assert_eq!(FirewallConfig::default().check(Protocol::Tcp), Ok(()));
    }

    #[test]
    fn blocked_udp_leaves_tcp_alone() {
        let firewall = FirewallConfig {
            udp: Passage::Blocked,
        };
        assert_eq!(
            firewall.check(Protocol::Udp),
            Err(DropCause::FirewallUdpBlocked)
        );
        assert_eq!(firewall.check(Protocol::Tcp), Ok(()));
    }
}
