//! The exchange of connectivity checks between two agents, played to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::middlebox::{Address, Datagram, Endpoint, Family, Middlebox};
use super::{Availability, Layer, Servers, Side};
use crate::net::firewall::Passage;
use crate::net::nat::{Filtering, Hairpin};

/// How many times over a peer-reflexive address is learned from a check to an address that was
/// itself learned so. Between two boxes that map each destination anew and admit everybody there is
/// no end to it. Every step of such a chain is like the one before but for the names, and whatever
/// boxes on the way have to learn they have learned after two; the longest chain that ends in a
/// working pair has three steps.
const DEEPEST: usize = 5;

/// The agents' sockets, the boxes between them, and what has come of their checks.
#[derive(Debug)]
pub(super) struct Exchange {
    sockets: Vec<Socket>,
    boxes: Vec<Middlebox>,
    /// For each side the addresses of the other side that it knows of.
    remotes: [BTreeMap<Endpoint, Remote>; 2],
    valid: BTreeSet<ValidPair>,
    obstacles: BTreeSet<Obstacle>,
}

/// A local candidate's socket. As in the client, a server-reflexive candidate has one of its own. A
/// second STUN server would give a second socket in the very position of the first, so one stands
/// for all.
#[derive(Debug)]
struct Socket {
    side: usize,
    role: Role,
    family: Family,
    own: Endpoint,
    /// The boxes around it, from the inside out.
    behind: Vec<usize>,
}

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Host,
    Reflexive,
    PeerReflexive,
    Relay,
}

#[derive(Debug, Clone, Copy)]
struct Remote {
    role: Role,
    depth: usize,
}

/// A check that was answered as RFC 8445 section 7.2.5.2.1 asks: from where it went to, to where it
/// came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ValidPair {
    /// What the local and the remote address were known as.
    pub(super) roles: [Role; 2],
    /// Who checked whom.
    pub(super) sides: [usize; 2],
    /// The candidate of the remote side whose socket answered.
    answered_by: Role,
}

/// What stood in the way of a check between candidates that are not relayed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Obstacle {
    UdpBlocked(String),
    HairpinRefused(String),
    Filtered(String),
    AnsweredFromElsewhere { side: usize, through: String },
}

/// Why a datagram went no further.
#[derive(Debug)]
enum Lost {
    At(Obstacle),
    /// A private address outside of its network.
    Nowhere,
}

/// Where a datagram came out.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// `None` for the STUN server.
    socket: Option<usize>,
    source: Endpoint,
}

impl ValidPair {
    pub(super) fn is_relayed(&self) -> bool {
        self.roles[0] == Role::Relay || self.answered_by == Role::Relay
    }
}

impl Exchange {
    pub(super) fn new(sides: &[Side; 2], servers: Servers) -> Self {
        let mut exchange = Self {
            sockets: Vec::new(),
            boxes: Vec::new(),
            remotes: [BTreeMap::new(), BTreeMap::new()],
            valid: BTreeSet::new(),
            obstacles: BTreeSet::new(),
        };
        let mut numbers = BTreeMap::new();
        for (number, side) in sides.iter().enumerate() {
            let behind = exchange.add_boxes(&mut numbers, Family::Ipv4, &side.ipv4);
            exchange.add_host(number, Role::Host, Family::Ipv4, behind.clone());
            if servers.stun == Availability::Up {
                exchange.add_host(number, Role::Reflexive, Family::Ipv4, behind);
            }
            if let Some(layers) = &side.ipv6 {
                let behind = exchange.add_boxes(&mut numbers, Family::Ipv6, layers);
                exchange.add_host(number, Role::Host, Family::Ipv6, behind);
            }
            if reaches_turn(side, servers) {
                exchange.add_relay(number);
            }
        }
        for socket in 0..exchange.sockets.len() {
            exchange.announce(socket);
        }
        exchange
    }

    /// Lets both sides check every pair again and again until nothing new comes of it.
    pub(super) fn play(&mut self) {
        loop {
            let before = self.progress();
            for socket in 0..self.sockets.len() {
                let side = self.sockets[socket].side;
                let remotes: Vec<_> = self.remotes[side]
                    .iter()
                    .map(|(endpoint, remote)| (*endpoint, *remote))
                    .collect();
                for (endpoint, remote) in remotes {
                    self.check(socket, endpoint, remote);
                }
            }
            if self.progress() == before {
                return;
            }
        }
    }

    /// The pairs that work, those of the better candidates first.
    pub(super) fn pairs(&self) -> impl Iterator<Item = ValidPair> {
        self.valid.iter().copied()
    }

    pub(super) fn obstacles(&self) -> &BTreeSet<Obstacle> {
        &self.obstacles
    }

    pub(super) fn has(&self, side: usize, role: Role) -> bool {
        self.sockets
            .iter()
            .any(|socket| socket.side == side && socket.role == role)
    }

    fn add_boxes(
        &mut self,
        numbers: &mut BTreeMap<(Family, String), usize>,
        family: Family,
        layers: &[Layer],
    ) -> Vec<usize> {
        layers
            .iter()
            .map(|layer| {
                *numbers
                    .entry((family, layer.id.clone()))
                    .or_insert_with(|| self.add_box(layer.clone()))
            })
            .collect()
    }

    fn add_box(&mut self, layer: Layer) -> usize {
        let number = self.boxes.len();
        self.boxes.push(Middlebox::new(layer, number));
        number
    }

    fn add_host(&mut self, side: usize, role: Role, family: Family, behind: Vec<usize>) {
        self.add_socket(side, role, family, Address::Host(side, family), behind);
    }

    /// A relayed address is public, and its permissions are a filter by address (RFC 8656 section
    /// 2.3).
    fn add_relay(&mut self, side: usize) {
        let permissions = Layer::firewall("the TURN server", Filtering::AddressDependent);
        let permissions = self.add_box(permissions);
        let address = Address::Relay(side);
        self.add_socket(side, Role::Relay, Family::Ipv4, address, vec![permissions]);
    }

    fn add_socket(
        &mut self,
        side: usize,
        role: Role,
        family: Family,
        address: Address,
        behind: Vec<usize>,
    ) {
        let port = self.sockets.len();
        self.sockets.push(Socket {
            side,
            role,
            family,
            own: Endpoint { address, port },
            behind,
        });
    }

    /// Makes a candidate of a socket known to the other side.
    fn announce(&mut self, socket: usize) {
        let Socket {
            side, role, own, ..
        } = self.sockets[socket];
        let announced = if role == Role::Reflexive {
            let server = Endpoint {
                address: Address::Stun,
                port: 0,
            };
            match self.send(socket, server) {
                Ok(arrival) => arrival.source,
                Err(Lost::At(obstacle)) => {
                    self.obstacles.insert(obstacle);
                    return;
                }
                Err(Lost::Nowhere) => return,
            }
        } else {
            own
        };
        self.remotes[1 - side]
            .entry(announced)
            .or_insert(Remote { role, depth: 0 });
    }

    /// Sends one check, and the answer to it.
    fn check(&mut self, socket: usize, to: Endpoint, remote: Remote) {
        let Socket {
            side, role, family, ..
        } = self.sockets[socket];
        if family != self.family_of(to.address) {
            return;
        }
        let is_direct = role != Role::Relay && remote.role != Role::Relay;
        let arrival = match self.send(socket, to) {
            Ok(arrival) => arrival,
            Err(lost) => return self.note(lost, is_direct),
        };
        let Some(answering) = arrival.socket else {
            return;
        };
        if self.sockets[answering].side == side {
            // A username of the wrong side: the agent drops it.
            return;
        }
        let depth = remote.depth + 1;
        if depth <= DEEPEST {
            self.remotes[1 - side]
                .entry(arrival.source)
                .or_insert(Remote {
                    role: Role::PeerReflexive,
                    depth,
                });
        }
        let answer = match self.send(answering, arrival.source) {
            Ok(answer) => answer,
            Err(lost) => return self.note(lost, is_direct),
        };
        if answer.socket == Some(socket) && answer.source == to {
            self.valid.insert(ValidPair {
                roles: [role, remote.role],
                sides: [side, 1 - side],
                answered_by: self.sockets[answering].role,
            });
        } else if let Address::Box(number) = to.address
            && is_direct
        {
            self.obstacles.insert(Obstacle::AnsweredFromElsewhere {
                side: 1 - side,
                through: self.boxes[number].layer.id.clone(),
            });
        }
    }

    fn note(&mut self, lost: Lost, is_direct: bool) {
        if let (Lost::At(obstacle), true) = (lost, is_direct) {
            self.obstacles.insert(obstacle);
        }
    }

    /// Lets a datagram climb from a socket until it is in a network from which its destination can
    /// be addressed, and descend from there.
    fn send(&mut self, from: usize, to: Endpoint) -> Result<Arrival, Lost> {
        let mut datagram = Datagram {
            source: self.sockets[from].own,
            destination: to,
        };
        for gateway in self.sockets[from].behind.clone() {
            if let Some(way) = self.way_in(Some(gateway), datagram.destination.address) {
                return self.descend(way, datagram);
            }
            self.pass_udp(gateway)?;
            let turns_back = datagram.destination.address == Address::Box(gateway);
            if turns_back && !self.boxes[gateway].hairpins() {
                let id = self.boxes[gateway].layer.id.clone();
                return Err(Lost::At(Obstacle::HairpinRefused(id)));
            }
            let inside = datagram.source;
            datagram = self.boxes[gateway].outbound(datagram);
            if turns_back {
                let shown = match self.boxes[gateway].layer.hairpin {
                    Hairpin::InternalSource => inside,
                    Hairpin::Translated | Hairpin::Refused => datagram.source,
                };
                return self.enter(gateway, datagram, shown);
            }
        }
        let way = self
            .way_in(None, datagram.destination.address)
            .ok_or(Lost::Nowhere)?;
        self.descend(way, datagram)
    }

    /// The boxes to be passed inwards to `address`, from the network inside of `network` (from the
    /// core where there is none). `None` where the address means nothing there.
    fn way_in(&self, network: Option<usize>, address: Address) -> Option<Vec<usize>> {
        let behind = self.position_of(address);
        let inner = match network {
            None => &behind[..],
            Some(network) => &behind[..behind.iter().position(|number| *number == network)?],
        };
        let can_be_addressed = inner
            .iter()
            .all(|number| self.boxes[*number].is_transparent());
        can_be_addressed.then(|| inner.iter().rev().copied().collect())
    }

    /// The boxes around an address, from the inside out.
    fn position_of(&self, address: Address) -> Vec<usize> {
        match address {
            Address::Stun => Vec::new(),
            Address::Host(..) | Address::Relay(_) => self
                .sockets
                .iter()
                .find(|socket| socket.own.address == address)
                .map(|socket| socket.behind.clone())
                .unwrap_or_default(),
            Address::Box(number) => self
                .sockets
                .iter()
                .find_map(|socket| {
                    let at = socket.behind.iter().position(|each| *each == number)?;
                    Some(socket.behind[at + 1..].to_vec())
                })
                .unwrap_or_default(),
        }
    }

    fn descend(&mut self, way: Vec<usize>, mut datagram: Datagram) -> Result<Arrival, Lost> {
        for number in way {
            self.pass_udp(number)?;
            datagram = self.admit(number, datagram)?;
        }
        match datagram.destination.address {
            Address::Box(number) => {
                self.pass_udp(number)?;
                self.enter(number, datagram, datagram.source)
            }
            Address::Stun => Ok(Arrival {
                socket: None,
                source: datagram.source,
            }),
            Address::Host(..) | Address::Relay(_) => {
                let socket = self
                    .sockets
                    .iter()
                    .position(|socket| socket.own == datagram.destination)
                    .ok_or(Lost::Nowhere)?;
                Ok(Arrival {
                    socket: Some(socket),
                    source: datagram.source,
                })
            }
        }
    }

    /// A datagram to the outer address of a box goes on inside.
    fn enter(
        &mut self,
        number: usize,
        datagram: Datagram,
        shown: Endpoint,
    ) -> Result<Arrival, Lost> {
        let inside = Datagram {
            source: shown,
            ..self.admit(number, datagram)?
        };
        let way = self
            .way_in(Some(number), inside.destination.address)
            .ok_or(Lost::Nowhere)?;
        self.descend(way, inside)
    }

    fn admit(&self, number: usize, datagram: Datagram) -> Result<Datagram, Lost> {
        let id = || self.boxes[number].layer.id.clone();
        self.boxes[number]
            .inbound(datagram)
            .ok_or_else(|| Lost::At(Obstacle::Filtered(id())))
    }

    fn pass_udp(&self, number: usize) -> Result<(), Lost> {
        let layer = &self.boxes[number].layer;
        match layer.udp {
            Passage::Open => Ok(()),
            Passage::Blocked => Err(Lost::At(Obstacle::UdpBlocked(layer.id.clone()))),
        }
    }

    fn family_of(&self, address: Address) -> Family {
        match address {
            Address::Host(_, family) => family,
            Address::Relay(_) | Address::Stun => Family::Ipv4,
            Address::Box(number) => self
                .sockets
                .iter()
                .find(|socket| socket.behind.contains(&number))
                .map_or(Family::Ipv4, |socket| socket.family),
        }
    }

    /// A measure that grows with everything that may change what a check comes to.
    fn progress(&self) -> usize {
        let memory: usize = self.boxes.iter().map(Middlebox::memory).sum();
        let known: usize = self.remotes.iter().map(BTreeMap::len).sum();
        memory + known + self.valid.len()
    }
}

fn reaches_turn(side: &Side, servers: Servers) -> bool {
    let passes = |passage: fn(&Layer) -> Passage| {
        side.ipv4
            .iter()
            .all(|layer| passage(layer) == Passage::Open)
    };
    servers.turn_udp == Availability::Up && passes(|layer| layer.udp)
        || servers.turn_tcp == Availability::Up && passes(|layer| layer.turn_tcp)
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Host => "host",
            Self::Reflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relay => "relay",
        })
    }
}
