//! Perturbs what the signaling server says, message by message: late, doubled, lost, out of order, or
//! accompanied by a candidate that nobody sent.
//!
//! It stands between the production relay and the network, as a listener whose connections it reads,
//! and not in a relay of its own: what a scenario perturbs is then the very server that ships, with its
//! mail, its acknowledgements and its reconnects, and that server needs no hooks for it. In the way out
//! each message is a WebSocket frame of its own, which can be held back, doubled or left out while
//! everything else passes; what that does to the server and to both clients follows by itself. A
//! message counts as acknowledged by the server before it is perturbed, since the server answers its
//! sender on another connection.
//!
//! What is held back when its connection breaks is lost with it. The server sends it again to the
//! device's next connection, and it waits there for the rest of its time.
//!
//! Long-polling is not read: where messages are perturbed, clients use WebSockets only.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rand_chacha::ChaCha8Rng;
use ringtrue::net::between::StreamBetween;
use ringtrue::net::tls::TlsAcceptor;
use ringtrue::net::{ByteStream, StreamListener};
use tokio::io::{
    AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, copy, duplex, split,
};
use tokio::time::{Instant, sleep_until};

use self::delivery::{Identity, message_in, with_candidate};
use self::perturber::{Perturber, Verdict};
use crate::determinism;
use crate::perturbation::Perturbation;
use crate::trace::{EventKind, HostName, MessageEvent, MessagePhase, Recorder};
use crate::world::frames::{Edge, FrameReader};

mod delivery;
mod perturber;

/// How much the server may have written that is not on the network yet.
const PIPE_BYTES: usize = 64 * 1024;

/// The perturbations of a run. Clones are the same.
#[derive(Clone)]
pub struct Perturbing {
    perturber: Arc<Mutex<Perturber>>,
    recorder: Recorder,
    host: HostName,
}

impl Perturbing {
    /// Carries out `perturbations` and writes down what they do at `host`, the signaling server.
    /// `stream` gives the generator of the stream with a label.
    #[must_use]
    pub fn new(
        perturbations: &[Perturbation],
        stream: impl Fn(&str) -> ChaCha8Rng,
        recorder: Recorder,
        host: HostName,
    ) -> Self {
        Self {
            perturber: Arc::new(Mutex::new(Perturber::new(perturbations, stream))),
            recorder,
            host,
        }
    }

    /// A listener for the server, in the place of the one that the network has. Where there is `tls`
    /// the server itself must not protect what passes here.
    #[must_use]
    pub fn listen(
        &self,
        listener: Box<dyn StreamListener>,
        tls: Option<TlsAcceptor>,
    ) -> Box<dyn StreamListener> {
        Box::new(Listener {
            perturbing: self.clone(),
            below: listener,
            tls,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Perturber> {
        // It is whole after every statement, so a panic elsewhere leaves it usable.
        self.perturber
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, event: MessageEvent) {
        let now = determinism::now();
        self.recorder
            .record(now, &self.host, EventKind::Message(event));
    }
}

impl fmt::Debug for Perturbing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Perturbing")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

struct Listener {
    perturbing: Perturbing,
    below: Box<dyn StreamListener>,
    tls: Option<TlsAcceptor>,
}

#[async_trait]
impl StreamListener for Listener {
    async fn accept(&self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)> {
        let (stream, remote) = self.below.accept().await?;
        let (here, servers) = duplex(PIPE_BYTES);
        let servers = StreamBetween::new(servers, stream.local_addr()?, remote);
        let connection = Connection {
            perturbing: self.perturbing.clone(),
            held: BTreeMap::new(),
            reader: FrameReader::default(),
            frame: Vec::new(),
        };
        let tls = self.tls.clone();
        tokio::spawn(async move {
            let ended = match tls {
                None => connection.carry(here, stream).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => connection.carry(here, Box::new(stream)).await,
                    Err(error) => {
                        return tracing::debug!(%error, "signaling connection without tls");
                    }
                },
            };
            if let Err(error) = ended {
                tracing::debug!(%remote, %error, "perturbed signaling connection ended");
            }
        });
        Ok((Box::new(servers), remote))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.below.local_addr()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Listener")
            .field("below", &self.below)
            .finish_non_exhaustive()
    }
}

/// One connection on its way between the server and the network.
struct Connection {
    perturbing: Perturbing,
    /// By when they are due, and in the order in which that was decided.
    held: BTreeMap<(Instant, u64), Held>,
    reader: FrameReader,
    /// What is there of the frame that the server is writing.
    frame: Vec<u8>,
}

/// A frame that waits.
struct Held {
    identity: Identity,
    frame: Vec<u8>,
    event: MessageEvent,
}

impl Connection {
    /// Carries both ways until either end closes.
    async fn carry(self, server: DuplexStream, network: Box<dyn ByteStream>) -> io::Result<()> {
        let (from_server, to_server) = split(server);
        let (from_network, to_network) = split(network);
        tokio::select! {
            biased;
            ended = self.carry_out(from_server, to_network) => ended,
            ended = carry_in(from_network, to_server) => ended,
        }
    }

    async fn carry_out(
        mut self,
        mut server: ReadHalf<DuplexStream>,
        mut network: WriteHalf<Box<dyn ByteStream>>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; PIPE_BYTES];
        loop {
            let due = self.held.first_key_value().map(|((due, _), _)| *due);
            let bytes = tokio::select! {
                biased;
                () = until(due) => self.release(Instant::now()),
                count = server.read(&mut buffer) => match count? {
                    0 => return network.shutdown().await,
                    count => self.take(Instant::now(), &buffer[..count]),
                },
            };
            network.write_all(&bytes).await?;
            network.flush().await?;
        }
    }

    /// Takes in what the server writes, and returns what passes now.
    fn take(&mut self, now: Instant, bytes: &[u8]) -> Vec<u8> {
        let mut passing = Vec::new();
        let mut at = 0;
        for edge in self.reader.read(bytes) {
            if let Edge::End(end) = edge {
                self.frame.extend(&bytes[at..end]);
                at = end;
                let frame = std::mem::take(&mut self.frame);
                self.decide(now, frame, &mut passing);
            }
        }
        if self.reader.is_upgraded() {
            self.frame.extend(&bytes[at..]);
        } else {
            // Bodies of HTTP may have no end, and hold nothing to perturb.
            passing.append(&mut self.frame);
            passing.extend(&bytes[at..]);
        }
        passing
    }

    fn decide(&mut self, now: Instant, frame: Vec<u8>, passing: &mut Vec<u8>) {
        let Some((identity, kind)) = message_in(&frame) else {
            return passing.extend(frame);
        };
        let elapsed = determinism::now();
        let verdict = self
            .perturbing
            .lock()
            .handle(now, elapsed, &identity, &kind);
        match verdict {
            Verdict::Pass => passing.extend(frame),
            Verdict::Lost(event) => self.perturbing.record(event),
            Verdict::Late(times, event) => {
                if self.held.values().any(|held| held.identity == identity) {
                    return tracing::debug!(%kind, "a repetition of what is held back");
                }
                if times.first().is_some_and(|due| *due > now) {
                    self.perturbing.record(event.clone());
                }
                for due in times {
                    let number = self.perturbing.lock().next_sequence_number();
                    let held = Held {
                        identity: identity.clone(),
                        frame: frame.clone(),
                        event: event.clone(),
                    };
                    self.held.insert((due, number), held);
                }
                passing.extend(self.release(now));
            }
        }
    }

    /// What is due.
    fn release(&mut self, now: Instant) -> Vec<u8> {
        let mut passing = Vec::new();
        while let Some(entry) = self.held.first_entry()
            && entry.key().0 <= now
        {
            let Held { frame, event, .. } = entry.remove();
            let beside = self.perturbing.lock().beside(event.perturbation);
            if let Some(by) = beside
                && let Some(bad) = with_candidate(&frame, by.text())
            {
                passing.extend(bad);
                self.perturbing.record(MessageEvent {
                    phase: MessagePhase::Accompanied { by },
                    ..event.clone()
                });
            }
            passing.extend(frame);
            self.perturbing.record(MessageEvent {
                phase: MessagePhase::Released,
                ..event
            });
        }
        passing
    }
}

async fn carry_in(
    mut network: ReadHalf<Box<dyn ByteStream>>,
    mut server: WriteHalf<DuplexStream>,
) -> io::Result<()> {
    copy(&mut network, &mut server).await?;
    server.shutdown().await?;
    // What the server still has to say goes out, until it closes its end too.
    std::future::pending().await
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
