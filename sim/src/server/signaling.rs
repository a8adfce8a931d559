//! The signaling relay on a host of the world, or on real sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringtrue::net::tls::TlsAcceptor;
use ringtrue::net::{Net, StreamListener};
use ringtrue::signaling::relay::{Relay, serve, serve_tls};

use super::perturbing::Perturbing;

/// How often a server that was started again looks whether its port is free.
const PORT_INTERVAL: Duration = Duration::from_millis(50);

/// How long it looks.
const PORT_PATIENCE: u32 = 200;

/// Serves `relay` on `local` until the future is dropped; `ready` is called with the address
/// that it listens on.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run(
    net: Arc<dyn Net>,
    local: SocketAddr,
    relay: Relay,
    ready: impl FnOnce(SocketAddr),
) -> io::Result<()> {
    let listener = listen(&net, local).await?;
    ready(listener.local_addr()?);
    serve(relay, listener).await
}

/// The same over connections that are protected by TLS.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run_tls(
    net: Arc<dyn Net>,
    local: SocketAddr,
    relay: Relay,
    tls: TlsAcceptor,
) -> io::Result<()> {
    let listener = listen(&net, local).await?;
    serve_tls(relay, listener, tls).await
}

/// The same, or [`run`] without `tls`, with what `perturbing` does to the messages that go out.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run_perturbed(
    net: Arc<dyn Net>,
    local: SocketAddr,
    relay: Relay,
    tls: Option<TlsAcceptor>,
    perturbing: &Perturbing,
) -> io::Result<()> {
    let listener = listen(&net, local).await?;
    serve(relay, perturbing.listen(listener, tls)).await
}

/// Listens on `local`, as soon as the connections of whoever served there before are gone. Where the
/// operating system lets a server listen beside them, that is at once; the kernels of the world do not
/// know `SO_REUSEADDR`.
async fn listen(net: &Arc<dyn Net>, local: SocketAddr) -> io::Result<Box<dyn StreamListener>> {
    for _ in 0..PORT_PATIENCE {
        match net.listen_stream(local).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(PORT_INTERVAL).await;
            }
            listening => return listening,
        }
    }
    net.listen_stream(local).await
}
