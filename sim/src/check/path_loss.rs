//! What the links between two peers do to audio: what they lose, and what TCP makes late.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::Facts;
use super::kept::PathLoss;
use crate::fault::FaultKind;
use crate::net::firewall::Passage;
use crate::net::link::LinkConfig;
use crate::scenario::model::{Network, Scenario};
use crate::trace::FaultPhase;

/// How many timeouts in a row make audio late at most: a segment is lost, and so is one that was sent while it
/// was.
const TIMEOUTS_MAX: u32 = 2;
/// How many one-way delays a retransmission timeout of the world has (`world::tcp`).
const DELAYS_PER_TIMEOUT: u32 = 4;
/// The least that is late: a relay may be further away than the links of the peers say.
const LATE_MIN: Duration = Duration::from_secs(2);

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
    let apart = |way: &[(&str, &Network)], other: &[(&str, &Network)]| {
        let common = |name: &str| other.iter().any(|(each, _)| *each == name);
        way.iter()
            .position(|(name, _)| common(name))
            .unwrap_or(way.len())
    };
    let (gateways_up, gateways_down) = (&up[..apart(&up, &down)], &down[..apart(&down, &up)]);
    let lan_up = up.first().map(|(_, network)| network.lan.up);
    let lan_down = down.first().map(|(_, network)| network.lan.down);
    let uplinks = gateways_up.iter().map(|(_, each)| each.uplink.up);
    let downlinks = gateways_down.iter().map(|(_, each)| each.uplink.down);
    let sides = [
        Side::new(gateways_up, lan_up.into_iter().chain(uplinks)),
        Side::new(gateways_down, lan_down.into_iter().chain(downlinks)),
    ];
    let lossy = sides.iter().filter(|side| !side.is_by_tcp);
    let links: Vec<&LinkConfig> = lossy.flat_map(|side| &side.links).collect();
    let passed: f64 = links.iter().map(|link| 1.0 - link.mean_loss()).product();
    let bursts = links.iter().map(|link| link.loss.mean_burst_packets());
    PathLoss {
        share: 1.0 - passed,
        mean_burst_packets: bursts.fold(1.0, f64::max),
        late: sides.iter().map(Side::late).sum(),
    }
}

/// The links between one peer and the relays.
struct Side {
    links: Vec<LinkConfig>,
    /// Whether audio goes by TCP here, since a gateway takes no datagrams.
    is_by_tcp: bool,
}

impl Side {
    fn new(gateways: &[(&str, &Network)], links: impl Iterator<Item = LinkConfig>) -> Self {
        let mut gateways = gateways.iter();
        Self {
            links: links.collect(),
            is_by_tcp: gateways.any(|(_, each)| each.firewall.udp == Passage::Blocked),
        }
    }

    /// How much of the audio may be late here.
    fn late(&self) -> Duration {
        let loses = self.links.iter().any(|link| link.mean_loss() > 0.0);
        if !self.is_by_tcp || !loses {
            return Duration::ZERO;
        }
        let delay: Duration = self.links.iter().map(|link| link.delay).sum();
        (delay * DELAYS_PER_TIMEOUT * TIMEOUTS_MAX).max(LATE_MIN)
    }
}
