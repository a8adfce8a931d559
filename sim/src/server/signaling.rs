//! The signaling relay on a host of the world, or on real sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ringtrue::net::Net;
use ringtrue::signaling::relay::{Relay, serve};

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
