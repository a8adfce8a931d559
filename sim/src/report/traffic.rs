//! What a timeline is too short for, counted: packets that were dropped, and signaling messages.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::Level;

use crate::check::facts::message_kind;
use crate::trace::{Event, EventKind, HostName, PacketSummary};

/// What became of the packets and the signaling messages of a run, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The packets that were dropped, by place and cause.
    pub drops: Vec<Drops>,
    /// Every signaling message that a client sent or was handed, in order of virtual time. Repetitions do
    /// not count.
    pub messages: Vec<PassedMessage>,
}

/// The packets that were dropped in one place for one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drops {
    /// Where.
    pub host: HostName,
    /// Why.
    pub cause: String,
    /// How many.
    pub count: u64,
    /// When the first one was.
    pub first: Duration,
    /// When the last one was.
    pub last: Duration,
    /// The first one, as a timeline shows it.
    pub packet: String,
}

/// A signaling message that a client sent or was handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedMessage {
    /// When.
    pub at: Duration,
    /// Whose client.
    pub host: HostName,
    /// Whether it sent the message or was handed it.
    pub way: MessageWay,
    /// What the message is, as
    /// [`CallMessage::kind`](ringtrue::signaling::message::CallMessage::kind) names it.
    pub kind: String,
}

/// Which way a message went, seen from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageWay {
    /// The client sent it.
    Sent,
    /// The client was handed it.
    Received,
}

impl MessageWay {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Sent, Self::Received];

    /// Its name, as log lines of the client write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// Counts the traffic of a run while it goes on.
#[derive(Debug, Clone, Default)]
pub struct TrafficCount {
    drops: BTreeMap<HostName, BTreeMap<String, Drops>>,
    messages: Vec<PassedMessage>,
}

impl TrafficCount {
    /// Whether an event is of any interest. Most are not, fifty packets a second and side among them.
    #[must_use]
    pub fn counts(kind: &EventKind) -> bool {
        matches!(
            kind,
            EventKind::PacketDropped { .. } | EventKind::Log { .. }
        )
    }

    /// Looks at one event of the run.
    pub fn note(&mut self, event: &Event) {
        match &event.kind {
            EventKind::PacketDropped { packet, cause } => self.note_drop(event, packet, cause),
            EventKind::Log {
                level,
                target,
                text,
            } if *level == Level::DEBUG => {
                let said = |way: MessageWay| {
                    let kind = message_kind(target, text, way.as_str())?;
                    Some((way, kind.to_owned()))
                };
                if let Some((way, kind)) = MessageWay::ALL.into_iter().find_map(said) {
                    self.messages.push(PassedMessage {
                        at: event.at,
                        host: event.host.clone(),
                        way,
                        kind,
                    });
                }
            }
            _ => {}
        }
    }

    /// What was counted. Drops are in order of their first packet.
    #[must_use]
    pub fn finish(self) -> Traffic {
        let by_cause = self.drops.into_values().flat_map(BTreeMap::into_values);
        let mut drops: Vec<Drops> = by_cause.collect();
        drops.sort_by_key(|drops| drops.first);
        let mut messages = self.messages;
        // Applications run one after the other in steps, so the record is in order only within each of them.
        messages.sort_by_key(|message| message.at);
        Traffic { drops, messages }
    }

    fn note_drop(&mut self, event: &Event, packet: &PacketSummary, cause: &str) {
        let by_cause = self.drops.entry(event.host.clone()).or_default();
        if let Some(drops) = by_cause.get_mut(cause) {
            drops.count += 1;
            drops.last = drops.last.max(event.at);
            return;
        }
        let drops = Drops {
            host: event.host.clone(),
            cause: cause.to_owned(),
            count: 1,
            first: event.at,
            last: event.at,
            packet: packet.to_string(),
        };
        by_cause.insert(cause.to_owned(), drops);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ringtrue::net::TrafficClass;

    use super::*;
    use crate::net::flow::Protocol;

    fn counted(events: impl IntoIterator<Item = (u64, &'static str, EventKind)>) -> Traffic {
        let mut count = TrafficCount::default();
        for (second, host, kind) in events {
            count.note(&Event {
                at: Duration::from_secs(second),
                host: host.into(),
                kind,
            });
        }
        count.finish()
    }

    fn dropped(cause: &str) -> EventKind {
        EventKind::PacketDropped {
            packet: PacketSummary {
                protocol: Protocol::Udp,
                source: ([192, 0, 2, 1], 1).into(),
                destination: ([192, 0, 2, 2], 2).into(),
                class: TrafficClass::BestEffort,
                tcp: crate::trace::event::TcpSummary::default(),
                payload: Bytes::new(),
            },
            cause: cause.to_owned(),
        }
    }

    fn said(text: &str) -> EventKind {
        EventKind::Log {
            level: Level::DEBUG,
            target: "ringtrue::signaling::message",
            text: text.to_owned(),
        }
    }

    #[test]
    fn drops_are_counted_by_place_and_cause() {
        let traffic = counted([
            (1, "core", dropped("no route")),
            (2, "gateway", dropped("nat: filtered")),
            (3, "core", dropped("no route")),
            (4, "gateway", dropped("no route")),
        ]);
        let seen: Vec<_> = traffic
            .drops
            .iter()
            .map(|drops| {
                let seconds = drops.first.as_secs()..=drops.last.as_secs();
                (&*drops.host, drops.cause.as_str(), drops.count, seconds)
            })
            .collect();
        let expected = [
            ("core", "no route", 2, 1..=3),
            ("gateway", "nat: filtered", 1, 2..=2),
            ("gateway", "no route", 1, 4..=4),
        ];
        assert_eq!(seen, expected);
        assert_eq!(
            traffic.drops[0].packet,
            "udp 192.0.2.1:1 > 192.0.2.2:2 UDP 0 B"
        );
    }

    #[test]
    fn messages_are_kept_in_order_of_time_with_their_way() {
        let traffic = counted([
            (
                2,
                "bob",
                said("signaling message received kind=offer call=c1"),
            ),
            (
                1,
                "alice",
                said("signaling message sent kind=offer call=c1"),
            ),
            (3, "bob", said("signaling client connected user=bob")),
        ]);
        let seen: Vec<_> = traffic
            .messages
            .iter()
            .map(|message| (&*message.host, message.way, message.kind.as_str()))
            .collect();
        let expected = [
            ("alice", MessageWay::Sent, "offer"),
            ("bob", MessageWay::Received, "offer"),
        ];
        assert_eq!(seen, expected);
    }
}
