//! A scenario as the world runs it: every name resolved, every default filled in, every value
//! within what the world can honour.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ringtrue::audio::track::OpusTrack;
pub use ringtrue::candidates::CandidateType;
use serde::Deserialize;

use crate::net::firewall::Passage;
use crate::net::link::LinkConfig;
use crate::net::nat::{Filtering, Mapping};

/// One question to the client: a topology, a call script and what should come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The file's name without directory and `.toml`.
    pub name: String,
    /// The file, as it was given.
    pub path: PathBuf,
    /// What the scenario asks, in one line.
    pub about: String,
    /// The networks by name. A network on which there is no peer is allowed.
    pub networks: BTreeMap<String, Network>,
    /// The peers by name: at least two, each on one of `networks`.
    pub peers: BTreeMap<String, Peer>,
    /// What the peers play, by file: an entry for each [`Peer::plays`].
    pub tracks: BTreeMap<PathBuf, OpusTrack>,
    /// The signaling, STUN and TURN servers.
    pub servers: Servers,
    /// What the peers do: steps at a moment first and by time, then those after an event. Every
    /// run has a call, and a hang-up unless it is killed.
    pub script: Vec<ScriptStep>,
    /// What should come of it.
    pub expect: Expectation,
    /// How long audio is to be kept after it is connected, where the loader wrote the hang-up
    /// (`script` has it as [`Trigger::AfterAudio`]); `None` where the file's script hangs up
    /// itself.
    pub talk: Option<Duration>,
}

/// Hosts behind one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// How the gateway translates addresses.
    pub nat: Nat,
    /// What the gateway does with UDP.
    pub udp: Passage,
    /// Between each host and the gateway, each way.
    pub lan: LinkConfig,
    /// Between the gateway and the core of the internet, each way.
    pub uplink: LinkConfig,
}

/// How a gateway translates addresses, by the names of RFC 3489 section 5, whose meanings RFC
/// 4787 gives more exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// The hosts have public addresses and the gateway only forwards.
    #[default]
    None,
    /// Endpoint-independent mapping and filtering.
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering.
    AddressRestricted,
    /// Endpoint-independent mapping, address-and-port-dependent filtering.
    PortRestricted,
    /// Address-and-port-dependent mapping and filtering.
    Symmetric,
    /// Any pair of behaviours of RFC 4787. Files have no word for it.
    #[serde(skip)]
    Behaving {
        /// When an outer port is reused.
        mapping: Mapping,
        /// Who is let in.
        filtering: Filtering,
    },
}

/// A link between a host and its gateway, where the file says nothing: 5 ms, no loss.
pub const LAN: LinkConfig = LinkConfig::lossless(Duration::from_millis(5));

/// A link between a gateway and the core, where the file says nothing: 15 ms, no loss.
pub const UPLINK: LinkConfig = LinkConfig::lossless(Duration::from_millis(15));

/// A host that runs the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The network it is on: a key of [`Scenario::networks`].
    pub network: String,
    /// The Ogg Opus file it plays into the call; it exists.
    pub plays: PathBuf,
}

/// The servers of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// Between the core and each server.
    pub delay: Duration,
    /// The TURN servers.
    pub turn: ServerState,
    /// The STUN servers.
    pub stun: ServerState,
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            turn: ServerState::Up,
            stun: ServerState::Up,
        }
    }
}

/// Whether a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerState {
    /// It does.
    #[default]
    Up,
    /// Its host is there and answers nothing.
    Down,
}

/// Something that a peer does once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptStep {
    /// When. A step whose event never happens is never taken.
    pub trigger: Trigger,
    /// Who: a key of [`Scenario::peers`].
    pub peer: String,
    /// What.
    pub action: Action,
}

/// When a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// This long after the run began.
    At(Duration),
    /// This long after a callee first rang.
    AfterRinging(Duration),
    /// This long after the call was first audio-connected on both sides.
    AfterAudio(Duration),
}

/// What a peer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Calls another peer.
    Call {
        /// Who is called: another key of [`Scenario::peers`].
        callee: String,
    },
    /// Answers the call that rings.
    Answer,
    /// Ends its call.
    HangUp,
    /// Its app dies without a word.
    Kill,
    /// Its app, killed before, starts again.
    Start,
}

/// What should come of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// Both sides hear each other.
    AudioConnected {
        /// The longest time from the answer to audio on both sides.
        within: Option<Duration>,
        /// The way the audio goes.
        path: Option<CallPath>,
        /// The local side of the selected pair, by peer.
        selected: BTreeMap<String, CandidateType>,
    },
    /// The run says that there is no way, and why.
    Unreachable {
        /// A text that the named cause contains.
        cause: Option<String>,
    },
}

impl Default for Expectation {
    fn default() -> Self {
        Self::AudioConnected {
            within: None,
            path: None,
            selected: BTreeMap::new(),
        }
    }
}

/// The way a call's audio goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallPath {
    /// From peer to peer.
    Direct,
    /// Through a TURN server on at least one side.
    Relayed,
}

impl CallPath {
    /// The path of a call whose peers selected these local candidates.
    #[must_use]
    pub fn of(selected: &BTreeMap<String, CandidateType>) -> Self {
        if selected
            .values()
            .any(|kind| *kind == CandidateType::Relayed)
        {
            Self::Relayed
        } else {
            Self::Direct
        }
    }
}

impl fmt::Display for CallPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Direct => "direct",
            Self::Relayed => "relayed",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { callee } => write!(formatter, "call {callee}"),
            Self::Answer => formatter.write_str("answer"),
            Self::HangUp => formatter.write_str("hang-up"),
            Self::Kill => formatter.write_str("kill"),
            Self::Start => formatter.write_str("start"),
        }
    }
}
