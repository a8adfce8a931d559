//! A network in memory for the tests of this module: hosts with addresses of either family on one
//! cable, and a STUN and TURN server on it.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use turn::relay::RelayAddressGenerator;
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::Conn;

use crate::net::{ByteStream, DatagramSocket, Interface, Net, StreamListener, TrafficClass};

/// The name of whatever server a test puts on the cable.
pub(crate) const SERVER: &str = "server.example";

/// The first port that a socket gets which asks for any.
const FIRST_PORT: u16 = 40_000;

/// A datagram and who sent it.
type Arrival = (Vec<u8>, SocketAddr);

/// What all hosts share. Every clone is the same cable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cable(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    sockets: BTreeMap<SocketAddr, mpsc::UnboundedSender<Arrival>>,
    ports_given: u16,
    server: Vec<IpAddr>,
    muted: Vec<IpAddr>,
    media_sent: BTreeMap<IpAddr, usize>,
}

impl State {
    fn carry(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        if let Some(socket) = self.sockets.get(&destination) {
            // The socket may be gone, like any other receiver.
            let _ = socket.send((payload.to_vec(), source));
        }
    }
}

/// One host on a cable.
#[derive(Debug)]
struct Host {
    cable: Cable,
    addresses: Vec<IpAddr>,
}

#[derive(Debug)]
struct Socket {
    cable: Cable,
    address: SocketAddr,
    arrivals: tokio::sync::Mutex<mpsc::UnboundedReceiver<Arrival>>,
}

impl Cable {
    /// A host with these addresses.
    pub(crate) fn host(&self, addresses: &[&str]) -> Arc<dyn Net> {
        Arc::new(Host {
            cable: self.clone(),
            addresses: parsed(addresses),
        })
    }

    /// Says what [`SERVER`] resolves to, in this order.
    pub(crate) fn name_server(&self, addresses: &[&str]) {
        self.with(|state| state.server = parsed(addresses));
    }

    /// Puts a datagram on the cable that says it comes from `source`.
    pub(super) fn forge(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        self.with(|state| state.carry(source, destination, payload));
    }

    /// Puts a STUN and TURN server at `addresses`, port 3478, which relays from `relay`.
    pub(crate) async fn serve(&self, addresses: &[&str], relay: &str) -> Server {
        let [relay] = parsed(&[relay])[..] else {
            unreachable!("one address was parsed");
        };
        let conn_configs = parsed(addresses)
            .into_iter()
            .map(|address| ConnConfig {
                conn: Arc::new(self.bind(SocketAddr::new(address, 3478))),
                relay_addr_generator: Box::new(Relays {
                    cable: self.clone(),
                    relay,
                }),
            })
            .collect();
        Server::new(ServerConfig {
            conn_configs,
            realm: "ringtrue.example".into(),
            auth_handler: Arc::new(OneUser),
            channel_bind_timeout: Duration::ZERO,
            alloc_close_notify: None,
        })
        .await
        .expect("a valid configuration")
    }

    /// Loses whatever is sent from `address` from now on.
    pub(super) fn mute(&self, address: &str) {
        let muted = parsed(&[address]);
        self.with(|state| state.muted.extend(muted));
    }

    /// How many datagrams of media were sent from `address` so far.
    pub(super) fn media_sent(&self, address: &str) -> usize {
        let sum = |state: &mut State| {
            let sent = parsed(&[address]).into_iter();
            sent.filter_map(|each| state.media_sent.get(&each)).sum()
        };
        self.with(sum)
    }

    /// Closes every socket at `address` from outside, as a system does when an interface is gone.
    pub(super) fn close_sockets(&self, address: &str) {
        let closed = parsed(&[address]);
        self.with(|state| state.sockets.retain(|each, _| !closed.contains(&each.ip())));
    }

    fn bind(&self, mut address: SocketAddr) -> Socket {
        let (sender, arrivals) = mpsc::unbounded_channel();
        self.with(|state| {
            if address.port() == 0 {
                address.set_port(FIRST_PORT + state.ports_given);
                state.ports_given += 1;
            }
            state.sockets.insert(address, sender);
        });
        Socket {
            cable: self.clone(),
            address,
            arrivals: tokio::sync::Mutex::new(arrivals),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Net for Host {
    async fn bind_datagram(
        &self,
        local: SocketAddr,
        _: TrafficClass,
    ) -> io::Result<Arc<dyn DatagramSocket>> {
        if !self.addresses.contains(&local.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(Arc::new(self.cable.bind(local)))
    }

    async fn connect_stream(&self, _: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn listen_stream(&self, _: SocketAddr) -> io::Result<Box<dyn StreamListener>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.cable.with(|state| state.server.clone());
        if host == SERVER && !found.is_empty() {
            Ok(found)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        Ok(self
            .addresses
            .iter()
            .map(|address| Interface {
                name: "cable0".into(),
                address: *address,
            })
            .collect())
    }
}

#[async_trait]
impl DatagramSocket for Socket {
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<usize> {
        if remote.is_ipv4() != self.address.is_ipv4() {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        self.cable.with(|state| {
            let own = self.address.ip();
            // RFC 7983 section 7.
            if payload
                .first()
                .is_some_and(|first| (128..=191).contains(first))
            {
                *state.media_sent.entry(own).or_default() += 1;
            }
            if state.muted.contains(&own) {
                return;
            }
            state.carry(self.address, remote, payload);
        });
        Ok(payload.len())
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let arrival = self.arrivals.lock().await.recv().await;
        let (payload, source) = arrival.ok_or(io::ErrorKind::NotConnected)?;
        let length = payload.len().min(buffer.len());
        buffer[..length].copy_from_slice(&payload[..length]);
        Ok((length, source))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

#[async_trait]
impl Conn for Socket {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Err(webrtc_util::Error::ErrNoRemAddr)
    }

    async fn recv(&self, _: &mut [u8]) -> webrtc_util::Result<usize> {
        Err(webrtc_util::Error::ErrNoRemAddr)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        Ok(DatagramSocket::recv_from(self, buffer).await?)
    }

    async fn send(&self, _: &[u8]) -> webrtc_util::Result<usize> {
        Err(webrtc_util::Error::ErrNoRemAddr)
    }

    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> webrtc_util::Result<usize> {
        Ok(DatagramSocket::send_to(self, payload, remote).await?)
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(self.address)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

/// Allocates relayed addresses on the cable.
struct Relays {
    cable: Cable,
    relay: IpAddr,
}

#[async_trait]
impl RelayAddressGenerator for Relays {
    fn validate(&self) -> Result<(), turn::Error> {
        Ok(())
    }

    async fn allocate_conn(
        &self,
        _use_ipv4: bool,
        requested_port: u16,
    ) -> Result<(Arc<dyn Conn + Send + Sync>, SocketAddr), turn::Error> {
        let socket = self.cable.bind(SocketAddr::new(self.relay, requested_port));
        let address = socket.address;
        Ok((Arc::new(socket), address))
    }
}

/// Accepts one user with one password.
pub(super) struct OneUser;

impl turn::auth::AuthHandler for OneUser {
    fn auth_handle(
        &self,
        username: &str,
        realm: &str,
        _: SocketAddr,
    ) -> Result<Vec<u8>, turn::Error> {
        Ok(turn::auth::generate_auth_key(username, realm, "password"))
    }
}

fn parsed(addresses: &[&str]) -> Vec<IpAddr> {
    addresses
        .iter()
        .map(|each| each.parse().expect("an address"))
        .collect()
}
