//! TCP connections as one socket that sends and receives packets.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ringtrue::net::{ByteStream, DatagramSocket, StreamListener};
use ringtrue::peer::turn_framing::{Decoder, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// The most messages of all connections that wait to be handled. More wait in the connections.
const RECEIVED_MAX: usize = 64;

/// The most messages that wait to be written to one connection: about a second of audio.
const QUEUED_MAX: usize = 64;

/// How much is read at once.
const READ_BYTES: usize = 4096;

/// The connections of one listener. Whoever is written to must be connected; packets are whole
/// messages of STUN or TURN.
#[derive(Debug)]
pub(super) struct Streams {
    local: SocketAddr,
    received: tokio::sync::Mutex<mpsc::Receiver<Received>>,
    sender: mpsc::Sender<Received>,
    connections: Arc<Mutex<BTreeMap<SocketAddr, Connection>>>,
}

type Received = (Vec<u8>, SocketAddr);

#[derive(Debug)]
struct Connection {
    /// Tells a connection from a later one with the same addresses.
    number: u64,
    queue: mpsc::Sender<Vec<u8>>,
    closed: watch::Receiver<()>,
}

impl Streams {
    pub(super) fn new(local: SocketAddr) -> Self {
        let (sender, received) = mpsc::channel(RECEIVED_MAX);
        Self {
            local,
            received: tokio::sync::Mutex::new(received),
            sender,
            connections: Arc::default(),
        }
    }

    /// Accepts and serves connections until the future is dropped.
    pub(super) fn accept(
        &self,
        listener: Box<dyn StreamListener>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let connections = Arc::clone(&self.connections);
        let sender = self.sender.clone();
        async move {
            let mut serving = JoinSet::new();
            let mut number = 0;
            loop {
                let accepted = tokio::select! {
                    biased;
                    accepted = listener.accept() => accepted,
                    Some(_) = serving.join_next() => continue,
                };
                let (stream, peer) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::error!(%error, "a TURN server accepts no more connections");
                        return;
                    }
                };
                number += 1;
                let (queue, to_write) = mpsc::channel(QUEUED_MAX);
                let (open, closed) = watch::channel(());
                let connection = Connection {
                    number,
                    queue,
                    closed,
                };
                lock(&connections).insert(peer, connection);
                let (connections, sender) = (Arc::clone(&connections), sender.clone());
                serving.spawn(async move {
                    let end = serve(stream, peer, sender, to_write).await;
                    tracing::debug!(%peer, reason = %end, "TURN over TCP ended");
                    let mut connections = lock(&connections);
                    if connections
                        .get(&peer)
                        .is_some_and(|each| each.number == number)
                    {
                        connections.remove(&peer);
                    }
                    drop(connections);
                    drop(open);
                });
            }
        }
    }

    /// Ends when the connection of this client does; `None` where it has none.
    pub(super) fn connection(&self, client: SocketAddr) -> Option<watch::Receiver<()>> {
        let connections = lock(&self.connections);
        connections.get(&client).map(|each| each.closed.clone())
    }
}

#[async_trait]
impl DatagramSocket for Streams {
    async fn send_to(&self, payload: &[u8], remote: SocketAddr) -> io::Result<usize> {
        let mut bytes = Vec::with_capacity(payload.len() + 3);
        encode(payload, &mut bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connections = lock(&self.connections);
        let connection = connections
            .get(&remote)
            .ok_or(io::ErrorKind::NotConnected)?;
        if connection.queue.try_send(bytes).is_err() {
            tracing::debug!(%remote, "a packet was dropped: the connection is congested");
        }
        Ok(payload.len())
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = self.received.lock().await.recv().await;
        let (message, source) = received.ok_or(io::ErrorKind::ConnectionAborted)?;
        let length = message.len().min(buffer.len());
        buffer[..length].copy_from_slice(&message[..length]);
        Ok((length, source))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// Carries both directions of a connection to its end, and tells why it ended.
async fn serve(
    stream: Box<dyn ByteStream>,
    peer: SocketAddr,
    sender: mpsc::Sender<Received>,
    mut to_write: mpsc::Receiver<Vec<u8>>,
) -> String {
    let (mut reader, mut writer) = split(stream);
    let inbound = async {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return "the client closed it".to_owned(),
                Ok(length) => decoder.push(&buffer[..length]),
                Err(error) => return error.to_string(),
            }
            loop {
                match decoder.next_frame() {
                    Ok(None) => break,
                    Ok(Some(message)) => {
                        if sender.send((message, peer)).await.is_err() {
                            return "the server stops".to_owned();
                        }
                    }
                    Err(error) => return error.to_string(),
                }
            }
        }
    };
    let outbound = async {
        while let Some(bytes) = to_write.recv().await {
            let written = writer.write_all(&bytes).await;
            if let Err(error) = written.and(writer.flush().await) {
                return error.to_string();
            }
        }
        "another connection has its place".to_owned()
    };
    tokio::select! {
        biased;
        end = inbound => end,
        end = outbound => end,
    }
}

fn lock(
    connections: &Mutex<BTreeMap<SocketAddr, Connection>>,
) -> MutexGuard<'_, BTreeMap<SocketAddr, Connection>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}
