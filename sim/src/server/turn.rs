//! A STUN and TURN server (RFC 8489, RFC 8656) over UDP: the `turn` crate on a [`Net`].

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ringtrue::net::{DatagramSocket, Net, TrafficClass};
use thiserror::Error;
use tokio::time::Duration;
use turn::auth::{AuthHandler, generate_auth_key};
use turn::relay::RelayAddressGenerator;
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::Conn;

/// What a TURN server accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnConfig {
    /// The realm of its long-term credentials (RFC 8489 section 9.2).
    pub realm: String,
    /// The passwords by user name. Whoever is not here gets STUN only.
    pub users: BTreeMap<String, String>,
}

/// Why a TURN server did not start.
#[derive(Debug, Error)]
pub enum TurnError {
    /// A port was not to be had.
    #[error("cannot listen for STUN and TURN on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the host said.
        source: std::io::Error,
    },
    /// The server itself refused its configuration.
    #[error("the TURN server refuses its configuration: {0}")]
    Configuration(turn::Error),
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            realm: "ringtrue.example".into(),
            users: BTreeMap::from([("ringtrue".into(), "ringtrue".into())]),
        }
    }
}

/// Starts a server on `addresses`; it runs until the returned value is dropped.
///
/// # Errors
///
/// [`TurnError::Listen`] where one of the addresses cannot be bound.
pub async fn start(
    net: Arc<dyn Net>,
    addresses: &[SocketAddr],
    config: TurnConfig,
) -> Result<Server, TurnError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let socket = net
            .bind_datagram(*address, TrafficClass::BestEffort)
            .await
            .map_err(|source| TurnError::Listen {
                address: *address,
                source,
            })?;
        listeners.push(ConnConfig {
            conn: Arc::new(SocketConn(socket)),
            relay_addr_generator: Box::new(Relays {
                net: Arc::clone(&net),
                address: address.ip(),
            }),
        });
    }
    Server::new(ServerConfig {
        conn_configs: listeners,
        realm: config.realm,
        auth_handler: Arc::new(Users(config.users)),
        // Zero means the 10 minutes of RFC 8656 section 12.
        channel_bind_timeout: Duration::ZERO,
        alloc_close_notify: None,
    })
    .await
    .map_err(TurnError::Configuration)
}

struct Users(BTreeMap<String, String>);

impl AuthHandler for Users {
    fn auth_handle(
        &self,
        username: &str,
        realm: &str,
        _source: SocketAddr,
    ) -> Result<Vec<u8>, turn::Error> {
        self.0
            .get(username)
            .map(|password| generate_auth_key(username, realm, password))
            .ok_or(turn::Error::ErrNoSuchUser)
    }
}

/// Allocates relayed addresses on the server's own host.
struct Relays {
    net: Arc<dyn Net>,
    address: IpAddr,
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
        let socket = self
            .net
            .bind_datagram(
                SocketAddr::new(self.address, requested_port),
                TrafficClass::BestEffort,
            )
            .await
            .map_err(webrtc_util::Error::from)?;
        let address = socket.local_addr().map_err(webrtc_util::Error::from)?;
        Ok((Arc::new(SocketConn(socket)), address))
    }
}

/// A socket of ours as the `turn` crate wants to see it.
struct SocketConn(Arc<dyn DatagramSocket>);

#[async_trait]
impl Conn for SocketConn {
    async fn connect(&self, _address: SocketAddr) -> webrtc_util::Result<()> {
        Err(unsupported("connect"))
    }

    async fn recv(&self, _buffer: &mut [u8]) -> webrtc_util::Result<usize> {
        Err(unsupported("recv"))
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        Ok(self.0.recv_from(buffer).await?)
    }

    async fn send(&self, _buffer: &[u8]) -> webrtc_util::Result<usize> {
        Err(unsupported("send"))
    }

    async fn send_to(&self, buffer: &[u8], target: SocketAddr) -> webrtc_util::Result<usize> {
        Ok(self.0.send_to(buffer, target).await?)
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        // The socket closes when the last owner drops it.
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

impl fmt::Debug for SocketConn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A server's sockets talk to many; a call that needs a connected one is a mistake of its caller.
fn unsupported(operation: &str) -> webrtc_util::Error {
    webrtc_util::Error::Other(format!("{operation} on a socket that has no single remote"))
}
