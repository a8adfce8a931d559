//! The real network: tokio's sockets on the operating system's stack.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where the seam meets the operating system"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ::tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use async_trait::async_trait;
use webrtc_util::ifaces::ifaces;

use super::{ByteStream, DatagramSocket, Interface, Net, StreamListener, TrafficClass};
use crate::redaction;

/// The network of the host that the program runs on.
///
/// Its futures need a tokio runtime with I/O enabled.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioNet {
    announced: Announced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Announced {
    #[default]
    All,
    Loopback,
}

impl TokioNet {
    /// The network with all interfaces of the host.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            announced: Announced::All,
        }
    }

    /// The same network, but [`interfaces`](Net::interfaces) announces 127.0.0.1 and nothing else,
    /// so that a call stays on this machine: for tests and demonstrations. Not `::1` beside it, so
    /// that one path is tried and no other.
    #[must_use]
    pub const fn loopback_only() -> Self {
        Self {
            announced: Announced::Loopback,
        }
    }
}

#[async_trait]
impl Net for TokioNet {
    /// As the trait says. A traffic class that the operating system does not let us set is logged
    /// and otherwise left alone: audio without priority is better than none.
    async fn bind_datagram(
        &self,
        local: SocketAddr,
        class: TrafficClass,
    ) -> io::Result<Arc<dyn DatagramSocket>> {
        let socket = UdpSocket::bind(local).await?;
        if class != TrafficClass::BestEffort
            && let Err(error) = set_traffic_class(&socket, local.ip(), class)
        {
            tracing::warn!(local = %redaction::address(local), ?class, %error, "traffic class not set");
        }
        Ok(Arc::new(socket))
    }

    async fn connect_stream(&self, remote: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        let stream = TcpStream::connect(remote).await?;
        send_at_once(&stream)?;
        Ok(Box::new(stream))
    }

    async fn listen_stream(&self, local: SocketAddr) -> io::Result<Box<dyn StreamListener>> {
        Ok(Box::new(TcpListener::bind(local).await?))
    }

    /// As the trait says. The operating system's resolver does not tell an unknown name from an
    /// unreachable name server, so both are `NotFound`; its own words are in the error.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(literal) = host.parse() {
            return Ok(vec![literal]);
        }
        let found = lookup_host((host, 0)).await.map_err(|error| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no address for {host:?}: {error}"),
            )
        })?;
        let mut addresses = Vec::new();
        for address in found.map(|endpoint| endpoint.ip()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            let text = format!("no address for {host:?}");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(addresses)
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        match self.announced {
            Announced::All => Ok(usable(&host_interfaces()?)),
            Announced::Loopback => Ok(vec![Interface {
                name: "lo".to_owned(),
                address: Ipv4Addr::LOCALHOST.into(),
            }]),
        }
    }
}

#[async_trait]
impl DatagramSocket for UdpSocket {
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<usize> {
        UdpSocket::send_to(self, payload, remote).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            match UdpSocket::recv_from(self, buffer).await {
                // Windows reports here that an earlier datagram found its destination port closed,
                // which says nothing about what the socket can still receive.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                result => return result,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        UdpSocket::local_addr(self)
    }
}

impl ByteStream for TcpStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::peer_addr(self)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::local_addr(self)
    }
}

#[async_trait]
impl StreamListener for TcpListener {
    async fn accept(&self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)> {
        let (stream, remote) = TcpListener::accept(self).await?;
        send_at_once(&stream)?;
        Ok((Box::new(stream), remote))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

/// Signaling messages are small and wait for answers, so collecting them into fuller segments
/// would only delay them.
fn send_at_once(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

/// The code point is the upper six bits of the field (RFC 2474 section 3).
fn set_traffic_class(socket: &UdpSocket, local: IpAddr, class: TrafficClass) -> io::Result<()> {
    let field = u32::from(class.code_point()) << 2;
    match local {
        IpAddr::V4(_) => socket.set_tos_v4(field),
        #[cfg(unix)]
        IpAddr::V6(_) => socket.set_tclass_v6(field),
        #[cfg(not(unix))]
        IpAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn host_interfaces() -> io::Result<Vec<Interface>> {
    let entries = ifaces().map_err(io::Error::other)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| {
            Some(Interface {
                name: entry.name,
                address: entry.addr?.ip(),
            })
        })
        .collect())
}

/// The addresses to send from, in a stable order.
///
/// Link-local IPv6 addresses are left out since they mean nothing without the scope of their
/// interface, which an [`IpAddr`] does not carry.
fn usable(interfaces: &[Interface]) -> Vec<Interface> {
    let is_usable = |address: IpAddr| match address {
        IpAddr::V4(address) => !address.is_unspecified(),
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_unicast_link_local(),
    };
    let mut found: Vec<_> = interfaces
        .iter()
        .filter(|interface| is_usable(interface.address))
        .cloned()
        .collect();
    found.sort();
    found.dedup();
    if found
        .iter()
        .any(|interface| !interface.address.is_loopback())
    {
        found.retain(|interface| !interface.address.is_loopback());
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn interface(name: &str, address: &str) -> Interface {
        Interface {
            name: name.to_owned(),
            address: address.parse().expect("an address"),
        }
    }

    #[test]
    fn loopback_is_announced_only_where_nothing_else_is_there() {
        let lonely = [interface("lo", "::1"), interface("lo", "127.0.0.1")];
        assert_eq!(usable(&lonely).len(), 2);
        let connected = [
            interface("wlan0", "fe80::1"),
            interface("lo", "127.0.0.1"),
            interface("wlan0", "192.168.1.7"),
            interface("wlan0", "2001:db8::7"),
        ];
        assert_eq!(
            usable(&connected),
            [
                interface("wlan0", "192.168.1.7"),
                interface("wlan0", "2001:db8::7")
            ]
        );
    }

    #[tokio::test]
    async fn datagrams_go_over_ipv6_where_the_host_has_it() {
        let local = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let class = TrafficClass::ExpeditedForwarding;
        let Ok(sender) = TokioNet::new().bind_datagram(local, class).await else {
            // A host without IPv6.
            return;
        };
        let receiver = TokioNet::new().bind_datagram(local, class).await;
        let receiver = receiver.expect("a second port");
        let remote = receiver.local_addr().expect("bound");
        sender.send_to(b"hello", remote).await.expect("sent");
        let mut buffer = [0; 16];
        let (length, source) = receiver.recv_from(&mut buffer).await.expect("alive");
        assert_eq!(&buffer[..length], b"hello");
        assert_eq!(source, sender.local_addr().expect("bound"));
    }

    #[tokio::test]
    async fn the_traffic_class_reaches_the_socket() {
        for local in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ] {
            let Ok(socket) = UdpSocket::bind((local, 0)).await else {
                // A host without IPv6.
                continue;
            };
            set_traffic_class(&socket, local, TrafficClass::ExpeditedForwarding)
                .expect("the system supports traffic classes");
            let field = match local {
                IpAddr::V4(_) => socket.tos_v4(),
                IpAddr::V6(_) => socket.tclass_v6(),
            };
            assert_eq!(field.expect("the field can be read"), 46 << 2);
        }
    }
}
