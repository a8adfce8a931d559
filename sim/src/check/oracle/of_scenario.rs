//! What the oracle says of a scenario: its networks in the oracle's words.

use std::collections::BTreeMap;

use ringtrue::config::{ClientConfig, TransportPolicy};

use super::{Availability, Layer, Prediction, Reach, Servers, Side, World};
use crate::net::firewall::{Passage, TcpPassage};
use crate::net::nat::{Filtering, Hairpin, Mapping, NatConfig, PortAllocation};
use crate::scenario::model::{Network, Scenario, ServerState};

/// The port of the TURN servers over TCP that the client knows of: the one that firewalls leave open.
const TURN_TCP_PORT: u16 = 443;

/// What has to come of a call between `peers`, each of which is on the network that `places` says, or
/// where it starts. `None` where the oracle has no words for it: hosts without IPv4, and calls that are
/// not between two peers of the scenario.
#[must_use]
pub fn predict(
    scenario: &Scenario,
    peers: &[String],
    places: &BTreeMap<String, String>,
) -> Option<Prediction> {
    let [first, second] = peers else {
        return None;
    };
    let sides = [
        side(scenario, first, places)?,
        side(scenario, second, places)?,
    ];
    let servers = servers(scenario);
    let prediction = World::new(sides, servers).ok()?.predict();
    Some(match (scenario.policy, prediction.reach) {
        (TransportPolicy::RelayOnly, Reach::Direct) => relayed_only(servers),
        _ => prediction,
    })
}

/// A direct path is not taken; who has one reaches the servers as well.
fn relayed_only(servers: Servers) -> Prediction {
    let is_up = |state| state == Availability::Up;
    let reach = if is_up(servers.turn_udp) || is_up(servers.turn_tcp) {
        Reach::Relayed
    } else {
        Reach::Unreachable
    };
    Prediction {
        reach,
        reason: "relayed candidates only are used".to_owned(),
    }
}

fn side(scenario: &Scenario, peer: &str, places: &BTreeMap<String, String>) -> Option<Side> {
    let start = &scenario.peers.get(peer)?.network;
    let network = places.get(peer).unwrap_or(start);
    let way = scenario.way_out(network);
    let (_, own) = way.first()?;
    if !own.families.has_v4() {
        return None;
    }
    let ipv4 = way.iter().map(|(name, network)| gateway(name, network));
    let ipv6 = way.iter().map(|(name, network)| firewall(name, network));
    Some(Side {
        name: peer.to_owned(),
        ipv4: ipv4.collect(),
        ipv6: own.families.has_v6().then(|| ipv6.collect()),
    })
}

/// What stands between the hosts of a network and its uplink, for IPv4.
fn gateway(name: &str, network: &Network) -> Layer {
    let layer = match &network.nat {
        Some(nat) => Layer::nat(
            name,
            mapping(&nat.config),
            nat.config.filtering,
            nat.config.hairpin,
        ),
        None => Layer {
            hairpin: Hairpin::Refused,
            ..Layer::firewall(name, Filtering::EndpointIndependent)
        },
    };
    passages(layer, network)
}

/// A port that is kept for every destination, unless another host has it, is one mapping to a host that
/// is alone.
fn mapping(nat: &NatConfig) -> Mapping {
    match nat.port_allocation {
        PortAllocation::Overlapping | PortAllocation::Overloading => Mapping::EndpointIndependent,
        PortAllocation::Preserving | PortAllocation::Sequential | PortAllocation::Random => {
            nat.mapping
        }
    }
}

fn firewall(name: &str, network: &Network) -> Layer {
    passages(
        Layer::firewall(name, Filtering::EndpointIndependent),
        network,
    )
}

fn passages(layer: Layer, network: &Network) -> Layer {
    let firewall = &network.firewall;
    let turn_tcp = match &firewall.tcp {
        TcpPassage::Open => Passage::Open,
        TcpPassage::OnlyPorts(ports) if ports.contains(&TURN_TCP_PORT) => Passage::Open,
        TcpPassage::OnlyPorts(_) => Passage::Blocked,
    };
    layer.with_udp(firewall.udp).with_turn_tcp(turn_tcp)
}

fn servers(scenario: &Scenario) -> Servers {
    let config = ClientConfig::default();
    let servers = &scenario.servers;
    let any = |scheme: &str, tcp: bool, state: ServerState| {
        let mut listed = config.ice.servers.iter();
        let lives = listed.any(|server| {
            let host = server.url.split(':').nth(1).unwrap_or_default();
            server.url.starts_with(scheme)
                && server.url.contains("transport=tcp") == tcp
                && !servers.dead.contains(host)
        });
        if lives && state == ServerState::Up {
            Availability::Up
        } else {
            Availability::Down
        }
    };
    Servers {
        stun: any("stun:", false, servers.stun),
        turn_udp: any("turn:", false, servers.turn),
        turn_tcp: any("turn:", true, servers.turn),
    }
}
