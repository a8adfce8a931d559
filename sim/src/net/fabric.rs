//! The way of packets through a [`Topology`], hop by hop and in time order.

mod changes;
mod gateway;
mod packet;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use self::gateway::{Gateway, Onward};
pub use self::gateway::{Interception, Others};
use self::packet::reset;
pub use self::packet::{Body, FabricOutput, Packet};
use self::wire::{Wire, Wires};
use super::cause::DropCause;
use super::flow::TcpSignal;
use super::link::{Arrival, Damage, LinkPair, Transmission};
use super::nat::{Nat, Verdict};
use super::topology::{HostId, NetworkId, Topology};

/// A network in motion: links, firewalls and NATs with their state, and the packets under way.
///
/// Inject what the hosts send, then [`advance`](Self::advance). A packet injected at `now` reaches no
/// node before `now` + [`minimal_first_hop_delay`](Self::minimal_first_hop_delay), so the network may
/// run that far ahead of its hosts. A delivery is reported when the packet enters its last link, so
/// after `advance(until)` everything is known that arrives up to `until` +
/// [`minimal_last_hop_delay`](Self::minimal_last_hop_delay). Together they are how far hosts may run
/// by themselves.
///
/// Queues of slow links stand between gateways and the core only: a packet that waits in one could
/// be overtaken by a later one, so where it goes is known only when it leaves.
#[derive(Debug)]
pub struct Fabric<B> {
    topology: Topology,
    gateways: Vec<Gateway<Packet<B>>>,
    host_links: Vec<Wires<Packet<B>>>,
    /// Who has which address, as seen from the core.
    at_core: BTreeMap<IpAddr, Owner>,
    queue: BTreeMap<(Duration, u64), Move<B>>,
    sequence_number: u64,
    advanced_until: Duration,
    /// What became certain outside of [`advance`](Self::advance).
    early: Vec<FabricOutput<B>>,
}

/// What happens next to a packet, or to a queue.
#[derive(Debug)]
enum Move<B> {
    /// The packet reaches a node.
    Reach(Place, Packet<B>),
    /// A packet has left the queue before this link.
    Depart(Hop),
    /// Connections through the gateway of this network may have been idle for too long.
    Expire(NetworkId),
}

impl<B: Body> Fabric<B> {
    /// Puts a topology in motion. `stream` is asked once for each label and must give a generator
    /// that depends on nothing but the label and the seed of the run; the labels are
    /// `link NAME up`, `link NAME down` (NAME of a host, server or network) and `nat NAME`.
    #[must_use]
    pub fn new(topology: Topology, mut stream: impl FnMut(&str) -> ChaCha8Rng) -> Self {
        let gateways = topology
            .networks
            .iter()
            .map(|network| Gateway::new(network, &mut stream))
            .collect();
        let host_links = topology
            .hosts
            .iter()
            .map(|host| Wires::new(&host.name, host.link, &mut stream))
            .collect();
        let mut fabric = Self {
            topology,
            gateways,
            host_links,
            at_core: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence_number: 0,
            advanced_until: Duration::ZERO,
            early: Vec::new(),
        };
        fabric.register_addresses();
        fabric
    }

    /// What is connected to what.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Sends a packet from `host` at `now`. Packets sent at the same time go in the order in which
    /// they are injected.
    ///
    /// # Panics
    ///
    /// When the packet would reach the first node before the time already advanced to: the past
    /// cannot be changed any more.
    pub fn inject(&mut self, now: Duration, host: HostId, packet: Packet<B>) {
        let reaches = now + self.host_links[host.index()].up.delay_min();
        assert!(
            reaches >= self.advanced_until,
            "{} sends at {now:?}, but the network has advanced to {:?}",
            self.topology.host_name(host),
            self.advanced_until
        );
        let mut outputs = std::mem::take(&mut self.early);
        self.transmit(now, Hop::FromHost(host), packet, &mut outputs);
        self.early = outputs;
    }

    /// Moves all packets on their way up to and including `until`. Gives what became certain by
    /// that, in order of time.
    ///
    /// A later call may report a delivery that is earlier than one reported now, to another host
    /// and never before the limit that the type's description names.
    pub fn advance(&mut self, until: Duration) -> Vec<FabricOutput<B>> {
        let mut outputs = std::mem::take(&mut self.early);
        while let Some(entry) = self.queue.first_entry() {
            let at = entry.key().0;
            if at > until {
                break;
            }
            match entry.remove() {
                Move::Reach(place, packet) => self.forward(at, place, packet, &mut outputs),
                Move::Depart(hop) => self.depart(at, hop, &mut outputs),
                Move::Expire(network) => self.expire(at, network, &mut outputs),
            }
        }
        self.advanced_until = self.advanced_until.max(until);
        outputs.sort_by_key(FabricOutput::at);
        outputs
    }

    /// When something happens next; none when nothing is on its way.
    #[must_use]
    pub fn next_event_at(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// The smallest delay of all links from hosts and servers. [`Duration::MAX`] where there are
    /// none.
    #[must_use]
    pub fn minimal_first_hop_delay(&self) -> Duration {
        self.host_links
            .iter()
            .map(|wires| wires.up.delay_min())
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// The smallest delay of all links towards hosts and servers. [`Duration::MAX`] where there are
    /// none.
    #[must_use]
    pub fn minimal_last_hop_delay(&self) -> Duration {
        self.host_links
            .iter()
            .map(|wires| wires.down.delay_min())
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// The smallest maximum transmission unit of all links, in bytes; `None` where no link has one.
    #[must_use]
    pub fn minimal_mtu_bytes(&self) -> Option<usize> {
        let uplinks = self.gateways.iter().map(|gateway| gateway.uplink.config());
        let links = self.host_links.iter().map(Wires::config).chain(uplinks);
        links
            .flat_map(|pair| [pair.up.mtu_bytes, pair.down.mtu_bytes])
            .flatten()
            .map(|mtu| mtu.get() as usize)
            .min()
    }

    /// The links of a network's uplink as they are now.
    #[must_use]
    pub fn uplink(&self, network: NetworkId) -> LinkPair {
        self.gateways[network.index()].uplink.config()
    }

    /// The links of a host or server as they are now.
    #[must_use]
    pub fn host_link(&self, host: HostId) -> LinkPair {
        self.host_links[host.index()].config()
    }

    /// How many packets the uplink of a network has carried, both ways.
    #[must_use]
    pub fn carried_by_uplink(&self, network: NetworkId) -> u64 {
        self.gateways[network.index()].uplink.carried()
    }

    /// How many packets the link of a host or server has carried, both ways.
    #[must_use]
    pub fn carried_to(&self, host: HostId) -> u64 {
        self.host_links[host.index()].carried()
    }

    /// The NAT of a network, where it has one, with the generator that it draws from.
    pub fn nat_mut(&mut self, network: NetworkId) -> Option<(&mut Nat, &mut ChaCha8Rng)> {
        let gateway = &mut self.gateways[network.index()];
        gateway.nat.as_mut().map(|nat| (nat, &mut gateway.rng))
    }

    /// Books every address where it can be reached: in its own network, and above it up to the first
    /// translator.
    fn register_addresses(&mut self) {
        for id in self.topology.networks() {
            let externals = self.topology.externals(id).to_vec();
            let behind = self.topology.behind(id);
            for address in externals {
                self.register(address, behind, Owner::Gateway(id));
            }
        }
        for id in self.topology.hosts() {
            let network = self.topology.network_of(id);
            for address in self.topology.addresses(id).to_vec() {
                self.register(address, network, Owner::Host(id));
            }
        }
    }

    fn register(&mut self, address: IpAddr, scope: Option<NetworkId>, owner: Owner) {
        let (mut scope, mut owner) = (scope, owner);
        loop {
            self.scope_mut(scope).insert(address, owner);
            let Some(network) = scope else {
                return;
            };
            // Private addresses mean nothing outside of their network.
            if address.is_ipv4() && self.gateways[network.index()].nat.is_some() {
                return;
            }
            owner = Owner::Gateway(network);
            scope = self.topology.behind(network);
        }
    }

    fn scope_mut(&mut self, scope: Option<NetworkId>) -> &mut BTreeMap<IpAddr, Owner> {
        match scope {
            Some(network) => &mut self.gateways[network.index()].inside,
            None => &mut self.at_core,
        }
    }

    fn enqueue(&mut self, at: Duration, what: Move<B>) {
        self.queue.insert((at, self.sequence_number), what);
        self.sequence_number += 1;
    }

    /// Moves a packet on by one hop.
    fn forward(
        &mut self,
        at: Duration,
        place: Place,
        mut packet: Packet<B>,
        outputs: &mut Vec<FabricOutput<B>>,
    ) {
        let onward = match place {
            Place::Gateway(network, From::Inside) => {
                self.gateways[network.index()].route_up(at, &mut packet)
            }
            Place::Gateway(network, From::Outside) => {
                self.gateways[network.index()].route_down(at, &mut packet)
            }
            Place::Core => match self.at_core.get(&packet.flow.destination.ip()) {
                Some(owner) => Onward::To(*owner),
                None => Onward::Drop(DropCause::NoRoute),
            },
        };
        if let Place::Gateway(network, _) = place {
            self.schedule_expiry(at, network);
        }
        let hop = match onward {
            Onward::To(Owner::Host(host)) => Hop::ToHost(host),
            Onward::To(Owner::Gateway(network)) => Hop::Down(network),
            Onward::Up => match place {
                Place::Gateway(network, _) => Hop::Up(network),
                Place::Core => unreachable!("nothing is above the core"),
            },
            Onward::Drop(cause) => return outputs.push(self.dropped(at, place, cause, packet)),
            Onward::Refuse(cause) => {
                self.reset_sender(at, place, &packet, outputs);
                return outputs.push(self.dropped(at, place, cause, packet));
            }
        };
        self.transmit(at, hop, packet, outputs);
    }

    /// Answers a segment with a reset, as its destination would.
    fn reset_sender(
        &mut self,
        at: Duration,
        place: Place,
        packet: &Packet<B>,
        outputs: &mut Vec<FabricOutput<B>>,
    ) {
        let (Some(body), Place::Gateway(network, from)) = (packet.body.reset(), place) else {
            return;
        };
        let answer = reset(packet.flow.reversed(), body);
        let hop = match from {
            From::Outside => Some(Hop::Up(network)),
            From::Inside => self.hop_inside(network, answer.flow.destination.ip()),
        };
        if let Some(hop) = hop {
            self.transmit(at, hop, answer, outputs);
        }
    }

    fn schedule_expiry(&mut self, now: Duration, network: NetworkId) {
        let gateway = &mut self.gateways[network.index()];
        let Some(at) = gateway.poll_timeout().map(|at| at.max(now)) else {
            return;
        };
        if gateway.expiry_at.is_none_or(|booked| at < booked) {
            gateway.expiry_at = Some(at);
            self.enqueue(at, Move::Expire(network));
        }
    }

    /// Resets both ends of the connections that a gateway cuts because they were idle.
    fn expire(&mut self, at: Duration, network: NetworkId, outputs: &mut Vec<FabricOutput<B>>) {
        let gateway = &mut self.gateways[network.index()];
        if gateway.expiry_at.is_some_and(|booked| booked <= at) {
            gateway.expiry_at = None;
        }
        for flow in gateway.expired(at) {
            let gateway = &mut self.gateways[network.index()];
            let outside = gateway.translate_source(at, flow, Some(TcpSignal::RST));
            let to_inside = self.hop_inside(network, flow.source.ip());
            if let Some(hop) = to_inside {
                let answer = reset(flow.reversed(), B::unasked_reset());
                self.transmit(at, hop, answer, outputs);
            }
            if let Verdict::Forward(flow) = outside {
                self.transmit(
                    at,
                    Hop::Up(network),
                    reset(flow, B::unasked_reset()),
                    outputs,
                );
            }
        }
        self.schedule_expiry(at, network);
    }

    fn hop_inside(&self, network: NetworkId, address: IpAddr) -> Option<Hop> {
        match self.gateways[network.index()].inside.get(&address)? {
            Owner::Host(host) => Some(Hop::ToHost(*host)),
            Owner::Gateway(below) => Some(Hop::Down(*below)),
        }
    }

    /// Sends a packet into a link, or into the queue before it.
    fn transmit(
        &mut self,
        at: Duration,
        hop: Hop,
        packet: Packet<B>,
        outputs: &mut Vec<FabricOutput<B>>,
    ) {
        let wire = self.wire_mut(hop);
        let Some(shaper) = &mut wire.shaper else {
            return self.propagate(at, hop, packet, outputs);
        };
        let (size_bytes, class) = (packet.size_bytes, packet.class);
        match shaper.offer(at, size_bytes, class, packet) {
            Ok(()) => self.schedule_departure(at, hop),
            Err(packet) => outputs.push(FabricOutput::Dropped {
                at,
                place: wire.label.clone(),
                cause: DropCause::QueueFull,
                packet,
            }),
        }
    }

    fn schedule_departure(&mut self, now: Duration, hop: Hop) {
        let wire = self.wire_mut(hop);
        let Some(shaper) = &wire.shaper else {
            return;
        };
        let Some(at) = shaper.next_departure().map(|at| at.max(now)) else {
            return;
        };
        if wire.departure_at.is_none_or(|booked| at < booked) {
            wire.departure_at = Some(at);
            self.enqueue(at, Move::Depart(hop));
        }
    }

    /// Lets go what has left the queue before a link.
    fn depart(&mut self, at: Duration, hop: Hop, outputs: &mut Vec<FabricOutput<B>>) {
        let wire = self.wire_mut(hop);
        if wire.departure_at.is_some_and(|booked| booked <= at) {
            wire.departure_at = None;
        }
        while let Some(packet) = self
            .wire_mut(hop)
            .shaper
            .as_mut()
            .and_then(|shaper| shaper.depart(at))
        {
            self.propagate(at, hop, packet, outputs);
        }
        self.schedule_departure(at, hop);
    }

    /// Sends a packet through a link that is free.
    fn propagate(
        &mut self,
        at: Duration,
        hop: Hop,
        packet: Packet<B>,
        outputs: &mut Vec<FabricOutput<B>>,
    ) {
        let wire = self.wire_mut(hop);
        match wire.transmit(at, &packet) {
            Transmission::Arrives(arrival) => self.arrive(arrival, hop, packet, outputs),
            Transmission::Duplicated([first, second]) => {
                self.arrive(first, hop, packet.clone(), outputs);
                self.arrive(second, hop, packet, outputs);
            }
            Transmission::Dropped(cause) => outputs.push(FabricOutput::Dropped {
                at,
                place: wire.label.clone(),
                cause,
                packet,
            }),
        }
    }

    fn arrive(
        &mut self,
        arrival: Arrival,
        hop: Hop,
        mut packet: Packet<B>,
        outputs: &mut Vec<FabricOutput<B>>,
    ) {
        let Arrival { at, damage } = arrival;
        if packet.damage == Damage::None {
            packet.damage = damage;
        }
        let next = match hop {
            Hop::ToHost(host) => {
                return outputs.push(FabricOutput::Deliver { at, host, packet });
            }
            Hop::FromHost(host) => match self.topology.network_of(host) {
                Some(network) => Place::Gateway(network, From::Inside),
                None => Place::Core,
            },
            Hop::Up(network) => match self.topology.behind(network) {
                Some(above) => Place::Gateway(above, From::Inside),
                None => Place::Core,
            },
            Hop::Down(network) => Place::Gateway(network, From::Outside),
        };
        self.enqueue(at, Move::Reach(next, packet));
    }

    fn wire_mut(&mut self, hop: Hop) -> &mut Wire<Packet<B>> {
        match hop {
            Hop::FromHost(host) => &mut self.host_links[host.index()].up,
            Hop::ToHost(host) => &mut self.host_links[host.index()].down,
            Hop::Up(network) => &mut self.gateways[network.index()].uplink.up,
            Hop::Down(network) => &mut self.gateways[network.index()].uplink.down,
        }
    }

    fn dropped(
        &self,
        at: Duration,
        place: Place,
        cause: DropCause,
        packet: Packet<B>,
    ) -> FabricOutput<B> {
        let place = match place {
            Place::Gateway(network, _) => gateway_name(self.topology.network_name(network)),
            Place::Core => "core".to_owned(),
        };
        FabricOutput::Dropped {
            at,
            place,
            cause,
            packet,
        }
    }
}

/// The name under which the gateway of a network drops packets.
#[must_use]
pub fn gateway_name(network: &str) -> String {
    format!("gateway {network}")
}

/// The node at which a packet is, and for a gateway where it came from.
#[derive(Debug, Clone, Copy)]
enum Place {
    Gateway(NetworkId, From),
    Core,
}

/// The side of a gateway that a packet comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    Inside,
    Outside,
}

/// The link that a packet enters.
#[derive(Debug, Clone, Copy)]
enum Hop {
    FromHost(HostId),
    ToHost(HostId),
    /// From the gateway of a network to what it is connected to.
    Up(NetworkId),
    /// To the gateway of a network from what it is connected to.
    Down(NetworkId),
}

/// Who has an address.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Host(HostId),
    Gateway(NetworkId),
}
