//! The WebSocket transport: Engine.IO packets over a stream of a [`Net`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, Stream};
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::endpoint::{Endpoint, EndpointError};
use super::engine_io::{EngineIoError, EngineIoPacket, Frame, OpenPacket};
use super::socket_io::{Refusal, SocketIoError};
use crate::config::TransportKind;
use crate::net::{ByteStream, Net};

/// The largest message that is read: a hundred times the largest session description seen.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Signaling messages are small and a connection is kept for hours: a small buffer costs nothing.
const READ_BUFFER_BYTES: usize = 4096;

/// The steps of a connection attempt, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectPhase {
    /// The host name is resolved.
    Resolve,
    /// The TCP connection is opened.
    Tcp,
    /// HTTP is upgraded to WebSocket.
    HttpUpgrade,
    /// The server's open packet is awaited.
    OpenPacket,
    /// The namespace is joined.
    Namespace,
}

/// Why a connection attempt failed.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The server's address cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No configured transport exists in this client.
    #[error("none of the transports {configured:?} is available; only WebSocket is")]
    NoUsableTransport {
        /// What the configuration lists.
        configured: Vec<TransportKind>,
    },
    /// The attempt ran out of time.
    #[error("{phase} took too long: the attempt is limited to {limit:?}")]
    TimedOut {
        /// The step that was under way.
        phase: ConnectPhase,
        /// The limit on the whole attempt.
        limit: Duration,
    },
    /// The network refused.
    #[error("{phase} failed")]
    Network {
        /// The step that was under way.
        phase: ConnectPhase,
        /// What the network says.
        #[source]
        source: io::Error,
    },
    /// The server did not upgrade to WebSocket.
    #[error("{} failed", ConnectPhase::HttpUpgrade)]
    HttpUpgrade(#[source] Box<tungstenite::Error>),
    /// The transport failed before the namespace was joined.
    #[error("{phase} failed")]
    Transport {
        /// The step that was under way.
        phase: ConnectPhase,
        /// What failed.
        #[source]
        source: TransportError,
    },
    /// The server sent something that does not belong there.
    #[error("{phase} failed: the server sent {found} out of turn")]
    OutOfTurn {
        /// The step that was under way.
        phase: ConnectPhase,
        /// What it sent.
        found: String,
    },
    /// The server speaks protocol 2: its CONNECT reply names no session.
    #[error(
        "{} failed: the server's reply has no sid, so it speaks an older socket.io protocol",
        ConnectPhase::Namespace
    )]
    OldProtocol,
    /// The server refuses this client.
    #[error("the server refuses the connection: {:?}", .0.message)]
    Refused(Refusal),
}

/// Why an open transport can carry no more.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The server closed it: a WebSocket close frame, an Engine.IO close packet, or the end of the
    /// stream.
    #[error("the server closed the connection: {how}")]
    Closed {
        /// How it did so.
        how: String,
    },
    /// The stream or the WebSocket on it broke.
    #[error("the websocket broke")]
    Broken(#[source] Box<tungstenite::Error>),
    /// A frame is no Engine.IO packet.
    #[error("the server sent an invalid frame")]
    EngineIo(#[from] EngineIoError),
    /// A message is no Socket.IO packet.
    #[error("the server sent an invalid packet")]
    SocketIo(#[from] SocketIoError),
}

/// An open WebSocket that carries Engine.IO packets. Dropping it closes the stream.
pub struct WebSocketTransport {
    stream: WebSocketStream<Box<dyn ByteStream>>,
    outbox: VecDeque<EngineIoPacket>,
    unflushed: bool,
}

impl ConnectError {
    /// Whether another attempt would fail in the same way: the configuration is wrong, or the server
    /// refuses this client.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Endpoint(_) | Self::NoUsableTransport { .. } | Self::Refused(_)
        )
    }
}

impl std::fmt::Display for ConnectPhase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Resolve => "resolving the server's name",
            Self::Tcp => "opening the tcp connection",
            Self::HttpUpgrade => "upgrading http to websocket",
            Self::OpenPacket => "waiting for the open packet",
            Self::Namespace => "joining the namespace",
        })
    }
}

/// Checks that a configured transport exists in this client.
///
/// # Errors
///
/// [`ConnectError::NoUsableTransport`].
pub fn select_transport(configured: &[TransportKind]) -> Result<TransportKind, ConnectError> {
    if configured.contains(&TransportKind::Polling) {
        tracing::debug!("long-polling is configured and not available");
    }
    if configured.contains(&TransportKind::WebSocket) {
        Ok(TransportKind::WebSocket)
    } else {
        let configured = configured.to_vec();
        Err(ConnectError::NoUsableTransport { configured })
    }
}

impl WebSocketTransport {
    /// Opens a WebSocket to `endpoint` and waits for the open packet. `phase` always names the step
    /// under way, also when the future is dropped because its time is up at `deadline`.
    ///
    /// # Errors
    ///
    /// What the step in `phase` answers.
    pub async fn open(
        net: &dyn Net,
        endpoint: &Endpoint,
        deadline: Instant,
        phase: &mut ConnectPhase,
    ) -> Result<(Self, OpenPacket), ConnectError> {
        *phase = ConnectPhase::Resolve;
        let network = |phase| move |source| ConnectError::Network { phase, source };
        let addresses = net
            .resolve(endpoint.host())
            .await
            .map_err(network(*phase))?;
        *phase = ConnectPhase::Tcp;
        let stream = connect_any(net, &addresses, endpoint.port(), deadline)
            .await
            .map_err(network(*phase))?;
        *phase = ConnectPhase::HttpUpgrade;
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (stream, _) = client_async_with_config(endpoint.request(), stream, Some(limits))
            .await
            .map_err(|error| ConnectError::HttpUpgrade(Box::new(error)))?;
        *phase = ConnectPhase::OpenPacket;
        let mut transport = Self {
            stream,
            outbox: VecDeque::new(),
            unflushed: false,
        };
        let phase = *phase;
        match transport.next().await {
            Ok(EngineIoPacket::Open(open)) => Ok((transport, open)),
            Ok(other) => {
                let found = format!("{other:?}");
                Err(ConnectError::OutOfTurn { phase, found })
            }
            Err(source) => Err(ConnectError::Transport { phase, source }),
        }
    }

    /// Queues a packet; it is written while [`next`](Self::next) or [`flush`](Self::flush) is
    /// polled.
    pub fn queue(&mut self, packet: EngineIoPacket) {
        self.outbox.push_back(packet);
    }

    /// Waits for the next packet and writes queued ones meanwhile. Safe to cancel: no packet is lost
    /// in either direction by dropping the future.
    ///
    /// # Errors
    ///
    /// Every [`TransportError`]; the transport can carry no more after one.
    pub async fn next(&mut self) -> Result<EngineIoPacket, TransportError> {
        poll_fn(|context| self.poll_packet(context)).await
    }

    /// Waits until everything queued is written.
    ///
    /// # Errors
    ///
    /// [`TransportError::Broken`].
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        poll_fn(|context| self.poll_write(context)).await
    }

    /// Writes what is queued and a WebSocket close frame (RFC 6455 section 5.5.1).
    ///
    /// # Errors
    ///
    /// [`TransportError::Broken`].
    pub async fn close(mut self) -> Result<(), TransportError> {
        self.flush().await?;
        self.stream.close(None).await.map_err(broken)
    }

    /// Reading goes on while writing is stuck: a server that reads nothing for a while still has its
    /// pings counted.
    fn poll_packet(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<EngineIoPacket, TransportError>> {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            return Poll::Ready(Err(error));
        }
        loop {
            let message = ready!(Pin::new(&mut self.stream).poll_next(context));
            return Poll::Ready(match message {
                Some(Ok(Message::Text(text))) => Ok(EngineIoPacket::from_text(&text)?),
                Some(Ok(Message::Binary(payload))) => Ok(EngineIoPacket::from_binary(payload)),
                Some(Ok(Message::Close(frame))) => {
                    // The close frame is answered in kind (RFC 6455 section 5.5.1). The reply is
                    // already queued; whether it can still be written changes nothing here.
                    let _ = Pin::new(&mut self.stream).poll_flush(context);
                    let how = frame.map_or_else(
                        || "close frame without a code".into(),
                        |frame| format!("close frame {} {:?}", frame.code, frame.reason.as_str()),
                    );
                    Err(TransportError::Closed { how })
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(error)) => Err(broken(error)),
                None => Err(TransportError::Closed {
                    how: "end of stream".into(),
                }),
            });
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut stream = Pin::new(&mut self.stream);
        while !self.outbox.is_empty() {
            ready!(stream.as_mut().poll_ready(context)).map_err(broken)?;
            if let Some(packet) = self.outbox.pop_front() {
                let message = match packet.into_frame() {
                    Frame::Text(text) => Message::text(text),
                    Frame::Binary(payload) => Message::binary(payload),
                };
                stream.as_mut().start_send(message).map_err(broken)?;
                self.unflushed = true;
            }
        }
        if self.unflushed {
            ready!(stream.poll_flush(context)).map_err(broken)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for WebSocketTransport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WebSocketTransport")
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}

fn broken(error: tungstenite::Error) -> TransportError {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            TransportError::Closed {
                how: "end of stream".into(),
            }
        }
        other => TransportError::Broken(Box::new(other)),
    }
}

/// Tries the addresses in order. Each gets an even share of the time that is left, so that one
/// which swallows packets does not keep the next from its turn.
async fn connect_any(
    net: &dyn Net,
    addresses: &[IpAddr],
    port: u16,
    deadline: Instant,
) -> io::Result<Box<dyn ByteStream>> {
    let Some((last, earlier)) = addresses.split_last() else {
        let nothing = "the name has no address";
        return Err(io::Error::new(io::ErrorKind::NotFound, nothing));
    };
    for (address, left) in earlier.iter().zip((2..=addresses.len()).rev()) {
        let shares = u32::try_from(left).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / shares;
        match timeout(share, net.connect_stream(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => tracing::debug!(%address, %error, "trying the next address"),
            Err(_) => tracing::debug!(%address, ?share, "no answer, trying the next address"),
        }
    }
    net.connect_stream(SocketAddr::new(*last, port)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_websocket_is_usable() {
        use TransportKind::{Polling, WebSocket};
        assert!(matches!(
            select_transport(&[Polling, WebSocket]),
            Ok(WebSocket)
        ));
        for configured in [&[Polling][..], &[]] {
            assert!(matches!(
                select_transport(configured),
                Err(ConnectError::NoUsableTransport { .. })
            ));
        }
    }
}
