//! A scenario as the world runs it: every name resolved, every default filled in, every value
//! within what the world can honour.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringtrue::audio::track::OpusTrack;
pub use ringtrue::candidates::CandidateType;
use ringtrue::config::{ClientConfig, TransportKind, TransportPolicy};
use serde::Deserialize;

use crate::fault::{Fault, FaultKind};
use crate::net::firewall::FirewallConfig;
use crate::net::link::{LinkConfig, LinkPair};
use crate::net::nat::{NatConfig, NatPreset};
pub use crate::net::topology::Families;
use crate::perturbation::Perturbation;
use crate::report::{Failure, FailureCause};
use crate::seed::Seed;

/// One question to the client: a topology, a call script and what should come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The file's name without directory and `.toml`.
    pub name: String,
    /// The file, as it was given.
    pub path: PathBuf,
    /// What stands in the file; `None` where a program put the scenario together.
    pub text: Option<Arc<str>>,
    /// What the scenario asks, in one line.
    pub about: String,
    /// What happened to whom, where the scenario repeats something that did; several lines.
    pub story: Option<String>,
    /// Where that was reported.
    pub source: Option<String>,
    /// The failure that the scenario holds on to, where it does.
    pub fails: Option<Fails>,
    /// The networks by name. A network on which there is no peer is allowed.
    pub networks: BTreeMap<String, Network>,
    /// The peers by name: at least two, each on one of `networks`.
    pub peers: BTreeMap<String, Peer>,
    /// What the peers play, by file: an entry for each [`Peer::plays`].
    pub tracks: BTreeMap<PathBuf, OpusTrack>,
    /// The signaling, STUN and TURN servers.
    pub servers: Servers,
    /// Which candidates the clients use.
    pub policy: TransportPolicy,
    /// What the peers do: steps at a moment first and by time, then those after an event. Every
    /// run has a call, and a hang-up unless it is killed.
    pub script: Vec<ScriptStep>,
    /// What goes wrong: at a moment first and by time, then after an event. The world names a fault
    /// by its index.
    pub faults: Vec<Fault>,
    /// What happens to single signaling messages, in the order of the file. Of several that are for
    /// one message the first counts.
    pub perturbations: Vec<Perturbation>,
    /// What should come of it.
    pub expect: Expectation,
    /// How long audio is to be kept after it is connected, where the loader wrote the hang-up
    /// (`script` has it as [`Trigger::AfterAudio`]); `None` where the file's script hangs up
    /// itself.
    pub talk: Option<Duration>,
}

impl Scenario {
    /// The settings of every client: the ones that ship, but for what the file says.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::default();
        config.ice.policy = self.policy;
        if !self.perturbations.is_empty() {
            // Messages are perturbed in the frames of WebSockets. What went by polling would get past.
            config.signaling.transports = vec![TransportKind::WebSocket];
        }
        config
    }

    /// The peers that are devices of a user, in the order of their names.
    pub fn devices_of(&self, user: &str) -> impl Iterator<Item = &str> {
        let peers = self.peers.iter();
        let of_user = peers.filter(move |(_, peer)| peer.user == user);
        of_user.map(|(name, _)| name.as_str())
    }

    /// The gateways between a host of `network` and the core, from the inside out; empty for a network
    /// that there is not.
    #[must_use]
    pub fn way_out<'a>(&'a self, network: &str) -> Vec<(&'a str, &'a Network)> {
        let mut way = Vec::new();
        let mut next = self.networks.get_key_value(network);
        while let Some((name, network)) = next {
            way.push((name.as_str(), network));
            let behind = network.behind.as_ref();
            next = behind.and_then(|behind| self.networks.get_key_value(behind));
        }
        way
    }

    /// The networks that a peer is ever on, each once: first the one where it starts, then those that
    /// faults move it to. Empty for a peer that there is not.
    #[must_use]
    pub fn networks_of(&self, peer: &str) -> Vec<&str> {
        let start = self.peers.get(peer).map(|peer| peer.network.as_str());
        let moves = self.faults.iter().filter_map(|fault| match &fault.kind {
            FaultKind::NetworkSwitch { peer: who, to } if who == peer => Some(to.as_str()),
            _ => None,
        });
        let mut networks = Vec::new();
        for network in start.into_iter().chain(moves) {
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        networks
    }
}

/// A failure that a scenario was written for, so that it can be seen again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fails {
    /// The client that fails. That there is such a one is for whoever runs it to see.
    pub client: ClientName,
    /// The seed with which it fails.
    pub seed: Seed,
    /// What kind of failure it is.
    pub cause: FailureCause,
    /// A text that the failure's message contains.
    pub says: Option<String>,
}

impl Fails {
    /// Whether `failure` is the one that is meant.
    #[must_use]
    pub fn is(&self, failure: &Failure) -> bool {
        let says = self.says.as_deref().unwrap_or_default();
        failure.cause == self.cause && failure.message.contains(says)
    }
}

/// The name of a client, such as `naive`: lower-case letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientName(pub String);

impl ClientName {
    /// The client that ships.
    #[must_use]
    pub fn production() -> Self {
        Self("ringtrue".to_owned())
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Hosts behind one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The NAT of the gateway. Without one the hosts have public addresses and the gateway only
    /// forwards.
    pub nat: Option<NatBox>,
    /// What the gateway lets pass.
    pub firewall: FirewallConfig,
    /// The proxy that takes what the hosts send to the signaling port, where there is one. Never
    /// beside a `portal`.
    pub proxy: Option<ProxyKind>,
    /// The captive portal that holds the hosts at first, where there is one.
    pub portal: Option<Portal>,
    /// The network that the gateway's uplink leads into; `None` where it leads to the core of the
    /// internet. It is a key of [`Scenario::networks`] that has a NAT, so this is a layer of
    /// carrier-grade NAT. At most [`MOST_LAYERS`] lie between a host and the core.
    pub behind: Option<String>,
    /// The first address of the hosts' private IPv4 subnet, which is a /24; `None` where the world
    /// assigns one. Two networks can have the same.
    pub subnet: Option<Ipv4Addr>,
    /// The address families of its hosts.
    pub families: Families,
    /// What the gateway does with IPv6 packets from outside.
    pub ipv6_firewall: Ipv6Firewall,
    /// Between each host and the gateway: without a rate, and a delay of at least 1 ms.
    pub lan: LinkPair,
    /// Between the gateway and the core of the internet.
    pub uplink: LinkPair,
}

/// What a transparent HTTP proxy does to those who do not know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum ProxyKind {
    /// It passes requests and answers, long-polling among them, and forwards no upgrade, so that no
    /// WebSocket comes up.
    #[serde(rename = "breaks-websocket")]
    BreaksWebSocket,
}

/// A captive portal: names resolve to it, it answers HTTP itself, and nothing else passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Portal {
    /// When it lets everything pass, from the start of the run.
    pub until: Duration,
}

impl Network {
    /// Whether its gateway translates addresses.
    #[must_use]
    pub fn has_nat(&self) -> bool {
        self.nat.is_some()
    }
}

/// The most gateways between a host and the core.
pub const MOST_LAYERS: usize = 3;

/// What a gateway does with IPv6 packets from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipv6Firewall {
    /// It lets in what belongs to something sent from inside (RFC 6092).
    #[default]
    Stateful,
    /// It lets in everything.
    Open,
}

/// A NAT as it stands in a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatBox {
    /// How it behaves.
    pub config: NatConfig,
    /// How many external addresses it has: one or more.
    pub addresses: usize,
}

impl From<NatPreset> for NatBox {
    fn from(preset: NatPreset) -> Self {
        Self {
            config: preset.config(),
            addresses: preset.addresses(),
        }
    }
}

impl Default for NatBox {
    fn default() -> Self {
        Self {
            config: NatConfig::default(),
            addresses: 1,
        }
    }
}

/// A link between a host and its gateway, where the file says nothing: 5 ms, no loss.
pub const LAN: LinkPair = LinkPair::symmetric(LinkConfig::lossless(Duration::from_millis(5)));

/// A link between a gateway and the core, where the file says nothing: 15 ms, no loss.
pub const UPLINK: LinkPair = LinkPair::symmetric(LinkConfig::lossless(Duration::from_millis(15)));

/// A host that runs the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The network it is on: a key of [`Scenario::networks`].
    pub network: String,
    /// The Ogg Opus file it plays into the call; it exists.
    pub plays: PathBuf,
    /// What an app that is killed leaves to the one that is started after it.
    pub storage: StorageMode,
    /// Whose device it is: several peers of one user ring together. Most often the peer's own name,
    /// and never the name of a peer of somebody else.
    pub user: String,
}

/// Whether what an app stores outlives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageMode {
    /// It does: an app that is started again takes up its call.
    #[default]
    Kept,
    /// It does not: the app knows nothing of its call.
    Lost,
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
    /// The STUN and TURN servers that are down whatever the others are, by host name: dead entries in
    /// the client's list.
    pub dead: BTreeSet<String>,
    /// The TCP port of the signaling server; `None` for the one that the client is configured for.
    pub signaling_port: Option<u16>,
    /// What the signaling server shows to protect its connections by TLS; `None` where it does not.
    pub signaling_certificate: Option<CertificateKind>,
}

/// What is right or wrong with a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateKind {
    /// The authority that clients trust made it, for the name of the server.
    Valid,
    /// Another authority made it.
    UnknownAuthority,
    /// It is for another name.
    OtherName,
    /// It ended a day before the run.
    Expired,
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            turn: ServerState::Up,
            stun: ServerState::Up,
            dead: BTreeSet::new(),
            signaling_port: None,
            signaling_certificate: None,
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
    /// This long after a call of which [`Expectation::Settled`] is expected has come to that, or has
    /// had its time for it.
    AfterSettling(Duration),
}

/// What a peer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Calls another peer.
    Call {
        /// Who is called: the user of another peer.
        callee: String,
    },
    /// Its app gets a push message that tells of a call.
    Push {
        /// Who calls: another key of [`Scenario::peers`].
        caller: String,
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
        /// The longest time from the end of a fault, or from the fault where it has no end, until
        /// audio is back on both sides for good.
        back_within: Duration,
    },
    /// The run says that there is no way, and why.
    Unreachable {
        /// A text that the named cause contains.
        cause: Option<String>,
    },
    /// There is never audio both ways, whatever ends the call.
    NoAudio {
        /// A text that the named cause contains.
        cause: Option<String>,
    },
    /// There is audio both ways, and it is not kept.
    AudioLost {
        /// A text that the named cause contains.
        cause: Option<String>,
    },
    /// Whatever goes wrong on the way: once all of it is over, the call comes to what its networks
    /// then allow. Until that moment nothing is asked of audio, and of safety everything.
    Settled {
        /// The longest time from the last healing, or from the answer where that is later, until audio
        /// is there both ways.
        within: Duration,
        /// How long it has to stay from then on.
        kept_for: Duration,
    },
}

/// How soon a call has to settle, where the file says nothing.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// How long audio has to stay once a call has settled, where the file says nothing.
pub const KEPT_FOR: Duration = Duration::from_secs(5);

/// How soon audio is to be back after a fault, where the file says nothing.
pub const BACK_WITHIN: Duration = Duration::from_secs(5);

impl Default for Expectation {
    fn default() -> Self {
        Self::AudioConnected {
            within: None,
            path: None,
            selected: BTreeMap::new(),
            back_within: BACK_WITHIN,
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
            Self::Push { caller } => write!(formatter, "push of {caller}"),
            Self::Answer => formatter.write_str("answer"),
            Self::HangUp => formatter.write_str("hang-up"),
            Self::Kill => formatter.write_str("kill"),
            Self::Start => formatter.write_str("start"),
        }
    }
}
