//! A network in memory for the tests of this module: streams that can be refused, stalled, delayed, cut
//! and frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::client::Identity;
use super::message::{CallId, CallMessage, Envelope};
use super::relay::{Relay, RelayConfig, serve};
use crate::config::SignalingConfig;
use crate::net::between::StreamBetween;
use crate::net::{ByteStream, DatagramSocket, Interface, Net, StreamListener, TrafficClass};

/// The settings of a client whose server is `relay.example`.
pub(crate) fn settings() -> SignalingConfig {
    SignalingConfig {
        url: "http://relay.example".into(),
        ..SignalingConfig::default()
    }
}

pub(crate) fn identity(name: &str) -> Identity {
    Identity {
        name: name.into(),
        token: "secret".into(),
    }
}

/// The offer of a call.
pub(super) fn envelope(to: &str, call: &str) -> Envelope {
    Envelope {
        from: String::new(),
        to: to.into(),
        call: CallId(call.into()),
        body: CallMessage::offer("v=0"),
    }
}

/// Serves a relay under `relay.example`.
pub(crate) async fn serve_relay(net: &MemoryNet, config: RelayConfig) -> Relay {
    let address = SocketAddr::from(([203, 0, 113, 1], 80));
    net.name("relay.example", &[address.ip()]);
    let listener = net.listen_stream(address).await.expect("free address");
    let relay = Relay::new(config);
    tokio::spawn(serve(relay.clone(), listener));
    relay
}

type Accepted = (Box<dyn ByteStream>, SocketAddr);

/// A network that every clone shares.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryNet {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, Vec<IpAddr>>,
    listeners: BTreeMap<SocketAddr, mpsc::UnboundedSender<Accepted>>,
    stalled: BTreeSet<IpAddr>,
    stalled_names: BTreeSet<String>,
    wires: Vec<watch::Sender<Wire>>,
    opened: u16,
    dialled: u16,
    delays: Option<Delays>,
}

/// Every piece of a stream is on its way for a time of its own, up to `max`.
#[derive(Debug, Clone)]
struct Delays {
    generator: ChaCha8Rng,
    max: Duration,
}

impl Delays {
    /// The delays of another stream.
    fn fork(&mut self) -> Self {
        Self {
            generator: ChaCha8Rng::from_rng(&mut self.generator),
            max: self.max,
        }
    }

    fn next(&mut self) -> Duration {
        self.generator.random_range(Duration::ZERO..=self.max)
    }
}

/// What becomes of the bytes between two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Open,
    Frozen,
    Cut,
}

impl MemoryNet {
    pub(crate) fn name(&self, name: &str, addresses: &[IpAddr]) {
        self.lock().names.insert(name.into(), addresses.to_vec());
    }

    /// Connections to this address are never answered.
    pub(super) fn stall(&self, address: IpAddr) {
        self.lock().stalled.insert(address);
    }

    /// Connections to this address are answered again. Those that were dialled before stay unanswered.
    pub(super) fn heal(&self, address: IpAddr) {
        self.lock().stalled.remove(&address);
    }

    /// Lookups of this name are never answered.
    pub(super) fn stall_name(&self, name: &str) {
        self.lock().stalled_names.insert(name.into());
    }

    /// Lookups of this name are answered again. Those from before stay unanswered.
    pub(super) fn heal_name(&self, name: &str) {
        self.lock().stalled_names.remove(name);
    }

    /// Delays every piece of the streams opened from now on by up to `max`, differently for each seed.
    pub(super) fn delay(&self, seed: u64, max: Duration) {
        let generator = ChaCha8Rng::seed_from_u64(seed);
        self.lock().delays = Some(Delays { generator, max });
    }

    /// Ends every open stream: both ends read the end of it.
    pub(crate) fn cut_all(&self) {
        self.set_all(Wire::Cut);
    }

    /// Swallows everything on every open stream; neither end is told.
    pub(super) fn freeze_all(&self) {
        self.set_all(Wire::Frozen);
    }

    /// How many streams were ever opened.
    pub(super) fn opened(&self) -> u16 {
        self.lock().opened
    }

    /// How many connections were ever asked for, answered or not.
    pub(super) fn dialled(&self) -> u16 {
        self.lock().dialled
    }

    /// How many streams are held by both ends.
    pub(super) fn live(&self) -> usize {
        let state = self.lock();
        state.wires.iter().filter(|wire| !wire.is_closed()).count()
    }

    fn set_all(&self, wire: Wire) {
        for sender in &self.lock().wires {
            sender.send_replace(wire);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Net for MemoryNet {
    async fn bind_datagram(
        &self,
        _: SocketAddr,
        _: TrafficClass,
    ) -> io::Result<Arc<dyn DatagramSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect_stream(&self, remote: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        let is_stalled = {
            let mut state = self.lock();
            state.dialled += 1;
            state.stalled.contains(&remote.ip())
        };
        if is_stalled {
            std::future::pending::<()>().await;
        }
        let mut state = self.lock();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listener = state.listeners.get(&remote).ok_or_else(refused)?.clone();
        state.opened += 1;
        let local = SocketAddr::from(([192, 0, 2, 1], 1024 + state.opened));
        let (near, near_wire) = duplex(1 << 16);
        let (far, far_wire) = duplex(1 << 16);
        let (sender, mut wire) = watch::channel(Wire::Open);
        let delays = [(); 2].map(|()| state.delays.as_mut().map(Delays::fork));
        tokio::spawn(async move {
            let carrying = pin!(carry_both(near_wire, far_wire, delays));
            let is_disturbed = tokio::select! {
                biased;
                changed = wire.wait_for(|wire| *wire != Wire::Open) => changed.is_ok(),
                _ = carrying => false,
            };
            if is_disturbed {
                // What carries owns the wires, so neither end is told as long as it lives.
                let _ = wire.wait_for(|wire| *wire == Wire::Cut).await;
            }
        });
        state.wires.push(sender);
        let end = |stream, local, peer| Box::new(StreamBetween::new(stream, local, peer));
        listener
            .send((end(far, remote, local), local))
            .map_err(|_| refused())?;
        Ok(end(near, local, remote))
    }

    async fn listen_stream(&self, local: SocketAddr) -> io::Result<Box<dyn StreamListener>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.insert(local, sender);
        Ok(Box::new(MemoryListener {
            local,
            receiver: tokio::sync::Mutex::new(receiver),
        }))
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let is_stalled = self.lock().stalled_names.contains(host);
        if is_stalled {
            std::future::pending::<()>().await;
        }
        let addresses = self.lock().names.get(host).cloned();
        addresses.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        Ok(Vec::new())
    }
}

async fn carry_both(
    near: DuplexStream,
    far: DuplexStream,
    [up, down]: [Option<Delays>; 2],
) -> io::Result<()> {
    let (near_reader, near_writer) = tokio::io::split(near);
    let (far_reader, far_writer) = tokio::io::split(far);
    tokio::try_join!(
        carry(near_reader, far_writer, up),
        carry(far_reader, near_writer, down),
    )?;
    Ok(())
}

async fn carry(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    mut delays: Option<Delays>,
) -> io::Result<()> {
    let mut piece = vec![0; 1 << 12];
    loop {
        let length = reader.read(&mut piece).await?;
        if let Some(delays) = &mut delays {
            sleep(delays.next()).await;
        }
        if length == 0 {
            return writer.shutdown().await;
        }
        writer.write_all(&piece[..length]).await?;
    }
}

#[derive(Debug)]
struct MemoryListener {
    local: SocketAddr,
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<Accepted>>,
}

#[async_trait]
impl StreamListener for MemoryListener {
    async fn accept(&self) -> io::Result<Accepted> {
        let accepted = self.receiver.lock().await.recv().await;
        accepted.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}
