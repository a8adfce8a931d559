//! The servers of every world: under the very names that the client's default configuration holds,
//! so that it runs unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringtrue::config::ClientConfig;
use ringtrue::net::Net;
use ringtrue::peer::servers::{Scheme, ServerUrl, Transport};
use ringtrue::signaling::endpoint::Endpoint;
use ringtrue::signaling::relay::{Relay, RelayConfig};
use tracing::error;

use super::World;
use super::host::Names;
use crate::net::link::LinkPair;
use crate::net::topology::{Families, HostId, Topology, TopologyError};
use crate::scenario::model::{ServerState, Servers};
use crate::server::turn::TurnConfig;
use crate::server::{signaling, turn};

/// The hosts that serve, and what each of them serves.
#[derive(Debug)]
pub struct ServerHosts {
    signaling: HostId,
    signaling_port: u16,
    ice: BTreeMap<HostId, IceService>,
}

/// What one STUN or TURN host serves.
#[derive(Debug)]
struct IceService {
    kind: IceKind,
    udp_ports: BTreeSet<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IceKind {
    Stun,
    Turn,
}

impl ServerHosts {
    /// Adds a host for every server that `config` names, `signaling` among them, and their names to
    /// `names`.
    ///
    /// # Errors
    ///
    /// When the address plan is full.
    pub fn add_to(
        topology: &mut Topology,
        names: &mut Names,
        config: &ClientConfig,
        signaling: &Endpoint,
        servers: &Servers,
    ) -> Result<Self, TopologyError> {
        let link = || LinkPair::from(servers.delay);
        let mut add = |name: &str| -> Result<HostId, TopologyError> {
            let host = topology.add_server(name, link(), Families::V4)?;
            names.insert(name.to_owned(), topology.addresses(host).to_vec());
            Ok(host)
        };
        let signaling_host = add(signaling.host())?;
        let mut hosts: BTreeMap<String, HostId> = BTreeMap::new();
        let mut ice: BTreeMap<HostId, IceService> = BTreeMap::new();
        for server in &config.ice.servers {
            // A URL that names no server is the client's to complain of.
            let Ok(url) = server.url.parse::<ServerUrl>() else {
                continue;
            };
            let kind = match url.scheme {
                Scheme::Stun => IceKind::Stun,
                Scheme::Turn => IceKind::Turn,
                Scheme::Secure => continue,
            };
            let host = match hosts.get(&url.host) {
                Some(host) => *host,
                None => *hosts.entry(url.host.clone()).or_insert(add(&url.host)?),
            };
            let service = ice.entry(host).or_insert(IceService {
                kind,
                udp_ports: BTreeSet::new(),
            });
            if url.transport == Transport::Udp {
                service.udp_ports.insert(url.port);
            }
        }
        Ok(Self {
            signaling: signaling_host,
            signaling_port: signaling.port(),
            ice,
        })
    }

    /// Starts everything that the scenario does not hold down.
    pub fn start(&self, world: &mut World, servers: &Servers) {
        // Made here and not before: what it draws at random belongs to the run.
        let relay = Relay::new(RelayConfig::default());
        let net: Arc<dyn Net> = world.net(self.signaling);
        let address = SocketAddr::new(first(world, self.signaling), self.signaling_port);
        world.domain(self.signaling).spawn(async move {
            if let Err(cause) = signaling::run(net, address, relay, |_| {}).await {
                error!(%address, %cause, "the signaling relay stopped");
            }
        });
        for (host, service) in &self.ice {
            let state = match service.kind {
                IceKind::Stun => servers.stun,
                IceKind::Turn => servers.turn,
            };
            if state == ServerState::Down || service.udp_ports.is_empty() {
                continue;
            }
            let net: Arc<dyn Net> = world.net(*host);
            let ip = first(world, *host);
            let addresses: Vec<SocketAddr> = service
                .udp_ports
                .iter()
                .map(|port| SocketAddr::new(ip, *port))
                .collect();
            world.domain(*host).spawn(async move {
                match turn::start(net, &addresses, TurnConfig::default()).await {
                    // The server runs as long as its handle is held.
                    Ok(server) => {
                        std::future::pending::<()>().await;
                        drop(server);
                    }
                    Err(cause) => error!(%cause, "a STUN and TURN server did not start"),
                }
            });
        }
    }

    /// Runs a task of the world itself, beside the servers.
    pub fn spawn_in_world(
        &self,
        world: &mut World,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        world.domain(self.signaling).spawn(task);
    }
}

/// The address that a server listens on.
fn first(world: &World, host: HostId) -> IpAddr {
    let mut addresses = world.addresses(host);
    addresses.next().expect("every server has an address")
}
