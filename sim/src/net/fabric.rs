//! The way of packets through a [`Topology`], hop by hop and in time order.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use ringtrue::net::TrafficClass;

use super::cause::DropCause;
use super::flow::{Flow, TcpSignal};
use super::link::{Link, LinkConfig, LinkPair, Parcel, Transmission};
use super::nat::{Nat, Verdict};
use super::topology::{HostId, NetworkId, Topology};

/// A packet on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<B> {
    /// Its addresses, rewritten by every NAT that it passes.
    pub flow: Flow,
    /// The flags of a TCP segment; none for UDP.
    pub tcp: Option<TcpSignal>,
    /// Its length with all headers.
    pub size_bytes: usize,
    /// What is delivered, opaque to the network.
    pub body: B,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FabricOutput<B> {
    /// It reaches its destination.
    Deliver {
        /// When it does.
        at: Duration,
        /// Who gets it.
        host: HostId,
        /// The packet with the addresses that the receiver sees.
        packet: Packet<B>,
    },
    /// It goes no further.
    Dropped {
        /// When it was dropped.
        at: Duration,
        /// The link or node that dropped it.
        place: String,
        /// Why.
        cause: DropCause,
        /// The packet with the addresses that it had there.
        packet: Packet<B>,
    },
}

impl<B> FabricOutput<B> {
    /// When it happens.
    #[must_use]
    pub const fn at(&self) -> Duration {
        match self {
            Self::Deliver { at, .. } | Self::Dropped { at, .. } => *at,
        }
    }
}

/// A network in motion: links, firewalls and NATs with their state, and the packets under way.
///
/// Inject what the hosts send, then [`advance`](Self::advance). A packet injected at `now` reaches no
/// node before `now` + [`minimal_first_hop_delay`](Self::minimal_first_hop_delay), so the network may
/// run that far ahead of its hosts. A delivery is reported when the packet enters its last link, so
/// after `advance(until)` everything is known that arrives up to `until` +
/// [`minimal_last_hop_delay`](Self::minimal_last_hop_delay). Together they are how far hosts may run
/// by themselves.
#[derive(Debug)]
pub struct Fabric<B> {
    topology: Topology,
    gateways: Vec<Gateway>,
    host_links: Vec<Wires>,
    owners: BTreeMap<IpAddr, Owner>,
    queue: BTreeMap<(Duration, u64), (Place, Packet<B>)>,
    sequence_number: u64,
    advanced_until: Duration,
    /// What the hosts' own links lost since the last call to [`advance`](Self::advance).
    lost_at_once: Vec<FabricOutput<B>>,
}

impl<B> Fabric<B> {
    /// Puts a topology in motion. `stream` is asked once for each label and must give a generator
    /// that depends on nothing but the label and the seed of the run; the labels are
    /// `link NAME up`, `link NAME down` (NAME of a host, server or network) and `nat NAME`.
    #[must_use]
    pub fn new(topology: Topology, mut stream: impl FnMut(&str) -> ChaCha8Rng) -> Self {
        let mut owners = BTreeMap::new();
        let mut gateways = Vec::new();
        for (network, id) in topology.networks.iter().zip(topology.networks()) {
            owners.extend(
                network
                    .external
                    .map(|address| (address, Owner::Gateway(id))),
            );
            gateways.push(Gateway {
                nat: network
                    .external
                    .zip(network.config.nat.clone())
                    .map(|(external, config)| Nat::new(external, config)),
                nat_rng: stream(&format!("nat {}", network.name)),
                uplink: Wires::new(&network.name, network.config.uplink, &mut stream),
            });
        }
        let mut host_links = Vec::new();
        for (host, id) in topology.hosts.iter().zip(topology.hosts()) {
            owners.insert(host.address, Owner::Host(id));
            host_links.push(Wires::new(&host.name, host.link, &mut stream));
        }
        Self {
            topology,
            gateways,
            host_links,
            owners,
            queue: BTreeMap::new(),
            sequence_number: 0,
            advanced_until: Duration::ZERO,
            lost_at_once: Vec::new(),
        }
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
        let reaches = now + self.host_links[host.index()].up.link.config().delay_min();
        assert!(
            reaches >= self.advanced_until,
            "{} sends at {now:?}, but the network has advanced to {:?}",
            self.topology.host_name(host),
            self.advanced_until
        );
        let lost = self.transmit(now, Hop::FromHost(host), packet);
        self.lost_at_once.extend(lost);
    }

    /// Moves all packets on their way up to and including `until`. Gives what became certain by
    /// that, in order of time.
    ///
    /// A later call may report a delivery that is earlier than one reported now, to another host
    /// and never before the limit that the type's description names. The deliveries to one host
    /// are always in order.
    pub fn advance(&mut self, until: Duration) -> Vec<FabricOutput<B>> {
        let mut outputs = std::mem::take(&mut self.lost_at_once);
        while let Some(entry) = self.queue.first_entry() {
            let at = entry.key().0;
            if at > until {
                break;
            }
            let (place, packet) = entry.remove();
            outputs.extend(self.forward(at, place, packet));
        }
        self.advanced_until = self.advanced_until.max(until);
        outputs.sort_by_key(FabricOutput::at);
        outputs
    }

    /// When the next packet reaches a node; none when nothing is on its way.
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
            .map(|wires| wires.up.link.config().delay_min())
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// The smallest delay of all links towards hosts and servers. [`Duration::MAX`] where there are
    /// none.
    #[must_use]
    pub fn minimal_last_hop_delay(&self) -> Duration {
        self.host_links
            .iter()
            .map(|wires| wires.down.link.config().delay_min())
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// Changes the link of a host or server for packets sent into it from now on.
    pub fn reconfigure_host_link(&mut self, host: HostId, config: LinkPair) {
        self.host_links[host.index()].reconfigure(config);
    }

    /// Changes the uplink of a network for packets sent into it from now on.
    pub fn reconfigure_uplink(&mut self, network: NetworkId, config: LinkPair) {
        self.gateways[network.index()].uplink.reconfigure(config);
    }

    /// The NAT of a network, where it has one.
    pub fn nat_mut(&mut self, network: NetworkId) -> Option<&mut Nat> {
        self.gateways[network.index()].nat.as_mut()
    }

    fn enqueue(&mut self, at: Duration, place: Place, packet: Packet<B>) {
        self.queue
            .insert((at, self.sequence_number), (place, packet));
        self.sequence_number += 1;
    }

    /// Moves a packet on by one hop. Gives an output when the packet is never seen again.
    fn forward(
        &mut self,
        at: Duration,
        place: Place,
        mut packet: Packet<B>,
    ) -> Option<FabricOutput<B>> {
        let hop = match place {
            Place::Gateway(network, Direction::Up) => self.route_up(at, network, &mut packet),
            Place::Gateway(network, Direction::Down) => self.route_down(at, network, &mut packet),
            Place::Core => self.route_at_core(&packet),
        };
        match hop {
            Ok(hop) => self.transmit(at, hop, packet),
            Err(cause) => {
                let place = self.place_name(place);
                Some(FabricOutput::Dropped {
                    at,
                    place,
                    cause,
                    packet,
                })
            }
        }
    }

    /// A packet that comes to a gateway from one of its hosts.
    fn route_up(
        &mut self,
        at: Duration,
        network: NetworkId,
        packet: &mut Packet<B>,
    ) -> Result<Hop, DropCause> {
        if let Some(host) = self.local_host(network, packet) {
            return Ok(Hop::ToHost(host));
        }
        self.check_firewall(network, packet)?;
        let gateway = &mut self.gateways[network.index()];
        if let Some(nat) = &mut gateway.nat {
            packet.flow = match nat.outbound(at, packet.flow, packet.tcp, &mut gateway.nat_rng) {
                Verdict::Forward(flow) => flow,
                Verdict::Drop(cause) => return Err(cause),
            };
        }
        // A hairpinned packet has become local.
        Ok(self
            .local_host(network, packet)
            .map_or(Hop::ToCore(network), Hop::ToHost))
    }

    /// A packet that comes to a gateway from the core.
    fn route_down(
        &mut self,
        at: Duration,
        network: NetworkId,
        packet: &mut Packet<B>,
    ) -> Result<Hop, DropCause> {
        self.check_firewall(network, packet)?;
        if let Some(nat) = &mut self.gateways[network.index()].nat {
            packet.flow = match nat.inbound(at, packet.flow, packet.tcp) {
                Verdict::Forward(flow) => flow,
                Verdict::Drop(cause) => return Err(cause),
            };
        }
        self.local_host(network, packet)
            .map(Hop::ToHost)
            .ok_or(DropCause::NoRoute)
    }

    fn route_at_core(&self, packet: &Packet<B>) -> Result<Hop, DropCause> {
        match self.owners.get(&packet.flow.destination.ip()) {
            None => Err(DropCause::NoRoute),
            Some(Owner::Gateway(network)) => Ok(Hop::FromCore(*network)),
            Some(Owner::Host(host)) => match self.topology.network_of(*host) {
                None => Ok(Hop::ToHost(*host)),
                // Private addresses mean nothing outside of their network.
                Some(network) if self.gateways[network.index()].nat.is_some() => {
                    Err(DropCause::NoRoute)
                }
                Some(network) => Ok(Hop::FromCore(network)),
            },
        }
    }

    fn transmit(&mut self, at: Duration, hop: Hop, packet: Packet<B>) -> Option<FabricOutput<B>> {
        let wire = match hop {
            Hop::FromHost(host) => &mut self.host_links[host.index()].up,
            Hop::ToHost(host) => &mut self.host_links[host.index()].down,
            Hop::ToCore(network) => &mut self.gateways[network.index()].uplink.up,
            Hop::FromCore(network) => &mut self.gateways[network.index()].uplink.down,
        };
        let parcel = Parcel {
            size_bytes: packet.size_bytes,
            protocol: packet.flow.protocol,
            class: TrafficClass::BestEffort,
        };
        let arrival = match wire.link.transmit(at, parcel, &mut wire.rng) {
            Transmission::Arrives(arrival) | Transmission::Duplicated([arrival, _]) => arrival.at,
            Transmission::Dropped(cause) => {
                let place = wire.label.clone();
                return Some(FabricOutput::Dropped {
                    at,
                    place,
                    cause,
                    packet,
                });
            }
        };
        let next = match hop {
            Hop::ToHost(host) => {
                return Some(FabricOutput::Deliver {
                    at: arrival,
                    host,
                    packet,
                });
            }
            Hop::FromHost(host) => match self.topology.network_of(host) {
                Some(network) => Place::Gateway(network, Direction::Up),
                None => Place::Core,
            },
            Hop::ToCore(_) => Place::Core,
            Hop::FromCore(network) => Place::Gateway(network, Direction::Down),
        };
        self.enqueue(arrival, next, packet);
        None
    }

    fn local_host(&self, network: NetworkId, packet: &Packet<B>) -> Option<HostId> {
        match self.owners.get(&packet.flow.destination.ip()) {
            Some(Owner::Host(host)) if self.topology.network_of(*host) == Some(network) => {
                Some(*host)
            }
            _ => None,
        }
    }

    fn check_firewall(&self, network: NetworkId, packet: &Packet<B>) -> Result<(), DropCause> {
        self.topology.networks[network.index()]
            .config
            .firewall
            .check(packet.flow.protocol)
    }

    fn place_name(&self, place: Place) -> String {
        match place {
            Place::Gateway(network, _) => {
                format!("gateway {}", self.topology.network_name(network))
            }
            Place::Core => "core".to_owned(),
        }
    }
}

/// The node at which a packet is, and for a gateway where it came from.
#[derive(Debug, Clone, Copy)]
enum Place {
    Gateway(NetworkId, Direction),
    Core,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    /// Towards the core.
    Up,
    /// From the core.
    Down,
}

/// The link that a packet enters.
#[derive(Debug, Clone, Copy)]
enum Hop {
    FromHost(HostId),
    ToHost(HostId),
    ToCore(NetworkId),
    FromCore(NetworkId),
}

/// Who has an address.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Host(HostId),
    Gateway(NetworkId),
}

#[derive(Debug)]
struct Gateway {
    nat: Option<Nat>,
    nat_rng: ChaCha8Rng,
    uplink: Wires,
}

/// Both directions of a link.
#[derive(Debug)]
struct Wires {
    up: Wire,
    down: Wire,
}

impl Wires {
    fn new(name: &str, config: LinkPair, stream: &mut impl FnMut(&str) -> ChaCha8Rng) -> Self {
        Self {
            up: Wire::new(format!("link {name} up"), config.up, stream),
            down: Wire::new(format!("link {name} down"), config.down, stream),
        }
    }

    fn reconfigure(&mut self, config: LinkPair) {
        self.up.link.reconfigure(config.up);
        self.down.link.reconfigure(config.down);
    }
}

/// One direction of a link, with its own random stream so that no other link shifts its draws.
#[derive(Debug)]
struct Wire {
    label: String,
    link: Link,
    rng: ChaCha8Rng,
}

impl Wire {
    fn new(label: String, config: LinkConfig, stream: &mut impl FnMut(&str) -> ChaCha8Rng) -> Self {
        let rng = stream(&label);
        Self {
            label,
            link: Link::new(config),
            rng,
        }
    }
}

#[cfg(test)]
mod tests;
