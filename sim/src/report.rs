//! What came of a run: for people in [`text`], for programs as one JSON object, and all of it on disk as a
//! [`bundle`].

pub mod bundle;
pub mod difference;
pub mod failure;
pub mod html;
pub mod matrix;
pub mod text;
pub mod timeline;
pub mod traffic;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use ringtrue::candidates::CandidateType;

use self::traffic::Traffic;
use crate::check::milestones::Timings;
use crate::fuzz::seed_string::SeedString;

/// What came of one run. Serialized, it has exactly the keys that programs are promised.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed; with the scenario it is all that the run depends on.
    pub seed: u64,
    /// Whether everything came as the scenario expects: `failures` is empty.
    pub passed: bool,
    /// What came of the call.
    pub outcome: Outcome,
    /// When each peer was audio-connected, in virtual milliseconds from the start of the run.
    pub audio_connected_ms: BTreeMap<String, u64>,
    /// The local side of each peer's selected pair.
    pub selected: BTreeMap<String, CandidateType>,
    /// The run's digest in lower-case hexadecimal digits.
    pub digest: String,
    /// How long the run was in virtual time, in milliseconds.
    pub virtual_ms: u64,
    /// How long the run took in real time, in milliseconds. The only field that differs when a run
    /// is repeated.
    pub wall_ms: u64,
    /// What did not come as expected.
    pub failures: Vec<Failure>,

    /// The scenario's file, for the replay command.
    #[serde(skip)]
    pub file: PathBuf,
    /// The client that the peers ran, as `ringtrue run --client` calls it. `None` for the one that ships,
    /// and for one that the command does not know.
    #[serde(skip)]
    pub client: Option<String>,
    /// When the callee answered, in virtual time from the start of the run.
    #[serde(skip)]
    pub answered_at: Option<Duration>,
    /// The cause that the run names where the outcome is not audio.
    #[serde(skip)]
    pub cause: Option<String>,
    /// How many whole frames each peer sent and received on its signaling connections: the places
    /// at which a fault can cut them.
    #[serde(skip)]
    pub signaling_frames: BTreeMap<String, FrameCount>,
    /// How the other side sounded to each peer while both were audio-connected: the mean opinion of the
    /// E-model from 1 (bad) to 4.5, with two decimal places. Empty where they never were.
    #[serde(skip)]
    pub mean_opinion: BTreeMap<String, f64>,
    /// Where the time from the answer to audio went.
    #[serde(skip)]
    pub timings: Timings,
    /// What happened, in its order.
    #[serde(skip)]
    pub timeline: Vec<TimelineEntry>,
    /// The lines of the clients' [key log](ringtrue::key_log), each once.
    #[serde(skip)]
    pub key_log: Vec<String>,
    /// What the timeline is too short for.
    #[serde(skip)]
    pub traffic: Traffic,
    /// Where everything that is known of the run was written to. `None` where it was not.
    #[serde(skip)]
    pub bundle: Option<PathBuf>,
}

impl Report {
    /// The time from the answer until both sides were audio-connected; `None` where there was no
    /// answer or no audio.
    #[must_use]
    pub fn time_to_audio(&self) -> Option<Duration> {
        if self.outcome != Outcome::AudioConnected {
            return None;
        }
        let last = self.audio_connected_ms.values().max()?;
        Duration::from_millis(*last).checked_sub(self.answered_at?)
    }

    /// The command that repeats the run.
    #[must_use]
    pub fn replay_command(&self) -> String {
        let file = self.file.display().to_string();
        let is_plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
        let file = if file.chars().all(is_plain) {
            file
        } else {
            format!("'{}'", file.replace('\'', r"'\''"))
        };
        let command = if SeedString::is_meant(&file) {
            "replay"
        } else {
            "run"
        };
        let client = self.client.as_ref();
        let client = client.map(|client| format!(" --client {client}"));
        let client = client.unwrap_or_default();
        let program = program();
        format!("{program} {command} {file} --seed {}{client}", self.seed)
    }
}

/// How whoever reads a command starts this program: in a checkout with cargo, as the present one was, and
/// elsewhere by its name.
#[must_use]
pub fn program() -> &'static str {
    // Cargo tells what it runs which package that is of.
    let package = std::env::var_os("CARGO_PKG_NAME");
    if package.is_some_and(|package| package == env!("CARGO_PKG_NAME")) {
        "cargo run --"
    } else {
        "ringtrue"
    }
}

/// The frames of a peer's signaling connections, as [`frames`](crate::world::frames) tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameCount {
    /// How many it sent.
    pub sent: usize,
    /// How many it received.
    pub received: usize,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Both sides heard each other, to the end of the call but for the outages that faults are
    /// allowed.
    AudioConnected,
    /// The run said that there is no way, and why.
    Unreachable,
    /// Neither: audio that was lost again (both sides are in `audio_connected_ms` then), no audio and
    /// no cause, a panic, or a call that never was.
    Failed,
}

/// One thing that did not come as expected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Failure {
    /// What kind of thing.
    pub cause: FailureCause,
    /// What was expected and what happened.
    pub message: String,
}

impl Failure {
    /// A failure of this kind; `message` says what was expected and what happened.
    #[must_use]
    pub fn new(cause: FailureCause, message: String) -> Self {
        Self { cause, message }
    }
}

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCause {
    /// The call came out in another way than expected.
    WrongOutcome,
    /// The call is unreachable, as expected, for another reason.
    WrongCause,
    /// The audio is relayed and should be direct, or the other way round.
    WrongPath,
    /// A peer selected a candidate of another kind.
    WrongCandidate,
    /// Audio came later than the scenario allows.
    TooLate,
    /// Audio was connected and not kept: in some 2 s less than 90 % was matched.
    AudioNotKept,
    /// One side hears the other and is not heard.
    OneWayAudio,
    /// A step of the script could not be taken.
    ScriptNotFinished,
    /// The world stood still, or ran past its end.
    Stalled,
    /// A task of the run panicked.
    Panic,
    /// The run made a thread of the operating system, whose order no seed governs.
    ForeignThread,
    /// Something of a killed app went on.
    LeftRunning,
    /// The run could not be started.
    NotStarted,
    /// The client or a server logged an error.
    ErrorLogged,
    /// A fault never began, or changed nothing; or a perturbation met no message.
    FaultWithoutEffect,
    /// A client had more connections to the signaling server than one session uses.
    SocketsLeft,
    /// An allocation at a TURN server outlived its call.
    AllocationsLeft,
    /// A client sent media to who had answered no check for half a minute.
    NoConsent,
    /// A client handed a signaling message up that was not sent, or twice.
    MessageDoubled,
    /// A client added a candidate twice, or sent one twice or after the end of candidates.
    CandidateRepeated,
    /// A client did not send a candidate that it had found, or did not add one that it was sent.
    CandidateLost,
    /// A call went from one state to another in a way that there is not.
    IllegalState,
    /// A client tried to reach the signaling server again too soon, or too late.
    RetryMistimed,
    /// What is for the two who talk reached a peer that is not in their call.
    MediaToOthers,
    /// A client that may use relays only showed an address of its own.
    AddressLeaked,
    /// A check or candidate of ICE is not as RFC 8445 wants it.
    IceRuleBroken,
}

impl fmt::Display for FailureCause {
    /// The name that it has in JSON and in scenario files.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// One line of what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// Virtual time from the start of the run.
    pub at: Duration,
    /// The host it happened on.
    pub host: String,
    /// What happened, in one line.
    pub text: String,
    /// Whether it is a packet, which is shown only when asked for.
    pub packet: PacketOrEvent,
    /// What it is about.
    pub topic: Topic,
}

/// What a line of the timeline is about. The account of a failure chooses by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Topic {
    /// A fault of the scenario begins, shows, or ends.
    Fault,
    /// Something is done to a signaling message.
    Perturbation,
    /// A signaling message that was held goes its way, or another copy of it does.
    Release,
    /// A peer calls: what was before is about another call.
    CallBegins,
    /// A call goes on to another state.
    Call,
    /// A call is over, an application was killed, or a client refused what it was asked.
    CallEnds,
    /// An application starts, or its signaling is up or down.
    Signaling,
    /// A path was selected.
    Path,
    /// Audio is there, is missing, or is looked for.
    Audio,
    /// A warning or an error in the log of a client or server.
    Warning,
    /// Anything else.
    #[default]
    Other,
}

/// What a line of the timeline is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum PacketOrEvent {
    /// A packet was sent, delivered or dropped.
    Packet,
    /// Anything else.
    #[default]
    Event,
}
