//! Which allocations there are, whose, and what they end with.
//!
//! The `turn` crate tells none of this when it asks for a relayed address. But it handles the
//! packets of one listener one after the other, so whoever sent the last one is who asks.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use ringtrue::net::{DatagramSocket, Net, TrafficClass};
use tokio::sync::watch;
use turn::relay::RelayAddressGenerator;
use webrtc_util::Conn;

use super::SocketConn;
use super::streams::Streams;

/// Who sent the packet that a listener handed over last.
pub(super) type Requester = Arc<Mutex<Option<Request>>>;

/// Where a packet came from, and by which user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) source: SocketAddr,
    pub(super) user: String,
}

/// The allocations of a server. All clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Allocations(Arc<Mutex<Table>>);

/// By the listener and the client.
type Table = BTreeMap<(SocketAddr, SocketAddr), Allocation>;

#[derive(Debug)]
struct Allocation {
    user: String,
    /// Lives as long as the relayed socket.
    alive: Weak<()>,
}

impl Allocations {
    /// Whether a client has one.
    pub(super) fn exists(&self, listener: SocketAddr, client: SocketAddr) -> bool {
        let table = self.lock();
        let found = table.get(&(listener, client));
        found.is_some_and(|allocation| allocation.alive.strong_count() > 0)
    }

    /// How many a user has.
    pub(super) fn of_user(&self, user: &str) -> usize {
        let table = self.lock();
        let alive = table.values().filter(|each| each.alive.strong_count() > 0);
        alive.filter(|each| each.user == user).count()
    }

    fn add(&self, listener: SocketAddr, request: Request) -> Arc<()> {
        let alive = Arc::new(());
        let mut table = self.lock();
        table.retain(|_, each| each.alive.strong_count() > 0);
        let allocation = Allocation {
            user: request.user,
            alive: Arc::downgrade(&alive),
        };
        table.insert((listener, request.source), allocation);
        alive
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives relayed addresses on the server's own host to the clients of one listener.
pub(super) struct Relays {
    net: Arc<dyn Net>,
    listener: SocketAddr,
    requester: Requester,
    allocations: Allocations,
    streams: Option<Arc<Streams>>,
}

impl Relays {
    /// `streams` are the connections of the listener where it listens for TCP.
    pub(super) fn new(
        net: Arc<dyn Net>,
        listener: SocketAddr,
        requester: Requester,
        allocations: Allocations,
        streams: Option<Arc<Streams>>,
    ) -> Self {
        Self {
            net,
            listener,
            requester,
            allocations,
            streams,
        }
    }
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
        let request = lock(&self.requester).clone();
        let request = request.ok_or_else(|| turn::Error::Other("nobody asked".into()))?;
        let connection = match &self.streams {
            None => None,
            Some(streams) => {
                let gone = || turn::Error::Other("the connection is closed already".into());
                Some(streams.connection(request.source).ok_or_else(gone)?)
            }
        };
        let socket = self
            .net
            .bind_datagram(
                SocketAddr::new(self.listener.ip(), requested_port),
                TrafficClass::BestEffort,
            )
            .await
            .map_err(webrtc_util::Error::from)?;
        let address = socket.local_addr().map_err(webrtc_util::Error::from)?;
        tracing::debug!(relayed = %address, "allocation made");
        let socket = RelaySocket {
            socket,
            address,
            connection,
            _alive: self.allocations.add(self.listener, request),
        };
        Ok((Arc::new(SocketConn(Arc::new(socket))), address))
    }
}

/// A relayed socket. It dies with the TCP connection that it was allocated over, since the 5-tuple
/// is what identifies an allocation (RFC 8656 section 3.2): the crate then forgets the allocation.
#[derive(Debug)]
struct RelaySocket {
    socket: Arc<dyn DatagramSocket>,
    address: SocketAddr,
    connection: Option<watch::Receiver<()>>,
    _alive: Arc<()>,
}

impl Drop for RelaySocket {
    fn drop(&mut self) {
        tracing::debug!(relayed = %self.address, "allocation ended");
    }
}

#[async_trait]
impl DatagramSocket for RelaySocket {
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<usize> {
        self.socket.send_to(payload, remote).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let Some(connection) = &self.connection else {
            return self.socket.recv_from(buffer).await;
        };
        let mut connection = connection.clone();
        tokio::select! {
            biased;
            // Nothing is ever sent there: it ends when the connection does.
            _ = connection.changed() => Err(io::ErrorKind::ConnectionAborted.into()),
            received = self.socket.recv_from(buffer) => received,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A poisoned lock still guards consistent data here: no update spans a call that can panic.
pub(super) fn lock(requester: &Requester) -> MutexGuard<'_, Option<Request>> {
    requester.lock().unwrap_or_else(PoisonError::into_inner)
}
