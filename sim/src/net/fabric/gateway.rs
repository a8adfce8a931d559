//! What a gateway does with a packet: interception, firewall, translation, and which way it goes on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::wire::Wires;
use super::{Owner, Packet};
use crate::fault::Direction;
use crate::net::cause::DropCause;
use crate::net::firewall::{Firewall, FirewallVerdict};
use crate::net::flow::{Flow, TcpSignal};
use crate::net::nat::{Nat, Verdict};
use crate::net::redirect::Redirect;
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
    pub(super) interception: Option<Interception>,
    /// When the fabric asks for connections that were idle for too long.
    pub(super) expiry_at: Option<Duration>,
    firewall: Firewall,
    firewall_v6: Firewall,
}

/// A host of a network that its gateway sends other hosts' connections to.
#[derive(Debug, Clone)]
pub struct Interception {
    /// Which connections, and where to. The interceptor may ask it for the original destination.
    pub redirect: Arc<Mutex<Redirect>>,
    /// What becomes of everything else.
    pub others: Others,
}

/// What becomes of packets that an interceptor does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They go their way.
    Pass,
    /// They are dropped, as before a captive portal has let somebody in.
    Captive,
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
            interception: None,
            expiry_at: None,
            firewall: Firewall::new(config.firewall.clone()),
            firewall_v6: Firewall::new(config.firewall_v6.clone()),
        }
    }

    /// A packet that comes from one of the network's hosts.
    pub(super) fn route_up<B>(&mut self, at: Duration, packet: &mut Packet<B>) -> Onward {
        if let Some(interception) = &self.interception {
            packet.flow = interception.between_hosts(at, packet.flow, packet.tcp);
        }
        if let Some(owner) = self.inside.get(&packet.flow.destination.ip()) {
            return Onward::To(*owner);
        }
        if let Some(interception) = &self.interception {
            packet.flow = interception.to_outside(at, packet.flow, packet.tcp);
            if let Some(owner) = self.inside.get(&packet.flow.destination.ip()) {
                return Onward::To(*owner);
            }
            if interception.others == Others::Captive {
                return Onward::Drop(DropCause::CaptivePortal);
            }
        }
        if matches!(self.blackhole, Some(Direction::Up | Direction::Both)) {
            return Onward::Drop(DropCause::Blackhole);
        }
        let firewall = self.firewall_for(packet.flow);
        match firewall.outbound(at, packet.flow, packet.tcp) {
            FirewallVerdict::Pass => {}
            FirewallVerdict::Drop(cause) => return Onward::Drop(cause),
            FirewallVerdict::Reset(cause) => return Onward::Refuse(cause),
        }
        match self.translate_source(at, packet.flow, packet.tcp) {
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
        if let Some(nat) = self.nat.as_mut().filter(|_| packet.flow.source.is_ipv4()) {
            match nat.inbound(at, packet.flow, packet.tcp) {
                Verdict::Forward(flow) => packet.flow = flow,
                Verdict::Drop(cause) => return Onward::Drop(cause),
                Verdict::Refuse(cause) => return Onward::Refuse(cause),
            }
        }
        let firewall = self.firewall_for(packet.flow);
        match firewall.inbound(at, packet.flow, packet.tcp) {
            FirewallVerdict::Pass => {}
            FirewallVerdict::Drop(cause) => return Onward::Drop(cause),
            FirewallVerdict::Reset(cause) => return Onward::Refuse(cause),
        }
        match self.inside.get(&packet.flow.destination.ip()) {
            Some(owner) => Onward::To(*owner),
            None => Onward::Drop(DropCause::NoRoute),
        }
    }

    /// Forgets everything that the firewalls know of connections.
    pub(super) fn restart_firewalls(&mut self) {
        self.firewall.restart();
        self.firewall_v6.restart();
    }

    /// When connections will have been idle for too long.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let timeouts = [&self.firewall, &self.firewall_v6];
        timeouts
            .into_iter()
            .filter_map(Firewall::poll_timeout)
            .min()
    }

    /// The connections that have been idle for too long and whose both ends are to be told, as the
    /// network's hosts know them.
    pub(super) fn expired(&mut self, at: Duration) -> Vec<Flow> {
        let mut flows = self.firewall.expired(at);
        flows.extend(self.firewall_v6.expired(at));
        flows
    }

    /// What the NAT makes of a packet to the outside.
    pub(super) fn translate_source(
        &mut self,
        at: Duration,
        flow: Flow,
        signal: Option<TcpSignal>,
    ) -> Verdict {
        match self.nat.as_mut().filter(|_| flow.source.is_ipv4()) {
            Some(nat) => nat.outbound(at, flow, signal, &mut self.rng),
            None => Verdict::Forward(flow),
        }
    }

    fn firewall_for(&mut self, flow: Flow) -> &mut Firewall {
        if flow.source.is_ipv4() {
            &mut self.firewall
        } else {
            &mut self.firewall_v6
        }
    }
}

impl Interception {
    /// The interceptor's answers get their original source back.
    fn between_hosts(&self, at: Duration, flow: Flow, signal: Option<TcpSignal>) -> Flow {
        self.lock().inbound(at, flow, signal)
    }

    fn to_outside(&self, at: Duration, flow: Flow, signal: Option<TcpSignal>) -> Flow {
        self.lock().outbound(at, flow, signal)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Redirect> {
        self.redirect.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
