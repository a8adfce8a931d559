//! Carries out the call table: the one task of a client.
//!
//! The task waits for commands, signaling, the media peer and the audio clock, feeds
//! [`transition`] and performs the actions it returns. It makes no decision that the table, the
//! [`CandidateBuffer`] or the session description does not make.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::state::{Action, CallState, Input, transition};
use crate::audio::sink::{AudioSink, SinkEvent};
use crate::audio::source::{AudioPacket, AudioSource};
use crate::audio::track::OpusTrack;
use crate::candidates::{CandidateBuffer, Pushed};
use crate::client::{ClientError, ClientEvent, Command, EndReason};
use crate::config::ClientConfig;
use crate::net::Net;
use crate::peer::sdp::{SdpError, SessionDescription};
use crate::peer::{IceRole, PeerConnection, PeerError, PeerEvent};
use crate::signaling::client::{Identity, PendingSend, SendError, SignalingClient, SignalingEvent};
use crate::signaling::message::{
    CallId, CallMessage, Envelope, HangUpReason, PeerName, TrickledCandidate,
};

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
    /// Messages that the signaling server has not taken yet.
    unsent: FuturesUnordered<PendingSend>,
    /// Who waits until there are none.
    flushes: Vec<oneshot::Sender<()>>,
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
    end: EndReason,
}

/// Whatever the task woke up for.
enum Wake {
    Command(Option<Command>),
    Sent(Result<(), SendError>),
    Closed,
    Signaling(Option<SignalingEvent>),
    Peer(Option<PeerEvent>),
    AudioClock,
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
            unsent: FuturesUnordered::new(),
            flushes: Vec::new(),
        }
    }

    /// Runs until the client is dropped.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            match self.wake(&mut commands).await {
                Wake::Command(Some(command)) => self.command(command),
                Wake::Command(None) | Wake::Signaling(None) => return,
                Wake::Sent(outcome) => self.sent(&outcome),
                Wake::Closed => self.answer_flushes(),
                Wake::Signaling(Some(event)) => self.signaling(event),
                Wake::Peer(Some(event)) => self.peer(event),
                Wake::Peer(None) => self.input(Input::MediaFailed),
                Wake::AudioClock => self.send_audio(),
            }
        }
    }

    async fn wake(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Wake {
        let (peer_event, audio_clock) = match self.call.as_mut() {
            Some(call) => (Some(&mut call.peer_events), call.audio_clock.as_mut()),
            None => (None, None),
        };
        tokio::select! {
            biased;
            command = commands.recv() => Wake::Command(command),
            Some(outcome) = self.unsent.next() => Wake::Sent(outcome),
            Some(_) = self.closing.join_next() => Wake::Closed,
            event = self.signaling_events.recv() => Wake::Signaling(event),
            event = next_event(peer_event) => Wake::Peer(event),
            () = next_tick(audio_clock) => Wake::AudioClock,
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
            Command::Flush { reply } => {
                self.flushes.push(reply);
                self.answer_flushes();
            }
        }
    }

    fn sent(&mut self, outcome: &Result<(), SendError>) {
        if let Err(error) = outcome {
            warn!(%error, "message not sent");
        }
        self.answer_flushes();
    }

    fn answer_flushes(&mut self) {
        if self.unsent.is_empty() && self.closing.is_empty() {
            for waiting in self.flushes.drain(..) {
                let _ = waiting.send(());
            }
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
        let (connection, peer_events) = PeerConnection::new(
            Arc::clone(&self.net),
            self.config.ice.clone(),
            &self.config.media,
            role,
        )?;
        Ok(ActiveCall {
            id,
            peer,
            state,
            connection,
            peer_events,
            audio_clock: None,
            source: AudioSource::new(self.voice.clone(), &mut self.random),
            sink: AudioSink::any(),
            end: EndReason::HungUp,
        })
    }

    fn signaling(&mut self, event: SignalingEvent) {
        match event {
            SignalingEvent::Connected => self.report(ClientEvent::SignalingConnected),
            SignalingEvent::Disconnected { reason } => self.report(ClientEvent::SignalingLost {
                reason: reason.to_string(),
            }),
            SignalingEvent::ConnectFailed { error } if error.is_permanent() => {
                self.report(ClientEvent::SignalingRejected {
                    message: error.to_string(),
                });
            }
            SignalingEvent::ConnectFailed { error } => {
                debug!(%error, "signaling is not up yet");
            }
            SignalingEvent::Reconnecting { .. } => {}
            SignalingEvent::Rejected { message } => {
                self.report(ClientEvent::SignalingRejected { message });
            }
            SignalingEvent::Message(envelope) => self.message(envelope),
        }
    }

    fn message(&mut self, envelope: Envelope) {
        let Envelope {
            from, call, body, ..
        } = envelope;
        let current = self.call.as_ref().is_some_and(|ours| ours.id == call);
        match body {
            CallMessage::Offer { sdp } => self.offer(from, call, &sdp),
            CallMessage::Candidate(candidate) => self.candidate(&call, candidate),
            CallMessage::EndOfCandidates { ufrag } => {
                let end = TrickledCandidate {
                    candidate: String::new(),
                    sdp_mid: String::new(),
                    username_fragment: ufrag,
                };
                self.candidate(&call, end);
            }
            _ if !current => debug!(%call, %from, "message of a call that is not ours"),
            CallMessage::Unknown => debug!(%call, %from, "message of a kind that is not known"),
            CallMessage::Ringing => self.input(Input::RemoteRinging),
            CallMessage::Answer { sdp } => self.answer(&sdp),
            CallMessage::HangUp { reason } => {
                self.set_end(EndReason::Remote(reason));
                self.input(Input::RemoteHangUp);
            }
        }
    }

    /// A candidate of the other side. It passes on arrival, and before its offer too: the buffer
    /// keeps what has no description to go with.
    fn candidate(&mut self, call: &CallId, candidate: TrickledCandidate) {
        match self.candidates.push(call, candidate) {
            Ok(Pushed::Ready(candidate)) => self.add_remote_candidate(&candidate),
            Ok(outcome) => debug!(%call, ?outcome, "remote candidate not added now"),
            // One bad candidate must not cost the call: the others may work.
            Err(error) => warn!(%call, %error, "remote candidate refused"),
        }
    }

    fn offer(&mut self, from: PeerName, call: CallId, sdp: &str) {
        if let Some(current) = &self.call {
            if current.id != call {
                self.refuse(from, call, HangUpReason::Busy);
            }
            return;
        }
        let remote: SessionDescription = match sdp.parse() {
            Ok(remote) => remote,
            Err(error) => {
                warn!(%call, %from, %error, "refusing a call whose offer makes no sense");
                return self.refuse(from, call, HangUpReason::Rejected);
            }
        };
        let made = self.make_call(
            call.clone(),
            from.clone(),
            CallState::Incoming,
            IceRole::Controlled,
        );
        match made {
            Ok(active) => self.call = Some(active),
            Err(error) => {
                warn!(%call, %error, "refusing a call for which no media can be set up");
                return self.refuse(from, call, HangUpReason::Unreachable);
            }
        }
        if let Err(error) = self.apply_remote_description(remote) {
            warn!(%call, %from, %error, "refusing a call whose offer cannot be answered");
            self.call = None;
            return self.refuse(from, call, HangUpReason::Rejected);
        }
        if self.config.ice.candidate_pool_size > 0
            && let Some(active) = &self.call
        {
            active.connection.start_gathering();
        }
        self.send(CallMessage::Ringing);
        self.report(ClientEvent::Incoming { call, from });
    }

    fn refuse(&mut self, caller: PeerName, call: CallId, reason: HangUpReason) {
        self.candidates.forget(&call);
        self.send_to(caller, call, CallMessage::HangUp { reason });
    }

    fn answer(&mut self, sdp: &str) {
        let waits =
            |call: &ActiveCall| transition(call.state, Input::RemoteAnswer).next != call.state;
        if !self.call.as_ref().is_some_and(waits) {
            debug!("an answer that nobody waits for");
            return;
        }
        let applied = match sdp.parse() {
            Ok(remote) => self
                .apply_remote_description(remote)
                .map_err(|error| error.to_string()),
            Err(error) => Err(SdpError::to_string(&error)),
        };
        match applied {
            Ok(()) => self.input(Input::RemoteAnswer),
            Err(error) => {
                warn!(%error, "the answer cannot be used");
                self.set_end(EndReason::Unreachable {
                    cause: format!("the answer cannot be used: {error}"),
                });
                self.input(Input::MediaFailed);
            }
        }
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
                self.candidates.forget(&id);
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

    /// Hands the other side's description to the media peer, and then every candidate that came
    /// before it.
    fn apply_remote_description(&mut self, remote: SessionDescription) -> Result<(), PeerError> {
        let Some(call) = self.call.as_mut() else {
            return Ok(());
        };
        let ufrag = remote.credentials.ufrag().to_owned();
        call.connection.set_remote(remote)?;
        let waiting = self.candidates.ready(&call.id, &ufrag).candidates;
        if !waiting.is_empty() {
            info!(call = %call.id, "🧊 Processing {} pending ICE candidates", waiting.len());
        }
        for candidate in &waiting {
            self.add_remote_candidate(candidate);
        }
        Ok(())
    }

    fn add_remote_candidate(&self, candidate: &TrickledCandidate) {
        if let Some(call) = &self.call
            && let Err(error) = call.connection.add_remote_candidate(candidate)
        {
            warn!(call = %call.id, %error, "remote candidate refused");
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

    fn set_end(&mut self, reason: EndReason) {
        if let Some(call) = self.call.as_mut() {
            call.end = reason;
        }
    }

    /// Sends to the other side of the current call.
    fn send(&mut self, body: CallMessage) {
        if let Some(call) = &self.call {
            let (to, id) = (call.peer.clone(), call.id.clone());
            self.send_to(to, id, body);
        }
    }

    fn send_to(&mut self, to: PeerName, call: CallId, body: CallMessage) {
        let envelope = Envelope {
            from: self.name.clone(),
            to,
            call,
            body,
        };
        self.unsent.push(self.signaling.send(envelope));
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
