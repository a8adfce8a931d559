//! What a gateway does with a packet: firewall, translation, and which way it goes on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::wire::Wires;
use super::{Owner, Packet};
use crate::fault::Direction;
use crate::net::cause::DropCause;
use crate::net::firewall::FirewallConfig;
use crate::net::nat::{Nat, Verdict};
use crate::net::topology::Network;

/// The gateway of a network.
#[derive(Debug)]
pub(super) struct Gateway<P> {
    /// Who has which address in the network.
    pub(super) inside: BTreeMap<IpAddr, Owner>,
    pub(super) nat: Option<Nat>,
    pub(super) rng: ChaCha8Rng,
    pub(super) uplink: Wires<P>,
    pub(super) blackhole: Option<Direction>,
    firewall: FirewallConfig,
}

/// Where a packet goes from a node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Onward {
    /// To a host or a gateway that the node has a link to.
    To(Owner),
    /// Into the uplink.
    Up,
    /// Nowhere.
    Drop(DropCause),
    /// Nowhere, and its sender is told by a reset.
    Refuse(DropCause),
}

impl<P> Gateway<P> {
    pub(super) fn new(network: &Network, stream: &mut impl FnMut(&str) -> ChaCha8Rng) -> Self {
        let config = &network.config;
        Self {
            inside: BTreeMap::new(),
            nat: config
                .nat
                .clone()
                .map(|nat| Nat::new(network.externals.clone(), nat)),
            rng: stream(&format!("nat {}", network.name)),
            uplink: Wires::new(&network.name, config.uplink, stream),
            blackhole: None,
            firewall: config.firewall,
        }
    }

    /// A packet that comes from one of the network's hosts.
    pub(super) fn route_up<B>(&mut self, at: Duration, packet: &mut Packet<B>) -> Onward {
        if let Some(owner) = self.inside.get(&packet.flow.destination.ip()) {
            return Onward::To(*owner);
        }
        if matches!(self.blackhole, Some(Direction::Up | Direction::Both)) {
            return Onward::Drop(DropCause::Blackhole);
        }
        if let Err(cause) = self.firewall.check(packet.flow.protocol) {
            return Onward::Drop(cause);
        }
        let Some(nat) = self.nat.as_mut().filter(|_| packet.flow.source.is_ipv4()) else {
            return Onward::Up;
        };
        match nat.outbound(at, packet.flow, packet.tcp, &mut self.rng) {
            Verdict::Forward(flow) => packet.flow = flow,
            Verdict::Drop(cause) => return Onward::Drop(cause),
            Verdict::Refuse(cause) => return Onward::Refuse(cause),
        }
        // A hairpinned packet has become local.
        match self.inside.get(&packet.flow.destination.ip()) {
            Some(owner) => Onward::To(*owner),
            None => Onward::Up,
        }
    }

    /// A packet that comes from outside.
    pub(super) fn route_down<B>(&mut self, at: Duration, packet: &mut Packet<B>) -> Onward {
        if matches!(self.blackhole, Some(Direction::Down | Direction::Both)) {
            return Onward::Drop(DropCause::Blackhole);
        }
        if let Err(cause) = self.firewall.check(packet.flow.protocol) {
            return Onward::Drop(cause);
        }
        if let Some(nat) = self.nat.as_mut().filter(|_| packet.flow.source.is_ipv4()) {
            match nat.inbound(at, packet.flow, packet.tcp) {
                Verdict::Forward(flow) => packet.flow = flow,
                Verdict::Drop(cause) => return Onward::Drop(cause),
                Verdict::Refuse(cause) => return Onward::Refuse(cause),
            }
        }
        match self.inside.get(&packet.flow.destination.ip()) {
            Some(owner) => Onward::To(*owner),
            None => Onward::Drop(DropCause::NoRoute),
        }
    }
}
