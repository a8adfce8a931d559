//! The async face of the client: connect, call, answer, hang up, events.
//!
//! A [`CallClient`] owns one task that carries everything: signaling, the call and its media. It
//! ends, with all sockets, when the client is dropped.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::audio::track::OpusTrack;
use crate::call::saved::SavedCall;
use crate::call::session::{Line, Session};
use crate::candidates::CandidateType;
use crate::config::ClientConfig;
use crate::net::Net;
use crate::signaling::channel::SignalingChannel;
use crate::signaling::client::{Identity, SignalingClient, SignalingEvent};
use crate::signaling::message::{CallId, HangUpReason, PeerName};

/// A calling client, ready to call and to be called.
#[derive(Debug)]
pub struct CallClient {
    commands: mpsc::UnboundedSender<Command>,
    saved: watch::Receiver<Option<SavedCall>>,
    task: JoinHandle<()>,
}

/// What the client tells its application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// Signaling is up: calls can be made and received.
    SignalingConnected,
    /// Signaling is down; the client is reconnecting. Calls in progress are not touched.
    SignalingLost {
        /// Why.
        reason: String,
    },
    /// The signaling server refused this user. The client does not try again by itself.
    SignalingRejected {
        /// What the server said.
        message: String,
    },
    /// Somebody calls.
    Incoming {
        /// The call.
        call: CallId,
        /// Who calls.
        from: PeerName,
    },
    /// The other side's device rings.
    RemoteRinging {
        /// The call.
        call: CallId,
    },
    /// The call is answered, by this side or the other; audio is on its way.
    Answered {
        /// The call.
        call: CallId,
    },
    /// ICE selected a pair.
    PathSelected {
        /// The call.
        call: CallId,
        /// The kind of this side's candidate.
        local: CandidateType,
        /// The kind of the other side's candidate.
        remote: CandidateType,
    },
    /// Audio of the other side arrives steadily: 25 of 30 consecutive packets. Again, as soon as it
    /// arrives at all, after [`AudioInterrupted`](Self::AudioInterrupted).
    AudioConnected {
        /// The call.
        call: CallId,
    },
    /// Audio of the other side arrives no more. The client looks for another path; the user can wait or
    /// hang up.
    AudioInterrupted {
        /// The call.
        call: CallId,
    },
    /// The call goes on under another id: both sides called each other at the same moment, or the other
    /// side's app was started again.
    Replaced {
        /// The id that is no more.
        was: CallId,
        /// The one to use from now on.
        call: CallId,
    },
    /// One packet of the other side's audio.
    Audio {
        /// The call.
        call: CallId,
        /// The packet's RTP sequence number.
        sequence_number: u16,
        /// The Opus packet.
        payload: Bytes,
    },
    /// The call is over.
    Ended {
        /// The call.
        call: CallId,
        /// Why.
        reason: EndReason,
    },
}

/// Why a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// This side hung up.
    HungUp,
    /// This side refused it.
    Refused,
    /// Nobody answered in time.
    Unanswered,
    /// The other side ended or refused it.
    Remote(HangUpReason),
    /// No path for audio was found, or it was lost for good.
    Unreachable {
        /// What was tried and what came of it.
        cause: String,
    },
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// Misuse: the client is in a call already.
    #[error("cannot begin a call with {callee}: call {current} is not over")]
    Busy {
        /// Who was to be talked to.
        callee: PeerName,
        /// The call in progress.
        current: CallId,
    },
    /// Misuse: the named call is not this client's current call.
    #[error("no call {call} to act on")]
    UnknownCall {
        /// The call that was named.
        call: CallId,
    },
    /// The media peer could not be made.
    #[error("cannot prepare media for a call: {0}")]
    Media(String),
    /// The client's task has ended.
    #[error("the client has stopped")]
    Stopped,
}

/// What the application asks of the client's task.
#[derive(Debug)]
pub(crate) enum Command {
    Call {
        callee: PeerName,
        reply: oneshot::Sender<Result<CallId, ClientError>>,
    },
    Announce {
        call: CallId,
        from: PeerName,
        reply: oneshot::Sender<Result<(), ClientError>>,
    },
    Resume {
        saved: SavedCall,
        reply: oneshot::Sender<Result<CallId, ClientError>>,
    },
    Answer {
        call: CallId,
        reply: oneshot::Sender<Result<(), ClientError>>,
    },
    HangUp {
        call: CallId,
        reply: oneshot::Sender<Result<(), ClientError>>,
    },
    Flush {
        reply: oneshot::Sender<()>,
    },
}

impl CallClient {
    /// Starts a client: it connects to its signaling server and stays connected.
    ///
    /// `voice` is what the other side hears. The receiver yields everything that happens; a client
    /// whose receiver is dropped goes on.
    ///
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(
        net: Arc<dyn Net>,
        config: ClientConfig,
        identity: Identity,
        voice: OpusTrack,
    ) -> (Self, mpsc::UnboundedReceiver<ClientEvent>) {
        let name = identity.name.clone();
        let (signaling, received) =
            SignalingClient::start(Arc::clone(&net), config.signaling.clone(), identity);
        Self::start_over(net, config, name, Box::new(signaling), received, voice)
    }

    /// Starts a client over signaling of the application's own, as the user `name`.
    ///
    /// `received` yields what comes over `channel` and what happens to it; a client whose channel drops
    /// the other end of it stops. Of the configuration, [`signaling`](ClientConfig::signaling) is not
    /// used. Everything else is as with [`start`](Self::start).
    ///
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn start_over(
        net: Arc<dyn Net>,
        config: ClientConfig,
        name: PeerName,
        channel: Box<dyn SignalingChannel>,
        received: mpsc::Receiver<SignalingEvent>,
        voice: OpusTrack,
    ) -> (Self, mpsc::UnboundedReceiver<ClientEvent>) {
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (events, event_receiver) = mpsc::unbounded_channel();
        let (to_save, saved) = watch::channel(None);
        let line = Line {
            name,
            channel,
            received,
        };
        let session = Session::new(net, config, line, voice, events, to_save);
        let task = tokio::spawn(session.run(command_receiver));
        let client = Self {
            commands,
            saved,
            task,
        };
        (client, event_receiver)
    }

    /// What an application stores of its call whenever it changes, and hands to
    /// [`resume`](Self::resume) when it was killed and is started again. `None` while there is no call.
    #[must_use]
    pub fn saved_call(&self) -> watch::Receiver<Option<SavedCall>> {
        self.saved.clone()
    }

    /// Takes up the call that an app was in when it was killed. An answered call goes on without
    /// anybody being asked; one that rang rings again. Returns the id under which it goes on: the other
    /// side is told by [`ClientEvent::Replaced`].
    ///
    /// A call that the other side has ended meanwhile ends here too.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn resume(&self, saved: SavedCall) -> Result<CallId, ClientError> {
        self.command(|reply| Command::Resume { saved, reply }).await
    }

    /// Says that `from` calls, as a push message told, before signaling does. The call can be answered
    /// at once; [`ClientEvent::Incoming`] follows if it is not.
    ///
    /// # Errors
    ///
    /// [`ClientError::Busy`] during another call, [`ClientError::Media`] as in [`call`](Self::call).
    pub async fn announce(
        &self,
        call: &CallId,
        from: impl Into<PeerName>,
    ) -> Result<(), ClientError> {
        let (call, from) = (call.clone(), from.into());
        self.command(|reply| Command::Announce { call, from, reply })
            .await
    }

    /// Calls `callee`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Busy`] during another call, [`ClientError::Media`] where no media can be set
    /// up on this host.
    pub async fn call(&self, callee: impl Into<PeerName>) -> Result<CallId, ClientError> {
        let callee = callee.into();
        self.command(|reply| Command::Call { callee, reply }).await
    }

    /// Answers an incoming call.
    ///
    /// # Errors
    ///
    /// [`ClientError::UnknownCall`] when the call is over or was never there.
    pub async fn answer(&self, call: &CallId) -> Result<(), ClientError> {
        let call = call.clone();
        self.command(|reply| Command::Answer { call, reply }).await
    }

    /// Ends a call, or refuses it while it rings.
    ///
    /// # Errors
    ///
    /// [`ClientError::UnknownCall`] when the call is over or was never there.
    pub async fn hang_up(&self, call: &CallId) -> Result<(), ClientError> {
        let call = call.clone();
        self.command(|reply| Command::HangUp { call, reply }).await
    }

    /// Waits until the signaling server has taken every message sent so far: what an application
    /// does before it exits. Without signaling that is when signaling is back.
    pub async fn flushed(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Flush { reply }).is_ok() {
            // A client that has stopped has nothing left to send.
            let _ = answer.await;
        }
    }

    async fn command<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, ClientError>>) -> Command,
    ) -> Result<T, ClientError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(make(reply))
            .map_err(|_| ClientError::Stopped)?;
        answer.await.map_err(|_| ClientError::Stopped)?
    }
}

impl Drop for CallClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => formatter.write_str("hung up"),
            Self::Refused => formatter.write_str("refused"),
            Self::Unanswered => formatter.write_str("nobody answered"),
            Self::Remote(HangUpReason::Unanswered) => {
                formatter.write_str("the other side waited long enough")
            }
            Self::Remote(HangUpReason::AnsweredElsewhere) => {
                formatter.write_str("another device answered")
            }
            Self::Remote(HangUpReason::Normal) => formatter.write_str("the other side hung up"),
            Self::Remote(HangUpReason::Rejected) => formatter.write_str("rejected"),
            Self::Remote(HangUpReason::Busy) => formatter.write_str("busy"),
            Self::Remote(HangUpReason::Unreachable) => {
                formatter.write_str("the other side found no path for audio")
            }
            Self::Remote(HangUpReason::Other) => {
                formatter.write_str("the other side ended the call")
            }
            Self::Unreachable { cause } => write!(formatter, "unreachable: {cause}"),
        }
    }
}
