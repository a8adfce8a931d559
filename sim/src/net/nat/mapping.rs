//! Address and port mapping (RFC 4787 section 4.1): which packets of an inside endpoint share one
//! external port.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::net::flow::{Flow, Protocol};

/// When a NAT reuses the external port of an inside endpoint (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// For every destination. The only behaviour that RFC 4787 allows (REQ-1), since only with it
    /// is the address that a STUN server reports good for other peers too.
    #[default]
    EndpointIndependent,
    /// For destinations with the same address, whatever their port.
    AddressDependent,
    /// For one destination address and port only.
    AddressAndPortDependent,
}

impl Mapping {
    /// The three behaviours, from the most to the least permissive.
    pub const ALL: [Self; 3] = [
        Self::EndpointIndependent,
        Self::AddressDependent,
        Self::AddressAndPortDependent,
    ];

    pub(super) fn key(self, flow: Flow) -> BindingKey {
        BindingKey {
            protocol: flow.protocol,
            inside: flow.source,
            scope: match self {
                Self::EndpointIndependent => Scope::Any,
                Self::AddressDependent => Scope::Address(flow.destination.ip()),
                Self::AddressAndPortDependent => Scope::Endpoint(flow.destination),
            },
        }
    }
}

/// Whether a NAT keeps its behaviour under all conditions (RFC 4787 section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// It does: what a test finds out is true later too. RFC 4787 REQ-11 demands it.
    #[default]
    Deterministic,
    /// An inside endpoint whose own port is taken outside gets an address-and-port-dependent
    /// mapping, whatever the others get: the second host with the same port behind a router finds
    /// itself behind a symmetric NAT. Met where ports are preserved by mere luck.
    #[serde(rename = "symmetric")]
    SymmetricOnCollision,
}

/// What a binding was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BindingKey {
    pub(super) protocol: Protocol,
    pub(super) inside: SocketAddr,
    pub(super) scope: Scope,
}

/// The destinations that a binding serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Any,
    Address(IpAddr),
    Endpoint(SocketAddr),
}
