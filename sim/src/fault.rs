//! What can go wrong, by name: the same names in scenario files, in timelines and in reports.

use std::time::Duration;

use crate::net::link::LinkPair;

/// Something that goes wrong at some moment of a run, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// When it begins.
    pub begin: Begin,
    /// How long it lasts; `None` where it happens at once, or stays. [`FaultKind::needs_an_end`]
    /// tells which kinds have one.
    pub lasts: Option<Duration>,
}

/// When a fault begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// This long after the run began.
    At(Duration),
    /// This long after a callee first rang.
    AfterRinging(Duration),
    /// This long after the call was first audio-connected on both sides.
    AfterAudio(Duration),
    /// When a peer has sent so many signaling messages of a kind.
    OnMessage {
        /// The peer that sends: a key of [`Scenario::peers`](crate::scenario::model::Scenario).
        peer: String,
        /// What it sends.
        message: MessageName,
        /// Which one, counted from 1.
        number: u32,
    },
}

/// The signaling messages that a fault can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageName {
    /// An offer.
    Offer,
    /// An answer.
    Answer,
    /// A candidate.
    Candidate,
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

/// How a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breakage {
    /// Both ends are told that the other has closed.
    Fin,
    /// Both ends are told that the connection is gone.
    Rst,
    /// Nobody is told: whatever is sent vanishes.
    Silence,
}

/// How a server ends its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goodbye {
    /// It closes each.
    Polite,
    /// It says nothing, as in a power failure. Who goes on sending is answered with a reset once it
    /// is back.
    Cut,
}

/// The servers that can be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerName {
    /// The signaling server.
    Signaling,
    /// All TURN servers.
    Turn,
    /// All STUN servers.
    Stun,
}

/// How TURN servers refuse their service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TurnOutage {
    /// Their hosts answer nothing.
    Down,
    /// They know no user: 401 whatever comes (RFC 8489 section 9.2.4).
    WrongCredentials,
    /// They have no allocation left for anybody: 486 (RFC 8656 section 7.2).
    Quota,
}

/// A gateway's external address after it restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressAfter {
    /// The one that it had.
    Same,
    /// Another one.
    New,
}

/// What becomes of the sockets of an app that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketsMeanwhile {
    /// They stay open and fill up.
    Kept,
    /// The operating system closes them; the app finds out when it goes on.
    Killed,
}

/// A direction through a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the network to the core.
    Up,
    /// From the core to the network.
    Down,
    /// Both.
    Both,
}

/// The links of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkName {
    /// Between each host and the gateway.
    Lan,
    /// Between the gateway and what it is connected to.
    Uplink,
}
