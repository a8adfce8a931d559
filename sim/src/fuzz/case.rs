//! A scenario that a strategy made: pure data in the form of the scenario file.
//!
//! What a case means is decided in one place, the loader of scenario files. So a case is written out as
//! a file and read back before it runs, and whatever fails is a file already.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::scenario::value::format_duration;
use crate::scenario::{InvalidScenario, Scenario};

/// A scenario as its file has it. The keys are those of `scenarios/README.md`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    /// What the scenario asks.
    pub about: String,
    /// The networks by name.
    #[serde(rename = "network")]
    pub networks: BTreeMap<String, NetworkCase>,
    /// The peers by name.
    #[serde(rename = "peer")]
    pub peers: BTreeMap<String, PeerCase>,
    /// The servers, where they are not all well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<ServersCase>,
    /// What the peers do.
    #[serde(rename = "script")]
    pub steps: Vec<StepCase>,
    /// What goes wrong.
    #[serde(rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultCase>,
    /// What happens to single messages.
    #[serde(rename = "message", skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessageCase>,
    /// What has to come of it.
    pub expect: ExpectCase,
}

/// A `[network.NAME]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct NetworkCase {
    /// The preset of its NAT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat: Option<&'static str>,
    /// What becomes of UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<&'static str>,
    /// The TCP ports that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_ports: Option<Vec<u16>>,
    /// The network that it is behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// The address families.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<&'static str>,
    /// The proxy before the signaling server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<&'static str>,
    /// The way to the core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<LinkCase>,
}

/// A link: a preset, or some of its settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LinkCase {
    /// By name.
    Preset(&'static str),
    /// By what it does.
    Settings {
        /// How long a packet takes.
        #[serde(skip_serializing_if = "Option::is_none")]
        delay: Option<Time>,
        /// What is lost, as a percentage.
        #[serde(skip_serializing_if = "Option::is_none")]
        loss: Option<String>,
    },
}

/// A `[peer.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerCase {
    /// The network where it starts.
    pub network: String,
}

/// `[servers]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServersCase {
    /// The dead entries of the client's list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dead: Vec<&'static str>,
    /// The state of all TURN servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<&'static str>,
}

/// A `[[script]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepCase {
    /// When.
    #[serde(flatten)]
    pub when: When,
    /// Who.
    pub peer: &'static str,
    /// What.
    #[serde(rename = "do")]
    pub action: &'static str,
    /// Who is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<&'static str>,
}

/// When something happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// So long after the run began.
    At(Time),
    /// So long after an event: `ringing + 2s`.
    After(String),
    /// At a message or a frame: `alice sends candidate 3`.
    On(String),
}

/// A `[[fault]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultCase {
    /// What goes wrong.
    pub kind: &'static str,
    /// When.
    #[serde(flatten)]
    pub when: When,
    /// For how long.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Time>,
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'static str>,
    /// Whose network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<&'static str>,
    /// The servers that stand still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<&'static str>,
    /// In which way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<&'static str>,
    /// The gateway's address afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<&'static str>,
    /// What becomes of an app's sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<&'static str>,
    /// Which packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// What a link becomes, or where a peer moves to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<DestinationCase>,
}

/// What `to` of a fault can be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DestinationCase {
    /// A network, by name.
    Network(&'static str),
    /// What a link becomes.
    Link(LinkCase),
}

/// A `[[message]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageCase {
    /// Who sends it.
    pub from: &'static str,
    /// Of which kind it is.
    pub kind: &'static str,
    /// Which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub which: Option<u32>,
    /// How late it is: a time or a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// How often it arrives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<u32>,
    /// How long after each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_delay: Option<Time>,
    /// How many deliveries are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<u32>,
    /// From when on messages are left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// What arrives right before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<&'static str>,
}

/// `[expect]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExpectCase {
    /// The outcome.
    pub outcome: &'static str,
}

/// A time, written as scenario files have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&format_duration(self.0))
    }
}

impl Case {
    /// The text of its file.
    ///
    /// # Panics
    ///
    /// Never: every case has a form in TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a case holds tables, texts and numbers only")
    }

    /// Reads it as the file at `path` would be read.
    ///
    /// # Errors
    ///
    /// Where the strategies made something that no scenario can be, which is a mistake of theirs.
    pub fn scenario(&self, path: &Path) -> Result<Scenario, InvalidScenario> {
        Scenario::parse(path, &self.to_toml())
    }
}
