//! What the checkers remember of a trace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::Level;

use super::consent::ConsentWatch;
use super::datagram::Datagram;
use super::media_delay::MediaDelays;
use super::milestones::PacketMoments;
use super::monitors::Monitors;
use super::remains::Allocation;
use crate::fault::{FrameWay, MessageName};
use crate::net::flow::Protocol;
use crate::trace::digest::Chain;
use crate::trace::{
    AppEvent, Event, EventKind, FaultPhase, HostName, MessageEvent, Observer, PacketSummary,
    WireEvent, WirePhase,
};

/// One thing that a peer application did or saw, with its place in time.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Virtual time.
    pub at: Duration,
    /// The peer.
    pub peer: HostName,
    /// What.
    pub event: AppEvent,
}

/// One moment in the life of a fault, with its place in time.
#[derive(Debug, Clone)]
pub struct FaultFact {
    /// Virtual time.
    pub at: Duration,
    /// The fault's index in [`Scenario::faults`](crate::scenario::model::Scenario).
    pub fault: usize,
    /// What became of it.
    pub phase: FaultPhase,
}

/// An `ERROR` line in the log of a client or server, which no run may have.
#[derive(Debug, Clone)]
pub struct ErrorLine {
    /// Virtual time.
    pub at: Duration,
    /// Where.
    pub host: HostName,
    /// The line.
    pub text: String,
}

/// Everything that the checkers need of a run.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What the peer applications did and saw, in order of recording, but for the audio.
    pub app: Vec<Fact>,
    /// When each peer heard a packet of the other side's tone: fifty times a second.
    pub heard: BTreeMap<HostName, Vec<Duration>>,
    /// The log lines that no run may have.
    pub errors: Vec<ErrorLine>,
    /// What became of the scenario's faults, in order of recording.
    pub faults: Vec<FaultFact>,
    /// What the scenario's perturbations did to signaling messages, in order of recording.
    pub perturbed: Vec<(Duration, MessageEvent)>,
    /// When a segment arrived whose TCP connection had been stuck for 3 s at least.
    pub unstuck: Vec<Duration>,
    /// The sequence numbers of those that have not arrived yet, which no NAT changes.
    pub stuck: BTreeSet<u32>,
    /// When each peer first sent each of its signaling messages, by kind and in order.
    pub sent: BTreeMap<HostName, BTreeMap<MessageName, Vec<Duration>>>,
    /// How many signaling messages of each kind each peer first sent and was first handed: kinds as
    /// [`CallMessage::kind`](ringtrue::signaling::message::CallMessage::kind) names them.
    pub messages: BTreeMap<HostName, MessageCounts>,
    /// What showed on the wires of each peer's signaling connections, in order of recording.
    pub wires: BTreeMap<HostName, Vec<WireFact>>,
    /// How many live sockets each device had at the signaling server, from each change on.
    pub sockets: BTreeMap<String, Vec<(Duration, u64)>>,
    /// When each host first sent or got what only packets show, in the latest call.
    pub packets: BTreeMap<HostName, PacketMoments>,
    /// The allocations at the TURN servers, in order of their making.
    pub allocations: Vec<Allocation>,
    /// What each host has sent without consent.
    pub consents: BTreeMap<HostName, ConsentWatch>,
    /// What was against the rules that hold in every run.
    pub monitors: Monitors,
    /// How long media took.
    pub media_delays: MediaDelays,
    /// When the latest event of the run was.
    pub last: Duration,
}

/// How many signaling messages a peer sent and was handed, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// What it sent; repetitions do not count.
    pub sent: BTreeMap<String, u32>,
    /// What its signaling client handed up.
    pub received: BTreeMap<String, u32>,
}

/// One thing that showed on the wire of a signaling connection, with its place in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireFact {
    /// Virtual time.
    pub at: Duration,
    /// What.
    pub event: WireEvent,
}

impl Facts {
    /// How many signaling messages of a kind a peer has sent; repetitions do not count.
    #[must_use]
    pub fn messages_sent(&self, peer: &str, message: MessageName) -> u32 {
        u32::try_from(self.sent_at(peer, message).len()).unwrap_or(u32::MAX)
    }

    /// When a peer sent its `number`-th message of a kind, counted from 1; `None` where it has not.
    #[must_use]
    pub fn message_sent_at(
        &self,
        peer: &str,
        message: MessageName,
        number: u32,
    ) -> Option<Duration> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.sent_at(peer, message).get(index).copied()
    }

    /// When each whole frame of a peer's signaling connections left or reached it.
    #[must_use]
    pub fn frames(&self, peer: &str, which: FrameWay) -> Vec<Duration> {
        let wires = self.wires.get(peer).into_iter().flatten();
        let is_frame = |phase| matches!(phase, WirePhase::Frame { way, .. } if way == which);
        wires
            .filter(|fact| is_frame(fact.event.phase))
            .map(|fact| fact.at)
            .collect()
    }

    /// When a callee first rang.
    #[must_use]
    pub fn first_ringing(&self) -> Option<Duration> {
        let mut facts = self.app.iter();
        facts
            .find(|fact| matches!(fact.event, AppEvent::Incoming { .. }))
            .map(|fact| fact.at)
    }

    /// When the later of the two sides of a call first heard the other.
    #[must_use]
    pub fn audio_on_both_sides(&self) -> Option<Duration> {
        let mut first: BTreeMap<&str, Duration> = BTreeMap::new();
        for fact in &self.app {
            if fact.event == AppEvent::AudioConnected {
                first.entry(&fact.peer).or_insert(fact.at);
            }
        }
        (first.len() >= 2).then(|| first.into_values().max())?
    }

    /// The latest allocation with this address.
    fn allocation(&mut self, relayed: SocketAddr) -> Option<&mut Allocation> {
        let mut allocations = self.allocations.iter_mut();
        allocations.rfind(|allocation| allocation.relayed == relayed)
    }

    fn note_sent(&mut self, event: &Event, packet: &PacketSummary) {
        let host = || event.host.clone();
        let moments = self.packets.entry(host()).or_default();
        moments.note_sent(event.at, packet);
        let consent = self.consents.entry(host()).or_default();
        consent.note_sent(event.at, packet);
    }

    fn note_delivered(&mut self, event: &Event, packet: &PacketSummary) {
        let host = || event.host.clone();
        if packet.protocol == Protocol::Tcp && self.stuck.remove(&packet.tcp.sequence) {
            self.unstuck.push(event.at);
        }
        let moments = self.packets.entry(host()).or_default();
        moments.note_delivered(event.at, packet);
        let consent = self.consents.entry(host()).or_default();
        consent.note_delivered(event.at, packet);
        if let Datagram::Stun(message) = Datagram::read(&packet.payload)
            && let Some(relayed) = message.relayed()
            && let Some(allocation) = self.allocation(relayed)
        {
            allocation.owner.get_or_insert_with(host);
        }
    }

    fn note_allocation(&mut self, at: Duration, change: AllocationChange) {
        match change {
            AllocationChange::Made(relayed) => self.allocations.push(Allocation {
                relayed,
                made: at,
                ended: None,
                owner: None,
            }),
            AllocationChange::Ended(relayed) => {
                if let Some(allocation) = self.allocation(relayed) {
                    allocation.ended = Some(at);
                }
            }
        }
    }

    fn sent_at(&self, peer: &str, message: MessageName) -> &[Duration] {
        let sent = self.sent.get(peer).and_then(|sent| sent.get(&message));
        sent.map_or(&[], Vec::as_slice)
    }
}

/// The least timeout of TCP is 200 ms and doubles, so that before this attempt 3 s have passed.
const STUCK_ATTEMPT: u32 = 4;

/// Gathers [`Facts`] from a trace. Clones share what they gather.
#[derive(Debug, Clone, Default)]
pub struct FactCollector(Arc<Mutex<Facts>>);

impl FactCollector {
    /// Looks at what was gathered so far.
    pub fn with<R>(&self, look: impl FnOnce(&Facts) -> R) -> R {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for FactCollector {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        facts.last = facts.last.max(event.at);
        facts.monitors.note(event);
        facts.media_delays.note(event);
        match &event.kind {
            EventKind::App(AppEvent::Heard) => facts
                .heard
                .entry(event.host.clone())
                .or_default()
                .push(event.at),
            EventKind::App(app) => {
                if matches!(app, AppEvent::Calling { .. }) {
                    facts.packets.clear();
                }
                facts.app.push(Fact {
                    at: event.at,
                    peer: event.host.clone(),
                    event: app.clone(),
                });
            }
            EventKind::PacketSent(packet) => facts.note_sent(event, packet),
            EventKind::PacketDelivered(packet) => facts.note_delivered(event, packet),
            EventKind::Retransmission { packet, attempt } if *attempt >= STUCK_ATTEMPT => {
                facts.stuck.insert(packet.tcp.sequence);
            }
            EventKind::Log { level, text, .. } if *level == Level::ERROR => {
                facts.errors.push(ErrorLine {
                    at: event.at,
                    host: event.host.clone(),
                    text: text.clone(),
                });
            }
            EventKind::Log {
                level,
                target,
                text,
            } if *level == Level::DEBUG => {
                let host = &event.host;
                if let Some(change) = allocation_change(target, text) {
                    facts.note_allocation(event.at, change);
                } else if let Some(kind) = message_kind(target, text, "sent") {
                    let counts = facts.messages.entry(host.clone()).or_default();
                    *counts.sent.entry(kind.to_owned()).or_default() += 1;
                    if let Some(message) = message_name(kind) {
                        let by_kind = facts.sent.entry(host.clone()).or_default();
                        by_kind.entry(message).or_default().push(event.at);
                    }
                } else if let Some(kind) = message_kind(target, text, "received") {
                    let counts = facts.messages.entry(host.clone()).or_default();
                    *counts.received.entry(kind.to_owned()).or_default() += 1;
                }
            }
            EventKind::Log {
                level,
                target,
                text,
            } if *level == Level::INFO => {
                if let Some((device, count)) = live_sockets(target, text) {
                    let counts = facts.sockets.entry(device).or_default();
                    counts.push((event.at, count));
                }
            }
            EventKind::Wire(wire) => {
                facts
                    .wires
                    .entry(event.host.clone())
                    .or_default()
                    .push(WireFact {
                        at: event.at,
                        event: *wire,
                    });
            }
            EventKind::Message(message) => facts.perturbed.push((event.at, message.clone())),
            EventKind::Fault(fault) => facts.faults.push(FaultFact {
                at: event.at,
                fault: fault.fault,
                phase: fault.phase.clone(),
            }),
            _ => {}
        }
    }
}

/// The kind of the message that a log line of the client says was sent or received. The lines are the
/// only signs of it outside the client: on the wire it is inside a WebSocket frame, and may be there
/// twice.
pub(crate) fn message_kind<'a>(target: &str, text: &'a str, way: &str) -> Option<&'a str> {
    let is_of_a_client =
        target.starts_with("ringtrue::signaling") || target == "ringtrue_sim::endpoint::logbook";
    let line = is_of_a_client.then(|| text.strip_prefix("signaling message "))??;
    let fields = line.strip_prefix(way)?.strip_prefix(" kind=")?;
    fields.split(' ').next()
}

/// The kinds that a fault can wait for.
fn message_name(kind: &str) -> Option<MessageName> {
    match kind {
        "offer" => Some(MessageName::Offer),
        "answer" => Some(MessageName::Answer),
        "candidate" => Some(MessageName::Candidate),
        _ => None,
    }
}

/// What became of an allocation, by its relayed address.
#[derive(Debug, Clone, Copy)]
enum AllocationChange {
    Made(SocketAddr),
    Ended(SocketAddr),
}

/// What a log line of a TURN server says of an allocation.
fn allocation_change(target: &str, text: &str) -> Option<AllocationChange> {
    let line = target
        .starts_with("ringtrue_sim::server::turn")
        .then(|| text.strip_prefix("allocation "))??;
    let (change, address) = line.split_once(" relayed=")?;
    let address = address.parse().ok()?;
    match change {
        "made" => Some(AllocationChange::Made(address)),
        "ended" => Some(AllocationChange::Ended(address)),
        _ => None,
    }
}

/// What a log line of the relay says of a device: which it is, and how many live sockets it has.
fn live_sockets(target: &str, text: &str) -> Option<(String, u64)> {
    if !target.starts_with("ringtrue::signaling::relay") {
        return None;
    }
    let fields = ["connected ", "disconnected "].iter().find_map(|change| {
        let line = text.strip_prefix("signaling client ")?;
        line.strip_prefix(change)
    })?;
    let field = |name: &str| {
        let mut fields = fields.split(' ').filter_map(|field| field.split_once('='));
        fields.find_map(|(key, value)| (key == name).then_some(value))
    };
    let device = format!("device {} of {}", field("device")?, field("user")?);
    Some((device, field("sockets")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ringtrue::net::TrafficClass;

    use super::*;
    use crate::trace::event::TcpSummary;

    #[test]
    fn the_relay_tells_how_many_sockets_a_device_has() {
        const RELAY: &str = "ringtrue::signaling::relay::hub";
        let said = |text| live_sockets(RELAY, text);
        let device = || "device 6f of alice".to_owned();
        assert_eq!(
            said("signaling client connected user=alice device=6f sockets=2 kept=0"),
            Some((device(), 2))
        );
        assert_eq!(
            said("signaling client disconnected user=alice device=6f sockets=0 reason=left"),
            Some((device(), 0))
        );
        assert_eq!(said("signaling client refused user=alice error=no"), None);
        let other = "signaling client connected user=alice device=6f sockets=2";
        assert_eq!(live_sockets("ringtrue_sim", other), None);
    }

    fn gathered(lines: &[(&'static str, &str)]) -> Facts {
        let mut collector = FactCollector::default();
        for (second, (target, text)) in (1..).zip(lines) {
            let event = Event {
                at: Duration::from_secs(second),
                host: "alice".into(),
                kind: EventKind::Log {
                    level: Level::DEBUG,
                    target,
                    text: (*text).to_owned(),
                },
            };
            collector.observe(0, &event, &Chain::default());
        }
        collector.with(Clone::clone)
    }

    #[test]
    fn messages_are_counted_by_sender_and_kind() {
        const CLIENT: &str = "ringtrue::signaling::mailbox::outgoing";
        let facts = gathered(&[
            (CLIENT, "signaling message sent kind=offer call=c1"),
            (CLIENT, "signaling message sent kind=candidate call=c1"),
            (
                CLIENT,
                "signaling message sent kind=end-of-candidates call=c1",
            ),
            (CLIENT, "signaling message sent kind=candidate call=c1"),
            (CLIENT, "repetition dropped from=bob id=7"),
            ("ringtrue_sim", "signaling message sent kind=offer call=c1"),
            (CLIENT, "signaling message received kind=ringing call=c1"),
        ]);
        let candidate = MessageName::Candidate;
        assert_eq!(facts.messages_sent("alice", MessageName::Offer), 1);
        assert_eq!(facts.messages_sent("alice", candidate), 2);
        assert_eq!(facts.messages_sent("bob", candidate), 0);
        let when = |number| facts.message_sent_at("alice", candidate, number);
        assert_eq!(when(2), Some(Duration::from_secs(4)));
        assert_eq!((when(0), when(3)), (None, None));
        let counts = &facts.messages["alice"];
        let kinds = |counts: &BTreeMap<String, u32>| {
            let kinds = counts.iter().map(|(kind, count)| (kind.clone(), *count));
            kinds.collect::<Vec<_>>()
        };
        assert_eq!(
            kinds(&counts.sent),
            [
                ("candidate".to_owned(), 2),
                ("end-of-candidates".to_owned(), 1),
                ("offer".to_owned(), 1)
            ]
        );
        assert_eq!(kinds(&counts.received), [("ringing".to_owned(), 1)]);
    }
    #[test]
    fn a_segment_that_arrives_after_many_attempts_was_stuck() {
        let segment = |sequence| PacketSummary {
            protocol: Protocol::Tcp,
            source: SocketAddr::from(([10, 0, 0, 1], 49152)),
            destination: SocketAddr::from(([192, 0, 2, 1], 80)),
            class: TrafficClass::default(),
            tcp: TcpSummary {
                sequence,
                ..TcpSummary::default()
            },
            payload: Bytes::new(),
        };
        let again = |sequence, attempt| EventKind::Retransmission {
            packet: segment(sequence),
            attempt,
        };
        let arrives = |sequence| EventKind::PacketDelivered(segment(sequence));
        let mut collector = FactCollector::default();
        let events = [
            again(7, 3),
            arrives(7),
            again(8, 4),
            arrives(9),
            arrives(8),
            arrives(8),
        ];
        for (second, kind) in (1..).zip(events) {
            let event = Event {
                at: Duration::from_secs(second),
                host: "alice".into(),
                kind,
            };
            collector.observe(0, &event, &Chain::default());
        }
        let unstuck = collector.with(|facts| facts.unstuck.clone());
        assert_eq!(unstuck, [Duration::from_secs(5)]);
    }
}
