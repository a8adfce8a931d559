//! Carries out the call table: the one task of a client.
//!
//! The task waits for commands, signaling, the media connections and the clock, feeds the pure parts
//! ([`state`](super::state), [`admission`](super::admission), [`negotiation`](super::negotiation),
//! [`recovery`](super::recovery) and the [`CandidateBuffer`]) and does what they say.

mod active;
mod incoming;
mod media;
mod offering;
mod outgoing;
mod table;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, sleep_until};
use tracing::warn;

use self::active::ActiveCall;
use self::outgoing::{Flushing, Sending, Sent};
use super::address_watch::AddressWatch;
use super::legs::LegId;
use super::recovery::Signaling;
use super::saved::SavedCall;
use super::state::Input;
use crate::audio::track::OpusTrack;
use crate::candidates::CandidateBuffer;
use crate::client::{ClientError, ClientEvent, Command};
use crate::config::ClientConfig;
use crate::net::Net;
use crate::peer::PeerEvent;
use crate::signaling::channel::SignalingChannel;
use crate::signaling::client::SignalingEvent;
use crate::signaling::message::{CallId, PeerName};
use crate::signaling::turn_credentials::{TurnCredentials, lacks_credentials};

/// How often the host's addresses are looked at while there is no call.
const IDLE_ADDRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How a client is reached by the others.
pub(crate) struct Line {
    /// The user's name.
    pub(crate) name: PeerName,
    pub(crate) channel: Box<dyn SignalingChannel>,
    /// What comes over the channel, and what happens to it.
    pub(crate) received: mpsc::Receiver<SignalingEvent>,
}

/// The state of a client's task.
pub(crate) struct Session {
    net: Arc<dyn Net>,
    config: ClientConfig,
    name: PeerName,
    voice: OpusTrack,
    signaling: Box<dyn SignalingChannel>,
    signaling_events: mpsc::Receiver<SignalingEvent>,
    /// `None` before it was ever up.
    signaling_state: Option<Signaling>,
    events: mpsc::UnboundedSender<ClientEvent>,
    candidates: CandidateBuffer,
    random: ChaCha12Rng,
    started: Instant,
    call: Option<ActiveCall>,
    saved: watch::Sender<Option<SavedCall>>,
    addresses: AddressWatch,
    look_at_addresses: Instant,
    /// When the session did something last.
    awake_at: Instant,
    /// Media connections on their way out: saying goodbye may take seconds on a dead network, and the
    /// next call must not wait for it. Dropped with the session.
    closing: JoinSet<()>,
    /// Messages that the other side does not have yet.
    sending: FuturesUnordered<Sending>,
    /// Who waits until the signaling server has taken all messages.
    flushing: FuturesUnordered<Flushing>,
    /// Who waits, after that, until no media connection is on its way out.
    flushed: Vec<oneshot::Sender<()>>,
    turn_credentials: Option<TurnCredentials>,
}

/// Whatever the task woke up for.
enum Wake {
    Command(Option<Command>),
    Sent(Sent),
    Flushed(oneshot::Sender<()>),
    Closed,
    Signaling(Option<SignalingEvent>),
    Peer(LegId, Option<PeerEvent>),
    AudioClock,
    Timer,
}

impl Session {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        config: ClientConfig,
        line: Line,
        voice: OpusTrack,
        events: mpsc::UnboundedSender<ClientEvent>,
        saved: watch::Sender<Option<SavedCall>>,
    ) -> Self {
        let Line {
            name,
            channel: signaling,
            received: signaling_events,
        } = line;
        if config.ice.servers.iter().any(lacks_credentials) {
            signaling.keep_turn_credentials();
        }
        let now = Instant::now();
        Self {
            net,
            config,
            name,
            voice,
            signaling,
            signaling_events,
            signaling_state: None,
            events,
            candidates: CandidateBuffer::default(),
            random: ChaCha12Rng::from_rng(&mut rand::rng()),
            started: now,
            call: None,
            saved,
            addresses: AddressWatch::default(),
            look_at_addresses: now,
            awake_at: now,
            closing: JoinSet::new(),
            sending: FuturesUnordered::new(),
            flushing: FuturesUnordered::new(),
            flushed: Vec::new(),
            turn_credentials: None,
        }
    }

    /// Runs until the client is dropped.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let wake = self.wake(&mut commands).await;
            self.note_sleep(Instant::now());
            match wake {
                Wake::Command(Some(command)) => self.command(command),
                Wake::Command(None) | Wake::Signaling(None) => return,
                Wake::Sent(sent) => self.sent(sent),
                Wake::Flushed(waiting) => self.flushed(waiting),
                Wake::Closed => self.answer_flushed(),
                Wake::Signaling(Some(event)) => self.signaling(event),
                Wake::Peer(leg, event) => self.peer(leg, event),
                Wake::AudioClock => self.send_audio(),
                Wake::Timer => self.handle_timeout(Instant::now()),
            }
            self.keep_saved();
        }
    }

    async fn wake(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Wake {
        let call = self.call.as_ref();
        let due_at = call
            .and_then(ActiveCall::poll_timeout)
            .into_iter()
            .chain(self.candidates.poll_timeout())
            .fold(self.look_at_addresses, Instant::min);
        let (legs, audio_clock) = match self.call.as_mut() {
            Some(call) => (Some(&mut call.legs), call.audio_clock.as_mut()),
            None => (None, None),
        };
        let peer_event = async {
            match legs {
                Some(legs) => legs.next_event().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            command = commands.recv() => Wake::Command(command),
            Some(sent) = self.sending.next() => Wake::Sent(sent),
            Some(waiting) = self.flushing.next() => Wake::Flushed(waiting),
            Some(_) = self.closing.join_next() => Wake::Closed,
            event = self.signaling_events.recv() => Wake::Signaling(event),
            (leg, event) = peer_event => Wake::Peer(leg, event),
            () = next_tick(audio_clock) => Wake::AudioClock,
            () = sleep_until(due_at) => Wake::Timer,
        }
    }

    fn command(&mut self, command: Command) {
        // A caller that no longer waits for the reply has lost interest in it.
        match command {
            Command::Call { callee, reply } => {
                let _ = reply.send(self.place_call(callee));
            }
            Command::Announce { call, from, reply } => {
                let _ = reply.send(self.announce(call, from));
            }
            Command::Resume { saved, reply } => {
                let _ = reply.send(self.resume(saved));
            }
            Command::Answer { call, reply } => {
                let _ = reply.send(self.act_on(&call, Input::LocalAnswer));
            }
            Command::HangUp { call, reply } => {
                let _ = reply.send(self.act_on(&call, Input::LocalHangUp));
            }
            Command::Flush { reply } => self.flush(reply),
        }
    }

    fn act_on(&mut self, call: &CallId, input: Input) -> Result<(), ClientError> {
        let names = |current: &ActiveCall| current.id == *call || current.formerly.contains(call);
        if !self.call.as_ref().is_some_and(names) {
            return Err(ClientError::UnknownCall { call: call.clone() });
        }
        self.input(input);
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.look_at_addresses <= now {
            self.look_at_addresses(now);
        }
        for lost in self.candidates.handle_timeout(now) {
            warn!(
                call = %lost.call, from = %lost.from, ufrag = lost.ufrag, candidates = lost.candidates,
                "remote candidates dropped: no description came"
            );
        }
        self.close_retired(now);
        self.recover(now);
        if let Some(call) = self.call.as_mut()
            && call.rings_until.is_some_and(|until| until <= now)
        {
            self.input(Input::Unanswered);
        }
    }

    /// Tells the application what to store, if that has changed.
    fn keep_saved(&self) {
        let saved = self.call.as_ref().map(ActiveCall::saved);
        self.saved.send_if_modified(|known| {
            let is_new = *known != saved;
            if is_new {
                known.clone_from(&saved);
            }
            is_new
        });
    }

    fn report(&self, event: ClientEvent) {
        // An application that stopped listening still wants its call to go on.
        let _ = self.events.send(event);
    }

    fn draw_call_id(&mut self) -> CallId {
        CallId(format!("{:032x}", self.random.random::<u128>()))
    }
}

/// The next time to send audio, or never while there is no audio to send.
async fn next_tick(clock: Option<&mut Interval>) {
    match clock {
        Some(clock) => {
            clock.tick().await;
        }
        None => std::future::pending().await,
    }
}
