//! A NAT or firewall as rules over symbols: what it remembers and whom it admits.

use std::collections::{BTreeMap, BTreeSet};

use super::Layer;
use crate::net::nat::{Filtering, Hairpin, Mapping};

/// The address of something. Two symbols are two IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    /// A side's own.
    Host(usize, Family),
    /// Where a side's relay is.
    Relay(usize),
    /// The outer address of a box, by its number.
    Box(usize),
    /// The STUN server's.
    Stun,
}

/// The two internets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

/// An address and a port. Ports are symbols too: all that is known of two is whether they are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) port: usize,
}

/// A datagram on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram {
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
}

/// A box and what it remembers. It forgets nothing.
#[derive(Debug)]
pub(super) struct Middlebox {
    pub(super) layer: Layer,
    number: usize,
    /// The outer endpoint of each mapping, by its inner endpoint and what it is good for.
    mappings: BTreeMap<(Endpoint, Scope), Endpoint>,
    inner: BTreeMap<Endpoint, Endpoint>,
    /// Whom an outer endpoint has sent to.
    sent_to: BTreeSet<(Endpoint, Endpoint)>,
}

/// The destinations for which a mapping is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Everyone,
    Address(Address),
    Endpoint(Endpoint),
}

impl Middlebox {
    pub(super) fn new(layer: Layer, number: usize) -> Self {
        Self {
            layer,
            number,
            mappings: BTreeMap::new(),
            inner: BTreeMap::new(),
            sent_to: BTreeSet::new(),
        }
    }

    /// Whether what is inside can be addressed from outside.
    pub(super) fn is_transparent(&self) -> bool {
        self.layer.mapping.is_none()
    }

    pub(super) fn hairpins(&self) -> bool {
        self.layer.hairpin != Hairpin::Refused
    }

    /// How much it remembers. It changes whenever the box may act differently.
    pub(super) fn memory(&self) -> usize {
        self.mappings.len() + self.sent_to.len()
    }

    /// A datagram leaves: the same with its source as it is seen outside.
    pub(super) fn outbound(&mut self, datagram: Datagram) -> Datagram {
        let inside = datagram.source;
        let source = match self.layer.mapping {
            None => inside,
            Some(mapping) => {
                let scope = match mapping {
                    Mapping::EndpointIndependent => Scope::Everyone,
                    Mapping::AddressDependent => Scope::Address(datagram.destination.address),
                    Mapping::AddressAndPortDependent => Scope::Endpoint(datagram.destination),
                };
                let fresh = Endpoint {
                    address: Address::Box(self.number),
                    port: self.mappings.len(),
                };
                let outer = *self.mappings.entry((inside, scope)).or_insert(fresh);
                self.inner.insert(outer, inside);
                outer
            }
        };
        self.sent_to.insert((source, datagram.destination));
        Datagram { source, ..datagram }
    }

    /// A datagram wants in: the same with its destination as it is inside, or `None` where it is
    /// not admitted.
    pub(super) fn inbound(&self, datagram: Datagram) -> Option<Datagram> {
        let outer = datagram.destination;
        let inside = if self.is_transparent() {
            outer
        } else {
            *self.inner.get(&outer)?
        };
        let remote = datagram.source;
        let admitted = match self.layer.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self
                .sent_to
                .iter()
                .any(|(from, to)| *from == outer && to.address == remote.address),
            Filtering::AddressAndPortDependent => self.sent_to.contains(&(outer, remote)),
        };
        admitted.then_some(Datagram {
            destination: inside,
            ..datagram
        })
    }
}
