//! The servers of every world: under the very names that the client's default configuration holds,
//! so that it runs unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ringtrue::config::ClientConfig;
use ringtrue::net::Net;
use ringtrue::signaling::relay::{Relay, RelayConfig};
use tracing::error;

use super::World;
use super::host::Names;
use crate::net::link::LinkPair;
use crate::net::topology::{HostId, Topology, TopologyError};
use crate::scenario::model::{ServerState, Servers};
use crate::server::turn::TurnConfig;
use crate::server::{signaling, turn};

/// The port of `http:` URLs that name none (RFC 9110 section 4.2.1).
const HTTP_PORT: u16 = 80;

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
    /// Adds a host for every server that `config` names, and their names to `names`.
    ///
    /// # Errors
    ///
    /// When the address plan is full.
    pub fn add_to(
        topology: &mut Topology,
        names: &mut Names,
        config: &ClientConfig,
        servers: &Servers,
    ) -> Result<Self, TopologyError> {
        let link = || LinkPair::from(servers.delay);
        let mut add = |name: &str| -> Result<HostId, TopologyError> {
            let host = topology.add_server(name, link())?;
            names.insert(name.to_owned(), vec![topology.address(host)]);
            Ok(host)
        };
        let (signaling_name, signaling_port) = authority(&config.signaling.url);
        let signaling = add(&signaling_name)?;
        let mut hosts: BTreeMap<String, HostId> = BTreeMap::new();
        let mut ice: BTreeMap<HostId, IceService> = BTreeMap::new();
        for server in &config.ice.servers {
            let Some(endpoint) = endpoint(&server.url) else {
                continue;
            };
            let host = match hosts.get(&endpoint.name) {
                Some(host) => *host,
                None => *hosts
                    .entry(endpoint.name.clone())
                    .or_insert(add(&endpoint.name)?),
            };
            let service = ice.entry(host).or_insert(IceService {
                kind: endpoint.kind,
                udp_ports: BTreeSet::new(),
            });
            service.udp_ports.extend(endpoint.udp_port);
        }
        Ok(Self {
            signaling,
            signaling_port,
            ice,
        })
    }

    /// Starts everything that the scenario does not hold down.
    pub fn start(&self, world: &mut World, servers: &Servers) {
        // Made here and not before: what it draws at random belongs to the run.
        let relay = Relay::new(RelayConfig::default());
        let net: Arc<dyn Net> = world.net(self.signaling);
        let address = SocketAddr::new(world.address(self.signaling), self.signaling_port);
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
            let ip = world.address(*host);
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

struct Endpoint {
    kind: IceKind,
    name: String,
    /// Absent for a server that is reached by TCP only.
    udp_port: Option<u16>,
}

/// Takes a `stun:` or `turn:` URL apart (RFC 7064 section 3.1, RFC 7065 section 3.1).
fn endpoint(url: &str) -> Option<Endpoint> {
    let (scheme, rest) = url.split_once(':')?;
    let kind = match scheme {
        "stun" => IceKind::Stun,
        "turn" => IceKind::Turn,
        _ => return None,
    };
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, port) = authority.rsplit_once(':').unwrap_or((authority, "3478"));
    let port = port.parse().ok()?;
    Some(Endpoint {
        kind,
        name: name.into(),
        udp_port: (query != "transport=tcp").then_some(port),
    })
}

/// The host name and port of an `http:` URL.
fn authority(url: &str) -> (String, u16) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((name, port)) => (name.into(), port.parse().unwrap_or(HTTP_PORT)),
        None => (authority.into(), HTTP_PORT),
    }
}
