//! The world that a scenario describes, before it runs: networks, hosts, machines and servers.

use std::collections::{BTreeMap, BTreeSet};

use ringtrue::config::ClientConfig;
use ringtrue::signaling::endpoint::Endpoint;

use super::boxes::Boxes;
use super::build::Machine;
use super::faults::Places;
use super::host::Names;
use super::run::SetupError;
use super::servers::ServerHosts;
use crate::fault::{FaultKind, ServerName};
use crate::net::firewall::{FirewallConfig, StatefulFilter};
use crate::net::topology::{Families, NetworkConfig, NetworkId, Topology, TopologyError};
use crate::scenario::model::{self, Ipv6Firewall, Scenario};

/// Everything that a world is made of.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) topology: Topology,
    pub(super) names: Names,
    pub(super) machines: Vec<Machine>,
    pub(super) places: Places,
    pub(super) servers: ServerHosts,
    pub(super) boxes: Boxes,
}

impl Plan {
    /// The world of `scenario`, for clients that are configured by `config`.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub(super) fn new(scenario: &Scenario, config: &ClientConfig) -> Result<Self, SetupError> {
        let error = |source| SetupError::Topology {
            scenario: scenario.name.clone(),
            source,
        };
        let mut topology = Topology::new();
        let networks = add_networks(scenario, &mut topology).map_err(error)?;
        let mut places = Places {
            networks,
            ..Places::default()
        };
        let mut machines = Vec::new();
        for name in scenario.peers.keys() {
            let machine = add_peer(scenario, name, &mut topology, &mut places).map_err(error)?;
            machines.push(machine);
        }
        let mut boxes = Boxes::default();
        for (name, network) in &scenario.networks {
            let id = places.networks[name];
            boxes
                .add_to(&mut topology, id, name, network)
                .map_err(error)?;
        }
        let signaling = Endpoint::from_config(&config.signaling)?;
        let mut names = Names::new();
        let servers = ServerHosts::add_to(
            &mut topology,
            &mut names,
            config,
            &signaling,
            &scenario.servers,
            server_families(scenario),
        )
        .map_err(error)?;
        for kind in kinds_on_their_own(scenario) {
            for host in servers.hosts_of(kind) {
                machines.push(Machine {
                    name: topology.host_name(host).to_owned(),
                    interfaces: vec![host],
                });
            }
        }
        Ok(Self {
            topology,
            names,
            machines,
            places,
            servers,
            boxes,
        })
    }
}

/// Adds the networks, each after the one that it is behind.
fn add_networks(
    scenario: &Scenario,
    topology: &mut Topology,
) -> Result<BTreeMap<String, NetworkId>, TopologyError> {
    let carriers: BTreeSet<&String> = scenario
        .networks
        .values()
        .filter_map(|network| network.behind.as_ref())
        .collect();
    let mut added = BTreeMap::new();
    // The scenario is validated, so each pass adds at least one.
    while added.len() < scenario.networks.len() {
        for (name, network) in &scenario.networks {
            let behind = match &network.behind {
                None => None,
                Some(carrier) => match added.get(carrier) {
                    Some(id) => Some(*id),
                    None => continue,
                },
            };
            if added.contains_key(name) {
                continue;
            }
            let config = network_config(network, behind);
            let id = if carriers.contains(name) {
                topology.add_carrier(name, config)?
            } else {
                topology.add_network(name, config)?
            };
            added.insert(name.clone(), id);
        }
    }
    Ok(added)
}

/// Adds an interface of a peer in every network that it is ever on.
fn add_peer(
    scenario: &Scenario,
    name: &str,
    topology: &mut Topology,
    places: &mut Places,
) -> Result<Machine, TopologyError> {
    let mut interfaces = Vec::new();
    let mut by_network = BTreeMap::new();
    for network in scenario.networks_of(name) {
        let host_name = if interfaces.is_empty() {
            name.to_owned()
        } else {
            format!("{name}@{network}")
        };
        let lan = scenario.networks[network].lan;
        let host = topology.add_host(&host_name, places.networks[network], lan)?;
        interfaces.push(host);
        by_network.insert(network.to_owned(), host);
    }
    places.homes.insert(name.to_owned(), interfaces[0]);
    places.interfaces.insert(name.to_owned(), by_network);
    Ok(Machine {
        name: name.to_owned(),
        interfaces,
    })
}

fn network_config(network: &model::Network, behind: Option<NetworkId>) -> NetworkConfig {
    let firewall_v6 = FirewallConfig {
        stateful: match network.ipv6_firewall {
            Ipv6Firewall::Stateful => Some(StatefulFilter::default()),
            Ipv6Firewall::Open => None,
        },
        ..network.firewall.clone()
    };
    NetworkConfig {
        nat: network.nat.as_ref().map(|nat| nat.config.clone()),
        nat_addresses: network.nat.as_ref().map_or(1, |nat| nat.addresses),
        firewall: network.firewall.clone(),
        firewall_v6,
        uplink: network.uplink,
        behind,
        subnet: network.subnet,
        families: network.families,
    }
}

/// Servers speak IPv6 where anybody could speak it to them.
fn server_families(scenario: &Scenario) -> Families {
    let mut networks = scenario.networks.values();
    if networks.any(|network| network.families.has_v6()) {
        Families::Dual
    } else {
        Families::V4
    }
}

/// The servers that live and stand still by themselves.
fn kinds_on_their_own(scenario: &Scenario) -> BTreeSet<ServerName> {
    let kinds = scenario
        .faults
        .iter()
        .filter_map(|fault| match &fault.kind {
            FaultKind::SignalingRestart { .. } => Some(ServerName::Signaling),
            FaultKind::ServerPause { server } => Some(*server),
            _ => None,
        });
    kinds.collect()
}
