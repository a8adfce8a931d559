//! Bring your own client: what stands at each end of a call, as the world sees it.
//!
//! The peers of a run are [`RingtrueEndpoint`]s, the production client, unless
//! [`RunOptions`](crate::world::run::RunOptions) name another [`Endpoint`]. Whoever has a calling client
//! of their own implements this trait for it: the world gives each peer a [`Seat`], and judges it by what
//! it writes into the seat's [`Logbook`] and by its packets. `sim/examples/bare_ice/` is a whole one, in
//! which an ICE agent stands alone, with signaling of its own.
//!
//! # What an endpoint must do
//!
//! - Reach the network through [`Seat::net`] alone, and wait on tokio timers alone. It runs on a paused
//!   clock of its own: a thread or a blocking task fails the run by name.
//! - Carry out each [`Command`], and write down what it does and sees. A call begins by
//!   [`Calling`](crate::trace::AppEvent::Calling), [`Incoming`](crate::trace::AppEvent::Incoming) or
//!   [`Pushed`](crate::trace::AppEvent::Pushed) and must come to
//!   [`Ended`](crate::trace::AppEvent::Ended), or the run ends as stalled.
//! - Play its user's [voice](Seat::voice) into the call, packet by packet, and hand every audio packet of the
//!   other side to [`Logbook::heard`]: what counts as audio is decided there, by content.
//! - Leave no UDP socket open after a call.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use ringtrue::audio::track::OpusTrack;
use ringtrue::call::saved::SavedCall;
use ringtrue::config::ClientConfig;
use ringtrue::net::Net;
use ringtrue::signaling::client::Identity;
use ringtrue::signaling::message::CallId;
use tokio::sync::mpsc;

mod logbook;
mod production;

pub use self::logbook::Logbook;
pub use self::production::{RingtrueEndpoint, drive};
use crate::trace::HostName;

/// A calling client, as the world runs it: once for each peer, and again when a peer's application is
/// started after it was killed.
pub trait Endpoint: fmt::Debug + Send + Sync {
    /// Runs the application of one peer until the future is dropped, which is how it is killed, or the
    /// seat's commands end.
    fn run(&self, seat: Seat) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// What `ringtrue run --client` calls it, for the command that repeats a run. `None` where that is
    /// not needed, or where the command does not know it.
    fn client_name(&self) -> Option<&str> {
        None
    }
}

/// Everything that an application is started with.
#[derive(Debug)]
pub struct Seat {
    /// The name of the host that it runs on.
    pub name: HostName,
    /// The user's name.
    pub user: String,
    /// The host's network.
    pub net: Arc<dyn Net>,
    /// How the production client is set for this scenario. Another one reads its servers from here: they
    /// are the ones that the world has.
    pub config: ClientConfig,
    /// What each user plays into calls, by name.
    pub voices: BTreeMap<String, OpusTrack>,
    /// What it stores on its device.
    pub storage: Storage,
    /// What the script makes its user do. Ends with the run.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// Where it writes down what it does and sees.
    pub logbook: Logbook,
}

/// What an application stores of its call on its device, where it outlives the application. Clones are
/// the same storage.
#[derive(Debug, Clone, Default)]
pub struct Storage(Arc<Mutex<Option<SavedCall>>>);

/// What the script makes a person do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Call somebody.
    Call {
        /// The callee's name.
        callee: String,
    },
    /// Answer the call that rings.
    Answer,
    /// Get a push message that somebody calls.
    Push {
        /// The caller's name.
        caller: String,
        /// The call.
        call: CallId,
    },
    /// End the call, or refuse it.
    HangUp,
}

impl Seat {
    /// What this peer's user plays into calls.
    #[must_use]
    pub fn voice(&self) -> &OpusTrack {
        &self.voices[&self.user]
    }

    /// Who this peer's user is to the signaling server.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            name: self.user.clone(),
            token: format!("token-of-{}", self.user),
        }
    }
}

impl Storage {
    /// What is stored.
    #[must_use]
    pub fn get(&self) -> Option<SavedCall> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Stores the present call, or that there is none. A push message names a call by what its caller
    /// has stored.
    pub fn set(&self, saved: Option<SavedCall>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = saved;
    }
}
