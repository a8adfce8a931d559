//! The media connection with one other client: ICE, then DTLS, then audio.

mod actor;
mod transport;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use self::actor::{Actor, Command, Setting};
use super::dtls::{Certificate, DtlsRole};
use super::failure::{PeerError, PeerFailure};
use super::sdp::{IceCredentials, OPUS_PAYLOAD_TYPE, SessionDescription, Setup, Ssrc};
pub use super::srtp::{AudioPacket, Marker};
use crate::candidates::CandidateType;
use crate::config::{IceConfig, MediaConfig};
use crate::net::Net;
use crate::signaling::message::TrickledCandidate;

/// The most audio packets that wait to be sent: a second of them.
const AUDIO_PACKETS_MAX: usize = 50;

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
    /// The system has closed a socket of this generation, as it does where an interface is gone or an
    /// app has slept. Most likely all are dead, and only a restart on new sockets brings audio back.
    /// Told once.
    SocketLost {
        /// Where the socket was.
        address: SocketAddr,
    },
    /// The other side has not answered a check for 30 s (RFC 7675 section 5.1). Nothing more is sent on the
    /// selected pair, and only a restart brings audio back.
    ConsentLost,
    /// The other side closed the connection.
    ClosedByPeer,
    /// The connection cannot go on. Close it.
    Failed(PeerFailure),
}

/// What one side of a call is to the other in every connection of that call: its certificate, by which
/// DTLS knows it, and its stream of audio.
///
/// A call that looks for another path opens another connection with the same identity, so that the
/// fingerprint that was signaled first holds for the whole call.
#[derive(Debug, Clone)]
pub struct MediaIdentity {
    certificate: Certificate,
    session_id: u64,
    ssrc: Ssrc,
}

impl MediaIdentity {
    /// Draws an identity that nobody else has.
    ///
    /// # Errors
    ///
    /// [`PeerError::Certificate`].
    pub fn generate() -> Result<Self, PeerError> {
        let mut generator = ChaCha12Rng::from_rng(&mut rand::rng());
        Ok(Self {
            certificate: Certificate::generate()?,
            // The highest bit stays clear (RFC 8829 section 5.2.1).
            session_id: generator.random::<u64>() >> 1,
            ssrc: Ssrc {
                id: generator.random(),
                cname: random_ice_chars(&mut generator, CNAME_CHARS),
            },
        })
    }
}

/// A media connection with one other client.
///
/// Methods do not wait; results come as [`PeerEvent`]s. Dropping the connection stops it at once,
/// [`PeerConnection::close`] tells the other side and releases relayed addresses first.
pub struct PeerConnection {
    role: IceRole,
    identity: MediaIdentity,
    credentials: IceCredentials,
    remote: Arc<OnceLock<SessionDescription>>,
    commands: mpsc::UnboundedSender<Command>,
    audio: mpsc::Sender<AudioPacket>,
    secured: Arc<AtomicBool>,
    actor: AbortHandle,
}

impl PeerConnection {
    /// Makes a connection that does nothing yet, and the stream of its events.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(
        net: Arc<dyn Net>,
        ice: IceConfig,
        media: &MediaConfig,
        role: IceRole,
        identity: MediaIdentity,
    ) -> (Self, mpsc::UnboundedReceiver<PeerEvent>) {
        let mut generator = ChaCha12Rng::from_rng(&mut rand::rng());
        let credentials = IceCredentials::new(
            random_ice_chars(&mut generator, UFRAG_CHARS),
            random_ice_chars(&mut generator, PWD_CHARS),
        )
        .expect("lengths and characters are within the grammar");
        let remote = Arc::new(OnceLock::new());
        let secured = Arc::new(AtomicBool::new(false));
        let (commands, commanded) = mpsc::unbounded_channel();
        let (audio, audio_to_send) = mpsc::channel(AUDIO_PACKETS_MAX);
        let (events, listener) = mpsc::unbounded_channel();
        let actor = Actor::new(
            Setting {
                net,
                ice,
                class: media.marking.traffic_class(),
                role,
                credentials: credentials.clone(),
                certificate: identity.certificate.clone(),
                ssrc: identity.ssrc.id,
                key_log: media.key_log.clone(),
                remote: Arc::clone(&remote),
                secured: Arc::clone(&secured),
                events,
            },
            audio_to_send,
        );
        let connection = Self {
            role,
            identity,
            credentials,
            remote,
            commands,
            audio,
            secured,
            actor: tokio::spawn(actor.run(commanded)).abort_handle(),
        };
        (connection, listener)
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
            session_id: self.identity.session_id,
            credentials: self.credentials.clone(),
            fingerprint: self.identity.certificate.fingerprint(),
            setup,
            mid,
            payload_type,
            ssrc: Some(self.identity.ssrc.clone()),
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
fn random_ice_chars(generator: &mut ChaCha12Rng, length: usize) -> String {
    const ICE_CHARS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..length)
        .map(|_| char::from(ICE_CHARS[usize::from(generator.random::<u8>() & 63)]))
        .collect()
}
