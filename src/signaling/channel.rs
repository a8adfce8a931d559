//! Bring your own signaling: what a [`CallClient`](crate::client::CallClient) needs of whatever
//! carries its messages.
//!
//! An application that has a message channel already, such as a chat connection, a message queue or a
//! push service, implements [`SignalingChannel`] for it and starts its client by
//! [`CallClient::start_over`](crate::client::CallClient::start_over). What the other side says goes
//! into the client as [`SignalingEvent`](super::client::SignalingEvent)s, of which
//! [`Connected`](super::client::SignalingEvent::Connected) and
//! [`Message`](super::client::SignalingEvent::Message) are the two that a call needs.
//! [`SignalingClient`] is the channel that is used otherwise.
//!
//! # What a channel must do
//!
//! - Report each message once, and offers, answers and hang-ups of a call in the order of sending. A
//!   candidate may come at any time, before the description that it belongs to as well: the client keeps
//!   it.
//! - Keep what is sent while there is no connection, and tell what came of it.
//!
//! # Example
//!
//! Two clients of one program, whose channels are two queues:
//!
//! ```no_run
//! use std::pin::Pin;
//! use std::sync::Arc;
//!
//! use ringtrue::audio::track::OpusTrack;
//! use ringtrue::client::CallClient;
//! use ringtrue::config::ClientConfig;
//! use ringtrue::net::tokio::TokioNet;
//! use ringtrue::signaling::channel::{PendingSend, SignalingChannel};
//! use ringtrue::signaling::client::{SendError, SignalingEvent};
//! use ringtrue::signaling::message::{CallId, Envelope};
//! use tokio::sync::mpsc;
//!
//! #[derive(Debug)]
//! struct Queue(mpsc::Sender<SignalingEvent>);
//!
//! impl SignalingChannel for Queue {
//!     fn send(&self, envelope: Envelope) -> PendingSend {
//!         let (outcome, pending) = PendingSend::pair();
//!         let sent = self.0.try_send(SignalingEvent::Message(envelope));
//!         outcome.report(sent.map_err(|_| SendError::Closed));
//!         pending
//!     }
//!
//!     fn close_call(&self, _: CallId) {}
//!
//!     fn flushed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
//!         Box::pin(std::future::ready(()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (to_alice, alices) = mpsc::channel(64);
//! let (to_bob, bobs) = mpsc::channel(64);
//! for side in [&to_alice, &to_bob] {
//!     side.send(SignalingEvent::Connected).await?;
//! }
//! let start = |name: &str, channel: Queue, events| -> Result<_, Box<dyn std::error::Error>> {
//!     let voice = OpusTrack::parse(&std::fs::read("hello.opus")?)?;
//!     let (net, config) = (Arc::new(TokioNet::default()), ClientConfig::default());
//!     Ok(CallClient::start_over(net, config, name.into(), Box::new(channel), events, voice))
//! };
//! let (alice, _) = start("alice", Queue(to_bob), alices)?;
//! let (_bob, _) = start("bob", Queue(to_alice), bobs)?;
//! alice.call("bob").await?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::client::{SendError, SignalingClient};
use super::message::{CallId, Envelope};

/// Carries a client's messages to the other sides of its calls. What comes from there, and what happens
/// to the connection, goes into the receiver that the client was started with.
///
/// No method waits: each returns at once. Dropping the channel ends it.
pub trait SignalingChannel: fmt::Debug + Send + 'static {
    /// Sends a message. The order of calls is the order of sending; the returned future says what
    /// came of it.
    fn send(&self, envelope: Envelope) -> PendingSend;

    /// The call is over on this side: nothing that others still say in it needs to be reported, and of
    /// what was sent in it only a hang-up still has to go out.
    fn close_call(&self, call: CallId);

    /// The client has reason to doubt the connection, because audio stopped or the app stood still. A
    /// channel that can tell by itself does nothing.
    fn check_path(&self) {}

    /// The host's network is another one now, so a connection over the former one is dead. A channel
    /// that can tell by itself does nothing.
    fn network_changed(&self) {}

    /// The client has TURN servers without credentials. A channel that can get some reports
    /// [`SignalingEvent::TurnCredentials`](super::client::SignalingEvent::TurnCredentials), again
    /// before they end; any other does nothing, and those servers are not used.
    fn keep_turn_credentials(&self) {}

    /// Resolves once every message that was sent before this call is on its way, or nothing more is to
    /// be expected of it: what an application waits for before it exits.
    fn flushed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A message on its way: resolves when a device of the other side has it. Dropping it takes a
/// message back that is not written yet.
#[derive(Debug)]
#[must_use = "dropping it takes the message back"]
pub struct PendingSend {
    outcome: oneshot::Receiver<Result<(), SendError>>,
}

/// The channel's end of a [`PendingSend`]. Dropped without a report, it reports
/// [`SendError::Closed`].
#[derive(Debug)]
pub struct SendOutcome {
    waiting: oneshot::Sender<Result<(), SendError>>,
}

impl PendingSend {
    /// A message on its way, and where the channel that carries it reports what came of it.
    pub fn pair() -> (SendOutcome, Self) {
        let (waiting, outcome) = oneshot::channel();
        (SendOutcome { waiting }, Self { outcome })
    }
}

impl SendOutcome {
    /// Says what came of the message.
    pub fn report(self, outcome: Result<(), SendError>) {
        // Whoever waits no longer does not want to know.
        let _ = self.waiting.send(outcome);
    }

    /// Whether nobody waits for the message any more: one that is not written yet is taken back.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.waiting.is_closed()
    }
}

impl Future for PendingSend {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome)
            .poll(context)
            .map(|outcome| outcome.unwrap_or(Err(SendError::Closed)))
    }
}

impl SignalingChannel for SignalingClient {
    fn send(&self, envelope: Envelope) -> PendingSend {
        Self::send(self, envelope)
    }

    fn close_call(&self, call: CallId) {
        Self::close_call(self, call);
    }

    fn check_path(&self) {
        Self::check_path(self);
    }

    fn network_changed(&self) {
        Self::network_changed(self);
    }

    fn keep_turn_credentials(&self) {
        Self::keep_turn_credentials(self);
    }

    fn flushed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Self::flushed(self))
    }
}
