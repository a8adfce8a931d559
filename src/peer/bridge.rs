//! Carries the ICE agent's packets between its virtual network and a [`Net`].
//!
//! The agent opens sockets on a virtual network of its own. Each gets a real socket here, bound
//! when the agent first sends from it or announces it as a candidate. The real socket has a port
//! of its own, so candidates are announced under [`Bridge::announced`], never under the address
//! that the agent chose.
//!
//! Both families of addresses pass as they are between peers. Towards servers the agent's IPv4
//! sockets stand for the whole host, and the bridge chooses the family.

mod address;
mod announcer;
mod consent;
mod datagram;
mod delivery;
mod families;
mod pacer;
mod relays;
mod routing;
mod sockets;
mod stun;
mod traffic;
mod turn_stream;
mod virtual_net;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha12Rng;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use webrtc_util::vnet::net::Net as VirtualNet;
use webrtc_util::vnet::router::{Nic, Router};

pub(crate) use self::address::{real_of, virtual_of};
pub(crate) use self::announcer::Announcer;
pub(crate) use self::families::{Family, is_candidate};
use self::families::{HostAddresses, Purpose};
use self::relays::{Access, Relays};
use self::routing::Server;
use self::sockets::RealSocket;
use self::traffic::Traffic;
use self::turn_stream::Link;
use self::virtual_net::{open_virtual_net, stop_router};
use super::servers::{Transport, UsableServer};
use crate::candidates::local_preferences;
use crate::net::{Net, TrafficClass};
use crate::redaction;

/// The most packets of the agent that wait to be sent.
const OUTBOUND_PACKETS_MAX: usize = 1024;

/// Why no bridge could be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    /// The interfaces could not be listed.
    #[error("cannot list interfaces: {}", redaction::scrubbed(.0))]
    Interfaces(#[source] io::Error),
    /// There is no address to send from.
    #[error("no interface has an address that candidates can be gathered from")]
    NoAddress,
    /// The virtual network did not take its configuration: a fault of ours.
    #[error("virtual network: {}", redaction::scrubbed(.0))]
    Virtual(#[from] webrtc_util::Error),
}

/// The bridge of one agent. Dropping it stops all its tasks and closes all its sockets.
pub(crate) struct Bridge {
    inner: Arc<Inner>,
    router: Arc<tokio::sync::Mutex<Router>>,
    virtual_net: Arc<VirtualNet>,
    servers: Vec<SocketAddr>,
}

/// What a bridge tells besides packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BridgeEvent {
    /// The socket at this address is dead. Told of the first one only: what kills one socket, as a
    /// lost interface or a system that closes the sockets of a sleeping app, kills the others too.
    SocketLost(SocketAddr),
    /// The other side has not answered a check of the path in use for 30 s. Nothing more is sent on it.
    ConsentLost,
}

/// Who is told. Called from within tasks of the bridge, so it must not wait.
pub(crate) type BridgeListener = Box<dyn Fn(BridgeEvent) + Send + Sync>;

struct Inner {
    net: Arc<dyn Net>,
    class: TrafficClass,
    addresses: HostAddresses,
    /// Of each real address. Empty on a host with IPv4 alone, where the agent's priorities stand.
    preferences: BTreeMap<IpAddr, u16>,
    nic: Arc<tokio::sync::Mutex<dyn Nic + Send + Sync>>,
    state: Mutex<State>,
    /// Held while a socket is bound, so that no virtual address gets two.
    binding: tokio::sync::Mutex<()>,
    tasks: Mutex<JoinSet<()>>,
    schedule_moved: Notify,
    flushed: Notify,
    /// Something came for the bridge itself.
    answered: Notify,
    /// Whether a server over UDP has granted an allocation.
    relayed_over_udp: watch::Sender<bool>,
    /// How long those over TCP wait for that.
    udp_head_start: Duration,
    listener: BridgeListener,
}

struct State {
    traffic: Traffic,
    /// By the agent's socket and what it sends over: a socket that stands for the whole host may
    /// need one of each family.
    sockets: BTreeMap<(SocketAddr, Family), RealSocket>,
    servers: BTreeMap<SocketAddr, Server>,
    /// Which server stands behind a real address, by the agent's socket.
    server_of: BTreeMap<(SocketAddr, SocketAddr), SocketAddr>,
    /// The TCP connections to servers, by the agent's socket and the server.
    links: BTreeMap<(SocketAddr, SocketAddr), Link>,
    /// Whether a socket has died, which is told once.
    socket_lost: bool,
}

impl Bridge {
    /// Opens a virtual network with the addresses of `net` and starts to resolve `servers`.
    ///
    /// # Errors
    ///
    /// [`BridgeError`].
    pub(crate) async fn start(
        net: Arc<dyn Net>,
        class: TrafficClass,
        servers: &[UsableServer],
        backup_ping_interval: Duration,
        listener: BridgeListener,
    ) -> Result<Self, BridgeError> {
        let interfaces = net.interfaces().map_err(BridgeError::Interfaces)?;
        let addresses = HostAddresses::new(interfaces.into_iter().map(|each| each.address))
            .ok_or(BridgeError::NoAddress)?;
        let preferences = if addresses.has(Family::V6) {
            local_preferences(addresses.of(Family::V4), addresses.of(Family::V6))
        } else {
            BTreeMap::new()
        };

        let (outbound, packets) = mpsc::channel(OUTBOUND_PACKETS_MAX);
        let (virtual_net, router) = open_virtual_net(&addresses, outbound).await?;
        let named: Vec<(SocketAddr, &UsableServer)> = servers
            .iter()
            .enumerate()
            .map_while(|(index, server)| Some((address::server(index, server.port)?, server)))
            .collect();
        let transports: BTreeMap<SocketAddr, Transport> = named
            .iter()
            .map(|(place, server)| (*place, server.transport))
            .collect();
        let relays = named.iter().filter_map(|(place, server)| {
            let access = Access {
                transport: server.transport,
                credentials: server.turn.clone()?,
            };
            Some((*place, access))
        });
        let relays = Relays::new(relays.collect());
        let state = State {
            sockets: BTreeMap::new(),
            servers: transports
                .keys()
                .map(|place| (*place, Server::Resolving(Vec::new())))
                .collect(),
            traffic: Traffic::new(
                transports,
                relays,
                ChaCha12Rng::from_rng(&mut rand::rng()),
                backup_ping_interval,
            ),
            server_of: BTreeMap::new(),
            links: BTreeMap::new(),
            socket_lost: false,
        };
        let inner = Arc::new(Inner {
            net,
            class,
            addresses,
            preferences,
            nic: virtual_net.get_nic()?,
            state: Mutex::new(state),
            binding: tokio::sync::Mutex::new(()),
            tasks: Mutex::new(JoinSet::new()),
            schedule_moved: Notify::new(),
            flushed: Notify::new(),
            answered: Notify::new(),
            relayed_over_udp: watch::Sender::new(false),
            udp_head_start: if servers.iter().any(UsableServer::relays_over_udp) {
                turn_stream::UDP_HEAD_START
            } else {
                Duration::ZERO
            },
            listener,
        });
        inner.spawn(Arc::clone(&inner).carry_outbound(packets));
        for (place, server) in &named {
            let purpose = match server.turn {
                Some(_) => Purpose::Turn,
                None => Purpose::Stun,
            };
            let (host, transport) = (server.host.clone(), server.transport);
            let resolved = Arc::clone(&inner).resolve(*place, host, transport, purpose);
            inner.spawn(resolved);
        }
        Ok(Self {
            inner,
            router,
            virtual_net,
            servers: named.iter().map(|(place, _)| *place).collect(),
        })
    }

    /// The network for the agent.
    pub(crate) fn virtual_net(&self) -> Arc<VirtualNet> {
        Arc::clone(&self.virtual_net)
    }

    /// The addresses under which the agent reaches the servers, in the order given to
    /// [`Bridge::start`].
    pub(crate) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Whether this host has an address of `family`.
    pub(crate) fn has(&self, family: Family) -> bool {
        self.inner.addresses.has(family)
    }

    /// Finds real addresses, and may outlive the bridge.
    pub(crate) fn announcer(&self) -> Announcer {
        Announcer {
            inner: Arc::clone(&self.inner),
        }
    }

    /// The agent reads checks from now on, of one who signs with `remote_password`: hands over those that came early.
    pub(crate) fn begin_checks(&self, remote_password: &str) {
        let inner = Arc::clone(&self.inner);
        let password = remote_password.to_owned();
        self.inner.spawn(async move {
            let held = inner.state().traffic.begin_checks(&password);
            for packet in held {
                inner.deliver(packet).await;
            }
        });
    }

    /// Ends every exchange with a server that has not been answered, so that nothing waits for it.
    /// Releasing a TURN allocation still works.
    pub(crate) async fn refuse_all(&self) {
        let answers = self.inner.state().traffic.refuse_all(Instant::now());
        self.inner.schedule_moved.notify_one();
        for answer in answers {
            self.inner.deliver(answer).await;
        }
    }

    /// Waits until every server has confirmed that this agent's allocations are released.
    pub(crate) async fn released(&self) {
        while !self.inner.state().traffic.all_released() {
            self.inner.answered.notified().await;
        }
    }

    /// Waits until everything that the agent has sent is on the real network.
    pub(crate) async fn flush(&self) {
        let flushed = self.inner.flushed.notified();
        let socket = match self
            .virtual_net
            .bind(SocketAddr::new(self.inner.addresses.first_seen(), 0))
            .await
        {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(error = %redaction::scrubbed(error), "cannot flush the bridge");
                return;
            }
        };
        if socket.send_to(&[0], address::FLUSH).await.is_ok() {
            flushed.await;
            self.inner.flush_links().await;
        }
    }

    /// Stops the virtual network too. Dropping does the rest.
    pub(crate) async fn close(self) {
        let mut router = self.router.lock().await;
        stop_router(&mut router);
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        lock(&self.inner.tasks).abort_all();
        self.inner.state().sockets.clear();
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Bridge")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.tasks).spawn(task);
    }
}

/// A poisoned lock still guards consistent data here: no update spans a call that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
