//! The signaling messages of a run, and the packets that carried them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::columns::machine;
use super::journeys::Journey;
use crate::net::flow::Protocol;
use crate::trace::{Event, EventKind};
use crate::world::frames::{Edge, FrameReader};

/// One message that a client says it has sent or got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// The event of the line that says so.
    pub(crate) index: usize,
    pub(crate) at: Duration,
    pub(crate) host: &'a str,
    pub(crate) way: Way,
    /// What is said: `offer`.
    pub(crate) kind: &'a str,
    /// What else the line has: the call, the candidate.
    pub(crate) fields: &'a str,
    /// The journey of the packet that the end of the message was in. Where TLS hides it, of the first one
    /// that can have been it.
    pub(crate) journey: Option<usize>,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Sent,
    Received,
}

/// What is the same of a message in the log and on the wire: host, way, kind and candidate.
type Name = (String, Way, String, String);

/// All messages, in the order of the lines.
pub(crate) fn of<'a>(events: &'a [Event], journeys: &[Journey<'_>]) -> Vec<Message<'a>> {
    let mut messages: Vec<Message<'a>> = events
        .iter()
        .enumerate()
        .filter_map(|(index, event)| read_line(index, event))
        .collect();
    let (mut on_wire, carriers) = read_wires(journeys);
    for message in &mut messages {
        let name = (
            message.host.to_owned(),
            message.way,
            message.kind.to_owned(),
            candidate_of(message.fields).to_owned(),
        );
        let seen = on_wire.get_mut(&name).and_then(VecDeque::pop_front);
        message.journey = seen.or_else(|| {
            let carriers = carriers.get(&(message.host.to_owned(), message.way))?;
            match message.way {
                Way::Sent => carriers.iter().find(|(index, _)| *index > message.index),
                Way::Received => carriers.iter().rfind(|(index, _)| *index < message.index),
            }
            .map(|(_, journey)| *journey)
        });
    }
    messages
}

/// The kind and the fields of a line that tells of a message.
fn read_line(index: usize, event: &Event) -> Option<Message<'_>> {
    let EventKind::Log { target, text, .. } = &event.kind else {
        return None;
    };
    let is_of_a_client =
        target.starts_with("ringtrue::signaling") || *target == "ringtrue_sim::endpoint::logbook";
    let line = is_of_a_client.then(|| text.strip_prefix("signaling message "))??;
    let (way, fields) = match line.split_once(" kind=")? {
        ("sent", fields) => (Way::Sent, fields),
        ("received", fields) => (Way::Received, fields),
        _ => return None,
    };
    let (kind, fields) = fields.split_once(' ').unwrap_or((fields, ""));
    Some(Message {
        index,
        at: event.at,
        host: machine(&event.host),
        way,
        kind,
        fields,
        journey: None,
    })
}

/// The candidate that a line names; empty where it names none.
pub(crate) fn candidate_of(fields: &str) -> &str {
    fields
        .split_once("candidate=")
        .map_or("", |(_, candidate)| candidate)
}

/// The journeys with data in them that left or reached a host, with the event.
type Carriers = BTreeMap<(String, Way), Vec<(usize, usize)>>;

/// Reads the signaling connections of all hosts, as far as nothing hides what is in them.
fn read_wires(journeys: &[Journey<'_>]) -> (BTreeMap<Name, VecDeque<usize>>, Carriers) {
    let mut carriers = Carriers::new();
    for (number, journey) in journeys.iter().enumerate() {
        let is_carrier = journey.packet.protocol == Protocol::Tcp
            && journey.content.topic == super::content::Topic::Signaling;
        if !is_carrier {
            continue;
        }
        let mut note = |host: &str, way, index| {
            let host = machine(host).to_owned();
            let carried = carriers.entry((host, way)).or_default();
            carried.push((index, number));
        };
        if let Some(sent) = journey.sent.filter(|_| journey.attempt == 0) {
            note(sent.host, Way::Sent, sent.index);
        }
        if let Some(end) = journey.end.filter(|end| end.cause.is_none()) {
            note(end.hop.host, Way::Received, end.hop.index);
        }
    }
    let mut said: BTreeMap<Name, VecDeque<usize>> = BTreeMap::new();
    for ((host, way), carried) in &mut carriers {
        carried.sort_unstable();
        let mut streams: BTreeMap<(SocketAddr, SocketAddr), Stream> = BTreeMap::new();
        for (_, number) in carried.iter() {
            let journey = &journeys[*number];
            let hop = match way {
                Way::Sent => journey.sent,
                Way::Received => journey.end.map(|end| end.hop),
            };
            let hop = hop.unwrap_or_else(|| journey.first());
            let stream = streams.entry((hop.source, hop.destination)).or_default();
            for (kind, candidate) in stream.take(journey) {
                let name = (host.clone(), *way, kind, candidate);
                said.entry(name).or_default().push_back(*number);
            }
        }
        carried.retain(|(_, number)| !journeys[*number].packet.payload.is_empty());
    }
    (said, carriers)
}

/// One direction of a TCP connection.
#[derive(Debug, Default)]
struct Stream {
    next: Option<u32>,
    early: BTreeMap<u32, Bytes>,
    reader: FrameReader,
    frame: Vec<u8>,
}

impl Stream {
    /// Takes the next segment, and tells the messages that end in it.
    fn take(&mut self, journey: &Journey<'_>) -> Vec<(String, String)> {
        const SYN: u8 = 1;
        let (tcp, payload) = (journey.packet.tcp, &journey.packet.payload);
        if tcp.flags & SYN != 0 {
            *self = Self {
                next: Some(tcp.sequence.wrapping_add(1)),
                ..Self::default()
            };
            return Vec::new();
        }
        if !payload.is_empty() {
            self.early.insert(tcp.sequence, payload.clone());
        }
        let mut messages = Vec::new();
        while let Some(bytes) = self.next.and_then(|next| self.early.remove(&next)) {
            let length = u32::try_from(bytes.len()).unwrap_or_default();
            self.next = self.next.map(|next| next.wrapping_add(length));
            self.read(&bytes, &mut messages);
        }
        messages
    }

    fn read(&mut self, bytes: &[u8], messages: &mut Vec<(String, String)>) {
        let mut from = 0;
        for edge in self.reader.read(bytes) {
            match edge {
                Edge::Begin(at) => {
                    self.frame.clear();
                    from = at;
                }
                Edge::End(at) => {
                    self.frame.extend_from_slice(&bytes[from..at]);
                    from = at;
                    let is_request = self.frame.starts_with(b"GET ");
                    messages.extend(message_in(&self.frame));
                    // The answer that grants the upgrade goes the other way.
                    if is_request && contains(&self.frame, b"pgrade: websocket") {
                        self.reader.upgrade();
                    }
                }
                Edge::Upgrade(_) => {}
            }
        }
        self.frame.extend_from_slice(&bytes[from..]);
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes
        .windows(wanted.len())
        .any(|window| window.eq_ignore_ascii_case(wanted))
}

/// The kind and the candidate of the message in a frame: a WebSocket frame (RFC 6455 section 5.2) or an HTTP
/// message that has an event of Socket.IO in it.
fn message_in(frame: &[u8]) -> Option<(String, String)> {
    let text = match frame.first()? {
        0x80..=0x8f => unmasked(frame)?,
        _ => frame.to_vec(),
    };
    let begin = text.windows(2).position(|window| window == b"[\"")?;
    let mut values = serde_json::Deserializer::from_slice(&text[begin..]).into_iter::<Value>();
    let event = values.next()?.ok()?;
    let body = event.get(1)?.get("body")?;
    let candidate = body.get("candidate").and_then(Value::as_str);
    let kind = body.get("type")?.as_str()?;
    Some((kind.to_owned(), candidate.unwrap_or_default().to_owned()))
}

/// What is in a whole WebSocket frame.
fn unmasked(frame: &[u8]) -> Option<Vec<u8>> {
    const IS_MASKED: u8 = 0x80;
    let second = *frame.get(1)?;
    let head = match second & !IS_MASKED {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let rest = frame.get(head..)?;
    if second & IS_MASKED == 0 {
        return Some(rest.to_vec());
    }
    let (mask, masked) = rest.split_at_checked(4)?;
    let bytes = masked.iter().zip(mask.iter().cycle());
    Some(bytes.map(|(byte, mask)| byte ^ mask).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &[u8] =
        br#"42["call",{"from":"alice","body":{"type":"candidate","candidate":"candidate:1"}}]"#;

    #[test]
    fn a_message_is_found_in_the_frames_of_both_ways() {
        let found = Some(("candidate".to_owned(), "candidate:1".to_owned()));
        let length = u8::try_from(EVENT.len()).expect("a short event");
        let mut plain = vec![0x81, length];
        plain.extend(EVENT);
        assert_eq!(message_in(&plain), found);

        let mask = [1, 2, 3, 4];
        let mut masked = vec![0x81, 0x80 | length];
        masked.extend(mask);
        let bytes = EVENT.iter().zip(mask.iter().cycle());
        masked.extend(bytes.map(|(byte, mask)| byte ^ mask));
        assert_eq!(message_in(&masked), found);
    }

    #[test]
    fn what_holds_no_message_gives_none() {
        for frame in [
            &b""[..],
            b"\x81",
            b"\x81\x01",
            b"\x81\x013",
            b"42[\"call\",",
            b"[\"x\"]",
        ] {
            assert_eq!(message_in(frame), None, "{frame:?}");
        }
    }

    #[test]
    fn a_line_names_its_candidate_to_the_end() {
        let fields = "call=c1 ufrag=ab candidate=candidate:1 1 udp 9 192.0.2.1 1 typ host";
        let candidate = "candidate:1 1 udp 9 192.0.2.1 1 typ host";
        assert_eq!(candidate_of(fields), candidate);
        assert_eq!(candidate_of("call=c1 ufrag=ab"), "");
    }
}
