//! The servers of every world: under the very names that the client's default configuration holds,
//! so that it runs unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringtrue::config::ClientConfig;
use ringtrue::net::Net;
use ringtrue::net::tls::TlsAcceptor;
use ringtrue::peer::servers::{Scheme, ServerUrl, Transport};
use ringtrue::signaling::endpoint::Endpoint;
use ringtrue::signaling::relay::turn_credentials::{TurnCredentialIssuer, TurnSecret};
use ringtrue::signaling::relay::{Relay, RelayConfig};
use tokio::time::Instant;
use tracing::error;

use super::World;
use super::host::Names;
use crate::fault::ServerName;
use crate::net::link::LinkPair;
use crate::net::topology::{Families, HostId, Topology, TopologyError};
use crate::perturbation::Perturbation;
use crate::scenario::model::{ServerState, Servers};
use crate::server::perturbing::Perturbing;
use crate::server::turn::{TurnAddresses, TurnConfig, TurnControl};
use crate::server::{signaling, turn};

/// The hosts that serve, and what each of them serves. Clones are the same servers.
#[derive(Debug, Clone)]
pub struct ServerHosts {
    signaling: HostId,
    signaling_port: u16,
    /// What the signaling server shows where it protects its connections.
    signaling_tls: Option<TlsAcceptor>,
    /// The relay that serves, or served last.
    relay: Arc<Mutex<Option<Relay>>>,
    /// What happens to the messages that the signaling server sends out, where something does.
    perturbing: Option<Perturbing>,
    ice: BTreeMap<HostId, IceService>,
    /// The URLs of the TURN servers, as the relay names them to who asks for credentials.
    turn_urls: Vec<String>,
}

/// What one STUN or TURN host serves.
#[derive(Debug, Clone)]
struct IceService {
    kind: ServerName,
    udp_ports: BTreeSet<u16>,
    tcp_ports: BTreeSet<u16>,
    control: TurnControl,
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
        families: Families,
    ) -> Result<Self, TopologyError> {
        let link = || LinkPair::from(servers.delay);
        let mut add = |name: &str| -> Result<HostId, TopologyError> {
            let host = topology.add_server(name, link(), families)?;
            names.insert(name.to_owned(), topology.addresses(host).to_vec());
            Ok(host)
        };
        let signaling_host = add(signaling.host())?;
        let mut hosts: BTreeMap<String, HostId> = BTreeMap::new();
        let mut ice: BTreeMap<HostId, IceService> = BTreeMap::new();
        let mut turn_urls = Vec::new();
        for server in &config.ice.servers {
            // A URL that names no server is the client's to complain of.
            let Ok(url) = server.url.parse::<ServerUrl>() else {
                continue;
            };
            let kind = match url.scheme {
                Scheme::Stun => ServerName::Stun,
                Scheme::Turn => {
                    turn_urls.push(server.url.clone());
                    ServerName::Turn
                }
                Scheme::Secure => continue,
            };
            let host = match hosts.get(&url.host) {
                Some(host) => *host,
                None => *hosts.entry(url.host.clone()).or_insert(add(&url.host)?),
            };
            let service = ice.entry(host).or_insert(IceService {
                kind,
                udp_ports: BTreeSet::new(),
                tcp_ports: BTreeSet::new(),
                control: TurnControl::default(),
            });
            let ports = match url.transport {
                Transport::Udp => &mut service.udp_ports,
                Transport::Tcp => &mut service.tcp_ports,
            };
            ports.insert(url.port);
        }
        Ok(Self {
            signaling: signaling_host,
            signaling_port: signaling.port(),
            signaling_tls: None,
            relay: Arc::default(),
            perturbing: None,
            ice,
            turn_urls,
        })
    }

    /// Lets the signaling server protect its connections, from the next start on.
    pub fn protect_signaling(&mut self, tls: TlsAcceptor) {
        self.signaling_tls = Some(tls);
    }

    /// Lets these things happen to messages, from the next start on, and for all starts together.
    pub fn perturb_messages(&mut self, world: &World, perturbations: &[Perturbation]) {
        if perturbations.is_empty() {
            return;
        }
        let seed = world.capture.seed();
        self.perturbing = Some(Perturbing::new(
            perturbations,
            |label| seed.stream(label),
            world.recorder.clone(),
            world.hosts[self.signaling.index()].name.clone(),
        ));
    }

    /// Starts everything that the scenario does not hold down.
    pub fn start(&self, world: &mut World, servers: &Servers) {
        self.start_signaling(world);
        for (host, service) in &self.ice {
            let state = match service.kind {
                ServerName::Turn => servers.turn,
                ServerName::Stun | ServerName::Signaling => servers.stun,
            };
            let name = &world.hosts[host.index()].name;
            if state == ServerState::Up && !servers.dead.contains(&**name) {
                service.start(world, *host);
            }
        }
    }

    /// Starts a signaling relay that knows nobody.
    pub fn start_signaling(&self, world: &mut World) {
        // Made here and not before: what it draws at random belongs to the run.
        let relay = Relay::new(RelayConfig {
            turn: Some(TurnCredentialIssuer::new(
                turn_secret(),
                self.turn_urls.clone(),
                TurnCredentialIssuer::DEFAULT_TTL,
                turn::date,
            )),
            ..RelayConfig::default()
        });
        let served = lock(&self.relay).replace(relay.clone());
        if let Some(served) = served {
            // Its library has sockets and namespaces hold each other, so that a relay whose process was
            // killed would stay in the memory of this one.
            world.domain(self.signaling).spawn(async move {
                served.shut_down(Instant::now()).await;
            });
        }
        let net: Arc<dyn Net> = world.net(self.signaling);
        let addresses: Vec<IpAddr> = world.addresses(self.signaling).collect();
        for ip in addresses {
            let (net, relay) = (Arc::clone(&net), relay.clone());
            let (tls, perturbing) = (self.signaling_tls.clone(), self.perturbing.clone());
            let address = SocketAddr::new(ip, self.signaling_port);
            world.domain(self.signaling).spawn(async move {
                let stopped = match (perturbing, tls) {
                    (Some(perturbing), tls) => {
                        signaling::run_perturbed(net, address, relay, tls, &perturbing).await
                    }
                    (None, None) => signaling::run(net, address, relay, |_| {}).await,
                    (None, Some(tls)) => signaling::run_tls(net, address, relay, tls).await,
                };
                if let Err(cause) = stopped {
                    error!(%address, %cause, "the signaling relay stopped");
                }
            });
        }
    }

    /// Lets the signaling relay end within `limit`, and let go of what its library keeps.
    pub fn end_signaling(&self, world: &mut World, limit: Duration) {
        if let Some(served) = lock(&self.relay).take() {
            self.spawn_in_world(world, async move {
                served.shut_down(Instant::now() + limit).await;
            });
        }
    }

    /// The host of the signaling server.
    #[must_use]
    pub fn signaling(&self) -> HostId {
        self.signaling
    }

    /// The port of the signaling server.
    #[must_use]
    pub fn signaling_port(&self) -> u16 {
        self.signaling_port
    }

    /// The hosts of all servers of a kind.
    #[must_use]
    pub fn hosts_of(&self, kind: ServerName) -> Vec<HostId> {
        if kind == ServerName::Signaling {
            return vec![self.signaling];
        }
        let servers = self.ice.iter().filter(|(_, each)| each.kind == kind);
        servers.map(|(host, _)| *host).collect()
    }

    /// The switch of each TURN server.
    pub fn turn_controls(&self) -> impl Iterator<Item = &TurnControl> {
        let servers = self.ice.values();
        servers
            .filter(|each| each.kind == ServerName::Turn)
            .map(|each| &each.control)
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

impl IceService {
    fn start(&self, world: &mut World, host: HostId) {
        let net: Arc<dyn Net> = world.net(host);
        let ips: Vec<IpAddr> = world.addresses(host).collect();
        let on_ports = |ports: &BTreeSet<u16>| {
            let addresses = ips.iter().flat_map(|ip| {
                let sockets = ports.iter().map(|port| SocketAddr::new(*ip, *port));
                sockets.collect::<Vec<_>>()
            });
            addresses.collect()
        };
        let addresses = TurnAddresses {
            udp: on_ports(&self.udp_ports),
            tcp: on_ports(&self.tcp_ports),
        };
        let control = self.control.clone();
        let config = TurnConfig {
            secret: Some(turn_secret()),
            ..TurnConfig::default()
        };
        world.domain(host).spawn(async move {
            match turn::start(net, &addresses, config, control).await {
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

fn lock(relay: &Mutex<Option<Relay>>) -> MutexGuard<'_, Option<Relay>> {
    relay.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the signaling relay and the TURN servers of a world share.
fn turn_secret() -> TurnSecret {
    TurnSecret::new("ringtrue")
}
