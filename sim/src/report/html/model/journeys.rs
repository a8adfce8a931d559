//! The way of each packet: where it was sent, and what became of it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::columns::{ColumnKind, Columns};
use super::content::{Content, Stream};
use crate::check::datagram::Datagram;
use crate::net::flow::Protocol;
use crate::trace::event::TcpSummary;
use crate::trace::{Event, EventKind, PacketSummary};

/// One packet from its sender to where it ended. It is known again by its payload and, under TCP, by its
/// sequence number, since gateways rewrite its addresses.
#[derive(Debug, Clone)]
pub(crate) struct Journey<'a> {
    /// The packet, as it was first seen.
    pub(crate) packet: &'a PacketSummary,
    /// What it is about.
    pub(crate) content: Content,
    /// Who sent it, and the event; `None` where nobody in the world did, as with a reset of a gateway, or
    /// where it never left its host.
    pub(crate) sent: Option<Hop<'a>>,
    /// What became of it; `None` where the run ended before.
    pub(crate) end: Option<End<'a>>,
    /// How often a segment was sent before.
    pub(crate) attempt: u32,
    /// The journey by which a relay sent on what is in it.
    pub(crate) continues: Option<usize>,
}

/// A packet at one place of its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<'a> {
    pub(crate) index: usize,
    pub(crate) at: Duration,
    pub(crate) host: &'a str,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// The end of a journey.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) hop: Hop<'a>,
    /// Why it reached no host; `None` where it did.
    pub(crate) cause: Option<&'a str>,
}

/// What a packet is known again by.
type Key<'a> = (Protocol, u8, u32, u32, &'a Bytes);

impl<'a> Journey<'a> {
    /// When it began, as far as anybody saw it.
    pub(crate) fn at(&self) -> Duration {
        self.first().at
    }

    /// Its first event.
    pub(crate) fn index(&self) -> usize {
        self.first().index
    }

    /// Why it reached no host.
    pub(crate) fn cause(&self) -> Option<&'a str> {
        self.end?.cause
    }

    /// How long it was on its way to a host.
    pub(crate) fn travel(&self) -> Option<Duration> {
        let end = self.end.filter(|end| end.cause.is_none())?;
        end.hop.at.checked_sub(self.sent?.at)
    }

    pub(crate) fn first(&self) -> Hop<'a> {
        let end = self.end.map(|end| end.hop);
        self.sent
            .or(end)
            .expect("a journey was seen at one place at least")
    }
}

/// The journeys of all packets, in the order in which they began.
pub(crate) fn of<'a>(events: &'a [Event], columns: &Columns) -> Vec<Journey<'a>> {
    let mut journeys: Vec<Journey<'a>> = Vec::new();
    let mut open: BTreeMap<Key<'a>, VecDeque<usize>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        let hop = |packet: &PacketSummary| Hop {
            index,
            at: event.at,
            host: &event.host,
            source: packet.source,
            destination: packet.destination,
        };
        let (packet, attempt, end) = match &event.kind {
            EventKind::PacketSent(packet) => (packet, 0, None),
            EventKind::Retransmission { packet, attempt } => (packet, *attempt, None),
            EventKind::PacketDelivered(packet) => (packet, 0, Some(None)),
            EventKind::PacketDropped { packet, cause } => (packet, 0, Some(Some(cause.as_str()))),
            _ => continue,
        };
        let Some(cause) = end else {
            let key = key_of(packet);
            open.entry(key).or_default().push_back(journeys.len());
            let stream = stream_of(packet, columns);
            journeys.push(Journey {
                packet,
                content: Content::of(packet, stream),
                sent: Some(hop(packet)),
                end: None,
                attempt,
                continues: None,
            });
            continue;
        };
        let end = End {
            hop: hop(packet),
            cause,
        };
        let waiting = open.get_mut(&key_of(packet));
        let begun = waiting.and_then(|waiting| {
            let is_it = |journey: &usize| may_be(journeys[*journey].packet, packet);
            let place = waiting.iter().position(is_it)?;
            waiting.remove(place)
        });
        if let Some(begun) = begun {
            journeys[begun].end = Some(end);
        } else {
            let stream = stream_of(packet, columns);
            journeys.push(Journey {
                packet,
                content: Content::of(packet, stream),
                sent: None,
                end: Some(end),
                attempt: 0,
                continues: None,
            });
        }
    }
    link_relayed(&mut journeys, columns);
    journeys
}

/// Links what a relay was sent to what it sent on.
fn link_relayed(journeys: &mut [Journey<'_>], columns: &Columns) {
    let mut waiting: BTreeMap<(&str, &[u8]), VecDeque<usize>> = BTreeMap::new();
    let mut links = Vec::new();
    let mut order: Vec<(Duration, u8, usize)> = Vec::new();
    for (number, journey) in journeys.iter().enumerate() {
        let at_server = |host| columns.kind_of(host) == Some(ColumnKind::Server);
        if let Some(end) = journey.end.filter(|end| end.cause.is_none())
            && at_server(end.hop.host)
        {
            order.push((end.hop.at, 0, number));
        }
        if let Some(sent) = journey.sent
            && at_server(sent.host)
        {
            order.push((sent.at, 1, number));
        }
    }
    order.sort_unstable();
    for (_, way, number) in order {
        let journey = &journeys[number];
        if journey.packet.protocol == Protocol::Tcp && journey.packet.payload.is_empty() {
            continue;
        }
        let content = Datagram::content(&journey.packet.payload);
        if content.is_empty() {
            continue;
        }
        match (way, journey.end, journey.sent) {
            (0, Some(end), _) => waiting
                .entry((end.hop.host, content))
                .or_default()
                .push_back(number),
            (_, _, Some(sent)) => {
                let before = waiting.get_mut(&(sent.host, content));
                links.extend(before.and_then(VecDeque::pop_front).map(|it| (it, number)));
            }
            _ => {}
        }
    }
    for (before, after) in links {
        journeys[before].continues = Some(after);
    }
}

fn key_of(packet: &PacketSummary) -> Key<'_> {
    let TcpSummary {
        flags,
        sequence,
        acknowledgment,
    } = packet.tcp;
    (
        packet.protocol,
        flags,
        sequence,
        acknowledgment,
        &packet.payload,
    )
}

/// Whether two sights can be of one packet. Segments without data are told apart by the end that no gateway
/// rewrites.
fn may_be(sent: &PacketSummary, seen: &PacketSummary) -> bool {
    sent.protocol == Protocol::Udp
        || sent.source == seen.source
        || sent.destination == seen.destination
}

/// Whose connection a segment belongs to.
fn stream_of(packet: &PacketSummary, columns: &Columns) -> Stream {
    if columns.is_turn(packet.source.ip()) || columns.is_turn(packet.destination.ip()) {
        Stream::Turn
    } else {
        Stream::Signaling
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{columns, datagram, event};
    use super::*;

    const INSIDE: &str = "192.168.1.2:5000";
    const OUTSIDE: &str = "203.0.113.1:40000";
    const SERVER: &str = "192.0.2.2:3478";

    /// What became of each packet: when it was sent, and when and why it ended.
    #[track_caller]
    fn check(events: &[Event], expected: &[(u64, Option<u64>, Option<&str>)]) {
        let journeys = of(events, &columns(events));
        let milliseconds = |at: Duration| u64::try_from(at.as_millis()).expect("a short run");
        let seen: Vec<_> = journeys
            .iter()
            .map(|journey| {
                let end = journey.end.map(|end| milliseconds(end.hop.at));
                (milliseconds(journey.at()), end, journey.cause())
            })
            .collect();
        assert_eq!(seen, expected);
    }

    fn sent(at: u64, payload: &[u8]) -> Event {
        let packet = datagram(INSIDE, SERVER, payload);
        event(at, "alice", EventKind::PacketSent(packet))
    }

    fn delivered(at: u64, payload: &[u8]) -> Event {
        let packet = datagram(OUTSIDE, SERVER, payload);
        event(at, "stun.l.google.com", EventKind::PacketDelivered(packet))
    }

    #[test]
    fn a_packet_is_known_again_behind_a_gateway() {
        check(
            &[sent(1, b"one"), delivered(26, b"one")],
            &[(1, Some(26), None)],
        );
    }

    #[test]
    fn equal_packets_end_in_the_order_in_which_they_were_sent() {
        check(
            &[sent(1, b"one"), sent(2, b"one"), delivered(26, b"one")],
            &[(1, Some(26), None), (2, None, None)],
        );
    }

    #[test]
    fn a_drop_has_its_cause() {
        let packet = datagram(OUTSIDE, SERVER, b"one");
        let cause = "nat: filtered".to_owned();
        let drop = EventKind::PacketDropped { packet, cause };
        check(
            &[sent(1, b"one"), event(9, "gateway home-b", drop)],
            &[(1, Some(9), Some("nat: filtered"))],
        );
    }

    #[test]
    fn what_nobody_sent_begins_where_it_is_seen() {
        check(&[delivered(26, b"one")], &[(26, Some(26), None)]);
    }

    #[test]
    fn a_segment_without_data_is_told_from_that_of_another_connection() {
        let segment = |source: &str, destination: &str| PacketSummary {
            protocol: Protocol::Tcp,
            ..datagram(source, destination, b"")
        };
        let alice = segment(INSIDE, "192.0.2.1:80");
        let other = segment("203.0.113.2:40000", "192.0.2.9:80");
        check(
            &[
                event(1, "alice", EventKind::PacketSent(alice)),
                event(
                    9,
                    "signaling.ringtrue.example",
                    EventKind::PacketDelivered(other),
                ),
            ],
            &[(1, None, None), (9, Some(9), None)],
        );
    }
}
