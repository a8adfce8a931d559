//! The WebSocket transport: one frame for one packet.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use http::Uri;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{ConnectError, Inbound, TransportError};
use crate::net::ByteStream;
use crate::signaling::engine_io::{EngineIoPacket, Frame};

/// The largest message that is read: a hundred times the largest session description seen.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Signaling messages are small and a connection is kept for hours: a small buffer costs nothing.
const READ_BUFFER_BYTES: usize = 4096;

/// An open WebSocket that carries Engine.IO packets. Dropping it closes the stream.
pub(super) struct WebSocketTransport {
    stream: WebSocketStream<Box<dyn ByteStream>>,
    outbox: VecDeque<Message>,
    unflushed: bool,
}

impl WebSocketTransport {
    /// Asks for `url` over a stream that leads to its host, and upgrades that to a WebSocket.
    ///
    /// # Errors
    ///
    /// [`ConnectError::HttpUpgrade`].
    pub(super) async fn open(stream: Box<dyn ByteStream>, url: Uri) -> Result<Self, ConnectError> {
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (stream, _) = client_async_with_config(url, stream, Some(limits))
            .await
            .map_err(|error| ConnectError::HttpUpgrade(Box::new(error)))?;
        Ok(Self {
            stream,
            outbox: VecDeque::new(),
            unflushed: false,
        })
    }

    /// Queues a packet; it is written while [`poll_next`](Self::poll_next) is polled.
    pub(super) fn queue(&mut self, packet: EngineIoPacket) {
        self.outbox.push_back(match packet.into_frame() {
            Frame::Text(text) => Message::text(text),
            Frame::Binary(payload) => Message::binary(payload),
        });
    }

    /// Queues a ping frame, which every server answers with a pong frame (RFC 6455 section 5.5.2).
    pub(super) fn provoke(&mut self) {
        self.outbox.push_back(Message::Ping(Bytes::new()));
    }

    /// Whether everything queued is written.
    pub(super) fn is_writable(&self) -> bool {
        self.outbox.is_empty() && !self.unflushed
    }

    /// Writes what is queued and a WebSocket close frame (RFC 6455 section 5.5.1).
    ///
    /// # Errors
    ///
    /// [`TransportError::Broken`].
    pub(super) async fn close(mut self) -> Result<(), TransportError> {
        poll_fn(|context| self.poll_write(context)).await?;
        self.stream.close(None).await.map_err(broken)
    }

    /// Reads what comes next, and writes what is queued. Reading goes on while writing is stuck: a
    /// server that reads nothing for a while still has its pings counted.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Inbound, TransportError>> {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            return Poll::Ready(Err(error));
        }
        let message = ready!(Pin::new(&mut self.stream).poll_next(context));
        Poll::Ready(match message {
            Some(Ok(Message::Text(text))) => Ok(Inbound::Packet(EngineIoPacket::from_text(&text)?)),
            Some(Ok(Message::Binary(payload))) => {
                Ok(Inbound::Packet(EngineIoPacket::from_binary(payload)))
            }
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
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                Ok(Inbound::SignOfLife)
            }
            Some(Err(error)) => Err(broken(error)),
            None => Err(TransportError::Closed {
                how: "end of stream".into(),
            }),
        })
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut stream = Pin::new(&mut self.stream);
        while !self.outbox.is_empty() {
            ready!(stream.as_mut().poll_ready(context)).map_err(broken)?;
            if let Some(message) = self.outbox.pop_front() {
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
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            TransportError::Closed {
                how: "end of stream without a close frame".into(),
            }
        }
        other => TransportError::Broken(Box::new(other)),
    }
}
