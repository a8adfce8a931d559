//! What is connected to what, and who has which address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::firewall::FirewallConfig;
use super::link::LinkPair;
use super::nat::NatConfig;

/// A host: a peer's interface in a network, or a server at the core.
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

/// A place where packets are forwarded, sent or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeId {
    /// A host or a server.
    Host(HostId),
    /// The gateway of a network.
    Gateway(NetworkId),
    /// Where all uplinks and servers meet.
    Core,
}

/// A network and its way to the core. The default is a public network, open and without loss.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NetworkConfig {
    /// The translator of the gateway. Without one the hosts have public addresses.
    pub nat: Option<NatConfig>,
    /// The packet filter of the gateway.
    pub firewall: FirewallConfig,
    /// The link between gateway and core.
    pub uplink: LinkPair,
}

/// The graph of a world, with an address for every node that has one.
///
/// Addresses are handed out in the order of declaration and all differ: private networks are
/// 192.168.1.0/24, 192.168.2.0/24 and so on; gateways with a NAT and hosts of public networks
/// share 203.0.113.0/24 and 198.51.100.0/24; servers are in 192.0.2.0/24 (the documentation
/// prefixes of RFC 5737).
#[derive(Debug, Clone, Default)]
pub struct Topology {
    pub(super) networks: Vec<Network>,
    pub(super) hosts: Vec<Host>,
    names: BTreeSet<String>,
    public_addresses_used: usize,
    server_addresses_used: usize,
}

/// A network that has been declared.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) config: NetworkConfig,
    /// The external address of the NAT, where there is one.
    pub(super) external: Option<IpAddr>,
    private_prefix: u8,
    private_addresses_used: usize,
}

/// A host that has been declared.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) address: IpAddr,
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

    /// Adds a network.
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
        let translated = self
            .networks
            .iter()
            .filter(|network| network.external.is_some())
            .count();
        let (external, private_prefix) = if config.nat.is_some() {
            let prefix = u8::try_from(translated + 1)
                .ok()
                .filter(|prefix| *prefix < u8::MAX)
                .ok_or_else(|| TopologyError::no_address(name, "private networks", 254))?;
            (Some(self.public_address(name)?), prefix)
        } else {
            (None, 0)
        };
        self.names.insert(name.to_owned());
        self.networks.push(Network {
            name: name.to_owned(),
            config,
            external,
            private_prefix,
            private_addresses_used: 0,
        });
        Ok(NetworkId(self.networks.len() - 1))
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
        let address = if self.networks[network.0].external.is_some() {
            self.networks[network.0].private_address(name)?
        } else {
            self.public_address(name)?
        };
        Ok(self.push_host(Host {
            name: name.to_owned(),
            address,
            link,
            network: Some(network),
        }))
    }

    /// Adds a server at the core. Its link leads there.
    ///
    /// # Errors
    ///
    /// When the name is taken or no address is left.
    pub fn add_server(&mut self, name: &str, link: LinkPair) -> Result<HostId, TopologyError> {
        self.check_name(name)?;
        let last = host_octet(self.server_addresses_used)
            .ok_or_else(|| TopologyError::no_address(name, "servers", 254))?;
        self.server_addresses_used += 1;
        let address = IpAddr::from(Ipv4Addr::new(192, 0, 2, last));
        Ok(self.push_host(Host {
            name: name.to_owned(),
            address,
            link,
            network: None,
        }))
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

    /// The address that a host or server binds to.
    #[must_use]
    pub fn address(&self, host: HostId) -> IpAddr {
        self.hosts[host.0].address
    }

    /// The host or server with this address.
    #[must_use]
    pub fn host_at(&self, address: IpAddr) -> Option<HostId> {
        self.hosts
            .iter()
            .position(|host| host.address == address)
            .map(HostId)
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

    /// The public address of a gateway; none where the network has no NAT.
    #[must_use]
    pub fn external_address(&self, network: NetworkId) -> Option<IpAddr> {
        self.networks[network.0].external
    }

    /// What a host's or server's link leads to.
    #[must_use]
    pub fn uplink_of(&self, host: HostId) -> NodeId {
        self.network_of(host).map_or(NodeId::Core, NodeId::Gateway)
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

    fn public_address(&mut self, name: &str) -> Result<IpAddr, TopologyError> {
        let used = self.public_addresses_used;
        let address = match (host_octet(used), host_octet(used.saturating_sub(254))) {
            (Some(last), _) => Ipv4Addr::new(203, 0, 113, last),
            (None, Some(last)) => Ipv4Addr::new(198, 51, 100, last),
            (None, None) => return Err(TopologyError::no_address(name, "public hosts", 508)),
        };
        self.public_addresses_used += 1;
        Ok(address.into())
    }
}

impl Network {
    /// The gateway itself has the first address.
    fn private_address(&mut self, name: &str) -> Result<IpAddr, TopologyError> {
        let last = host_octet(self.private_addresses_used + 1)
            .ok_or_else(|| TopologyError::no_address(name, "hosts of one network", 253))?;
        self.private_addresses_used += 1;
        Ok(Ipv4Addr::new(192, 168, self.private_prefix, last).into())
    }
}

/// The last octet of the address number `index` of a /24, without network and broadcast address.
fn host_octet(index: usize) -> Option<u8> {
    u8::try_from(index + 1)
        .ok()
        .filter(|octet| *octet < u8::MAX)
}

/// A node that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Random streams and reports go by name, so names must differ.
    #[error("the name {name:?} is used twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An address plan is full.
    #[error("no address left for {name:?}: at most {limit} {kind} are possible")]
    NoAddress {
        /// The node that got none.
        name: String,
        /// What there are too many of.
        kind: &'static str,
        /// How many addresses the plan has.
        limit: usize,
    },
}

impl TopologyError {
    fn no_address(name: &str, kind: &'static str, limit: usize) -> Self {
        Self::NoAddress {
            name: name.to_owned(),
            kind,
            limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated() -> NetworkConfig {
        NetworkConfig {
            nat: Some(NatConfig::default()),
            ..NetworkConfig::default()
        }
    }

    #[test]
    fn addresses_follow_the_plan_in_order_of_declaration() {
        let mut topology = Topology::new();
        let home = topology.add_network("home", translated()).expect("free");
        let open = topology
            .add_network("open", NetworkConfig::default())
            .expect("free");
        let office = topology.add_network("office", translated()).expect("free");
        let mut host = |name: &str, network| {
            topology
                .add_host(name, network, LinkPair::default())
                .expect("free")
        };
        let hosts = [
            host("alice", home),
            host("bob", office),
            host("carol", home),
            host("dave", open),
        ];
        let server = topology
            .add_server("stun", LinkPair::default())
            .expect("free");
        assert_eq!(
            hosts.map(|host| topology.address(host).to_string()),
            ["192.168.1.2", "192.168.2.2", "192.168.1.3", "203.0.113.3"]
        );
        assert_eq!(topology.address(server).to_string(), "192.0.2.1");
        let external = [home, open, office].map(|network| {
            topology
                .external_address(network)
                .map(|address| address.to_string())
        });
        assert_eq!(
            external,
            [
                Some("203.0.113.1".to_owned()),
                None,
                Some("203.0.113.2".to_owned())
            ]
        );
    }

    #[test]
    fn a_full_plan_is_an_error_and_not_a_duplicate_address() {
        let mut topology = Topology::new();
        let open = topology
            .add_network("open", NetworkConfig::default())
            .expect("free");
        let mut addresses = BTreeSet::new();
        for index in 0..508 {
            let host = topology
                .add_host(&format!("host {index}"), open, LinkPair::default())
                .expect("an address is left");
            assert!(addresses.insert(topology.address(host)));
        }
        let error = topology.add_host("one more", open, LinkPair::default());
        assert_eq!(
            error.expect_err("the plan is full").to_string(),
            "no address left for \"one more\": at most 508 public hosts are possible"
        );
    }

    #[test]
    fn names_are_used_once_among_networks_hosts_and_servers() {
        let mut topology = Topology::new();
        topology.add_network("home", translated()).expect("free");
        topology
            .add_server("home", LinkPair::default())
            .expect_err("taken");
    }
}
