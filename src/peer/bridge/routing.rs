//! Where the servers really are, and so where a packet goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::address::real_of;
use super::families::{Purpose, ServerAddresses};
use super::traffic::Packet;
use super::{Inner, State};
use crate::peer::servers::Transport;
use crate::redaction;

/// How long a server's name may take to resolve. The others do not wait for it.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// The most packets to one server that wait for its name.
const WAITING_PACKETS_MAX: usize = 16;

/// What is known of a server.
pub(super) enum Server {
    /// Its name is being resolved; what was sent to it waits.
    Resolving(Vec<Packet>),
    At(ServerAddresses),
    /// At this address, over TCP.
    OverTcp(SocketAddr),
    Unknown,
}

/// Where a packet goes.
pub(super) enum Route {
    To(SocketAddr),
    /// Over TCP.
    OverTcp(SocketAddr),
    /// The name is still being resolved.
    Wait,
    /// The server is unknown: answers that end the exchange.
    Nowhere(Vec<Packet>),
}

impl Inner {
    /// Where a packet really goes. Remembers which server it was for.
    pub(super) fn route(&self, packet: &Packet) -> Route {
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
    pub(super) async fn resolve(
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
}
