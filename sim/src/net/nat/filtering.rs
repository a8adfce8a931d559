//! Filtering (RFC 4787 section 5): who outside may send to a mapping.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::expiry::Sessions;

/// Which senders a NAT admits to an external port that it has mapped (RFC 4787 section 5): of UDP
/// each packet, of TCP each attempt to connect (RFC 5382 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Anybody. Recommended by REQ-8 where transparency to applications matters most.
    EndpointIndependent,
    /// Addresses that the inside endpoint has sent to, from any port. Recommended by REQ-8 where
    /// a more stringent filter matters most.
    AddressDependent,
    /// Only the very addresses and ports that the inside endpoint has sent to.
    #[default]
    AddressAndPortDependent,
}

impl Filtering {
    /// The three behaviours, from the most to the least permissive.
    pub const ALL: [Self; 3] = [
        Self::EndpointIndependent,
        Self::AddressDependent,
        Self::AddressAndPortDependent,
    ];

    /// Whether `remote` may send to a binding with these sessions.
    pub(super) fn admits(self, sessions: &Sessions, remote: SocketAddr, now: Duration) -> bool {
        match self {
            Self::EndpointIndependent => true,
            Self::AddressDependent => sessions.has_address(remote.ip(), now),
            Self::AddressAndPortDependent => sessions.has(remote, now),
        }
    }
}
