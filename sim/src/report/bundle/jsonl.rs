//! `trace.jsonl`: every event of a run, one JSON object a line.
//!
//! Each has these keys, in this order:
//!
//! | key | what it says |
//! |---|---|
//! | `index` | the number of the event, which is that of the line; packets have it in the capture as well |
//! | `at_us` | the virtual time since the start of the run, in microseconds |
//! | `host` | where it happened: a host, `gateway NAME`, `core`, or a link: `link NAME up` or `down` |
//! | `kind` | what happened: [`EventKind::name`] |
//!
//! and after them those of its kind:
//!
//! | kind | keys |
//! |---|---|
//! | `packet-sent`, `packet-delivered` | `protocol` (`udp`, `tcp`), `source`, `destination`, `class` (`best-effort`, `expedited-forwarding`), `length` of the payload in bytes; of UDP `content` (`STUN`, `DTLS`, `TURN channel data`, `SRTP`, `UDP`); of TCP `flags` (letters of `SAFR`), `sequence`, `acknowledgment` |
//! | `packet-dropped` | the same and `cause` |
//! | `retransmission` | the same and `attempt`, from 1 |
//! | `timer` | none |
//! | `entropy` | `draws`, `bytes`, `hash` (16 hexadecimal digits) |
//! | `canary` | `samples`: an object of 16 hexadecimal digits each |
//! | `log` | `level`, `target`, `text` |
//! | `app` | `event`, and what belongs to it: `reason`, `callee`, `from`, `local` and `remote`, `what` |
//! | `fault` | `fault` (from 0, in the order of the scenario), `name`, `phase` (`begins`, `ends`, `effect`), `what` of an effect |
//! | `wire` | `connection` (from 1), `phase` (`opened`, `asks`, `upgraded`, `closed`, `frame`), `purpose` of what is asked (`polling`, `websocket`, `upgrade`), `way` (`sends`, `receives`) and `number` of a frame |
//! | `message` | `perturbation` (from 0), `from`, `message`, `number`, `phase` (`lost`, `held`, `released`, `accompanied`), `lasting_us` of a wait, `by` of what accompanies it |
//!
//! Keys are added, never renamed or given another meaning.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;

use ringtrue::net::TrafficClass;
use serde::Serialize;

use crate::net::flow::Protocol;
use crate::trace::{
    AppEvent, Event, EventKind, FaultEvent, FaultPhase, MessageEvent, MessagePhase, PacketSummary,
    Purpose, WireEvent, WirePhase,
};

/// Writes `events` to `out`.
///
/// # Errors
///
/// Those of `out`.
pub fn write(out: &mut impl Write, events: &[Event]) -> io::Result<()> {
    for (index, event) in (1..).zip(events) {
        let line = Line {
            index,
            at_us: event.at.as_micros(),
            host: &event.host,
            kind: event.kind.name(),
            fields: Fields::of(&event.kind),
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    at_us: u128,
    host: &'a str,
    kind: &'static str,
    #[serde(flatten)]
    fields: Fields<'a>,
}

/// What belongs to a kind of event.
#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    Packet(OfPacket<'a>),
    Dropped {
        #[serde(flatten)]
        packet: OfPacket<'a>,
        cause: &'a str,
    },
    Retransmission {
        #[serde(flatten)]
        packet: OfPacket<'a>,
        attempt: u32,
    },
    Timer {},
    Entropy {
        draws: u64,
        bytes: u64,
        hash: String,
    },
    Canary {
        samples: BTreeMap<&'static str, String>,
    },
    Log {
        level: &'static str,
        target: &'static str,
        text: &'a str,
    },
    App(&'a AppEvent),
    Fault(OfFault<'a>),
    Wire(OfWire),
    Message(OfMessage<'a>),
}

#[derive(Serialize)]
struct OfPacket<'a> {
    protocol: &'static str,
    source: SocketAddr,
    destination: SocketAddr,
    class: &'static str,
    length: usize,
    #[serde(flatten)]
    header: Header<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Header<'a> {
    Udp {
        content: &'a str,
    },
    Tcp {
        flags: String,
        sequence: u32,
        acknowledgment: u32,
    },
}

#[derive(Serialize)]
struct OfFault<'a> {
    fault: usize,
    name: &'a str,
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
}

#[derive(Serialize)]
struct OfWire {
    connection: u64,
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    way: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
}

#[derive(Serialize)]
struct OfMessage<'a> {
    perturbation: usize,
    from: &'a str,
    message: &'a str,
    number: u32,
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lasting_us: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn of(kind: &'a EventKind) -> Self {
        match kind {
            EventKind::PacketSent(packet) | EventKind::PacketDelivered(packet) => {
                Self::Packet(OfPacket::of(packet))
            }
            EventKind::PacketDropped { packet, cause } => Self::Dropped {
                packet: OfPacket::of(packet),
                cause,
            },
            EventKind::Retransmission { packet, attempt } => Self::Retransmission {
                packet: OfPacket::of(packet),
                attempt: *attempt,
            },
            EventKind::Timer => Self::Timer {},
            EventKind::Entropy { draws, bytes, hash } => Self::Entropy {
                draws: *draws,
                bytes: *bytes,
                hash: hex(*hash),
            },
            EventKind::Canary(samples) => Self::Canary {
                samples: samples
                    .iter()
                    .map(|(name, value)| (*name, hex(*value)))
                    .collect(),
            },
            EventKind::Log {
                level,
                target,
                text,
            } => Self::Log {
                level: level.as_str(),
                target,
                text,
            },
            EventKind::App(event) => Self::App(event),
            EventKind::Fault(event) => Self::Fault(OfFault::of(event)),
            EventKind::Wire(event) => Self::Wire(OfWire::of(*event)),
            EventKind::Message(event) => Self::Message(OfMessage::of(event)),
        }
    }
}

impl<'a> OfPacket<'a> {
    fn of(packet: &'a PacketSummary) -> Self {
        let (protocol, header) = match packet.protocol {
            Protocol::Udp => (
                "udp",
                Header::Udp {
                    content: packet.content(),
                },
            ),
            Protocol::Tcp => (
                "tcp",
                Header::Tcp {
                    flags: packet.tcp.to_string(),
                    sequence: packet.tcp.sequence,
                    acknowledgment: packet.tcp.acknowledgment,
                },
            ),
        };
        Self {
            protocol,
            source: packet.source,
            destination: packet.destination,
            class: match packet.class {
                TrafficClass::BestEffort => "best-effort",
                TrafficClass::ExpeditedForwarding => "expedited-forwarding",
            },
            length: packet.payload.len(),
            header,
        }
    }
}

impl<'a> OfFault<'a> {
    fn of(event: &'a FaultEvent) -> Self {
        let (phase, what) = match &event.phase {
            FaultPhase::Begins => ("begins", None),
            FaultPhase::Ends => ("ends", None),
            FaultPhase::Effect { what } => ("effect", Some(what.as_str())),
        };
        Self {
            fault: event.fault,
            name: &event.name,
            phase,
            what,
        }
    }
}

impl OfWire {
    fn of(event: WireEvent) -> Self {
        let mut wire = Self {
            connection: event.connection,
            phase: "opened",
            purpose: None,
            way: None,
            number: None,
        };
        match event.phase {
            WirePhase::Opened => {}
            WirePhase::Asks(purpose) => {
                wire.phase = "asks";
                wire.purpose = Some(match purpose {
                    Purpose::Polling => "polling",
                    Purpose::WebSocket => "websocket",
                    Purpose::Upgrade => "upgrade",
                });
            }
            WirePhase::Upgraded => wire.phase = "upgraded",
            WirePhase::Closed => wire.phase = "closed",
            WirePhase::Frame { way, number } => {
                wire.phase = "frame";
                wire.way = Some(way.to_string());
                wire.number = Some(number);
            }
        }
        wire
    }
}

impl<'a> OfMessage<'a> {
    fn of(event: &'a MessageEvent) -> Self {
        let (phase, lasting, by) = match event.phase {
            MessagePhase::Lost => ("lost", None, None),
            MessagePhase::Held { lasting } => ("held", Some(lasting), None),
            MessagePhase::Released => ("released", None, None),
            MessagePhase::Accompanied { by } => ("accompanied", None, Some(by.as_str())),
        };
        Self {
            perturbation: event.perturbation,
            from: &event.from,
            message: &event.kind,
            number: event.number,
            phase,
            lasting_us: lasting.map(|lasting| lasting.as_micros()),
            by,
        }
    }
}

/// Numbers of JSON are exact up to 2^53 only (RFC 8259 section 6).
fn hex(number: u64) -> String {
    format!("{number:016x}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringtrue::candidates::CandidateType;
    use ringtrue::client::EndReason;

    use super::*;
    use crate::fault::FrameWay;
    use crate::perturbation::BadCandidate;
    use crate::trace::event::TcpSummary;

    fn packet(protocol: Protocol) -> PacketSummary {
        PacketSummary {
            protocol,
            source: "192.168.1.2:1".parse().expect("an address"),
            destination: "[2001:db8::1]:2".parse().expect("an address"),
            class: TrafficClass::ExpeditedForwarding,
            tcp: TcpSummary {
                flags: 0b11,
                sequence: 5,
                acknowledgment: 6,
            },
            payload: vec![0, 1, 2].into(),
        }
    }

    fn message(phase: MessagePhase) -> EventKind {
        EventKind::Message(MessageEvent {
            perturbation: 0,
            from: "alice".to_owned(),
            kind: "candidate".to_owned(),
            number: 2,
            phase,
        })
    }

    /// An event of each kind.
    fn kinds() -> Vec<EventKind> {
        let lasting = Duration::from_millis(1500);
        let by = BadCandidate::MdnsCandidate;
        let fault = |phase| {
            EventKind::Fault(FaultEvent {
                fault: 3,
                name: "rebinding home".to_owned(),
                phase,
            })
        };
        let wire = |phase| {
            EventKind::Wire(WireEvent {
                connection: 1,
                phase,
            })
        };
        let what = "it changed".to_owned();
        let (way, number) = (FrameWay::Receives, 4);
        let cause = "loss".to_owned();
        vec![
            EventKind::PacketSent(packet(Protocol::Udp)),
            EventKind::PacketDropped {
                packet: packet(Protocol::Tcp),
                cause,
            },
            EventKind::Retransmission {
                packet: packet(Protocol::Tcp),
                attempt: 1,
            },
            EventKind::Timer,
            EventKind::Entropy {
                draws: 1,
                bytes: 8,
                hash: u64::MAX,
            },
            EventKind::Canary(vec![("ring", 255)]),
            EventKind::Log {
                level: tracing::Level::INFO,
                target: "ringtrue::call",
                text: "a \"quoted\" line".to_owned(),
            },
            EventKind::App(AppEvent::Started),
            EventKind::App(AppEvent::PathSelected {
                local: CandidateType::Host,
                remote: CandidateType::ServerReflexive,
            }),
            EventKind::App(AppEvent::Ended {
                reason: EndReason::HungUp,
            }),
            fault(FaultPhase::Begins),
            fault(FaultPhase::Effect { what }),
            wire(WirePhase::Opened),
            wire(WirePhase::Asks(Purpose::Upgrade)),
            wire(WirePhase::Frame { way, number }),
            message(MessagePhase::Held { lasting }),
            message(MessagePhase::Accompanied { by }),
        ]
    }

    #[test]
    fn every_kind_has_its_keys() {
        let events = kinds().into_iter().map(|kind| Event {
            at: Duration::from_nanos(1_002_003),
            host: "alice".into(),
            kind,
        });
        let events: Vec<_> = events.collect();
        let mut lines = Vec::new();
        write(&mut lines, &events).expect("memory takes everything");
        insta::assert_snapshot!(String::from_utf8(lines).expect("JSON is text"));
    }
}
