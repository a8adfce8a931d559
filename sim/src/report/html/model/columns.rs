//! The columns of the ladder: peers outside, their gateways beside them, servers in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ringtrue::peer::servers::{Scheme, ServerUrl};
use ringtrue::signaling::endpoint::Endpoint;
use serde::Serialize;

use crate::fault::FaultKind;
use crate::scenario::Scenario;
use crate::trace::{AppEvent, Event, EventKind, FaultPhase};

/// What stands at a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ColumnKind {
    /// A client.
    Peer,
    /// The gateway of a network.
    Gateway,
    /// A server.
    Server,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Column {
    /// What it is called.
    pub(crate) name: String,
    /// What stands there.
    pub(crate) kind: ColumnKind,
    /// What it is, in a few words.
    pub(crate) role: String,
}

/// The columns from the left to the right, and what stands where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    pub(crate) list: Vec<Column>,
    hosts: BTreeMap<String, usize>,
    gateways: BTreeMap<String, usize>,
    /// The gateways between each network and the core, from the inside out.
    ways: BTreeMap<String, Vec<String>>,
    /// The networks that the peers are on, by the addresses that they have there.
    interfaces: BTreeMap<(String, IpAddr), String>,
    /// The columns of the servers by their addresses, which no gateway rewrites.
    addresses: BTreeMap<IpAddr, usize>,
    turn: Option<usize>,
    signaling: Option<usize>,
    /// How many columns belong to the left side, and where those of the right side begin.
    left: usize,
    right: usize,
}

impl Columns {
    pub(crate) fn of(scenario: &Scenario, events: &[Event]) -> Self {
        let mut columns = Self::default();
        columns.learn_interfaces(scenario, events);
        for name in scenario.networks.keys() {
            let way = scenario.way_out(name).into_iter();
            let way = way.map(|(name, _)| name.to_owned()).collect();
            columns.ways.insert(name.clone(), way);
        }
        let caller = events.iter().find_map(|event| match event.kind {
            EventKind::App(AppEvent::Calling { .. }) => Some(event.host.to_string()),
            _ => None,
        });
        let caller = caller.filter(|caller| scenario.peers.contains_key(caller));
        let caller = caller.or_else(|| scenario.peers.keys().next().cloned());
        let (callers, others): (Vec<&str>, Vec<&str>) = scenario
            .peers
            .keys()
            .map(String::as_str)
            .partition(|name| Some(*name) == caller.as_deref());
        columns.add_side(scenario, &callers);
        columns.left = columns.list.len();
        columns.add_servers(scenario, events);
        columns.right = columns.list.len();
        // The other side is a mirror of the first one: what stands outside comes last.
        let before = columns.list.len();
        columns.add_side(scenario, &others);
        let last = columns.list.len() - 1;
        columns.list[before..].reverse();
        for index in columns
            .hosts
            .values_mut()
            .chain(columns.gateways.values_mut())
        {
            if *index >= before {
                *index = last - (*index - before);
            }
        }
        columns
    }

    /// The column of a host, whichever of its interfaces is meant.
    pub(crate) fn of_host(&self, host: &str) -> Option<usize> {
        self.hosts.get(machine(host)).copied()
    }

    pub(crate) fn kind_of(&self, host: &str) -> Option<ColumnKind> {
        Some(self.list[self.of_host(host)?].kind)
    }

    /// The name of the column at a place, or of one beside it.
    pub(crate) fn name_at(&self, place: f64) -> &str {
        let mut columns = self.list.iter().enumerate();
        let near = columns.find(|(number, _)| (*number as f64 - place).abs() <= 0.5);
        near.map_or("", |(_, column)| column.name.as_str())
    }

    /// Whether a host is a client.
    pub(crate) fn is_peer(&self, host: &str) -> bool {
        self.kind_of(host) == Some(ColumnKind::Peer)
    }

    /// The signaling server, where anybody met it.
    pub(crate) fn signaling(&self) -> Option<usize> {
        self.signaling
    }

    /// The server with this address.
    pub(crate) fn server_at(&self, address: IpAddr) -> Option<usize> {
        self.addresses.get(&address).copied()
    }

    /// Whether a TURN server has this address.
    pub(crate) fn is_turn(&self, address: IpAddr) -> bool {
        self.turn.is_some() && self.server_at(address) == self.turn
    }

    /// The gateways between an interface of a host and the core, from the inside out, each with its column;
    /// none for a server.
    pub(crate) fn way_of(&self, host: &str, address: IpAddr) -> Vec<(&str, usize)> {
        let interface = (host.to_owned(), address);
        let network = self.interfaces.get(&interface);
        let way = network.and_then(|network| self.ways.get(network));
        let way = way.into_iter().flatten();
        way.filter_map(|name| Some((name.as_str(), *self.gateways.get(name)?)))
            .collect()
    }

    /// Where a packet from the column `from` is when it is at `place`, as the trace names it: a host, a
    /// gateway, the core, or a link between two of these, which is half a column further in.
    pub(crate) fn of_place(&self, place: &str, from: usize) -> f64 {
        if let Some(column) = self.of_host(place) {
            return column as f64;
        }
        if let Some(network) = place.strip_prefix("gateway ") {
            return self
                .gateways
                .get(network)
                .map_or(self.core(from), |column| *column as f64);
        }
        let link = place.strip_prefix("link ").and_then(|rest| {
            rest.strip_suffix(" up")
                .or_else(|| rest.strip_suffix(" down"))
        });
        let end = link.and_then(|end| {
            let gateway = self.gateways.get(end);
            gateway.copied().or_else(|| self.of_host(end))
        });
        match end {
            Some(end) if end < self.left => end as f64 + 0.5,
            Some(end) if end >= self.right => end as f64 - 0.5,
            Some(end) if from < end => end as f64 - 0.5,
            Some(end) => end as f64 + 0.5,
            None => self.core(from),
        }
    }

    /// Whether a column is on the right side, so that texts beside it go to the left.
    pub(crate) fn is_right(&self, column: f64) -> bool {
        column >= self.right as f64 - 0.25
    }

    /// The core of the internet, as who stands at the column `from` meets it first.
    fn core(&self, from: usize) -> f64 {
        if from < self.left {
            self.left as f64 - 0.5
        } else if from >= self.right {
            self.right as f64 - 0.5
        } else {
            from as f64 + 0.5
        }
    }

    /// Which network each address of a peer is in: the one that the peer is on when it first uses it.
    fn learn_interfaces(&mut self, scenario: &Scenario, events: &[Event]) {
        let mut now: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, peer) in &scenario.peers {
            now.insert(name, &peer.network);
        }
        for event in events {
            match &event.kind {
                EventKind::Fault(fault) if fault.phase == FaultPhase::Begins => {
                    let kind = scenario.faults.get(fault.fault).map(|fault| &fault.kind);
                    if let Some(FaultKind::NetworkSwitch { peer, to }) = kind {
                        now.insert(peer, to);
                    }
                }
                EventKind::PacketSent(packet) => {
                    if let Some(network) = now.get(&*event.host) {
                        let interface = (event.host.to_string(), packet.source.ip());
                        let known = self.interfaces.entry(interface);
                        known.or_insert_with(|| (*network).to_owned());
                    }
                }
                _ => {}
            }
        }
    }

    /// Adds peers and their gateways, from the outside to the inside.
    fn add_side(&mut self, scenario: &Scenario, peers: &[&str]) {
        for peer in peers {
            self.hosts.insert((*peer).to_owned(), self.list.len());
            let user = &scenario.peers[*peer].user;
            let role = if user == peer {
                "peer".to_owned()
            } else {
                format!("device of {user}")
            };
            self.list.push(column(peer, ColumnKind::Peer, role));
        }
        for layer in 0..crate::scenario::model::MOST_LAYERS {
            for network in peers.iter().flat_map(|peer| scenario.networks_of(peer)) {
                let Some((name, network)) = scenario.way_out(network).get(layer).copied() else {
                    continue;
                };
                if self.gateways.contains_key(name) {
                    continue;
                }
                self.gateways.insert(name.to_owned(), self.list.len());
                let role = if network.has_nat() { "NAT" } else { "gateway" };
                self.list
                    .push(column(name, ColumnKind::Gateway, role.to_owned()));
            }
        }
    }

    /// Adds the servers that anything was sent to or by, those of one kind as one column.
    fn add_servers(&mut self, scenario: &Scenario, events: &[Event]) {
        let met: BTreeSet<&str> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::PacketSent(_) | EventKind::PacketDelivered(_) => {
                    Some(event.host.as_ref())
                }
                EventKind::PacketDropped { .. } => (!event.host.contains(' ')
                    && &*event.host != "core")
                    .then_some(event.host.as_ref()),
                _ => None,
            })
            .filter(|host| !scenario.peers.contains_key(machine(host)))
            .collect();
        let config = scenario.client_config();
        let signaling = Endpoint::from_config(&config.signaling).ok();
        let mut ranked: Vec<(u8, &str)> = Vec::new();
        for host in met {
            let is_signaling = signaling.as_ref().is_some_and(|end| end.host() == host);
            let mut urls = config.ice.servers.iter();
            let scheme = urls.find_map(|server| {
                let url: ServerUrl = server.url.parse().ok()?;
                (url.host == host).then_some(url.scheme)
            });
            let rank = match scheme {
                _ if is_signaling => 0,
                Some(Scheme::Stun) => 1,
                Some(_) => 2,
                None => 3,
            };
            ranked.push((rank, host));
        }
        ranked.sort_unstable();
        for same in ranked.chunk_by(|one, next| one.0 == next.0 && one.0 < 3) {
            let column = self.list.len();
            let (rank, host) = same[0];
            let name = match rank {
                0 => "signaling",
                1 => "STUN",
                2 => "TURN",
                _ => host,
            };
            match rank {
                0 => self.signaling = Some(column),
                2 => self.turn = Some(column),
                _ => {}
            }
            for (_, host) in same {
                self.hosts.insert((*host).to_owned(), column);
            }
            let role = match (rank, same.len()) {
                (3.., _) => "box on the way".to_owned(),
                (_, 1) => "server".to_owned(),
                (_, count) => format!("{count} servers"),
            };
            self.list.push(Column {
                name: name.to_owned(),
                kind: ColumnKind::Server,
                role,
            });
        }
        for event in events {
            let address = match &event.kind {
                EventKind::PacketSent(packet) => packet.source,
                EventKind::PacketDelivered(packet) => packet.destination,
                _ => continue,
            };
            if let Some(column) = self.of_host(&event.host)
                && self.list[column].kind == ColumnKind::Server
            {
                self.addresses.insert(address.ip(), column);
            }
        }
    }
}

fn column(name: &str, kind: ColumnKind, role: String) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        role,
    }
}

/// The machine that an interface belongs to.
pub(crate) fn machine(host: &str) -> &str {
    host.split_once('@').map_or(host, |(machine, _)| machine)
}
