//! Under which real addresses the agent's sockets are announced.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Inner;
use super::families::Family;
use crate::candidates::LOCAL_PREFERENCE_MAX;

/// Finds the real address behind one that the agent sees. Keeps no task alive.
#[derive(Clone)]
pub(crate) struct Announcer {
    pub(super) inner: Arc<Inner>,
}

impl Announcer {
    /// The real address of the agent's socket `seen`, which is bound now if it was not. The port
    /// alone identifies a socket on the unspecified address; where its server was reached over
    /// IPv6, so is what the server told about it.
    ///
    /// # Errors
    ///
    /// What the network answers to the attempt to bind.
    pub(crate) async fn announced(&self, seen: SocketAddr) -> io::Result<SocketAddr> {
        let own = Family::of(seen.ip());
        if !seen.ip().is_unspecified() {
            return Ok(self.inner.socket(seen, own).await?.address);
        }
        let seen = SocketAddr::new(self.inner.addresses.first_seen(), seen.port());
        let bound = {
            let state = self.inner.state();
            [Family::V4, Family::V6]
                .iter()
                .find_map(|family| state.sockets.get(&(seen, *family)))
                .map(|socket| socket.address)
        };
        match bound {
            Some(address) => Ok(address),
            None => Ok(self.inner.socket(seen, own).await?.address),
        }
    }

    /// The local preference of candidates whose base is at `real`.
    pub(crate) fn local_preference(&self, real: IpAddr) -> u16 {
        let preferences = &self.inner.preferences;
        preferences
            .get(&real)
            .copied()
            .unwrap_or(LOCAL_PREFERENCE_MAX)
    }

    /// Where the TCP connection begins over which the agent's socket with this port, on the
    /// unspecified address, talks to a TURN server; `None` where it talks over UDP.
    pub(crate) fn connection(&self, port: u16) -> Option<SocketAddr> {
        let seen = SocketAddr::new(self.inner.addresses.first_seen(), port);
        self.inner.link_address(seen)
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Announcer").finish_non_exhaustive()
    }
}
