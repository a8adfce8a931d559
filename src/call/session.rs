//! Carries out the call table: the one task of a client.
//!
//! The task waits for commands, signaling, the media peer and the audio clock, feeds
//! [`transition`] and performs the actions it returns. It makes no decision that the table, the
//! [`CandidateBuffer`] or the session description does not make.

mod incoming;
mod outgoing;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep_until};
use tracing::{debug, info, warn};

use self::outgoing::{Flushing, Sending, Sent};
use super::path_watch::PathWatch;
use super::state::{Action, CallState, Input, transition};
use crate::audio::sink::{AudioSink, SinkEvent};
use crate::audio::source::{AudioPacket, AudioSource};
use crate::audio::track::OpusTrack;
use crate::candidates::CandidateBuffer;
use crate::client::{ClientError, ClientEvent, Command, EndReason};
use crate::config::ClientConfig;
use crate::net::Net;
use crate::peer::{IceRole, PeerConnection, PeerError, PeerEvent};
use crate::signaling::client::{Identity, SignalingClient, SignalingEvent};
use crate::signaling::message::{CallId, CallMessage, HangUpReason, PeerName};
use crate::signaling::turn_credentials::{TurnCredentials, lacks_credentials};

/// How much audio one packet carries: the framing of RFC 7587 that every browser uses by default.
const PACKET_INTERVAL: Duration = Duration::from_millis(20);

/// The state of a client's task.
pub(crate) struct Session {
    net: Arc<dyn Net>,
    config: ClientConfig,
    name: PeerName,
    voice: OpusTrack,
    signaling: SignalingClient,
    signaling_events: mpsc::Receiver<SignalingEvent>,
    events: mpsc::UnboundedSender<ClientEvent>,
    candidates: CandidateBuffer,
    random: ChaCha12Rng,
    started: Instant,
    call: Option<ActiveCall>,
    /// Media peers on their way out: saying goodbye may take seconds on a dead network, and the next
    /// call must not wait for it. Dropped with the session.
    closing: JoinSet<()>,
    /// Messages that the other side does not have yet.
    sending: FuturesUnordered<Sending>,
    /// Who waits until the signaling server has taken all messages.
    flushing: FuturesUnordered<Flushing>,
    /// Who waits, after that, until no media peer is on its way out.
    flushed: Vec<oneshot::Sender<()>>,
    turn_credentials: Option<TurnCredentials>,
}

/// The one call that a client is in.
struct ActiveCall {
    id: CallId,
    peer: PeerName,
    state: CallState,
    connection: PeerConnection,
    peer_events: mpsc::UnboundedReceiver<PeerEvent>,
    /// Runs from the moment that SRTP keys are there.
    audio_clock: Option<Interval>,
    source: AudioSource,
    sink: AudioSink,
    path_watch: PathWatch,
    end: EndReason,
}

/// Whatever the task woke up for.
enum Wake {
    Command(Option<Command>),
    Sent(Sent),
    Flushed(oneshot::Sender<()>),
    Closed,
    Signaling(Option<SignalingEvent>),
    Peer(Option<PeerEvent>),
    AudioClock,
    PathDoubted,
}

impl Session {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        config: ClientConfig,
        identity: Identity,
        voice: OpusTrack,
        events: mpsc::UnboundedSender<ClientEvent>,
    ) -> Self {
        let name = identity.name.clone();
        let (signaling, signaling_events) =
            SignalingClient::start(Arc::clone(&net), config.signaling.clone(), identity);
        if config.ice.servers.iter().any(lacks_credentials) {
            signaling.keep_turn_credentials();
        }
        Self {
            net,
            config,
            name,
            voice,
            signaling,
            signaling_events,
            events,
            candidates: CandidateBuffer::default(),
            random: ChaCha12Rng::from_rng(&mut rand::rng()),
            started: Instant::now(),
            call: None,
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
            match self.wake(&mut commands).await {
                Wake::Command(Some(command)) => self.command(command),
                Wake::Command(None) | Wake::Signaling(None) => return,
                Wake::Sent(sent) => self.sent(sent),
                Wake::Flushed(waiting) => self.flushed(waiting),
                Wake::Closed => self.answer_flushed(),
                Wake::Signaling(Some(event)) => self.signaling(event),
                Wake::Peer(Some(event)) => self.peer(event),
                Wake::Peer(None) => self.input(Input::MediaFailed),
                Wake::AudioClock => self.send_audio(),
                Wake::PathDoubted => self.doubt_path(),
            }
        }
    }

    async fn wake(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Wake {
        let doubt_at = self
            .call
            .as_ref()
            .map(|call| call.path_watch.poll_timeout());
        let (peer_event, audio_clock) = match self.call.as_mut() {
            Some(call) => (Some(&mut call.peer_events), call.audio_clock.as_mut()),
            None => (None, None),
        };
        tokio::select! {
            biased;
            command = commands.recv() => Wake::Command(command),
            Some(sent) = self.sending.next() => Wake::Sent(sent),
            Some(waiting) = self.flushing.next() => Wake::Flushed(waiting),
            Some(_) = self.closing.join_next() => Wake::Closed,
            event = self.signaling_events.recv() => Wake::Signaling(event),
            event = next_event(peer_event) => Wake::Peer(event),
            () = next_tick(audio_clock) => Wake::AudioClock,
            () = until(doubt_at) => Wake::PathDoubted,
        }
    }

    fn command(&mut self, command: Command) {
        // A caller that no longer waits for the reply has lost interest in it.
        match command {
            Command::Call { callee, reply } => {
                let _ = reply.send(self.place_call(callee));
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

    fn place_call(&mut self, callee: PeerName) -> Result<CallId, ClientError> {
        if let Some(current) = &self.call {
            return Err(ClientError::Busy {
                callee,
                current: current.id.clone(),
            });
        }
        let id = CallId(format!("{:032x}", self.random.random::<u128>()));
        let call = self
            .make_call(id.clone(), callee, CallState::Calling, IceRole::Controlling)
            .map_err(|error| ClientError::Media(error.to_string()))?;
        let description = call.connection.local_description();
        let sdp = description
            .map_err(|error| ClientError::Media(error.to_string()))?
            .to_string();
        call.connection.start_gathering();
        self.call = Some(call);
        self.send(CallMessage::Offer { sdp });
        Ok(id)
    }

    fn act_on(&mut self, call: &CallId, input: Input) -> Result<(), ClientError> {
        if self.call.as_ref().is_none_or(|current| current.id != *call) {
            return Err(ClientError::UnknownCall { call: call.clone() });
        }
        self.input(input);
        Ok(())
    }

    fn make_call(
        &mut self,
        id: CallId,
        peer: PeerName,
        state: CallState,
        role: IceRole,
    ) -> Result<ActiveCall, PeerError> {
        let mut ice = self.config.ice.clone();
        if let Some(given) = &self.turn_credentials {
            ice.servers = given.supply(Instant::now(), &ice.servers);
        }
        let (connection, peer_events) =
            PeerConnection::new(Arc::clone(&self.net), ice, &self.config.media, role)?;
        Ok(ActiveCall {
            id,
            peer,
            state,
            connection,
            peer_events,
            audio_clock: None,
            source: AudioSource::new(self.voice.clone(), &mut self.random),
            sink: AudioSink::any(),
            path_watch: PathWatch::new(Instant::now()),
            end: EndReason::HungUp,
        })
    }

    fn peer(&mut self, event: PeerEvent) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        match event {
            PeerEvent::LocalCandidate(candidate) => self.send(CallMessage::Candidate(candidate)),
            PeerEvent::LocalCandidatesComplete => {
                let ufrag = call.connection.local_ufrag().to_owned();
                self.send(CallMessage::EndOfCandidates { ufrag });
            }
            PeerEvent::IceStateChanged(state) => debug!(call = %call.id, ?state, "ICE state"),
            PeerEvent::Selected { local, remote, .. } => {
                let call = call.id.clone();
                self.report(ClientEvent::PathSelected {
                    call,
                    local,
                    remote,
                });
            }
            PeerEvent::SocketLost { address } => {
                debug!(call = %call.id, %address, "a media socket is dead");
            }
            PeerEvent::ConsentLost => {
                debug!(call = %call.id, "the other side's consent has expired");
            }
            PeerEvent::ClosedByPeer => debug!(call = %call.id, "the other side closed the media"),
            PeerEvent::DtlsConnected => {
                let mut clock = tokio::time::interval(PACKET_INTERVAL);
                // A phone that slept sends live audio, not the backlog.
                clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
                call.audio_clock = Some(clock);
            }
            PeerEvent::Audio(AudioPacket {
                sequence_number,
                payload,
                ..
            }) => {
                if call.state == CallState::Talking {
                    call.path_watch.handle_audio(Instant::now());
                }
                let now = self.started.elapsed();
                let connected = call.sink.received(now, sequence_number, &payload);
                let id = call.id.clone();
                self.report(ClientEvent::Audio {
                    call: id,
                    sequence_number,
                    payload,
                });
                if connected == Some(SinkEvent::AudioConnected) {
                    self.input(Input::AudioConnected);
                }
            }
            PeerEvent::Failed(failure) => {
                self.set_end(EndReason::Unreachable {
                    cause: failure.to_string(),
                });
                self.input(Input::MediaFailed);
            }
        }
    }

    /// Feeds the table and does what it says.
    fn input(&mut self, input: Input) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let before = call.state;
        let step = transition(before, input);
        call.state = step.next;
        debug!(call = %call.id, from = %before, to = %step.next, ?input, "call");
        for action in step.actions {
            self.perform(*action);
        }
    }

    fn perform(&mut self, action: Action) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let id = call.id.clone();
        match action {
            Action::ReportRinging => self.report(ClientEvent::RemoteRinging { call: id }),
            Action::SendAnswer => {
                // Gathering began while ringing unless the candidate pool is switched off.
                call.connection.start_gathering();
                match call.connection.local_description() {
                    Ok(description) => {
                        let sdp = description.to_string();
                        self.send(CallMessage::Answer { sdp });
                    }
                    Err(error) => warn!(call = %id, %error, "no answer can be made"),
                }
            }
            Action::StartMedia => {
                if let Err(error) = call.connection.start() {
                    warn!(call = %id, %error, "media cannot start");
                }
                self.report(ClientEvent::Answered { call: id });
            }
            Action::ReportAudio => {
                info!(call = %id, "✅ AUDIO CONNECTION ESTABLISHED");
                self.report(ClientEvent::AudioConnected { call: id });
            }
            Action::SendHangUp => {
                let reason = match call.end {
                    EndReason::Unreachable { .. } => HangUpReason::Unreachable,
                    EndReason::HungUp | EndReason::Remote(_) => HangUpReason::Normal,
                };
                self.send(CallMessage::HangUp { reason });
            }
            Action::CloseMedia => {
                self.forget_call(&id);
                if let Some(call) = self.call.take() {
                    self.closing
                        .spawn(async move { call.connection.close().await });
                }
            }
            Action::ReportEnded => {
                let reason = call.end.clone();
                self.report(ClientEvent::Ended { call: id, reason });
            }
        }
    }

    fn send_audio(&mut self) {
        if let Some(call) = self.call.as_mut() {
            let packet = call.source.next_packet();
            if let Err(error) = call.connection.send_audio(packet) {
                debug!(call = %call.id, %error, "audio packet not sent");
            }
        }
    }

    fn doubt_path(&mut self) {
        if let Some(call) = self.call.as_mut()
            && call.path_watch.handle_timeout(Instant::now())
        {
            debug!(call = %call.id, state = %call.state, "checking the path to the signaling server");
            self.signaling.check_path();
        }
    }

    fn set_end(&mut self, reason: EndReason) {
        if let Some(call) = self.call.as_mut() {
            call.end = reason;
        }
    }

    fn report(&self, event: ClientEvent) {
        // An application that stopped listening still wants its call to go on.
        let _ = self.events.send(event);
    }
}

/// The next event of a call's media, or never while there is no call.
async fn next_event(events: Option<&mut mpsc::UnboundedReceiver<PeerEvent>>) -> Option<PeerEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
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

/// Waits for an instant, or for ever where there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
