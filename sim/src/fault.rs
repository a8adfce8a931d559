//! What can go wrong, by name: the same names in scenario files, in timelines and in reports.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::net::link::LinkPair;

mod begin;

pub use begin::{Begin, FramePoint, FrameSide, FrameWay, MessageName};

/// Something that goes wrong at some moment of a run, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// When it begins.
    pub begin: Begin,
    /// How long it lasts; `None` where it happens at once, or stays. [`FaultName::end`] tells which
    /// kinds have an end.
    pub lasts: Option<Duration>,
    /// The line of the scenario's file that it stands on, counted from 1.
    pub line: Option<usize>,
}

/// What goes wrong. Peers, networks and servers are named as in the scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// The signaling connection of a peer breaks.
    SocketDrop {
        /// Whose.
        peer: String,
        /// How it shows at both ends.
        how: Breakage,
    },
    /// The signaling server goes down and comes back with nothing remembered.
    SignalingRestart {
        /// How its connections end.
        how: Goodbye,
    },
    /// A server stands still: it accepts what comes and answers nothing until the end.
    ServerPause {
        /// Which.
        server: ServerName,
    },
    /// No name can be looked up.
    NameFailure {
        /// By whom.
        peer: String,
    },
    /// TURN servers serve nobody.
    TurnOut {
        /// In which way.
        how: TurnOutage,
    },
    /// A gateway restarts: its mappings are gone.
    NatReboot {
        /// Whose gateway.
        network: String,
        /// Whether its external address is another one afterwards.
        address: AddressAfter,
    },
    /// A gateway forgets its mappings and goes on.
    MappingFlush {
        /// Whose gateway.
        network: String,
    },
    /// A gateway gives every mapping another external port.
    Rebinding {
        /// Whose gateway.
        network: String,
    },
    /// A peer moves to another network: interface and address change, sockets of the old interface
    /// are dead.
    NetworkSwitch {
        /// Who.
        peer: String,
        /// Where to.
        to: String,
    },
    /// A peer has no interface until the end; then the old one is back.
    FlightMode {
        /// Who.
        peer: String,
    },
    /// A peer's app stands still: its timers are frozen until the end.
    AppSuspend {
        /// Whose.
        peer: String,
        /// What becomes of its sockets.
        sockets: SocketsMeanwhile,
    },
    /// A peer's app dies without a word, and is started again at the end where there is one.
    AppKill {
        /// Whose.
        peer: String,
    },
    /// Packets between a network and the core vanish.
    Blackhole {
        /// Whose.
        network: String,
        /// Which of them.
        direction: Direction,
    },
    /// A link behaves differently, until the end where there is one.
    LinkChange {
        /// Whose.
        network: String,
        /// Which of its links.
        link: LinkName,
        /// What the link is like then.
        to: Box<LinkPair>,
    },
}

/// The kinds of faults, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultName {
    /// [`FaultKind::SocketDrop`].
    SocketDrop,
    /// [`FaultKind::SignalingRestart`].
    SignalingRestart,
    /// [`FaultKind::ServerPause`].
    ServerPause,
    /// [`FaultKind::NameFailure`].
    NameFailure,
    /// [`FaultKind::TurnOut`].
    TurnOut,
    /// [`FaultKind::NatReboot`].
    NatReboot,
    /// [`FaultKind::MappingFlush`].
    MappingFlush,
    /// [`FaultKind::Rebinding`].
    Rebinding,
    /// [`FaultKind::NetworkSwitch`].
    NetworkSwitch,
    /// [`FaultKind::FlightMode`].
    FlightMode,
    /// [`FaultKind::AppSuspend`].
    AppSuspend,
    /// [`FaultKind::AppKill`].
    AppKill,
    /// [`FaultKind::Blackhole`].
    Blackhole,
    /// [`FaultKind::LinkChange`].
    LinkChange,
}

/// Whether faults of a kind have an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndRule {
    /// Without an end nothing could come after them.
    Required,
    /// They end, or stay as they are.
    Optional,
    /// They happen at a moment.
    Senseless,
}

/// What a fault is about: two faults of one kind on the same target cannot last at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultTarget<'a> {
    /// A peer, by name.
    Peer(&'a str),
    /// A network, by name.
    Network(&'a str),
    /// A link of a network.
    Link(&'a str, LinkName),
    /// A kind of server.
    Server(ServerName),
}

/// How a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breakage {
    /// Both ends are told that the other has closed.
    Fin,
    /// Both ends are told that the connection is gone.
    Rst,
    /// Nobody is told: whatever is sent vanishes.
    Silence,
}

/// How a server ends its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goodbye {
    /// It closes each.
    Polite,
    /// It says nothing, as in a power failure. Who goes on sending is answered with a reset once it
    /// is back.
    Cut,
}

/// The servers that can be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerName {
    /// The signaling server.
    Signaling,
    /// All TURN servers.
    Turn,
    /// All STUN servers.
    Stun,
}

/// How TURN servers refuse their service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnOutage {
    /// Their hosts answer nothing.
    Down,
    /// They know no user: 401 whatever comes (RFC 8489 section 9.2.4).
    WrongCredentials,
    /// They have no allocation left for anybody: 486 (RFC 8656 section 7.2).
    Quota,
}

/// A gateway's external address after it restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressAfter {
    /// The one that it had.
    Same,
    /// Another one.
    New,
}

/// What becomes of the sockets of an app that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketsMeanwhile {
    /// They stay open and fill up.
    Kept,
    /// The operating system closes them; the app finds out when it goes on.
    Killed,
}

/// A direction through a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the network to the core.
    Up,
    /// From the core to the network.
    Down,
    /// Both.
    Both,
}

/// The links of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkName {
    /// Between each host and the gateway.
    Lan,
    /// Between the gateway and what it is connected to.
    Uplink,
}

impl Fault {
    /// Until when the fault lasts, where it began at `begun`: `None` where it stays for ever.
    #[must_use]
    pub fn ends_at(&self, begun: Duration) -> Option<Duration> {
        self.lasts.map(|lasts| begun + lasts)
    }
}

impl FaultKind {
    /// The name of the kind.
    #[must_use]
    pub fn name(&self) -> FaultName {
        match self {
            Self::SocketDrop { .. } => FaultName::SocketDrop,
            Self::SignalingRestart { .. } => FaultName::SignalingRestart,
            Self::ServerPause { .. } => FaultName::ServerPause,
            Self::NameFailure { .. } => FaultName::NameFailure,
            Self::TurnOut { .. } => FaultName::TurnOut,
            Self::NatReboot { .. } => FaultName::NatReboot,
            Self::MappingFlush { .. } => FaultName::MappingFlush,
            Self::Rebinding { .. } => FaultName::Rebinding,
            Self::NetworkSwitch { .. } => FaultName::NetworkSwitch,
            Self::FlightMode { .. } => FaultName::FlightMode,
            Self::AppSuspend { .. } => FaultName::AppSuspend,
            Self::AppKill { .. } => FaultName::AppKill,
            Self::Blackhole { .. } => FaultName::Blackhole,
            Self::LinkChange { .. } => FaultName::LinkChange,
        }
    }

    /// Whether a fault of this kind must say when it ends.
    #[must_use]
    pub fn needs_an_end(&self) -> bool {
        self.name().end() == EndRule::Required
    }

    /// What it is about.
    #[must_use]
    pub fn target(&self) -> FaultTarget<'_> {
        match self {
            Self::SocketDrop { peer, .. }
            | Self::NameFailure { peer }
            | Self::NetworkSwitch { peer, .. }
            | Self::FlightMode { peer }
            | Self::AppSuspend { peer, .. }
            | Self::AppKill { peer } => FaultTarget::Peer(peer),
            Self::NatReboot { network, .. }
            | Self::MappingFlush { network }
            | Self::Rebinding { network }
            | Self::Blackhole { network, .. } => FaultTarget::Network(network),
            Self::LinkChange { network, link, .. } => FaultTarget::Link(network, *link),
            Self::SignalingRestart { .. } => FaultTarget::Server(ServerName::Signaling),
            Self::ServerPause { server } => FaultTarget::Server(*server),
            Self::TurnOut { .. } => FaultTarget::Server(ServerName::Turn),
        }
    }

    /// Whether audio may stop for it. Signaling carries no audio, and an allocation that there is
    /// stays where only new ones are refused.
    #[must_use]
    pub fn can_interrupt_audio(&self) -> bool {
        match self {
            Self::SocketDrop { .. } | Self::SignalingRestart { .. } | Self::NameFailure { .. } => {
                false
            }
            Self::ServerPause { server } => *server == ServerName::Turn,
            Self::TurnOut { how } => *how != TurnOutage::Quota,
            Self::NatReboot { .. }
            | Self::MappingFlush { .. }
            | Self::Rebinding { .. }
            | Self::NetworkSwitch { .. }
            | Self::FlightMode { .. }
            | Self::AppSuspend { .. }
            | Self::AppKill { .. }
            | Self::Blackhole { .. }
            | Self::LinkChange { .. } => true,
        }
    }

    /// What a trace shows where the fault has an effect: something dropped, cut or changed.
    #[must_use]
    pub fn effect(&self) -> &'static str {
        match self {
            Self::SocketDrop { .. } => "the peer's signaling connection is cut",
            Self::SignalingRestart { .. } => "the server's connections are cut",
            Self::ServerPause { .. } => "something that reaches the server is not answered",
            Self::NameFailure { .. } => "a look-up of the peer fails",
            Self::TurnOut { .. } => "a packet to a TURN server is dropped or refused",
            Self::NatReboot { .. } | Self::MappingFlush { .. } => {
                "a mapping of the gateway is gone"
            }
            Self::Rebinding { .. } => "a mapping of the gateway has another port",
            Self::NetworkSwitch { .. } => "the peer has another address",
            Self::FlightMode { .. } => "the peer's interface is gone",
            Self::AppSuspend { .. } => "the peer's timers stand still",
            Self::AppKill { .. } => "the peer's running app is gone",
            Self::Blackhole { .. } => "a packet of the network is dropped",
            Self::LinkChange { .. } => "the link has other settings, and a packet passes it",
        }
    }
}

impl FaultName {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 14] = [
        Self::SocketDrop,
        Self::SignalingRestart,
        Self::ServerPause,
        Self::NameFailure,
        Self::TurnOut,
        Self::NatReboot,
        Self::MappingFlush,
        Self::Rebinding,
        Self::NetworkSwitch,
        Self::FlightMode,
        Self::AppSuspend,
        Self::AppKill,
        Self::Blackhole,
        Self::LinkChange,
    ];

    /// As scenarios write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SocketDrop => "socket-drop",
            Self::SignalingRestart => "signaling-restart",
            Self::ServerPause => "server-pause",
            Self::NameFailure => "name-failure",
            Self::TurnOut => "turn-out",
            Self::NatReboot => "nat-reboot",
            Self::MappingFlush => "mapping-flush",
            Self::Rebinding => "rebinding",
            Self::NetworkSwitch => "network-switch",
            Self::FlightMode => "flight-mode",
            Self::AppSuspend => "app-suspend",
            Self::AppKill => "app-kill",
            Self::Blackhole => "blackhole",
            Self::LinkChange => "link-change",
        }
    }

    /// Whether faults of this kind have an end.
    #[must_use]
    pub fn end(self) -> EndRule {
        match self {
            Self::ServerPause
            | Self::NameFailure
            | Self::FlightMode
            | Self::AppSuspend
            | Self::Blackhole => EndRule::Required,
            Self::SignalingRestart | Self::TurnOut | Self::AppKill | Self::LinkChange => {
                EndRule::Optional
            }
            Self::SocketDrop
            | Self::NatReboot
            | Self::MappingFlush
            | Self::Rebinding
            | Self::NetworkSwitch => EndRule::Senseless,
        }
    }
}

impl fmt::Display for FaultName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for FaultKind {
    /// Kind, target, and in parentheses how: `socket-drop alice (rst)`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::SocketDrop { peer, how } => write!(formatter, "{name} {peer} ({how})"),
            Self::SignalingRestart { how } => write!(formatter, "{name} ({how})"),
            Self::ServerPause { server } => write!(formatter, "{name} {server}"),
            Self::TurnOut { how } => write!(formatter, "{name} ({how})"),
            Self::NatReboot { network, address } => {
                write!(formatter, "{name} {network} ({address} address)")
            }
            Self::MappingFlush { network } | Self::Rebinding { network } => {
                write!(formatter, "{name} {network}")
            }
            Self::NetworkSwitch { peer, to } => write!(formatter, "{name} {peer} (to {to})"),
            Self::NameFailure { peer } | Self::FlightMode { peer } | Self::AppKill { peer } => {
                write!(formatter, "{name} {peer}")
            }
            Self::AppSuspend { peer, sockets } => {
                write!(formatter, "{name} {peer} (sockets {sockets})")
            }
            Self::Blackhole { network, direction } => {
                write!(formatter, "{name} {network} ({direction})")
            }
            Self::LinkChange { network, link, .. } => {
                write!(formatter, "{name} {network} ({link})")
            }
        }
    }
}

/// Lets names be shown as scenarios write them.
macro_rules! display_names {
    ($($kind:ident { $($variant:ident => $name:literal),* })*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self { $(Self::$variant => $name),* })
            }
        }
    )*};
}

display_names! {
    MessageName { Offer => "offer", Answer => "answer", Candidate => "candidate" }
    FrameSide { Before => "before", After => "after" }
    FrameWay { Sends => "sends", Receives => "receives" }
    Breakage { Fin => "fin", Rst => "rst", Silence => "silence" }
    Goodbye { Polite => "polite", Cut => "cut" }
    ServerName { Signaling => "signaling", Turn => "turn", Stun => "stun" }
    TurnOutage { Down => "down", WrongCredentials => "wrong-credentials", Quota => "quota" }
    AddressAfter { Same => "same", New => "new" }
    SocketsMeanwhile { Kept => "kept", Killed => "killed" }
    Direction { Up => "up", Down => "down", Both => "both" }
    LinkName { Lan => "lan", Uplink => "uplink" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &FaultKind, shown: &str, end: EndRule) {
        assert_eq!(kind.to_string(), shown);
        assert_eq!(kind.name().end(), end);
        assert!(shown.starts_with(kind.name().as_str()));
    }

    #[test]
    fn a_fault_is_shown_by_kind_target_and_manner() {
        let peer = || "alice".to_owned();
        let network = || "home".to_owned();
        let how = Breakage::Rst;
        let drop = FaultKind::SocketDrop { peer: peer(), how };
        check(&drop, "socket-drop alice (rst)", EndRule::Senseless);
        let how = TurnOutage::WrongCredentials;
        let out = FaultKind::TurnOut { how };
        check(&out, "turn-out (wrong-credentials)", EndRule::Optional);
        let direction = Direction::Up;
        let hole = FaultKind::Blackhole {
            network: network(),
            direction,
        };
        check(&hole, "blackhole home (up)", EndRule::Required);
        assert!(hole.needs_an_end());
    }

    #[test]
    fn the_names_are_the_ones_that_scenarios_write() {
        use serde::de::value::{Error, StrDeserializer};
        for name in FaultName::ALL {
            let read = FaultName::deserialize(StrDeserializer::<Error>::new(name.as_str()));
            assert_eq!(read, Ok(name));
        }
    }
}
