//! What is connected to what, and who has which address.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;

pub use self::plan::TopologyError;
use self::plan::{AddressPlan, Subnet};
use super::firewall::FirewallConfig;
use super::link::LinkPair;
use super::nat::NatConfig;

/// A host: an interface of a peer in a network, or a server at the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(usize);

impl HostId {
    /// The position in the order of declaration, counted over hosts and servers alike.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// A network behind one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(usize);

impl NetworkId {
    /// The position in the order of declaration.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// The address families of a network or a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Families {
    /// IPv4 only.
    #[default]
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Dual,
}

impl Families {
    /// Whether IPv4 is spoken.
    #[must_use]
    pub const fn has_v4(self) -> bool {
        matches!(self, Self::V4 | Self::Dual)
    }

    /// Whether IPv6 is spoken.
    #[must_use]
    pub const fn has_v6(self) -> bool {
        matches!(self, Self::V6 | Self::Dual)
    }
}

/// A network and its way to the core. The default is a public IPv4 network, open and without loss.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    /// The IPv4 translator of the gateway. Without one the hosts have public addresses.
    pub nat: Option<NatConfig>,
    /// How many external addresses the translator has, 1 by default.
    pub nat_addresses: usize,
    /// The packet filter of the gateway, for both families.
    pub firewall: FirewallConfig,
    /// The filter that IPv6 passes besides.
    pub firewall_v6: FirewallConfig,
    /// The link between the gateway and what it is connected to.
    pub uplink: LinkPair,
    /// The network whose gateway the uplink leads to; `None` where it leads to the core.
    pub behind: Option<NetworkId>,
    /// The /24 that hosts behind a translator have their addresses from, by its first address.
    /// Two networks may have the same. `None`: one that no other network has.
    pub subnet: Option<Ipv4Addr>,
    /// The address families of its hosts.
    pub families: Families,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            nat: None,
            nat_addresses: 1,
            firewall: FirewallConfig::default(),
            firewall_v6: FirewallConfig::default(),
            uplink: LinkPair::default(),
            behind: None,
            subnet: None,
            families: Families::default(),
        }
    }
}

/// The graph of a world, with an address for every node that has one.
///
/// Addresses are handed out in the order of declaration. Private networks are 192.168.1.0/24,
/// 192.168.2.0/24 and so on, or the subnet that they ask for; a network that is itself behind a
/// translator has its external addresses from the network above it, which by default is 100.64.1.0/24
/// and so on (RFC 6598). At the core gateways with a NAT and hosts of public networks share
/// 203.0.113.0/24 and 198.51.100.0/24, and servers are in 192.0.2.0/24 (the documentation prefixes of
/// RFC 5737). IPv6 hosts have addresses of `2001:db8:N::/48` (RFC 3849), N being the number of the
/// network, and 0 for servers.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    pub(super) networks: Vec<Network>,
    pub(super) hosts: Vec<Host>,
    names: BTreeSet<String>,
    plan: AddressPlan,
}

/// A network that has been declared.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) config: NetworkConfig,
    /// The external addresses of the NAT; empty where there is none.
    pub(super) externals: Vec<IpAddr>,
    /// Where its hosts and the translators below it have their IPv4 addresses from; `None` where the
    /// network above, or the core, gives them.
    subnet: Option<Subnet>,
}

/// A host that has been declared.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) name: String,
    /// What it knows itself by, IPv4 first.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) link: LinkPair,
    /// Without a network it is a server at the core.
    pub(super) network: Option<NetworkId>,
}

impl Topology {
    /// A core without anything connected to it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a network. The network that it is behind has to be there already.
    ///
    /// # Errors
    ///
    /// When the name is taken or no address is left.
    pub fn add_network(
        &mut self,
        name: &str,
        config: NetworkConfig,
    ) -> Result<NetworkId, TopologyError> {
        self.check_name(name)?;
        let mut externals = Vec::new();
        let mut subnet = None;
        if config.nat.is_some() {
            for _ in 0..config.nat_addresses.max(1) {
                externals.push(self.v4_address_in(config.behind, name)?);
            }
            subnet = Some(self.plan.subnet(name, config.subnet)?);
        }
        self.names.insert(name.to_owned());
        self.networks.push(Network {
            name: name.to_owned(),
            config,
            externals,
            subnet,
        });
        Ok(NetworkId(self.networks.len() - 1))
    }

    /// Adds a network whose hosts are other networks: its subnet, where it asks for none, is of the
    /// addresses that carriers use for that (RFC 6598).
    ///
    /// # Errors
    ///
    /// As [`add_network`](Self::add_network).
    pub fn add_carrier(
        &mut self,
        name: &str,
        mut config: NetworkConfig,
    ) -> Result<NetworkId, TopologyError> {
        if config.subnet.is_none() {
            config.subnet = Some(self.plan.carrier_subnet(name)?);
        }
        self.add_network(name, config)
    }

    /// Adds a host, or one more interface of a host, to a network. Its link leads to the gateway.
    ///
    /// # Errors
    ///
    /// When the name is taken or no address is left.
    ///
    /// # Panics
    ///
    /// When `network` is of another topology.
    pub fn add_host(
        &mut self,
        name: &str,
        network: NetworkId,
        link: LinkPair,
    ) -> Result<HostId, TopologyError> {
        self.check_name(name)?;
        let families = self.networks[network.0].config.families;
        let mut addresses = Vec::new();
        if families.has_v4() {
            addresses.push(self.v4_address_in(Some(network), name)?);
        }
        if families.has_v6() {
            addresses.push(self.plan.v6_address(name, network.0 + 1)?);
        }
        Ok(self.push_host(Host {
            name: name.to_owned(),
            addresses,
            link,
            network: Some(network),
        }))
    }

    /// Adds a server at the core. Its link leads there.
    ///
    /// # Errors
    ///
    /// When the name is taken or no address is left.
    pub fn add_server(
        &mut self,
        name: &str,
        link: LinkPair,
        families: Families,
    ) -> Result<HostId, TopologyError> {
        self.check_name(name)?;
        let mut addresses = Vec::new();
        if families.has_v4() {
            addresses.push(self.plan.server_address(name)?);
        }
        if families.has_v6() {
            addresses.push(self.plan.v6_address(name, 0)?);
        }
        Ok(self.push_host(Host {
            name: name.to_owned(),
            addresses,
            link,
            network: None,
        }))
    }

    /// One more external address for the NAT of `network`, as a provider gives out when a router
    /// comes back.
    ///
    /// # Errors
    ///
    /// When no address is left.
    pub fn another_external(&mut self, network: NetworkId) -> Result<IpAddr, TopologyError> {
        let Network { name, config, .. } = &self.networks[network.0];
        let (name, behind) = (name.clone(), config.behind);
        self.v4_address_in(behind, &name)
    }

    /// All hosts and servers, in the order of declaration.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(HostId)
    }

    /// All networks, in the order of declaration.
    pub fn networks(&self) -> impl Iterator<Item = NetworkId> + use<> {
        (0..self.networks.len()).map(NetworkId)
    }

    /// The name of a host or server.
    #[must_use]
    pub fn host_name(&self, host: HostId) -> &str {
        &self.hosts[host.0].name
    }

    /// What a host or server knows itself by, IPv4 first. Hosts of different networks may have the
    /// same address.
    #[must_use]
    pub fn addresses(&self, host: HostId) -> &[IpAddr] {
        &self.hosts[host.0].addresses
    }

    /// The network that a host is in; none for a server.
    #[must_use]
    pub fn network_of(&self, host: HostId) -> Option<NetworkId> {
        self.hosts[host.0].network
    }

    /// The name of a network.
    #[must_use]
    pub fn network_name(&self, network: NetworkId) -> &str {
        &self.networks[network.0].name
    }

    /// The network above a network; `None` where that is the core.
    #[must_use]
    pub fn behind(&self, network: NetworkId) -> Option<NetworkId> {
        self.networks[network.0].config.behind
    }

    /// The external addresses of a gateway; none where the network has no NAT.
    #[must_use]
    pub fn externals(&self, network: NetworkId) -> &[IpAddr] {
        &self.networks[network.0].externals
    }

    /// The links towards and from a host or server.
    #[must_use]
    pub fn link_of(&self, host: HostId) -> LinkPair {
        self.hosts[host.0].link
    }

    fn check_name(&self, name: &str) -> Result<(), TopologyError> {
        if self.names.contains(name) {
            return Err(TopologyError::DuplicateName {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    fn push_host(&mut self, host: Host) -> HostId {
        self.names.insert(host.name.clone());
        self.hosts.push(host);
        HostId(self.hosts.len() - 1)
    }

    /// The next free IPv4 address of the nearest subnet around `network`, or of the core.
    fn v4_address_in(
        &mut self,
        network: Option<NetworkId>,
        name: &str,
    ) -> Result<IpAddr, TopologyError> {
        let mut around = network;
        while let Some(id) = around {
            let network = &mut self.networks[id.0];
            if let Some(subnet) = &mut network.subnet {
                return subnet.next(name);
            }
            around = network.config.behind;
        }
        self.plan.public_address(name)
    }
}
