//! A STUN and TURN server (RFC 8489, RFC 8656) over UDP and TCP: the `turn` crate on a [`Net`].
//!
//! The crate speaks to any socket that sends and receives packets. TCP connections appear to it as
//! one such socket (`streams`), and in front of each stands a `gate`, which refuses what the crate
//! has no setting for. Which allocation belongs to whom is kept in `allocations`.

mod allocations;
mod control;
mod gate;
mod streams;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ringtrue::net::{DatagramSocket, Net, TrafficClass};
use ringtrue::signaling::relay::turn_credentials::{TimedUsername, TurnSecret};
use thiserror::Error;
use tokio::task::JoinSet;
use turn::auth::{AuthHandler, generate_auth_key};
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::Conn;

use self::allocations::{Allocations, Relays};
pub use self::control::TurnControl;
use self::gate::Gate;
use self::streams::Streams;

/// What a TURN server accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnConfig {
    /// The realm of its long-term credentials (RFC 8489 section 9.2).
    pub realm: String,
    /// The passwords by user name. Whoever is neither here nor has time-limited credentials gets STUN
    /// only.
    pub users: BTreeMap<String, String>,
    /// What it shares with the signaling relay, whose time-limited credentials it accepts then, until
    /// they end. Default `None`.
    pub secret: Option<TurnSecret>,
    /// How many allocations each user may have at a time, whatever credentials it shows; one more is answered with 486 (RFC 8656
    /// section 7.2). Default `None`, any number: every peer of a world is the same user.
    pub allocations_max: Option<usize>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TurnAddresses {
    /// For datagrams.
    pub udp: Vec<SocketAddr>,
    /// For connections.
    pub tcp: Vec<SocketAddr>,
}

/// A server that runs until this is dropped, or the runtime that it was started on.
pub struct TurnServer {
    _server: Server,
    _acceptors: JoinSet<()>,
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
            secret: None,
            allocations_max: None,
        }
    }
}

/// Starts a server on `addresses`. What `control` is told holds from the next packet on.
///
/// # Errors
///
/// [`TurnError::Listen`] where one of the addresses cannot be bound.
pub async fn start(
    net: Arc<dyn Net>,
    addresses: &TurnAddresses,
    config: TurnConfig,
    control: TurnControl,
) -> Result<TurnServer, TurnError> {
    let config = Arc::new(config);
    let allocations = Allocations::default();
    let mut acceptors = JoinSet::new();
    let mut listeners = Vec::new();
    let mut add = |socket: Arc<dyn DatagramSocket>, streams, address: SocketAddr| {
        let gate = Gate::new(
            socket,
            address,
            Arc::clone(&config),
            control.clone(),
            allocations.clone(),
        );
        let relays = Relays::new(
            Arc::clone(&net),
            address,
            gate.requester(),
            allocations.clone(),
            streams,
        );
        listeners.push(ConnConfig {
            conn: Arc::new(SocketConn(Arc::new(gate))),
            relay_addr_generator: Box::new(relays),
        });
    };
    for address in &addresses.udp {
        let socket = net
            .bind_datagram(*address, TrafficClass::BestEffort)
            .await
            .map_err(listen_error(*address))?;
        add(socket, None, *address);
    }
    for address in &addresses.tcp {
        let listener = net
            .listen_stream(*address)
            .await
            .map_err(listen_error(*address))?;
        let streams = Arc::new(Streams::new(*address));
        acceptors.spawn(streams.accept(listener));
        add(Arc::clone(&streams) as _, Some(streams), *address);
    }
    let server = Server::new(ServerConfig {
        conn_configs: listeners,
        realm: config.realm.clone(),
        auth_handler: Arc::new(Users(config)),
        // Zero means the 10 minutes of RFC 8656 section 12.
        channel_bind_timeout: Duration::ZERO,
        alloc_close_notify: None,
    })
    .await
    .map_err(TurnError::Configuration)?;
    Ok(TurnServer {
        _server: server,
        _acceptors: acceptors,
    })
}

impl fmt::Debug for TurnServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TurnServer").finish_non_exhaustive()
    }
}

fn listen_error(address: SocketAddr) -> impl FnOnce(std::io::Error) -> TurnError {
    move |source| TurnError::Listen { address, source }
}

struct Users(Arc<TurnConfig>);

impl AuthHandler for Users {
    fn auth_handle(
        &self,
        username: &str,
        realm: &str,
        _source: SocketAddr,
    ) -> Result<Vec<u8>, turn::Error> {
        self.0
            .key(username, realm)
            .ok_or(turn::Error::ErrNoSuchUser)
    }
}

impl TurnConfig {
    /// The key of a user's long-term credentials (RFC 8489 section 9.2.2).
    fn key(&self, username: &str, realm: &str) -> Option<Vec<u8>> {
        let password = match self.users.get(username) {
            Some(password) => password.clone(),
            None => self.timed_password(username)?,
        };
        Some(generate_auth_key(username, realm, &password))
    }

    /// The password of a user name that holds the moment of its end, until then.
    fn timed_password(&self, username: &str) -> Option<String> {
        let secret = self.secret.as_ref()?;
        let timed = TimedUsername::parse(username)?;
        (date() < timed.ends).then(|| secret.credential(username))
    }

    /// Who it is that shows this user name.
    fn user<'a>(&self, username: &'a str) -> &'a str {
        if self.users.contains_key(username) {
            return username;
        }
        TimedUsername::parse(username).map_or(username, |timed| timed.user)
    }
}

/// The date, which in a world is that of its captured clock.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the end of credentials is a date, and worlds have their own"
)]
pub fn date() -> SystemTime {
    SystemTime::now()
}

/// A socket of ours as the `turn` crate wants to see it.
#[derive(Debug)]
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

/// A server's sockets talk to many; a call that needs a connected one is a mistake of its caller.
fn unsupported(operation: &str) -> webrtc_util::Error {
    webrtc_util::Error::Other(format!("{operation} on a socket that has no single remote"))
}

#[cfg(test)]
mod tests;
