//! What the links between two peers lose.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::kept::{Carriage, PathLoss};
use crate::fault::FaultKind;
use crate::net::firewall::Passage;
use crate::net::link::LinkConfig;
use crate::scenario::model::{Network, Scenario};
use crate::trace::FaultPhase;

/// What is lost on the way to `hearer`, from the other peer: on the links upwards there and downwards
/// here, up to the first network that both are behind. A relayed packet passes no other lossy link
/// than these, since servers' links lose nothing.
#[must_use]
pub fn path_loss(scenario: &Scenario, peers: &[String], hearer: &str) -> PathLoss {
    let start = |name: &str| Some(scenario.peers.get(name)?.network.as_str());
    between(scenario, peers, hearer, start)
}

/// The same for every peer, where the peers are in the end.
#[must_use]
pub fn path_losses(
    scenario: &Scenario,
    peers: &[String],
    facts: &Facts,
) -> BTreeMap<String, PathLoss> {
    let places = places(scenario, facts);
    let place = |name: &str| {
        let start = || Some(scenario.peers.get(name)?.network.as_str());
        places.get(name).map(String::as_str).or_else(start)
    };
    let losses = peers.iter();
    losses
        .map(|hearer| {
            let loss = between(scenario, peers, hearer, place);
            (hearer.clone(), loss)
        })
        .collect()
}

/// The networks to which faults have moved peers.
#[must_use]
pub fn places(scenario: &Scenario, facts: &Facts) -> BTreeMap<String, String> {
    let begun = facts.faults.iter();
    let begun = begun.filter(|fact| fact.phase == FaultPhase::Begins);
    begun
        .filter_map(|fact| match &scenario.faults.get(fact.fault)?.kind {
            FaultKind::NetworkSwitch { peer, to } => Some((peer.clone(), to.clone())),
            _ => None,
        })
        .collect()
}

fn between<'a>(
    scenario: &Scenario,
    peers: &[String],
    hearer: &str,
    network_of: impl Fn(&str) -> Option<&'a str>,
) -> PathLoss {
    let heard = peers.iter().find(|peer| *peer != hearer);
    let (Some(from), Some(to)) = (heard.and_then(|name| network_of(name)), network_of(hearer))
    else {
        return PathLoss::NONE;
    };
    let (up, down) = (scenario.way_out(from), scenario.way_out(to));
    let mut links: Vec<LinkConfig> = Vec::new();
    links.extend(up.first().map(|(_, network)| network.lan.up));
    links.extend(down.first().map(|(_, network)| network.lan.down));
    let apart = |way: &[(&str, &Network)], other: &[(&str, &Network)]| {
        let common = |name: &str| other.iter().any(|(each, _)| *each == name);
        way.iter()
            .position(|(name, _)| common(name))
            .unwrap_or(way.len())
    };
    let (up, down) = (&up[..apart(&up, &down)], &down[..apart(&down, &up)]);
    links.extend(up.iter().map(|(_, each)| each.uplink.up));
    links.extend(down.iter().map(|(_, each)| each.uplink.down));
    let mut gateways = up.iter().chain(down);
    let takes_no_datagram = gateways.any(|(_, each)| each.firewall.udp == Passage::Blocked);
    let passed: f64 = links.iter().map(|link| 1.0 - link.mean_loss()).product();
    let bursts = links.iter().map(|link| link.loss.mean_burst_packets());
    PathLoss {
        share: 1.0 - passed,
        mean_burst_packets: bursts.fold(1.0, f64::max),
        carriage: if takes_no_datagram {
            Carriage::Stream
        } else {
            Carriage::Datagrams
        },
    }
}
