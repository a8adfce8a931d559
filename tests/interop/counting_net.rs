//! The real network, with a count of the streams that its user holds.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use ringtrue::net::tokio::TokioNet;
use ringtrue::net::{ByteStream, DatagramSocket, Interface, Net, StreamListener, TrafficClass};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Counts the streams that were opened and are not dropped.
#[derive(Debug, Default)]
pub(crate) struct CountingNet {
    real: TokioNet,
    /// Each stream holds a copy.
    count: Arc<()>,
}

impl CountingNet {
    /// How many streams there are.
    pub(crate) fn streams(&self) -> usize {
        Arc::strong_count(&self.count) - 1
    }
}

#[async_trait]
impl Net for CountingNet {
    async fn bind_datagram(
        &self,
        local: SocketAddr,
        class: TrafficClass,
    ) -> io::Result<Arc<dyn DatagramSocket>> {
        self.real.bind_datagram(local, class).await
    }

    async fn connect_stream(&self, remote: SocketAddr) -> io::Result<Box<dyn ByteStream>> {
        // Before it is connected, so that one half-way there counts.
        let counted = Arc::clone(&self.count);
        let stream = self.real.connect_stream(remote).await?;
        Ok(Box::new(CountedStream {
            stream,
            _counted: counted,
        }))
    }

    async fn listen_stream(&self, local: SocketAddr) -> io::Result<Box<dyn StreamListener>> {
        self.real.listen_stream(local).await
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.real.resolve(host).await
    }

    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        self.real.interfaces()
    }
}

struct CountedStream {
    stream: Box<dyn ByteStream>,
    _counted: Arc<()>,
}

impl ByteStream for CountedStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CountedStream {
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
