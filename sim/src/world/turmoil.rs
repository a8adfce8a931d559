//! [`Net`] on plain `turmoil` 0.7, for those who have turmoil suites already.
//!
//! turmoil has no address translation, its latency counts whole milliseconds and its random
//! failures cut a link instead of losing single packets, so the world of this crate does not stand
//! on it. But any application over [`Net`] runs in it unchanged:
//!
//! ```
//! use std::sync::Arc;
//!
//! use ringtrue::net::Net;
//! use ringtrue_sim::world::turmoil::TurmoilNet;
//!
//! let mut simulation = turmoil::Builder::new().build();
//! simulation.client("alice", async {
//!     let net: Arc<dyn Net> = Arc::new(TurmoilNet::new(turmoil::lookup("alice")));
//!     let listener = net.listen_stream("0.0.0.0:0".parse()?).await?;
//!     assert_ne!(listener.local_addr()?.port(), 0);
//!     Ok(())
//! });
//! simulation.run().expect("the client succeeds");
//! ```

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ::turmoil::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use async_trait::async_trait;
use ringtrue::net::between::StreamBetween;
use ringtrue::net::{ByteStream, DatagramSocket, Interface, Net, StreamListener, TrafficClass};

/// The network of one turmoil host. It and its sockets work only in futures that turmoil runs on
/// that very host.
#[derive(Debug, Clone, Copy)]
pub struct TurmoilNet {
    address: IpAddr,
}

impl TurmoilNet {
    /// The network of the host with this address, which `turmoil::lookup` knows by name.
    #[must_use]
    pub const fn new(address: IpAddr) -> Self {
        Self { address }
    }

    /// What turmoil has to be asked for to get a socket at `local`: it binds to the unspecified
    /// address and to loopback only, and panics where the family is not that of the host.
    fn bindable(&self, local: SocketAddr) -> io::Result<SocketAddr> {
        let own_family = local.is_ipv4() == self.address.is_ipv4();
        let ip = match local.ip() {
            ip if own_family && (ip.is_unspecified() || ip.is_loopback()) => ip,
            ip if ip == self.address && ip.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
            ip if ip == self.address => Ipv6Addr::UNSPECIFIED.into(),
            ip => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrNotAvailable,
                    format!("{ip} is no address of the host at {}", self.address),
                ));
            }
        };
        Ok(SocketAddr::new(ip, local.port()))
    }
}

#[async_trait]
impl Net for TurmoilNet {
    /// As the trait says. turmoil's packets carry no traffic class, so it changes nothing.
    async fn bind_datagram(
        &self,
        local: SocketAddr,
        _class: TrafficClass,
    ) -> io::Result<Arc<dyn DatagramSocket>> {
        let socket = UdpSocket::bind(self.bindable(local)?).await?;
        let local = SocketAddr::new(local.ip(), socket.local_addr()?.port());
        Ok(Arc::new(TurmoilDatagramSocket { socket, local }))
    }

    async fn connect_stream(&self, remote: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        let stream = TcpStream::connect(remote).await?;
        Ok(Box::new(with_addresses(stream)?))
    }

    async fn listen_stream(&self, local: SocketAddr) -> io::Result<Box<dyn StreamListener>> {
        let listener = TcpListener::bind(self.bindable(local)?).await?;
        let local = SocketAddr::new(local.ip(), listener.local_addr()?.port());
        Ok(Box::new(TurmoilListener { listener, local }))
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(lookup_host((host, 0))
            .await?
            .map(|endpoint| endpoint.ip())
            .collect())
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        Ok(vec![Interface {
            name: "eth0".to_owned(),
            address: self.address,
        }])
    }
}

/// turmoil's socket and the address that was asked for instead of the unspecified one.
#[derive(Debug)]
struct TurmoilDatagramSocket {
    socket: UdpSocket,
    local: SocketAddr,
}

#[async_trait]
impl DatagramSocket for TurmoilDatagramSocket {
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<usize> {
        self.socket.send_to(payload, remote).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

struct TurmoilListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl fmt::Debug for TurmoilListener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TurmoilListener")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StreamListener for TurmoilListener {
    async fn accept(&self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)> {
        let (stream, remote) = self.listener.accept().await?;
        Ok((Box::new(with_addresses(stream)?), remote))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// turmoil's stream with its addresses, which it keeps as long as it lives.
fn with_addresses(stream: TcpStream) -> io::Result<StreamBetween<TcpStream>> {
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    Ok(StreamBetween::new(stream, local, peer))
}
