//! Whether what is written arrives, as far as a stream shows it.
//!
//! A stream takes what there is room for, and refuses the rest. Room comes back only where the other end
//! has confirmed what it got. So a long message that goes out piece by piece shows that the path is alive,
//! while the answer to any question waits behind it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::ByteStream;

/// Counts how often one of its streams took something after it had refused to. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<AtomicU64>);

/// A stream that is counted.
struct MeteredStream {
    stream: Box<dyn ByteStream>,
    meter: Meter,
    room: Room,
}

/// Whether the stream took what it was given last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Enough,
    Lacking,
}

impl Meter {
    /// Counts what this stream takes.
    pub(super) fn count(&self, stream: Box<dyn ByteStream>) -> Box<dyn ByteStream> {
        Box::new(MeteredStream {
            stream,
            meter: self.clone(),
            room: Room::Enough,
        })
    }

    /// How often so far.
    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl MeteredStream {
    fn note<T>(&mut self, outcome: &Poll<io::Result<T>>) {
        match outcome {
            Poll::Pending => self.room = Room::Lacking,
            Poll::Ready(Ok(_)) if self.room == Room::Lacking => {
                self.room = Room::Enough;
                self.meter.0.fetch_add(1, Ordering::Relaxed);
            }
            Poll::Ready(_) => {}
        }
    }
}

impl ByteStream for MeteredStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(&outcome);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Net as _;
    use crate::signaling::memory_net::MemoryNet;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_after_a_refusal_counts_and_a_full_stream_does_not() {
        let net = MemoryNet::default();
        let address = SocketAddr::from(([203, 0, 113, 1], 80));
        let listener = net.listen_stream(address).await.expect("free address");
        let (near, far) = tokio::join!(net.connect_stream(address), listener.accept());
        let (mut far, _) = far.expect("a connection");
        let meter = Meter::default();
        let mut near = meter.count(near.expect("a connection"));

        near.write_all(b"short").await.expect("room");
        assert_eq!(meter.read(), 0, "nothing was refused");
        let long = vec![0; 1 << 20];
        let second = Duration::from_secs(1);
        let stuck = timeout(second, near.write_all(&long)).await;
        assert!(stuck.is_err(), "nobody reads");
        let full = meter.read();
        let stuck = timeout(second, near.write_all(&long)).await;
        assert!(stuck.is_err(), "nobody reads");
        assert_eq!(meter.read(), full, "nothing was taken");
        let mut read = vec![0; 1 << 17];
        far.read_exact(&mut read).await.expect("bytes");
        let stuck = timeout(second, near.write_all(&long)).await;
        assert!(stuck.is_err(), "nobody reads on");
        assert!(meter.read() > full);
    }
}
