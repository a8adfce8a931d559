//! A byte stream over anything that reads and writes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ByteStream;

/// Something that reads and writes, as the connection between two addresses that it stands for. Dropping it
/// closes it, as far as dropping `S` does.
#[derive(Debug)]
pub struct StreamBetween<S> {
    stream: S,
    local: SocketAddr,
    peer: SocketAddr,
}

impl<S> StreamBetween<S> {
    /// The end at `local` of a connection with `peer`.
    #[must_use]
    pub const fn new(stream: S, local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            stream,
            local,
            peer,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for StreamBetween<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StreamBetween<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StreamBetween<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
