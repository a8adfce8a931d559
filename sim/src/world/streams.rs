//! The TCP streams of the world's machines.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use async_trait::async_trait;
use ringtrue::net::{ByteStream, StreamListener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil_net::shim::tokio::net::{TcpListener, TcpStream};

use super::host::Kernel;

/// The streams of a world: those that are open, and those that applications have let go of since they
/// were last asked for. Kernels may go on with the latter for long, with what the other end has not
/// acknowledged, so that the wires do not tell.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    closed: Vec<StreamName>,
    /// By the order in which they were opened.
    open: BTreeMap<u64, Open>,
    next: u64,
}

#[derive(Debug)]
struct Open {
    name: StreamName,
    kernel: Kernel,
    socket: Weak<Mutex<Option<TcpStream>>>,
}

/// The two addresses of a stream, as the kernel of its host knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamName {
    /// The host's.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
}

impl Streams {
    /// Those that were closed since the last call, in order.
    #[must_use]
    pub fn take_closed(&self) -> Vec<StreamName> {
        std::mem::take(&mut self.lock().closed)
    }

    /// Closes every stream that is open at an address of a kernel whose application is gone, as its
    /// operating system does. Tasks that are dropped close theirs by themselves; but a library may keep
    /// what it has no more use for.
    pub(super) fn close_all(&self, address: IpAddr) {
        let open: Vec<Open> = {
            let mut book = self.lock();
            let at_address = |_: &u64, open: &mut Open| open.name.local.ip() == address;
            book.open
                .extract_if(.., at_address)
                .map(|(_, open)| open)
                .collect()
        };
        for Open {
            name,
            kernel,
            socket,
        } in open
        {
            kernel.enter_to_send();
            let socket = socket.upgrade();
            drop(socket.and_then(|socket| locked(&socket).take()));
            self.lock().closed.push(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, open: Open) -> u64 {
        let mut book = self.lock();
        book.next += 1;
        let number = book.next;
        book.open.insert(number, open);
        number
    }
}

/// One end of a TCP connection.
pub(super) struct Stream {
    kernel: Kernel,
    name: StreamName,
    streams: Streams,
    number: u64,
    /// `None` once it was closed from outside.
    socket: Arc<Mutex<Option<TcpStream>>>,
}

impl Stream {
    pub(super) fn new(kernel: Kernel, stream: TcpStream, streams: Streams) -> io::Result<Self> {
        kernel.enter();
        let name = StreamName {
            local: stream.local_addr()?,
            remote: stream.peer_addr()?,
        };
        let socket = Arc::new(Mutex::new(Some(stream)));
        Ok(Self {
            number: streams.opened(Open {
                name,
                kernel: kernel.clone(),
                socket: Arc::downgrade(&socket),
            }),
            kernel,
            name,
            streams,
            socket,
        })
    }

    fn poll<T>(
        &self,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.kernel.enter_to_send();
        match locked(&self.socket).as_mut() {
            Some(socket) => poll(Pin::new(socket)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl ByteStream for Stream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.name.remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.kernel.address.seen(self.name.local))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|socket| socket.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|socket| socket.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|socket| socket.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|socket| socket.poll_shutdown(context))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut book = self.streams.lock();
        if book.open.remove(&self.number).is_some() {
            book.closed.push(self.name);
            drop(book);
            self.kernel.enter_to_send();
            drop(locked(&self.socket).take());
        }
    }
}

/// What accepts connections at a port.
pub(super) struct Listener {
    kernel: Kernel,
    streams: Streams,
    socket: TcpListener,
}

impl Listener {
    pub(super) fn new(kernel: Kernel, socket: TcpListener, streams: Streams) -> Self {
        Self {
            kernel,
            streams,
            socket,
        }
    }
}

#[async_trait]
impl StreamListener for Listener {
    async fn accept(&self) -> io::Result<(Box<dyn ByteStream>, SocketAddr)> {
        let (stream, peer) = self.kernel.on_host(self.socket.accept()).await?;
        let stream = Stream::new(self.kernel.clone(), stream, self.streams.clone())?;
        Ok((Box::new(stream), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.kernel.enter();
        Ok(self.kernel.address.seen(self.socket.local_addr()?))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.kernel.enter_to_send();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
