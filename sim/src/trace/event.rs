//! The kinds of event that a run is made of.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringtrue::candidates::CandidateType;
use ringtrue::client::EndReason;
use ringtrue::net::TrafficClass;
use serde::{Serialize, Serializer};

use crate::fault::FrameWay;
use crate::net::flow::Protocol;
use crate::perturbation::BadCandidate;
use crate::scenario::value::format_duration;

/// The name of a host, gateway or link, as the scenario writes it. Cheap to clone.
pub type HostName = Arc<str>;

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub struct Event {
    /// Virtual time since the start of the run.
    pub at: Duration,
    /// Where it happened.
    pub host: HostName,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen in a run.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// A host handed a packet to its network.
    PacketSent(PacketSummary),
    /// A packet reached its host's stack.
    PacketDelivered(PacketSummary),
    /// A packet reached no host.
    PacketDropped {
        /// The packet, with the addresses that it had where it was dropped.
        packet: PacketSummary,
        /// Why.
        cause: String,
    },
    /// A lost TCP segment will be sent again.
    Retransmission {
        /// The segment, as its host sent it.
        packet: PacketSummary,
        /// How often it was sent before.
        attempt: u32,
    },
    /// The runtime of a host woke up.
    Timer,
    /// Random bytes were drawn from the run's entropy.
    Entropy {
        /// How many draws.
        draws: u64,
        /// How many bytes in all.
        bytes: u64,
        /// A hash of what was drawn.
        hash: u64,
    },
    /// One sample of everything a run could leak through.
    Canary(Vec<(&'static str, u64)>),
    /// A log line of the client or of a server.
    Log {
        /// The line's level.
        level: tracing::Level,
        /// The module it comes from.
        target: &'static str,
        /// The line with its fields.
        text: String,
    },
    /// Something that a peer application did or saw.
    App(AppEvent),
    /// A fault of the scenario began, ended, or showed.
    Fault(FaultEvent),
    /// Something that shows on the wire of a peer's signaling connection.
    Wire(WireEvent),
    /// A perturbation of the scenario met a signaling message.
    Message(MessageEvent),
}

/// What a perturbation did to a message that the signaling server sent out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageEvent {
    /// Its index in [`Scenario::perturbations`](crate::scenario::model::Scenario).
    pub perturbation: usize,
    /// The user who sent the message.
    pub from: String,
    /// What was sent, as the message calls itself.
    pub kind: String,
    /// Which message of this kind and sender, counted from 1.
    pub number: u32,
    /// What became of it.
    pub phase: MessagePhase,
}

/// What became of a message on its way to one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessagePhase {
    /// This delivery of it was lost.
    Lost,
    /// It waits.
    Held {
        /// How long.
        lasting: Duration,
    },
    /// It goes its way, late or for another time.
    Released,
    /// This goes right before it.
    Accompanied {
        /// What.
        by: BadCandidate,
    },
}

/// Something that shows on the wire of a peer's signaling connection, seen where the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireEvent {
    /// Which TCP connection of the peer to the signaling server, counted from 1.
    pub connection: u64,
    /// What happened to it.
    pub phase: WirePhase,
}

/// What a client wants of a connection, by its last request. Under TLS nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A request of long-polling.
    Polling,
    /// A WebSocket with a session of its own.
    WebSocket,
    /// A WebSocket for the session that is there.
    Upgrade,
}

/// A moment in the life of a signaling connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WirePhase {
    /// The server's acceptance has reached the peer.
    Opened,
    /// The peer asks for something by it, for the first time or for something else than before.
    Asks(Purpose),
    /// It became a WebSocket.
    Upgraded,
    /// The peer has closed it, or was told that it is gone.
    Closed,
    /// A whole frame left or reached the peer.
    Frame {
        /// Which of the two.
        way: FrameWay,
        /// Which one, counted from 1 in each way over all connections of the peer.
        number: u64,
    },
}

/// What became of a fault of the scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultEvent {
    /// Its index in [`Scenario::faults`](crate::scenario::model::Scenario).
    pub fault: usize,
    /// Its kind and target, as [`FaultKind`](crate::fault::FaultKind) shows them.
    pub name: String,
    /// What became of it.
    pub phase: FaultPhase,
}

/// A moment in the life of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultPhase {
    /// It strikes.
    Begins,
    /// It is over.
    Ends,
    /// Something was dropped, cut or changed. One such event for each fault is enough: every packet
    /// that is dropped has an event of its own.
    Effect {
        /// What.
        what: String,
    },
}

/// What a checker may know of a peer application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum AppEvent {
    /// The application started.
    Started,
    /// The application was killed.
    Killed,
    /// Its signaling is up.
    SignalingConnected,
    /// Its signaling is down.
    SignalingLost {
        /// Why.
        reason: String,
    },
    /// It calls.
    Calling {
        /// Whom.
        callee: String,
    },
    /// The other side says that it rings.
    RemoteRinging,
    /// It rings.
    Incoming {
        /// Who calls.
        from: String,
    },
    /// A push message told it of a call.
    Pushed {
        /// Who calls.
        from: String,
    },
    /// Its call was answered, here or there.
    Answered,
    /// ICE selected a pair.
    PathSelected {
        /// The kind of this side's candidate.
        local: CandidateType,
        /// The kind of the other side's candidate.
        remote: CandidateType,
    },
    /// It was started again, and takes up the call that it was in.
    Resumed,
    /// Its client looks for another path, because no audio arrives.
    AudioInterrupted,
    /// Its client says that audio arrives, for the first time or again.
    AudioReported,
    /// Its call goes on under another id.
    Replaced,
    /// 25 of 30 consecutive packets of the other side's tone were matched by content.
    AudioConnected,
    /// One packet of the other side's tone was matched by content.
    Heard,
    /// Its call is over.
    Ended {
        /// Why.
        #[serde(serialize_with = "as_text")]
        reason: EndReason,
    },
    /// The script asked for something that the client refused.
    Refused {
        /// What was asked and what the client said.
        what: String,
    },
}

/// A packet, as far as a trace needs it.
#[derive(Debug, Clone)]
pub struct PacketSummary {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// The source address at this point of the way.
    pub source: SocketAddr,
    /// The destination address at this point of the way.
    pub destination: SocketAddr,
    /// How routers should treat it.
    pub class: TrafficClass,
    /// TCP's flags and sequence number; zero for UDP.
    pub tcp: TcpSummary,
    /// The payload.
    pub payload: Bytes,
}

/// The header fields of a TCP segment that a trace shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpSummary {
    /// `S`, `A`, `F`, `R` as bits 0 to 3.
    pub flags: u8,
    /// The sequence number.
    pub sequence: u32,
    /// The acknowledged sequence number.
    pub acknowledgment: u32,
}

impl PacketSummary {
    /// The protocol of a datagram. Those that share a media port are told apart by their first byte (RFC
    /// 7983 section 7).
    #[must_use]
    pub fn content(&self) -> &'static str {
        match self.payload.first() {
            Some(0..=3) => "STUN",
            Some(20..=63) => "DTLS",
            Some(64..=79) => "TURN channel data",
            Some(128..=191) => "SRTP",
            _ => "UDP",
        }
    }
}

impl EventKind {
    /// A short name of the kind: what `meta` prints where two runs differ.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PacketSent(_) => "packet-sent",
            Self::PacketDelivered(_) => "packet-delivered",
            Self::PacketDropped { .. } => "packet-dropped",
            Self::Retransmission { .. } => "retransmission",
            Self::Timer => "timer",
            Self::Entropy { .. } => "entropy",
            Self::Canary(_) => "canary",
            Self::Log { .. } => "log",
            Self::App(_) => "app",
            Self::Fault(_) => "fault",
            Self::Wire(_) => "wire",
            Self::Message(_) => "message",
        }
    }

    /// Whether a reader of the timeline wants to see it without asking for packets.
    #[must_use]
    pub fn is_milestone(&self) -> bool {
        match self {
            Self::App(event) => *event != AppEvent::Heard,
            Self::Log { level, .. } => *level <= tracing::Level::INFO,
            Self::Fault(_) | Self::Message(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PacketSent(packet) => write!(formatter, "→ {packet}"),
            Self::PacketDelivered(packet) => write!(formatter, "← {packet}"),
            Self::PacketDropped { packet, cause } => write!(formatter, "✗ {packet} ({cause})"),
            Self::Retransmission { packet, attempt } => {
                write!(formatter, "↻ {packet} (attempt {attempt})")
            }
            Self::Timer => formatter.write_str("timer"),
            Self::Entropy { draws, bytes, .. } => {
                write!(formatter, "{draws} draws of entropy, {bytes} bytes")
            }
            Self::Canary(samples) => write!(formatter, "canary: {} samples", samples.len()),
            Self::Log { level, text, .. } if *level <= tracing::Level::WARN => {
                write!(formatter, "{level} {text}")
            }
            Self::Log { text, .. } => formatter.write_str(text),
            Self::App(event) => event.fmt(formatter),
            Self::Fault(event) => event.fmt(formatter),
            Self::Wire(event) => event.fmt(formatter),
            Self::Message(event) => event.fmt(formatter),
        }
    }
}

impl fmt::Display for MessageEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from, kind, number, ..
        } = self;
        write!(formatter, "{from}'s {kind} {number} is ")?;
        match self.phase {
            MessagePhase::Lost => formatter.write_str("lost"),
            MessagePhase::Held { lasting } => {
                write!(formatter, "held for {}", format_duration(lasting))
            }
            MessagePhase::Released => formatter.write_str("released"),
            MessagePhase::Accompanied { by } => write!(formatter, "accompanied by an {by}"),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Polling => "long-polling",
            Self::WebSocket => "a WebSocket",
            Self::Upgrade => "an upgrade to WebSocket",
        })
    }
}

impl fmt::Display for WireEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.connection;
        match self.phase {
            WirePhase::Opened => write!(formatter, "signaling connection {connection} opened"),
            WirePhase::Asks(purpose) => {
                write!(
                    formatter,
                    "signaling connection {connection} is for {purpose}"
                )
            }
            WirePhase::Upgraded => {
                write!(
                    formatter,
                    "signaling connection {connection} is a WebSocket"
                )
            }
            WirePhase::Closed => write!(formatter, "signaling connection {connection} closed"),
            WirePhase::Frame { way, number } => {
                write!(
                    formatter,
                    "{way} frame {number} on signaling connection {connection}"
                )
            }
        }
    }
}

impl fmt::Display for FaultEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.phase {
            FaultPhase::Begins => write!(formatter, "fault: {name}"),
            FaultPhase::Ends => write!(formatter, "fault over: {name}"),
            FaultPhase::Effect { what } => write!(formatter, "effect of {name}: {what}"),
        }
    }
}

impl fmt::Display for AppEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => formatter.write_str("application started"),
            Self::Killed => formatter.write_str("application killed"),
            Self::SignalingConnected => formatter.write_str("signaling connected"),
            Self::SignalingLost { reason } => write!(formatter, "signaling lost: {reason}"),
            Self::Calling { callee } => write!(formatter, "calls {callee}"),
            Self::RemoteRinging => formatter.write_str("the other side rings"),
            Self::Incoming { from } => write!(formatter, "rings: {from} calls"),
            Self::Pushed { from } => write!(formatter, "told by a push message that {from} calls"),
            Self::Answered => formatter.write_str("call answered"),
            Self::PathSelected { local, remote } => {
                write!(formatter, "path selected: {local} to {remote}")
            }
            Self::Resumed => formatter.write_str("takes up its call"),
            Self::AudioInterrupted => formatter.write_str("audio interrupted"),
            Self::AudioReported => formatter.write_str("audio is up"),
            Self::Replaced => formatter.write_str("the call goes on under another id"),
            Self::AudioConnected => formatter.write_str("hears the other side's tone"),
            Self::Heard => formatter.write_str("audio packet matched"),
            Self::Ended { reason } => write!(formatter, "call over: {reason}"),
            Self::Refused { what } => write!(formatter, "refused: {what}"),
        }
    }
}

impl fmt::Display for PacketSummary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            source,
            destination,
            ..
        } = self;
        write!(formatter, "{protocol} {source} > {destination} ")?;
        match protocol {
            Protocol::Udp => formatter.write_str(self.content())?,
            Protocol::Tcp => write!(formatter, "{}", self.tcp)?,
        }
        write!(formatter, " {} B", self.payload.len())?;
        match self.class {
            TrafficClass::BestEffort => Ok(()),
            TrafficClass::ExpeditedForwarding => formatter.write_str(" EF"),
        }
    }
}

impl fmt::Display for TcpSummary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = ['S', 'A', 'F', 'R'];
        for (bit, letter) in letters.into_iter().enumerate() {
            if self.flags & (1 << bit) != 0 {
                write!(formatter, "{letter}")?;
            }
        }
        Ok(())
    }
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
