//! The real sockets behind the agent's, from when they are bound until they die.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::address::virtual_of;
use super::families::Family;
use super::routing::Server;
use super::traffic::Packet;
use super::{BridgeEvent, Inner};
use crate::net::DatagramSocket;
use crate::redaction;

/// The longest datagram that is read: the agent's own buffers are no larger.
const DATAGRAM_BYTES_MAX: usize = 8192;

/// What carries the packets of one of the agent's sockets on the real network.
#[derive(Clone)]
pub(super) struct RealSocket {
    pub(super) socket: Arc<dyn DatagramSocket>,
    pub(super) address: SocketAddr,
}

impl Inner {
    /// The real socket behind the agent's socket `seen` for what goes over `family`.
    pub(super) async fn socket(
        self: &Arc<Self>,
        seen: SocketAddr,
        family: Family,
    ) -> io::Result<RealSocket> {
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
}
