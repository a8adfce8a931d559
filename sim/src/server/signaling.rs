//! The signaling relay on a host of the world, or on real sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ringtrue::net::Net;
use ringtrue::net::tls::TlsAcceptor;
use ringtrue::signaling::relay::{Relay, serve, serve_tls};

use super::perturbing::Perturbing;

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
    let listener = net.listen_stream(local).await?;
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
    let listener = net.listen_stream(local).await?;
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
    let listener = net.listen_stream(local).await?;
    serve(relay, perturbing.listen(listener, tls)).await
}
