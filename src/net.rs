//! The one seam between the client and a network.
//!
//! Everything the client sends or receives passes through [`Net`], so the very same client runs on
//! real sockets ([`tokio::TokioNet`]) and in a simulated world. Nothing else in this crate opens a
//! socket, resolves a name or lists interfaces.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ::tokio::io::{AsyncRead, AsyncWrite};
use async_trait::async_trait;

pub mod between;
pub mod tls;
pub mod tokio;

/// A network as one host sees it: datagrams, byte streams, names and interfaces.
///
/// Implementations are cheap to share (`Arc<dyn Net>`) and every socket they hand out is closed
/// when it is dropped.
#[async_trait]
pub trait Net: fmt::Debug + Send + Sync + 'static {
    /// Binds a UDP socket to `local`; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// `AddrInUse` or `AddrNotAvailable`, as the operating system would say it.
    async fn bind_datagram(
        &self,
        local: SocketAddr,
        class: TrafficClass,
    ) -> io::Result<Arc<dyn DatagramSocket>>;

    /// Opens a TCP connection to `remote`. Dropping the future abandons the attempt.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, `TimedOut` or whatever the network answers. There is no time limit of
    /// its own: the caller wraps the future in one.
    async fn connect_stream(&self, remote: SocketAddr) -> io::Result<Box<dyn ByteStream>>;

    /// Listens for TCP connections on `local`; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// `AddrInUse` or `AddrNotAvailable`.
    async fn listen_stream(&self, local: SocketAddr) -> io::Result<Box<dyn StreamListener>>;

    /// Resolves a host name to addresses, in the order in which they should be tried. An address
    /// literal resolves to itself.
    ///
    /// # Errors
    ///
    /// `NotFound` where the name has no address.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// The addresses that datagrams can be sent from now, without loopback where any other exists.
    ///
    /// # Errors
    ///
    /// Whatever stops the host from listing its interfaces.
    fn interfaces(&self) -> io::Result<Vec<Interface>>;
}

/// A UDP socket.
#[async_trait]
pub trait DatagramSocket: fmt::Debug + Send + Sync {
    /// Sends one datagram.
    ///
    /// # Errors
    ///
    /// What the host's own stack refuses (too large, no route). A datagram lost on the way is no
    /// error.
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<usize>;

    /// Receives one datagram and who sent it. What does not fit into `buffer` is cut off. Safe to
    /// cancel: no datagram is lost by dropping the future.
    ///
    /// # Errors
    ///
    /// When the socket can receive no more (interface gone, socket killed).
    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// The address the socket is bound to.
    ///
    /// # Errors
    ///
    /// When the socket is dead.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A TCP connection. Dropping it closes it.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A listening TCP socket.
#[async_trait]
pub trait StreamListener: fmt::Debug + Send + Sync {
    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// When the socket can accept no more.
    async fn accept(&self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)>;

    /// The address the socket listens on.
    ///
    /// # Errors
    ///
    /// When the socket is dead.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// An address of this host and the interface it is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    /// The operating system's name of the interface: `eth0`, `wlan0`.
    pub name: String,
    /// One address of that interface.
    pub address: IpAddr,
}

/// How routers should treat a socket's packets: the Differentiated Services code point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficClass {
    /// Default forwarding (DSCP 0).
    #[default]
    BestEffort,
    /// Expedited forwarding (DSCP 46), what RFC 8837 section 5 asks for interactive audio.
    ExpeditedForwarding,
}

impl TrafficClass {
    /// The six-bit code point (RFC 2474 section 3, RFC 3246 section 2.7).
    #[must_use]
    pub fn code_point(self) -> u8 {
        match self {
            Self::BestEffort => 0,
            Self::ExpeditedForwarding => 46,
        }
    }
}
