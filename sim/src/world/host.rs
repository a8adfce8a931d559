//! The [`Net`] of a simulated host: sockets of the world's own kernel.
//!
//! A turmoil-net socket belongs to whichever host is *current* when it is touched, so every socket
//! here makes its own host current at each poll and when it is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use ringtrue::net::{ByteStream, DatagramSocket, Interface, Net, StreamListener, TrafficClass};
use tokio::sync::watch;
use turmoil_net::HostId;
use turmoil_net::shim::tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::device::{Address, Carrier, Device, Lookup};
use super::domain::SendSignal;
use super::streams::{Listener, Stream, Streams};

/// The names of the world and their addresses.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

/// The network as one simulated machine sees it.
#[derive(Clone)]
pub struct HostNet {
    device: Device,
    names: Arc<Names>,
    name_delay: Duration,
    ports: OpenPorts,
    streams: Streams,
    signal: SendSignal,
}

/// The stack of one interface.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) host: HostId,
    pub(super) address: Address,
    signal: SendSignal,
}

/// The UDP ports that are open in the world, by the addresses of the kernels, and how their packets
/// are marked. The kernel drops what comes to a closed one without a word; the world asks here first,
/// so that the drop has a cause.
#[derive(Clone, Debug, Default)]
pub struct OpenPorts {
    open: Arc<Mutex<BTreeMap<SocketAddr, TrafficClass>>>,
}

impl HostNet {
    /// The network of `device`. Looking up a name takes `name_delay`, and `signal` is raised when a
    /// socket may have sent something.
    #[must_use]
    pub fn new(
        device: Device,
        names: Arc<Names>,
        name_delay: Duration,
        ports: OpenPorts,
        streams: Streams,
        signal: SendSignal,
    ) -> Self {
        Self {
            device,
            names,
            name_delay,
            ports,
            streams,
            signal,
        }
    }

    fn kernel(&self, place: &super::device::Place) -> Kernel {
        Kernel {
            host: place.kernel,
            address: place.address,
            signal: self.signal.clone(),
        }
    }
}

impl OpenPorts {
    /// Whether a datagram to `address` has a socket waiting for it.
    #[must_use]
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.lock().contains_key(&address)
    }

    /// How the socket that is bound to `address` marks its packets.
    #[must_use]
    pub fn class_of(&self, address: SocketAddr) -> TrafficClass {
        self.lock().get(&address).copied().unwrap_or_default()
    }

    /// Whether any socket is bound to this address of a kernel, on whatever port.
    #[must_use]
    pub fn any_of(&self, address: IpAddr) -> bool {
        self.lock().keys().any(|socket| socket.ip() == address)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, TrafficClass>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Net for HostNet {
    async fn bind_datagram(
        &self,
        local: SocketAddr,
        class: TrafficClass,
    ) -> io::Result<Arc<dyn DatagramSocket>> {
        let place = self.device.place_for(local.ip())?;
        let kernel = self.kernel(&place);
        let local = SocketAddr::new(place.address.kernel, local.port());
        let socket = kernel.on_host(UdpSocket::bind(local)).await?;
        let local = socket.local_addr()?;
        self.ports.lock().insert(local, class);
        let born = *place.epoch.borrow();
        Ok(Arc::new(Datagrams {
            born,
            epoch: place.epoch,
            device: self.device.clone(),
            kernel,
            local,
            ports: self.ports.clone(),
            socket,
        }))
    }

    async fn connect_stream(&self, remote: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        let kernel = self.kernel(&self.device.place_towards(remote.ip())?);
        kernel.signal.raise();
        let stream = kernel.on_host(TcpStream::connect(remote)).await?;
        Ok(Box::new(Stream::new(kernel, stream, self.streams.clone())?))
    }

    async fn listen_stream(&self, local: SocketAddr) -> io::Result<Box<dyn StreamListener>> {
        let place = self.device.place_for(local.ip())?;
        let kernel = self.kernel(&place);
        let local = SocketAddr::new(place.address.kernel, local.port());
        let listener = kernel.on_host(TcpListener::bind(local)).await?;
        Ok(Box::new(Listener::new(
            kernel,
            listener,
            self.streams.clone(),
        )))
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(literal) = host.parse() {
            return Ok(vec![literal]);
        }
        tokio::time::sleep(self.name_delay).await;
        let known = self.names.get(host).cloned().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no host is named {host} in this world"),
            )
        })?;
        match self.device.lookup() {
            Lookup::Works => Ok(known),
            Lookup::AllAt(addresses) => Ok(addresses),
            Lookup::Fails => Err(io::Error::other(format!(
                "no name server answers for {host}"
            ))),
        }
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let up = self.device.up().into_iter();
        Ok(up
            .map(|(name, address)| Interface { name, address })
            .collect())
    }
}

impl fmt::Debug for HostNet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HostNet({:?})", self.device.up())
    }
}

struct Datagrams {
    device: Device,
    kernel: Kernel,
    /// As the kernel knows it.
    local: SocketAddr,
    ports: OpenPorts,
    socket: UdpSocket,
    born: u32,
    epoch: watch::Receiver<u32>,
}

impl Datagrams {
    fn is_dead(&self) -> bool {
        *self.epoch.borrow() != self.born
    }
}

/// What an operating system says of a socket whose interface is gone.
fn dead() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the interface of the socket is gone",
    )
}

#[async_trait]
impl DatagramSocket for Datagrams {
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<usize> {
        if self.is_dead() {
            return Err(dead());
        }
        if self.device.carrier_of(self.local.ip()) == Carrier::Down {
            return Err(io::Error::new(
                io::ErrorKind::NetworkUnreachable,
                "the interface of the socket is down",
            ));
        }
        self.kernel.signal.raise();
        self.kernel
            .on_host(self.socket.send_to(payload, remote))
            .await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut epoch = self.epoch.clone();
        tokio::select! {
            biased;
            _ = epoch.wait_for(|epoch| *epoch != self.born) => Err(dead()),
            received = self.kernel.on_host(self.socket.recv_from(buffer)) => received,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        if self.is_dead() {
            return Err(dead());
        }
        Ok(self.kernel.address.seen(self.local))
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Datagrams({})", self.local)
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.ports.lock().remove(&self.local);
        // The kernel's socket is dropped right after, on the host that is current then.
        self.kernel.enter();
    }
}

impl Kernel {
    /// Makes the host current, for what comes next.
    pub(super) fn enter(&self) {
        turmoil_net::set_current(self.host);
    }

    /// The same before something that may make the host send.
    pub(super) fn enter_to_send(&self) {
        self.enter();
        self.signal.raise();
    }

    /// Makes the host current at every poll of `future`, and when it is dropped unfinished.
    pub(super) fn on_host<F: Future>(&self, future: F) -> OnHost<F> {
        OnHost {
            kernel: self.clone(),
            future: Box::pin(future),
        }
    }
}

pub(super) struct OnHost<F> {
    kernel: Kernel,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for OnHost<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.kernel.enter();
        self.future.as_mut().poll(context)
    }
}

impl<F> Drop for OnHost<F> {
    fn drop(&mut self) {
        self.kernel.enter();
    }
}
