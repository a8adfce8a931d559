//! What has to come of a call, from the networks alone: direct, relayed or unreachable.
//!
//! The oracle judges the NATs in the data path and the client that calls through them, so it shares
//! no code with either: of the NATs it knows the words of their configuration and nothing else. It
//! has no table of who reaches whom. It plays the exchange of connectivity checks (RFC 8445 section
//! 7) message by message on a small model of its own, in which every mapping has a symbol instead of
//! a port number, until nothing new can come of any check, and looks at what worked.
//!
//! Time does not exist in it: both sides repeat their checks for as long as anything may come of them
//! and no binding expires. A call whose direct path takes too long to be found may therefore be
//! relayed where the oracle says direct; it is never the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::net::firewall::Passage;
use crate::net::nat::{Filtering, Hairpin, Mapping};

mod exchange;
mod middlebox;
pub mod of_scenario;

use self::exchange::{Exchange, Obstacle, Role, ValidPair};

/// Everything that the oracle wants to know: two sides and the servers between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    sides: [Side; 2],
    servers: Servers,
}

/// One side of a call: its name and the boxes around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The peer's name, for the reason.
    pub name: String,
    /// The boxes between the host and the core of the IPv4 internet, from the host outwards. Empty
    /// for a public host.
    pub ipv4: Vec<Layer>,
    /// The same for IPv6; `None` where the host has no IPv6 address.
    pub ipv6: Option<Vec<Layer>>,
}

/// A box on the way: a home router, a carrier's NAT, a firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Which box it is. Sides that name the same one are both behind it: on the same network where
    /// it is the first of both.
    pub id: String,
    /// How it maps; `None` for a box that leaves addresses as they are.
    pub mapping: Option<Mapping>,
    /// Whom it lets in. A box without mapping and with endpoint-independent filtering lets in
    /// everybody.
    pub filtering: Filtering,
    /// What it does with packets from inside to its own external address.
    pub hairpin: Hairpin,
    /// Whether UDP passes.
    pub udp: Passage,
    /// Whether TCP passes to the ports on which the TURN servers take it.
    pub turn_tcp: Passage,
}

/// Which servers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Servers {
    /// The STUN servers.
    pub stun: Availability,
    /// The TURN servers' UDP ports.
    pub turn_udp: Availability,
    /// The TURN servers' TCP ports, as far as the client can use them.
    pub turn_tcp: Availability,
}

/// Whether a service can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Availability {
    /// It answers.
    #[default]
    Up,
    /// It does not, or nobody asks it.
    Down,
}

impl Servers {
    /// Everything answers.
    pub const ALL: Self = Self {
        stun: Availability::Up,
        turn_udp: Availability::Up,
        turn_tcp: Availability::Up,
    };
}

/// What comes of a call, as far as its path goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// From peer to peer.
    Direct,
    /// Through a TURN server on at least one side.
    Relayed,
    /// Not at all.
    Unreachable,
}

/// What has to come of a call, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// What comes of it.
    pub reach: Reach,
    /// Why, in words.
    pub reason: String,
}

/// Why there is no such world.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorldError {
    /// A box leads to one place only.
    #[error(
        "the sides are both behind {id:?}, which is another box, or elsewhere, for each of them"
    )]
    SharedLayer {
        /// The box.
        id: String,
    },
    /// Nobody passes a box twice on one way.
    #[error("{side} is twice behind {id:?}")]
    RepeatedLayer {
        /// The side.
        side: String,
        /// The box.
        id: String,
    },
}

impl Layer {
    /// A NAT through which all protocols pass.
    pub fn nat(
        id: impl Into<String>,
        mapping: Mapping,
        filtering: Filtering,
        hairpin: Hairpin,
    ) -> Self {
        Self {
            id: id.into(),
            mapping: Some(mapping),
            filtering,
            hairpin,
            udp: Passage::Open,
            turn_tcp: Passage::Open,
        }
    }

    /// A stateful firewall without translation, such as RFC 6092 describes for IPv6.
    pub fn firewall(id: impl Into<String>, filtering: Filtering) -> Self {
        Self {
            id: id.into(),
            mapping: None,
            filtering,
            hairpin: Hairpin::Refused,
            udp: Passage::Open,
            turn_tcp: Passage::Open,
        }
    }

    /// The same box with this passage for UDP.
    #[must_use]
    pub fn with_udp(self, udp: Passage) -> Self {
        Self { udp, ..self }
    }

    /// The same box with this passage for TCP to the TURN servers.
    #[must_use]
    pub fn with_turn_tcp(self, turn_tcp: Passage) -> Self {
        Self { turn_tcp, ..self }
    }
}

impl World {
    /// Puts two sides and the servers together.
    ///
    /// # Errors
    ///
    /// [`WorldError`] where the sides share a box and differ in what it is or what is behind it.
    pub fn new(sides: [Side; 2], servers: Servers) -> Result<Self, WorldError> {
        for side in &sides {
            no_layer_twice(side, &side.ipv4)?;
            no_layer_twice(side, side.ipv6.as_deref().unwrap_or_default())?;
        }
        let [first, second] = &sides;
        same_from_the_first_shared(&first.ipv4, &second.ipv4)?;
        if let (Some(first), Some(second)) = (&first.ipv6, &second.ipv6) {
            same_from_the_first_shared(first, second)?;
        }
        Ok(Self { sides, servers })
    }

    /// Plays the checks and says what comes of them.
    #[must_use]
    pub fn predict(&self) -> Prediction {
        let mut exchange = Exchange::new(&self.sides, self.servers);
        exchange.play();
        let direct = exchange.pairs().find(|pair| !pair.is_relayed());
        if let Some(pair) = direct {
            return Prediction {
                reach: Reach::Direct,
                reason: self.works(&pair),
            };
        }
        let no_direct = self.why_not_direct(exchange.obstacles());
        match exchange.pairs().find(ValidPair::is_relayed) {
            Some(pair) => Prediction {
                reach: Reach::Relayed,
                reason: format!("{no_direct}; {}", self.works(&pair)),
            },
            None => Prediction {
                reach: Reach::Unreachable,
                reason: format!("{no_direct}; {}", self.why_not_relayed(&exchange)),
            },
        }
    }

    fn works(&self, pair: &ValidPair) -> String {
        let [from, to] = pair.sides.map(|side| &self.sides[side].name);
        let [local, remote] = pair.roles;
        format!("a check from {from}'s {local} candidate to {to}'s {remote} address is answered")
    }

    fn why_not_direct(&self, obstacles: &BTreeSet<Obstacle>) -> String {
        let words: Vec<String> = obstacles
            .iter()
            .map(|obstacle| match obstacle {
                Obstacle::UdpBlocked(id) => format!("{id} blocks UDP"),
                Obstacle::HairpinRefused(id) => format!("{id} refuses to hairpin"),
                Obstacle::Filtered(id) => format!("{id} filters"),
                Obstacle::AnsweredFromElsewhere { side, through } => format!(
                    "through {through} {}'s answers leave from another address than was asked",
                    self.sides[*side].name
                ),
            })
            .collect();
        if words.is_empty() {
            "neither side has an address that means anything to the other".to_owned()
        } else {
            format!("no direct check is answered, since {}", words.join(", "))
        }
    }

    fn why_not_relayed(&self, exchange: &Exchange) -> String {
        let with_relay: Vec<&str> = (0..2)
            .filter(|side| exchange.has(*side, Role::Relay))
            .map(|side| self.sides[side].name.as_str())
            .collect();
        match (with_relay.as_slice(), self.servers) {
            (
                [],
                Servers {
                    turn_udp: Availability::Down,
                    turn_tcp: Availability::Down,
                    ..
                },
            ) => "no TURN server is up".to_owned(),
            ([], _) => "neither side reaches a TURN server".to_owned(),
            (names, _) => format!(
                "only {} reaches a TURN server, and the other side does not reach the relay",
                names.join(" and ")
            ),
        }
    }
}

fn no_layer_twice(side: &Side, layers: &[Layer]) -> Result<(), WorldError> {
    let mut seen = BTreeSet::new();
    match layers.iter().find(|layer| !seen.insert(&layer.id)) {
        None => Ok(()),
        Some(layer) => Err(WorldError::RepeatedLayer {
            side: side.name.clone(),
            id: layer.id.clone(),
        }),
    }
}

/// Whoever is behind the same box is behind everything that is behind it.
fn same_from_the_first_shared(first: &[Layer], second: &[Layer]) -> Result<(), WorldError> {
    let positions: BTreeMap<&str, usize> = second
        .iter()
        .enumerate()
        .map(|(position, layer)| (layer.id.as_str(), position))
        .collect();
    for (position, layer) in first.iter().enumerate() {
        if let Some(other) = positions.get(layer.id.as_str())
            && first[position..] != second[*other..]
        {
            return Err(WorldError::SharedLayer {
                id: layer.id.clone(),
            });
        }
    }
    Ok(())
}

impl fmt::Display for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Direct => "direct",
            Self::Relayed => "relayed",
            Self::Unreachable => "unreachable",
        })
    }
}

#[cfg(test)]
mod tests;
