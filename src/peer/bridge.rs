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
mod consent;
mod datagram;
mod families;
mod pacer;
mod relays;
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
use tokio::time::{Instant, sleep_until, timeout};
use webrtc_util::vnet::net::Net as VirtualNet;
use webrtc_util::vnet::router::{Nic, Router};

pub(crate) use self::address::{real_of, virtual_of};
use self::datagram::Datagram;
pub(crate) use self::families::{Family, is_candidate};
use self::families::{HostAddresses, Purpose, ServerAddresses};
use self::relays::{Access, Relays};
use self::stun::Header;
use self::traffic::{Inbound, Outbound, Packet, Traffic};
use self::turn_stream::Link;
use self::virtual_net::{open_virtual_net, stop_router};
use super::servers::{Transport, UsableServer};
use crate::candidates::{LOCAL_PREFERENCE_MAX, local_preferences};
use crate::net::{DatagramSocket, Net, TrafficClass};
use crate::redaction;

/// How long a server's name may take to resolve. The others do not wait for it.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// The most packets of the agent that wait to be sent.
const OUTBOUND_PACKETS_MAX: usize = 1024;

/// The most packets to one server that wait for its name.
const WAITING_PACKETS_MAX: usize = 16;

/// The longest datagram that is read: the agent's own buffers are no larger.
const DATAGRAM_BYTES_MAX: usize = 8192;

/// How long the virtual network may take to accept a packet. Its queues block when full, and one
/// socket that nobody reads must not stop the others.
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(100);

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

/// Finds the real address behind one that the agent sees. Keeps no task alive.
#[derive(Clone)]
pub(crate) struct Announcer {
    inner: Arc<Inner>,
}

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

#[derive(Clone)]
struct RealSocket {
    socket: Arc<dyn DatagramSocket>,
    address: SocketAddr,
}

enum Server {
    /// Its name is being resolved; what was sent to it waits.
    Resolving(Vec<Packet>),
    At(ServerAddresses),
    /// At this address, over TCP.
    OverTcp(SocketAddr),
    Unknown,
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

impl Announcer {
    /// The real address of the agent's socket `seen`, which is bound now if it was not. The port
    /// alone identifies a socket on the unspecified address; where its server was reached over
    /// IPv6, so is what the server told about it.
    ///
    /// # Errors
    ///
    /// What the network answers to the attempt to bind.
    pub(crate) async fn announced(&self, seen: SocketAddr) -> io::Result<SocketAddr> {
        let own = Family::of(seen.ip());
        if !seen.ip().is_unspecified() {
            return Ok(self.inner.socket(seen, own).await?.address);
        }
        let seen = SocketAddr::new(self.inner.addresses.first_seen(), seen.port());
        let bound = {
            let state = self.inner.state();
            [Family::V4, Family::V6]
                .iter()
                .find_map(|family| state.sockets.get(&(seen, *family)))
                .map(|socket| socket.address)
        };
        match bound {
            Some(address) => Ok(address),
            None => Ok(self.inner.socket(seen, own).await?.address),
        }
    }

    /// The local preference of candidates whose base is at `real`.
    pub(crate) fn local_preference(&self, real: IpAddr) -> u16 {
        let preferences = &self.inner.preferences;
        preferences
            .get(&real)
            .copied()
            .unwrap_or(LOCAL_PREFERENCE_MAX)
    }

    /// Where the TCP connection begins over which the agent's socket with this port, on the
    /// unspecified address, talks to a TURN server; `None` where it talks over UDP.
    pub(crate) fn connection(&self, port: u16) -> Option<SocketAddr> {
        let seen = SocketAddr::new(self.inner.addresses.first_seen(), port);
        self.inner.link_address(seen)
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Announcer").finish_non_exhaustive()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.tasks).spawn(task);
    }

    /// Sends what the agent sends, and what is due, until the bridge is dropped.
    async fn carry_outbound(self: Arc<Self>, mut packets: mpsc::Receiver<Packet>) {
        loop {
            let due = self.state().traffic.next_due(Instant::now());
            tokio::select! {
                biased;
                packet = packets.recv() => match packet {
                    None => return,
                    Some(packet) if packet.remote == address::FLUSH => self.flushed.notify_waiters(),
                    Some(packet) => self.outbound(packet).await,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let packets = self.state().traffic.due(Instant::now());
                    for packet in packets {
                        self.send(packet).await;
                    }
                }
                () = self.schedule_moved.notified() => {}
            }
        }
    }

    async fn outbound(self: &Arc<Self>, packet: Packet) {
        let verdict = self.state().traffic.outbound(Instant::now(), &packet);
        match verdict {
            Outbound::Send => self.send(packet).await,
            Outbound::Instead(instead) => {
                for packet in instead.send {
                    self.send(packet).await;
                }
                if let Some(answer) = instead.answer {
                    self.deliver(answer).await;
                }
            }
            Outbound::ConsentLost => (self.listener)(BridgeEvent::ConsentLost),
            Outbound::Refuse(answer) => self.deliver(answer).await,
            Outbound::AlreadySent | Outbound::Later | Outbound::Never => {}
        }
    }

    async fn send(self: &Arc<Self>, packet: Packet) {
        let remote = match self.route(&packet) {
            Route::To(remote) => remote,
            Route::OverTcp(remote) => return self.send_over_tcp(packet, remote).await,
            Route::Wait => return,
            Route::Nowhere(answers) => {
                for answer in answers {
                    self.deliver(answer).await;
                }
                return;
            }
        };
        let sent = match self.socket(packet.local, Family::of(remote.ip())).await {
            Ok(socket) => socket.socket.send_to(&packet.payload, remote).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(
                local = %redaction::address(packet.local),
                remote = %redaction::address(remote),
                error = %redaction::scrubbed(error),
                "datagram not sent"
            );
        }
    }

    /// Where a packet really goes. Remembers which server it was for.
    fn route(&self, packet: &Packet) -> Route {
        let mut state = self.state();
        let State {
            servers,
            server_of,
            traffic,
            ..
        } = &mut *state;
        match servers.get_mut(&packet.remote) {
            None => Route::To(SocketAddr::new(
                real_of(packet.remote.ip()),
                packet.remote.port(),
            )),
            Some(Server::At(addresses)) => {
                let real = addresses.next();
                server_of.insert((packet.local, real), packet.remote);
                Route::To(real)
            }
            Some(Server::OverTcp(real)) => Route::OverTcp(*real),
            Some(Server::Resolving(waiting)) => {
                if waiting.len() < WAITING_PACKETS_MAX && !waiting.contains(packet) {
                    waiting.push(packet.clone());
                }
                Route::Wait
            }
            Some(Server::Unknown) => Route::Nowhere(traffic.refuse_server(packet.remote)),
        }
    }

    /// Finds where the server at `place` really is, and sends what waited for it.
    async fn resolve(
        self: Arc<Self>,
        place: SocketAddr,
        host: String,
        transport: Transport,
        purpose: Purpose,
    ) {
        let found = match timeout(RESOLVE_TIMEOUT, self.net.resolve(&host)).await {
            Ok(Ok(found)) => {
                ServerAddresses::choose(&found, place.port(), &self.addresses, purpose)
                    .ok_or_else(|| "it has no address of a family that this host has".to_owned())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {RESOLVE_TIMEOUT:?}")),
        };
        let server = match found {
            Ok(mut addresses) => match transport {
                Transport::Udp => Server::At(addresses),
                Transport::Tcp => Server::OverTcp(addresses.next()),
            },
            Err(reason) => {
                tracing::warn!(
                    host = %redaction::scrubbed(host),
                    reason = %redaction::scrubbed(reason),
                    "ICE server dropped: its name does not resolve"
                );
                Server::Unknown
            }
        };
        let waiting = match self.state().servers.insert(place, server) {
            Some(Server::Resolving(waiting)) => waiting,
            _ => Vec::new(),
        };
        for packet in waiting {
            self.send(packet).await;
        }
    }

    /// The real socket behind the agent's socket `seen` for what goes over `family`.
    async fn socket(self: &Arc<Self>, seen: SocketAddr, family: Family) -> io::Result<RealSocket> {
        if let Some(socket) = self.state().sockets.get(&(seen, family)) {
            return Ok(socket.clone());
        }
        let _binding = self.binding.lock().await;
        if let Some(socket) = self.state().sockets.get(&(seen, family)) {
            return Ok(socket.clone());
        }
        let local = self.addresses.real_for(seen.ip(), family);
        let local = local.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let local = SocketAddr::new(local, 0);
        let socket = self.net.bind_datagram(local, self.class).await?;
        let real = RealSocket {
            address: socket.local_addr()?,
            socket,
        };
        let key = (seen, family);
        self.state().sockets.insert(key, real.clone());
        self.spawn(Arc::clone(self).carry_inbound(seen, real.clone()));
        Ok(real)
    }

    /// Delivers what arrives on one socket until it dies or the bridge is dropped.
    async fn carry_inbound(self: Arc<Self>, local: SocketAddr, real: RealSocket) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let (length, source) = match real.socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // A port that is closed at the other end shows up here on some systems; the socket
                // itself lives on.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
                Err(error) => {
                    tracing::debug!(
                        address = %redaction::address(real.address), %error, "socket is dead"
                    );
                    self.note_dead(real.address);
                    return;
                }
            };
            let packet = {
                let mut state = self.state();
                let place = state.server_of.get(&(local, source)).copied();
                if let Some(Server::At(addresses)) =
                    place.and_then(|place| state.servers.get_mut(&place))
                {
                    addresses.answered(source);
                }
                let remote = place
                    .unwrap_or_else(|| SocketAddr::new(virtual_of(source.ip()), source.port()));
                Packet {
                    local,
                    remote,
                    payload: buffer[..length].to_vec(),
                }
            };
            self.arrived(packet).await;
        }
    }

    fn note_dead(&self, address: SocketAddr) {
        if !std::mem::replace(&mut self.state().socket_lost, true) {
            (self.listener)(BridgeEvent::SocketLost(address));
        }
    }

    /// A packet arrived for the agent.
    async fn arrived(&self, packet: Packet) {
        let source = packet.remote;
        let (verdict, schedule_moved) = self.state().traffic.inbound(Instant::now(), packet);
        if schedule_moved {
            self.schedule_moved.notify_one();
        }
        match verdict {
            Inbound::Deliver(packet) => {
                self.note_allocation(&packet);
                let redundant = self.state().traffic.end_redundant(&packet);
                self.deliver(packet).await;
                for answer in redundant {
                    self.deliver(answer).await;
                }
            }
            Inbound::Held => {}
            Inbound::Consumed(reason) => {
                tracing::trace!(
                    source = %redaction::address(source), reason, "datagram consumed by the bridge"
                );
                self.answered.notify_one();
            }
        }
    }

    fn note_allocation(&self, packet: &Packet) {
        let granted =
            Header::read(&packet.payload).is_some_and(|header| header.is_allocate_success());
        let over_udp = |server: Option<&Server>| matches!(server, Some(Server::At(_)));
        if granted && over_udp(self.state().servers.get(&packet.remote)) {
            self.relayed_over_udp.send_replace(true);
        }
    }

    async fn deliver(&self, packet: Packet) {
        let datagram = Box::new(Datagram::from(packet));
        let delivery = async { self.nic.lock().await.on_inbound_chunk(datagram).await };
        if timeout(DELIVERY_TIMEOUT, delivery).await.is_err() {
            tracing::debug!("datagram dropped: the agent does not read its socket");
        }
    }
}

enum Route {
    To(SocketAddr),
    /// Over TCP.
    OverTcp(SocketAddr),
    /// The name is still being resolved.
    Wait,
    /// The server is unknown: answers that end the exchange.
    Nowhere(Vec<Packet>),
}

/// A poisoned lock still guards consistent data here: no update spans a call that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
