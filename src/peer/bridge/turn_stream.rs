//! TURN over TCP for an agent that knows UDP only.
//!
//! To the agent such a server is one more UDP address. Its packets go over a TCP connection
//! instead, one for each of the agent's sockets, since an allocation belongs to a connection
//! (RFC 8656 section 3.1). For that reason a connection is opened by a request for an allocation
//! and by nothing else: whatever belonged to one that is gone is lost with it.
//!
//! A relay over TCP is a way around blocked UDP and no use beside a relay over UDP: one lost packet
//! holds up all behind it, and the agent, which asks each relay for a permission for each address of
//! the other side and waits for the answers one after the other, would find the best pair later.
//! So servers over UDP get a head start, and once one of them has granted an allocation no other is
//! asked for over TCP.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::stun::Header;
use super::traffic::Packet;
use super::{Inner, State, lock};
use crate::net::ByteStream;
use crate::peer::turn_framing::{Decoder, FramingError, encode};
use crate::redaction;

/// How long a connection may take to open: about as long as the TURN client waits for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(7);

/// How long a server over UDP may take before those over TCP are asked: two round trips and a
/// repeated request on most paths.
pub(super) const UDP_HEAD_START: Duration = Duration::from_millis(500);

/// The wait after a connection has ended before there is another to the same server.
const PAUSE: Duration = Duration::from_secs(2);

/// The most packets of one socket that wait to be written: about a second of audio. Later would be
/// too late for more.
const QUEUED_PACKETS_MAX: usize = 64;

/// How much is read at once.
const READ_BYTES: usize = 4096;

/// The connection of one of the agent's sockets to one server.
#[derive(Debug)]
pub(super) enum Link {
    Open {
        queue: mpsc::Sender<Queued>,
        /// This end, once it is connected.
        address: Option<SocketAddr>,
    },
    Closed {
        again_at: Instant,
    },
}

/// What waits to be written.
#[derive(Debug)]
pub(super) enum Queued {
    Packet(Vec<u8>),
    /// Tells when everything before it has been written.
    Mark(oneshot::Sender<()>),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkEnd {
    #[error("no connection within {CONNECT_TIMEOUT:?}")]
    ConnectTimeout,
    #[error("no connection: {}", redaction::scrubbed(.0))]
    Connect(#[source] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke: {}", redaction::scrubbed(.0))]
    Broken(#[source] io::Error),
    #[error("the server sent what is not TURN: {0}")]
    Framing(#[from] FramingError),
    #[error("a server over UDP has granted an allocation")]
    Unneeded,
}

impl Inner {
    /// Sends a packet of the agent over the TCP connection to the server at `real`.
    pub(super) async fn send_over_tcp(self: &Arc<Self>, packet: Packet, real: SocketAddr) {
        let refused = self.enqueue(packet, real);
        for answer in refused {
            self.deliver(answer).await;
        }
    }

    /// Waits until every connection has written what was sent over it.
    pub(super) async fn flush_links(&self) {
        let connected: Vec<_> = self
            .state()
            .links
            .values()
            .filter_map(|link| match link {
                Link::Open {
                    queue,
                    address: Some(_),
                } => Some(queue.clone()),
                Link::Open { address: None, .. } | Link::Closed { .. } => None,
            })
            .collect();
        for queue in connected {
            let (mark, written) = oneshot::channel();
            if queue.send(Queued::Mark(mark)).await.is_ok() {
                // An error means that the connection has ended, and then nothing is left to write.
                let _ = written.await;
            }
        }
    }

    /// This end of the connection over which the agent's socket `local` talks to a server.
    pub(super) fn link_address(&self, local: SocketAddr) -> Option<SocketAddr> {
        let state = self.state();
        let mut links = state.links.iter().filter(|((seen, _), _)| *seen == local);
        links.find_map(|(_, link)| match link {
            Link::Open { address, .. } => *address,
            Link::Closed { .. } => None,
        })
    }

    /// Gives a packet to its connection. What comes back are the answers to deliver where there is
    /// none.
    fn enqueue(self: &Arc<Self>, packet: Packet, real: SocketAddr) -> Vec<Packet> {
        let Packet {
            local,
            remote,
            payload,
        } = packet;
        let allocates = Header::read(&payload).is_some_and(|header| header.is_allocate_request());
        let mut state = self.state();
        if allocates && *self.relayed_over_udp.borrow() {
            state.close_link((local, remote));
            return state.traffic.refuse_pair(local, remote);
        }
        let not_before = match state.links.get(&(local, remote)) {
            Some(Link::Open { queue, .. }) => {
                if queue.try_send(Queued::Packet(payload)).is_err() {
                    tracing::debug!(server = %redaction::address(real), "packet dropped: the connection is congested");
                }
                return Vec::new();
            }
            Some(Link::Closed { again_at }) if allocates => *again_at,
            None if allocates => Instant::now() + self.udp_head_start,
            Some(Link::Closed { .. }) | None => return state.traffic.refuse_pair(local, remote),
        };
        let (queue, packets) = mpsc::channel(QUEUED_PACKETS_MAX);
        queue
            .try_send(Queued::Packet(payload))
            .expect("a new queue has room for one");
        let link = Link::Open {
            queue,
            address: None,
        };
        state.links.insert((local, remote), link);
        drop(state);
        let carried = Arc::clone(self).carry_link((local, remote), real, not_before, packets);
        lock(&self.tasks).spawn(carried);
        Vec::new()
    }

    /// Keeps one connection from its opening to its end.
    async fn carry_link(
        self: Arc<Self>,
        (local, server): (SocketAddr, SocketAddr),
        real: SocketAddr,
        not_before: Instant,
        packets: mpsc::Receiver<Queued>,
    ) {
        let end = match self.open(real, not_before).await {
            Ok(stream) => {
                if let Some(Link::Open { address, .. }) =
                    self.state().links.get_mut(&(local, server))
                {
                    *address = stream.local_addr().ok();
                }
                self.carry_both_ways(stream, (local, server), packets).await
            }
            Err(end) => end,
        };
        if matches!(end, LinkEnd::Unneeded) {
            tracing::debug!(server = %redaction::address(real), reason = %end, "TURN over TCP ended");
        } else {
            tracing::warn!(server = %redaction::address(real), reason = %end, "TURN over TCP ended");
        }
        let answers = {
            let mut state = self.state();
            state.close_link((local, server));
            state.traffic.refuse_pair(local, server)
        };
        for answer in answers {
            self.deliver(answer).await;
        }
    }

    async fn open(
        &self,
        real: SocketAddr,
        not_before: Instant,
    ) -> Result<Box<dyn ByteStream>, LinkEnd> {
        let mut relayed = self.relayed_over_udp.subscribe();
        if let Ok(Ok(_)) = timeout_at(not_before, relayed.wait_for(|relayed| *relayed)).await {
            return Err(LinkEnd::Unneeded);
        }
        match timeout(CONNECT_TIMEOUT, self.net.connect_stream(real)).await {
            Ok(connected) => connected.map_err(LinkEnd::Connect),
            Err(_) => Err(LinkEnd::ConnectTimeout),
        }
    }

    async fn carry_both_ways(
        &self,
        stream: Box<dyn ByteStream>,
        (local, server): (SocketAddr, SocketAddr),
        mut packets: mpsc::Receiver<Queued>,
    ) -> LinkEnd {
        let (mut reader, mut writer) = split(stream);
        let inbound = async {
            let mut decoder = Decoder::default();
            let mut buffer = vec![0; READ_BYTES];
            loop {
                let length = reader.read(&mut buffer).await.map_err(LinkEnd::Broken)?;
                if length == 0 {
                    return Err::<Infallible, _>(LinkEnd::Closed);
                }
                decoder.push(&buffer[..length]);
                while let Some(payload) = decoder.next_frame()? {
                    let packet = Packet {
                        local,
                        remote: server,
                        payload,
                    };
                    self.arrived(packet).await;
                }
            }
        };
        // Beside reading and not in turn with it: two ends that both wait to write would wait for
        // ever.
        let outbound = async {
            let mut bytes = Vec::new();
            while let Some(queued) = packets.recv().await {
                match queued {
                    Queued::Packet(payload) => {
                        bytes.clear();
                        if let Err(error) = encode(&payload, &mut bytes) {
                            tracing::debug!(%error, "packet dropped: it cannot go over TCP");
                            continue;
                        }
                        writer.write_all(&bytes).await.map_err(LinkEnd::Broken)?;
                        writer.flush().await.map_err(LinkEnd::Broken)?;
                    }
                    Queued::Mark(mark) => {
                        // Nobody waits any more: then nobody is told.
                        let _ = mark.send(());
                    }
                }
            }
            // Only an allocation that is not needed takes the queue away.
            Err::<Infallible, _>(LinkEnd::Unneeded)
        };
        let (Err(end) | Ok(end)) = tokio::select! {
            biased;
            end = inbound => end.map(|never| match never {}),
            end = outbound => end.map(|never| match never {}),
        };
        end
    }
}

impl State {
    fn close_link(&mut self, key: (SocketAddr, SocketAddr)) {
        let again_at = Instant::now() + PAUSE;
        self.links.insert(key, Link::Closed { again_at });
    }
}
