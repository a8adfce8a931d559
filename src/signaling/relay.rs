//! The signaling server: hands frames from user to user, over Socket.IO, on any byte stream.
//!
//! A message is kept until one device of its receiver has acknowledged it, so that nothing is lost
//! to a socket whose other end is gone already. Kept messages are sent again to the next device of
//! that user. That is no promise that they were acted on, which only the two clients can give each
//! other.
//!
//! # On the wire
//!
//! A client joins the namespace `/` with an auth of `user`, `token` and `device`. The last names one
//! running client: its next connection takes the place of the one before, at once.
//!
//! Frames travel as the event `call` with one object. The relay reads `to`, `to_device`, `call` and
//! `kind`, writes `from` and `device`, and hands everything else on as it came. A frame is answered
//! with `{"delivered": n}`, the number of devices that it went to, or with `{"error": …, "code": …}`.
//! The event `turn-credentials` is answered with [`TurnCredentials`](turn_credentials::TurnCredentials)
//! or such an error.
//!
//! `GET /health` says whether the relay serves.
//!
//! # Inside
//!
//! `switchboard` is pure: it knows who is connected (`admission`), which calls there are
//! (`membership`), what is kept (`mail`) and what is too much (`limits`). `hub` stands between it and
//! Socket.IO, `streams` holds the connections underneath, and `serve` accepts them.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use self::hub::Hub;

mod admission;
mod config;
mod frame;
mod health;
mod hub;
mod limits;
mod mail;
mod membership;
mod refusal;
mod serve;
mod streams;
mod switchboard;
pub mod turn_credentials;

pub use self::admission::{AdmissionError, TokenPolicy};
pub use self::config::{Rate, RelayConfig};
pub use self::frame::FrameError;
pub use self::refusal::Refusal;
pub use self::serve::{serve, serve_tls};

/// The signaling server. Clones are the same server.
#[derive(Clone)]
pub struct Relay {
    hub: Arc<Hub>,
}

impl Relay {
    /// A server without connections.
    #[must_use]
    pub fn new(config: RelayConfig) -> Self {
        Self {
            hub: Hub::new(config),
        }
    }

    /// How many devices of `user` are connected, as far as the relay knows.
    #[must_use]
    pub fn connected_devices(&self, user: &str) -> usize {
        self.hub.devices_of(user)
    }

    /// How many devices of all users are connected, as far as the relay knows.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.hub.counts().0
    }

    /// Closes every connection and releases what they hold. Clients see an orderly close and come
    /// back, to another relay. New connections are answered with 503 meanwhile; then [`serve`] ends.
    /// Who has not taken its close packet by `deadline` is cut off.
    pub async fn shut_down(&self, deadline: Instant) {
        self.hub.shut_down(deadline).await;
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Relay")
            .field("config", &self.hub.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
