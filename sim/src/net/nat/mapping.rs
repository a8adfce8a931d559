//! Address and port mapping (RFC 4787 section 4.1): which packets of an inside endpoint share one
//! external port.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::expiry::{Sessions, Timers};
use crate::net::flow::{Flow, Protocol};

/// When a NAT reuses the external port of an inside endpoint (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
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

/// What a binding was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BindingKey {
    pub(super) protocol: Protocol,
    pub(super) inside: SocketAddr,
    scope: Scope,
}

/// The destinations that a binding serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Any,
    Address(IpAddr),
    Endpoint(SocketAddr),
}

/// An external port in use and the sessions that keep it alive.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub(super) port: u16,
    pub(super) sessions: Sessions,
}

impl Binding {
    /// Forgets sessions that are over and says whether any is left.
    fn expire(&mut self, now: Duration, timers: &Timers) -> bool {
        self.sessions.expire(now, timers);
        !self.sessions.is_empty()
    }
}

/// All bindings of a NAT, found from inside by their key and from outside by their port.
///
/// No two bindings of one protocol share a port: port overloading is forbidden by RFC 4787
/// section 4.2.1 (REQ-3).
#[derive(Debug, Clone, Default)]
pub(super) struct Bindings {
    by_key: BTreeMap<BindingKey, Binding>,
    by_port: BTreeMap<(Protocol, u16), BindingKey>,
}

impl Bindings {
    pub(super) fn has(&self, key: &BindingKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn by_key_mut(&mut self, key: &BindingKey) -> Option<&mut Binding> {
        self.by_key.get_mut(key)
    }

    pub(super) fn key_at(&self, protocol: Protocol, port: u16) -> Option<BindingKey> {
        self.by_port.get(&(protocol, port)).copied()
    }

    pub(super) fn is_taken(&self, protocol: Protocol, port: u16) -> bool {
        self.by_port.contains_key(&(protocol, port))
    }

    pub(super) fn insert(&mut self, key: BindingKey, port: u16) {
        self.by_port.insert((key.protocol, port), key);
        self.by_key.insert(
            key,
            Binding {
                port,
                sessions: Sessions::default(),
            },
        );
    }

    /// Frees the ports of all bindings that have no live session.
    pub(super) fn expire(&mut self, now: Duration, timers: &Timers) {
        let by_port = &mut self.by_port;
        self.by_key.retain(|key, binding| {
            let alive = binding.expire(now, timers);
            if !alive {
                by_port.remove(&(key.protocol, binding.port));
            }
            alive
        });
    }

    /// Frees the port of one binding if it has no live session.
    pub(super) fn expire_one(&mut self, key: &BindingKey, now: Duration, timers: &Timers) {
        if let Some(binding) = self.by_key.get_mut(key)
            && !binding.expire(now, timers)
        {
            self.by_port.remove(&(key.protocol, binding.port));
            self.by_key.remove(key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn clear(&mut self) {
        self.by_key.clear();
        self.by_port.clear();
    }
}
