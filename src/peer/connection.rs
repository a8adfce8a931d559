//! The media connection with one other client: ICE, then DTLS, then audio.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use webrtc_util::Conn;

use super::dtls::{self, Certificate, DtlsRole, Secured};
use super::failure::{CandidateTypes, PeerError, PeerFailure};
use super::generation::{Generation, GenerationEvent};
use super::sdp::{IceCredentials, OPUS_PAYLOAD_TYPE, SessionDescription, Setup, Ssrc};
use super::srtp::{self, Protector, Unprotector};
pub use super::srtp::{AudioPacket, Marker};
use crate::candidates::{CandidateAttribute, CandidateType};
use crate::config::{IceConfig, MediaConfig};
use crate::net::Net;
use crate::signaling::message::TrickledCandidate;

/// The most audio packets that wait to be sent: a second of them.
const AUDIO_PACKETS_MAX: usize = 50;

/// How long the transport may take to say goodbye.
const TRANSPORT_CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);

/// Lengths of what is drawn at random, in `ice-char`s of six bits each: RFC 8445 section 5.3 asks
/// for 24 and 128 bits.
const UFRAG_CHARS: usize = 8;
const PWD_CHARS: usize = 24;
const CNAME_CHARS: usize = 16;

/// Who decides which pair is selected (RFC 8445 section 6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceRole {
    /// The side that offered.
    Controlling,
    /// The side that answered.
    Controlled,
}

/// How far ICE is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IceState {
    /// No checks yet.
    New,
    /// Pairs are being checked.
    Checking,
    /// A pair is selected and alive.
    Connected,
    /// The selected pair has been silent for the receiving timeout. It may come back.
    Disconnected,
    /// No pair worked, or the selected one is dead.
    Failed,
    /// The connection was closed on this side.
    Closed,
}

/// What a [`PeerConnection`] tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// A local candidate to send to the other side.
    LocalCandidate(TrickledCandidate),
    /// All local candidates have been told.
    LocalCandidatesComplete,
    /// ICE moved on.
    IceStateChanged(IceState),
    /// ICE selected a pair.
    Selected {
        /// How this side's candidate was found.
        local: CandidateType,
        /// How the other side's candidate was found.
        remote: CandidateType,
        /// This side's candidate.
        local_address: SocketAddr,
        /// The other side's candidate.
        remote_address: SocketAddr,
    },
    /// The other side is who signaling says it is, and audio may flow.
    DtlsConnected,
    /// Audio from the other side, decrypted. In order of arrival, not of sequence.
    Audio(AudioPacket),
    /// The other side closed the connection.
    ClosedByPeer,
    /// The connection cannot go on. Close it.
    Failed(PeerFailure),
}

/// A media connection with one other client.
///
/// Methods do not wait; results come as [`PeerEvent`]s. Dropping the connection stops it at once,
/// [`PeerConnection::close`] tells the other side and releases relayed addresses first.
pub struct PeerConnection {
    role: IceRole,
    session_id: u64,
    credentials: IceCredentials,
    certificate: Certificate,
    ssrc: Ssrc,
    remote: Arc<OnceLock<SessionDescription>>,
    commands: mpsc::UnboundedSender<Command>,
    audio: mpsc::Sender<AudioPacket>,
    secured: Arc<AtomicBool>,
    actor: AbortHandle,
}

#[derive(Debug)]
enum Command {
    Gather,
    AddCandidate(CandidateAttribute),
    Start,
    Close(oneshot::Sender<()>),
}

impl PeerConnection {
    /// Makes a connection that does nothing yet, and the stream of its events. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`PeerError::Certificate`].
    pub fn new(
        net: Arc<dyn Net>,
        ice: IceConfig,
        media: &MediaConfig,
        role: IceRole,
    ) -> Result<(Self, mpsc::UnboundedReceiver<PeerEvent>), PeerError> {
        let certificate = Certificate::generate()?;
        let credentials =
            IceCredentials::new(random_ice_chars(UFRAG_CHARS), random_ice_chars(PWD_CHARS))
                .expect("lengths and characters are within the grammar");
        let ssrc = Ssrc {
            id: rand::random(),
            cname: random_ice_chars(CNAME_CHARS),
        };
        let remote = Arc::new(OnceLock::new());
        let secured = Arc::new(AtomicBool::new(false));
        let (commands, commanded) = mpsc::unbounded_channel();
        let (audio, audio_to_send) = mpsc::channel(AUDIO_PACKETS_MAX);
        let (events, listener) = mpsc::unbounded_channel();
        let actor = Actor {
            net,
            ice,
            class: media.marking.traffic_class(),
            role,
            credentials: credentials.clone(),
            certificate: certificate.clone(),
            ssrc: ssrc.id,
            remote: Arc::clone(&remote),
            secured: Arc::clone(&secured),
            events,
            audio_to_send: Some(audio_to_send),
            generation: None,
            tasks: JoinSet::new(),
            closing: watch::channel(false).0,
            local_kinds: BTreeSet::new(),
            remote_kinds: BTreeSet::new(),
            was_connected: false,
        };
        let connection = Self {
            role,
            // The highest bit stays clear (RFC 8829 section 5.2.1).
            session_id: rand::random::<u64>() >> 1,
            credentials,
            certificate,
            ssrc,
            remote,
            commands,
            audio,
            secured,
            actor: tokio::spawn(actor.run(commanded)).abort_handle(),
        };
        Ok((connection, listener))
    }

    /// What this side says about itself: the offer of a controlling side, the answer of a
    /// controlled one.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoRemoteDescription`] where an answer has no offer yet.
    pub fn local_description(&self) -> Result<SessionDescription, PeerError> {
        let (setup, mid, payload_type) = match (self.role, self.remote.get()) {
            (IceRole::Controlling, _) => (Setup::ActPass, "0".to_owned(), OPUS_PAYLOAD_TYPE),
            (IceRole::Controlled, None) => return Err(PeerError::NoRemoteDescription),
            // An answer should be active, which saves a round trip (RFC 8842 section 5.3).
            (IceRole::Controlled, Some(offer)) => (
                match offer.setup {
                    Setup::Active => Setup::Passive,
                    Setup::ActPass | Setup::Passive => Setup::Active,
                },
                offer.mid.clone(),
                offer.payload_type,
            ),
        };
        Ok(SessionDescription {
            session_id: self.session_id,
            credentials: self.credentials.clone(),
            fingerprint: self.certificate.fingerprint(),
            setup,
            mid,
            payload_type,
            ssrc: Some(self.ssrc.clone()),
            candidates: Vec::new(),
            end_of_candidates: false,
        })
    }

    /// The user name fragment of the local generation.
    #[must_use]
    pub fn local_ufrag(&self) -> &str {
        self.credentials.ufrag()
    }

    /// Starts to gather local candidates. A second call does nothing.
    pub fn start_gathering(&self) {
        self.command(Command::Gather);
    }

    /// Sets what the other side says about itself, once, with the candidates in it.
    ///
    /// # Errors
    ///
    /// [`PeerError::RemoteDescriptionSet`] or [`PeerError::SetupConflict`]. A malformed candidate
    /// in the description is logged and skipped.
    pub fn set_remote(&self, description: SessionDescription) -> Result<(), PeerError> {
        dtls_role(self.role, description.setup)?;
        let candidates = description.candidates.clone();
        self.remote
            .set(description)
            .map_err(|_| PeerError::RemoteDescriptionSet {
                ufrag: self
                    .remote
                    .get()
                    .map_or_else(String::new, |set| set.credentials.ufrag().to_owned()),
            })?;
        for candidate in candidates {
            if let Err(error) = self.add_remote_candidate(&candidate) {
                tracing::warn!(%error, "candidate in the description skipped");
            }
        }
        Ok(())
    }

    /// Adds a candidate of the remote generation. The empty candidate (end of candidates) is
    /// accepted and changes nothing.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoRemoteDescription`], [`PeerError::WrongGeneration`],
    /// [`PeerError::MalformedCandidate`] or [`PeerError::Closed`].
    pub fn add_remote_candidate(&self, candidate: &TrickledCandidate) -> Result<(), PeerError> {
        let remote = self.remote.get().ok_or(PeerError::NoRemoteDescription)?;
        if candidate.username_fragment != remote.credentials.ufrag() {
            return Err(PeerError::WrongGeneration {
                expected: remote.credentials.ufrag().to_owned(),
                given: candidate.username_fragment.clone(),
            });
        }
        if candidate.candidate.trim().is_empty() {
            return Ok(());
        }
        let attribute = candidate.candidate.parse()?;
        self.commands
            .send(Command::AddCandidate(attribute))
            .map_err(|_| PeerError::Closed)
    }

    /// Begins connectivity checks, then DTLS. Gathers too if that has not begun.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoRemoteDescription`].
    pub fn start(&self) -> Result<(), PeerError> {
        if self.remote.get().is_none() {
            return Err(PeerError::NoRemoteDescription);
        }
        self.command(Command::Start);
        Ok(())
    }

    /// Sends one packet of audio.
    ///
    /// # Errors
    ///
    /// [`PeerError::NotConnected`] before [`PeerEvent::DtlsConnected`], [`PeerError::Congested`]
    /// where the network takes packets more slowly than they come: the packet is dropped.
    pub fn send_audio(&self, packet: AudioPacket) -> Result<(), PeerError> {
        if !self.secured.load(Ordering::Acquire) {
            return Err(PeerError::NotConnected);
        }
        self.audio.try_send(packet).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PeerError::Congested {
                bound: AUDIO_PACKETS_MAX,
            },
            mpsc::error::TrySendError::Closed(_) => PeerError::NotConnected,
        })
    }

    /// Tells the other side, releases relayed addresses, closes all sockets and ends all tasks.
    /// Takes at most three seconds, even on a dead network.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).is_ok() {
            // An actor that is gone already has nothing to close.
            let _ = closed.await;
        }
    }

    fn command(&self, command: Command) {
        // After close there is nothing left that the command could change.
        let _ = self.commands.send(command);
    }
}

impl Drop for PeerConnection {
    fn drop(&mut self) {
        self.actor.abort();
    }
}

impl fmt::Debug for PeerConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PeerConnection")
            .field("role", &self.role)
            .field("local_ufrag", &self.credentials.ufrag())
            .finish_non_exhaustive()
    }
}

/// The task that owns everything. Dropping it drops everything.
struct Actor {
    net: Arc<dyn Net>,
    ice: IceConfig,
    class: crate::net::TrafficClass,
    role: IceRole,
    credentials: IceCredentials,
    certificate: Certificate,
    ssrc: u32,
    remote: Arc<OnceLock<SessionDescription>>,
    secured: Arc<AtomicBool>,
    events: mpsc::UnboundedSender<PeerEvent>,
    audio_to_send: Option<mpsc::Receiver<AudioPacket>>,
    generation: Option<Generation>,
    tasks: JoinSet<()>,
    closing: watch::Sender<bool>,
    local_kinds: BTreeSet<CandidateType>,
    remote_kinds: BTreeSet<CandidateType>,
    was_connected: bool,
}

impl Actor {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let (reports, mut reported) = mpsc::unbounded_channel();
        let done = loop {
            let outcome = tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None => break None,
                    Some(Command::Close(done)) => break Some(done),
                    Some(command) => self.obey(command, &reports).await,
                },
                Some(event) = reported.recv() => {
                    self.forward(event);
                    Ok(())
                }
            };
            if let Err(failure) = outcome {
                self.tell(PeerEvent::Failed(failure));
            }
        };
        self.close().await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    async fn obey(
        &mut self,
        command: Command,
        reports: &mpsc::UnboundedSender<GenerationEvent>,
    ) -> Result<(), PeerFailure> {
        if self.generation.is_none() {
            let generation = Generation::new(
                Arc::clone(&self.net),
                &self.ice,
                self.class,
                &self.credentials,
                reports.clone(),
            );
            self.generation = Some(generation.await?);
        }
        let Some(generation) = &self.generation else {
            return Ok(());
        };
        match command {
            Command::Gather => generation.gather()?,
            Command::AddCandidate(attribute) => {
                self.remote_kinds.insert(attribute.kind);
                match generation.add_remote(&attribute) {
                    Ok(()) => {
                        tracing::info!(candidate = %attribute, "✅ Added remote ICE candidate")
                    }
                    Err(reason) => {
                        tracing::debug!(candidate = %attribute, %reason, "remote candidate not used");
                    }
                }
            }
            Command::Start => {
                generation.gather()?;
                self.start()?;
            }
            Command::Close(_) => {}
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), PeerFailure> {
        let (Some(generation), Some(remote), Some(audio_to_send)) = (
            &self.generation,
            self.remote.get(),
            self.audio_to_send.take(),
        ) else {
            return Ok(());
        };
        let dtls_role = dtls_role(self.role, remote.setup)
            .map_err(|error| PeerFailure::Internal(error.to_string()))?;
        let (keep_checking, cancel) = mpsc::channel(1);
        let path = generation.connect(self.role, &remote.credentials, cancel);
        let transport = Transport {
            certificate: self.certificate.clone(),
            dtls_role,
            remote: remote.clone(),
            ssrc: self.ssrc,
            secured: Arc::clone(&self.secured),
            events: self.events.clone(),
            closing: self.closing.subscribe(),
        };
        self.tasks.spawn(async move {
            let _keep_checking = keep_checking;
            transport.run(path, audio_to_send).await;
        });
        Ok(())
    }

    fn forward(&mut self, event: GenerationEvent) {
        match event {
            GenerationEvent::LocalCandidate(attribute) => {
                self.local_kinds.insert(attribute.kind);
                let mid = match self.role {
                    IceRole::Controlling => "0",
                    IceRole::Controlled => self.remote.get().map_or("0", |offer| &offer.mid),
                };
                self.tell(PeerEvent::LocalCandidate(TrickledCandidate {
                    candidate: attribute.to_string(),
                    sdp_mid: mid.to_owned(),
                    username_fragment: self.credentials.ufrag().to_owned(),
                }));
            }
            GenerationEvent::LocalCandidatesComplete => {
                self.tell(PeerEvent::LocalCandidatesComplete);
            }
            GenerationEvent::State(state) => {
                self.was_connected |= state == IceState::Connected;
                self.tell(PeerEvent::IceStateChanged(state));
                if state == IceState::Failed {
                    self.tell(PeerEvent::Failed(self.ice_failure()));
                }
            }
            GenerationEvent::Selected(selected) => self.tell(PeerEvent::Selected {
                local: selected.local.0,
                remote: selected.remote.0,
                local_address: selected.local.1,
                remote_address: selected.remote.1,
            }),
        }
    }

    fn ice_failure(&self) -> PeerFailure {
        if self.was_connected {
            PeerFailure::PathLost(self.ice.receiving_timeout + self.ice.failed_timeout)
        } else {
            PeerFailure::NoPairWorked {
                local: CandidateTypes(self.local_kinds.clone()),
                remote: CandidateTypes(self.remote_kinds.clone()),
            }
        }
    }

    async fn close(&mut self) {
        self.secured.store(false, Ordering::Release);
        self.closing.send_replace(true);
        let goodbye = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(TRANSPORT_CLOSE_TIMEOUT, goodbye).await.is_err() {
            self.tasks.shutdown().await;
        }
        if let Some(generation) = self.generation.take() {
            generation.close().await;
        }
        self.tell(PeerEvent::IceStateChanged(IceState::Closed));
    }

    fn tell(&self, event: PeerEvent) {
        // An owner that does not listen any more is about to drop the connection.
        let _ = self.events.send(event);
    }
}

/// What happens above ICE, in one task: DTLS, then audio both ways.
struct Transport {
    certificate: Certificate,
    dtls_role: DtlsRole,
    remote: SessionDescription,
    ssrc: u32,
    secured: Arc<AtomicBool>,
    events: mpsc::UnboundedSender<PeerEvent>,
    closing: watch::Receiver<bool>,
}

impl Transport {
    async fn run(
        mut self,
        path: impl Future<Output = Result<Arc<dyn Conn + Send + Sync>, PeerFailure>>,
        audio_to_send: mpsc::Receiver<AudioPacket>,
    ) {
        let mut closing = self.closing.clone();
        let path = tokio::select! {
            biased;
            () = closed(&mut closing) => return,
            path = path => path,
        };
        let outcome = match path {
            Ok(path) => {
                let (lane, media, demultiplexer) =
                    dtls::demultiplex(Arc::clone(&path), self.dtls_role);
                tokio::select! {
                    biased;
                    outcome = self.talk(lane, path, media, audio_to_send) => outcome,
                    // The path ends when the generation does, which says why itself.
                    () = demultiplexer => Ok(()),
                }
            }
            Err(failure) => Err(failure),
        };
        self.secured.store(false, Ordering::Release);
        if let Err(failure) = outcome {
            let _ = self.events.send(PeerEvent::Failed(failure));
        }
    }

    async fn talk(
        &mut self,
        lane: Arc<dtls::Lane>,
        path: Arc<dyn Conn + Send + Sync>,
        media: mpsc::Receiver<Bytes>,
        audio_to_send: mpsc::Receiver<AudioPacket>,
    ) -> Result<(), PeerFailure> {
        let mut closing = self.closing.clone();
        let handshake = dtls::handshake(lane, self.certificate.clone(), self.remote.fingerprint);
        let secured = tokio::select! {
            biased;
            () = closed(&mut closing) => return Ok(()),
            secured = handshake => secured?,
        };
        let (protector, unprotector) = self.halves(&secured)?;
        self.secured.store(true, Ordering::Release);
        let _ = self.events.send(PeerEvent::DtlsConnected);
        tokio::select! {
            biased;
            () = closed(&mut closing) => secured.close().await,
            () = secured.closed_by_peer() => {
                let _ = self.events.send(PeerEvent::ClosedByPeer);
            }
            () = receive(unprotector, media, &self.events) => {}
            () = send(protector, audio_to_send, &path) => {}
        }
        Ok(())
    }

    fn halves(&self, secured: &Secured) -> Result<(Protector, Unprotector), PeerFailure> {
        let payload_type = self.remote.payload_type;
        let internal = |error: srtp::SrtpError| PeerFailure::Internal(error.to_string());
        let ssrc = self.remote.ssrc.as_ref().map(|ssrc| ssrc.id);
        Ok((
            Protector::new(&secured.keys, secured.profile, self.ssrc, payload_type)
                .map_err(internal)?,
            Unprotector::new(&secured.keys, secured.profile, ssrc, payload_type)
                .map_err(internal)?,
        ))
    }
}

async fn receive(
    mut unprotector: Unprotector,
    mut media: mpsc::Receiver<Bytes>,
    events: &mpsc::UnboundedSender<PeerEvent>,
) {
    while let Some(datagram) = media.recv().await {
        if srtp::is_rtcp(&datagram) {
            continue;
        }
        match unprotector.unprotect(&datagram) {
            Ok(packet) => {
                let _ = events.send(PeerEvent::Audio(packet));
            }
            Err(error) => tracing::debug!(%error, "media datagram dropped"),
        }
    }
}

async fn send(
    mut protector: Protector,
    mut audio: mpsc::Receiver<AudioPacket>,
    path: &Arc<dyn Conn + Send + Sync>,
) {
    while let Some(packet) = audio.recv().await {
        let sequence_number = packet.sequence_number;
        let sent = match protector.protect(packet) {
            Ok(datagram) => path
                .send(&datagram)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = sent {
            tracing::debug!(sequence_number, error, "audio packet not sent");
        }
    }
    // The owner is gone or closes; the other branches decide when the transport ends.
    std::future::pending().await
}

/// Waits until the connection is to be closed.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An actor that is gone closes nothing: the task ends with it.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Who opens DTLS, given what the other side says.
fn dtls_role(role: IceRole, remote: Setup) -> Result<DtlsRole, PeerError> {
    match (role, remote) {
        (_, Setup::Active) => Ok(DtlsRole::Server),
        (_, Setup::Passive) | (IceRole::Controlled, Setup::ActPass) => Ok(DtlsRole::Client),
        (IceRole::Controlling, Setup::ActPass) => Err(PeerError::SetupConflict {
            local: Setup::ActPass.as_str(),
            remote: Setup::ActPass.as_str(),
        }),
    }
}

/// A text of `length` random `ice-char`s, six bits each.
fn random_ice_chars(length: usize) -> String {
    const ICE_CHARS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..length)
        .map(|_| char::from(ICE_CHARS[usize::from(rand::random::<u8>() & 63)]))
        .collect()
}
