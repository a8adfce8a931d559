//! The ladder: what goes between the columns, what happens at them, and what is folded into one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::columns::{Columns, machine};
use super::content::{Topic, Weight};
use super::journeys::Journey;
use super::media::{self, Stretch};
use super::messages::{Message, Way};
use crate::trace::{AppEvent, Event, EventKind, FaultPhase};

/// How many packets of one arrow are shown whole.
const PACKETS_OF_ARROW: usize = 8;
/// What is alike within this time is one arrow, however long it has gone on.
const FOLDED_AT_LEAST: Duration = Duration::from_millis(300);
/// What is alike after such a pause is news again.
const NEWS_AFTER: Duration = Duration::from_secs(8);
/// A page with more arrows than this is folded more.
const ARROWS_MAX: usize = 420;

/// Everything on the ladder, in order of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Ladder {
    pub(crate) items: Vec<Item>,
    pub(crate) bands: Vec<Band>,
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) summarised: Summarised,
}

/// One thing on the ladder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Item {
    /// The event that it is named by.
    pub(crate) index: usize,
    #[serde(serialize_with = "super::seconds")]
    pub(crate) at: Duration,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What a thing on the ladder is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Goes from one place to another.
    Arrow(Arrow),
    /// Happened at a column.
    Note {
        /// Where.
        column: usize,
        /// What.
        text: String,
    },
    /// Concerns everybody: a fault, or what a perturbation did.
    Mark {
        /// What.
        text: String,
    },
}

/// Packets that are alike, or one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Arrow {
    pub(crate) topic: Topic,
    pub(crate) label: String,
    /// Columns, or places between two.
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// How many there are of them.
    pub(crate) count: usize,
    /// When the last of them was sent.
    #[serde(serialize_with = "super::seconds")]
    pub(crate) last: Duration,
    /// How long the first one was on its way.
    #[serde(serialize_with = "super::optional_seconds")]
    pub(crate) travel: Option<Duration>,
    /// Where and why they reached no host.
    pub(crate) dropped: Option<Drop>,
    /// What the log has of a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fields: Option<String>,
    /// The first of the journeys.
    #[serde(skip)]
    pub(crate) journeys: Vec<usize>,
}

impl Arrow {
    /// Whether it stands for a bar of audio.
    #[cfg(test)]
    pub(crate) fn is_bar(&self) -> bool {
        self.topic == Topic::Media && self.dropped.is_none()
    }
}

/// Why packets reached no host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Drop {
    pub(crate) place: String,
    pub(crate) cause: String,
}

/// A stretch of time in which a fault is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Band {
    #[serde(serialize_with = "super::seconds")]
    pub(crate) from: Duration,
    #[serde(serialize_with = "super::seconds")]
    pub(crate) to: Duration,
    pub(crate) name: String,
}

/// What has no arrow of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summarised {
    /// Packets of audio and its reports that are in bars.
    pub(crate) media: usize,
    /// TCP segments that carry a message, or nothing that is shown.
    pub(crate) segments: usize,
    /// Packets beyond the first one of their arrow.
    pub(crate) folded: usize,
    /// Packets of all kinds.
    pub(crate) packets: usize,
}

/// What the arrows of packets that are alike have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    label: String,
    from: String,
    to: String,
    dropped: Option<Drop>,
}

/// The arrow that packets of one kind are folded into at present.
struct Open {
    item: usize,
    begun: Duration,
    opened: Duration,
    last: Duration,
}

impl Ladder {
    pub(crate) fn of(
        events: &[Event],
        columns: &Columns,
        journeys: &[Journey<'_>],
        messages: &[Message<'_>],
    ) -> Self {
        let end = events.last().map_or(Duration::ZERO, |event| event.at);
        let mut ladder = Self {
            stretches: media::stretches(journeys, columns),
            bands: bands(events, end),
            ..Self::default()
        };
        let notes = notes(events, columns);
        // Twice as coarse each time: a thousand arrows tell less than a hundred.
        for coarseness in [1, 2, 4, 8, 16, 64] {
            ladder.items = arrows(journeys, columns, coarseness);
            if ladder.items.len() <= ARROWS_MAX {
                break;
            }
        }
        ladder.summarised = summarised(journeys, &ladder.items);
        ladder.items.extend(
            messages
                .iter()
                .filter_map(|message| of_message(message, journeys, columns)),
        );
        let bars = ladder.stretches.iter().map(bar);
        ladder.items.extend(bars);
        ladder.items.extend(notes);
        ladder.items.sort_by_key(|item| (item.at, item.index));
        ladder
    }
}

/// An arrow for each kind of packets and each while, but for those in bars and those that carry messages.
fn arrows(journeys: &[Journey<'_>], columns: &Columns, coarseness: u32) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut open: BTreeMap<Alike, Open> = BTreeMap::new();
    for (number, journey) in journeys.iter().enumerate() {
        if !is_shown(journey) {
            continue;
        }
        let dropped = dropped(journey);
        let Some((from, to)) = ends(journey, columns) else {
            continue;
        };
        let label = if journey.attempt > 0 {
            format!("{} sent again", journey.content.label)
        } else {
            journey.content.label.clone()
        };
        let alike = Alike {
            label: label.clone(),
            from: from.to_string(),
            to: to.to_string(),
            dropped: dropped.clone(),
        };
        let at = journey.at();
        if let Some(open) = open.get_mut(&alike)
            && at.saturating_sub(open.last) < NEWS_AFTER * coarseness
        {
            open.last = at;
            let age = open.opened.saturating_sub(open.begun);
            let wait = (FOLDED_AT_LEAST + age) * coarseness;
            if at.saturating_sub(open.opened) < wait {
                add_to(&mut items[open.item], number, at);
                continue;
            }
            open.opened = at;
            open.item = items.len();
        } else {
            open.insert(
                alike,
                Open {
                    item: items.len(),
                    begun: at,
                    opened: at,
                    last: at,
                },
            );
        }
        items.push(Item {
            index: journey.index(),
            at,
            what: What::Arrow(Arrow {
                topic: journey.content.topic,
                label,
                from,
                to,
                count: 1,
                last: at,
                travel: journey.travel(),
                dropped,
                fields: None,
                journeys: vec![number],
            }),
        });
    }
    items
}

/// Whether a packet belongs to an arrow, and not only to a bar or a message.
fn is_shown(journey: &Journey<'_>) -> bool {
    let is_dropped = journey.cause().is_some();
    match journey.content.weight {
        Weight::Shown => true,
        Weight::Carrier => is_dropped || journey.attempt > 0,
        Weight::Audio => is_dropped,
    }
}

fn add_to(item: &mut Item, journey: usize, at: Duration) {
    let What::Arrow(arrow) = &mut item.what else {
        return;
    };
    arrow.count += 1;
    arrow.last = at;
    if arrow.journeys.len() < PACKETS_OF_ARROW {
        arrow.journeys.push(journey);
    }
}

/// The arrow of a message: to the server where it was sent, from it where it was got.
fn of_message(message: &Message<'_>, journeys: &[Journey<'_>], columns: &Columns) -> Option<Item> {
    let host = columns.of_host(message.host)?;
    let journey = message.journey.map(|number| &journeys[number]);
    let carried = journey.and_then(|journey| ends(journey, columns));
    let server = columns.signaling().unwrap_or(host) as f64;
    let (from, to) = match message.way {
        Way::Sent => (host as f64, carried.map_or(server, |(_, to)| to)),
        Way::Received => (carried.map_or(server, |(from, _)| from), host as f64),
    };
    let at = match (message.way, journey) {
        // The line is written on arrival, and an arrow begins where it is sent.
        (Way::Received, Some(journey)) => journey.at(),
        _ => message.at,
    };
    Some(Item {
        index: message.index,
        at,
        what: What::Arrow(Arrow {
            topic: Topic::Signaling,
            label: message.kind.to_owned(),
            from,
            to,
            count: 1,
            last: at,
            travel: journey.and_then(Journey::travel),
            dropped: journey.and_then(dropped),
            fields: Some(message.fields.to_owned()),
            journeys: message.journey.into_iter().collect(),
        }),
    })
}

/// The arrow at the beginning of a bar.
fn bar(stretch: &Stretch) -> Item {
    Item {
        index: stretch.index,
        at: stretch.begin,
        what: What::Arrow(Arrow {
            topic: Topic::Media,
            label: stretch.to_string(),
            from: stretch.from as f64,
            to: stretch.to,
            count: 1,
            last: stretch.end,
            travel: None,
            dropped: None,
            fields: None,
            journeys: vec![stretch.journey],
        }),
    }
}

fn dropped(journey: &Journey<'_>) -> Option<Drop> {
    let end = journey.end?;
    Some(Drop {
        place: end.hop.host.to_owned(),
        cause: end.cause?.to_owned(),
    })
}

/// The columns that an arrow goes from and to. A packet that ended nowhere in the run is drawn to the server
/// that it was for, or to the core.
fn ends(journey: &Journey<'_>, columns: &Columns) -> Option<(f64, f64)> {
    let from = if let Some(sent) = journey.sent {
        columns.of_host(sent.host)?
    } else {
        let server = columns.server_at(journey.packet.source.ip());
        server.or_else(|| columns.of_host(journey.first().host))?
    };
    let to = if let Some(end) = journey.end {
        columns.of_place(end.hop.host, from)
    } else {
        let server = columns.server_at(journey.packet.destination.ip());
        server.map_or_else(|| columns.of_place("core", from), |to| to as f64)
    };
    Some((from as f64, to))
}

/// What the applications, the faults and the perturbations did.
fn notes(events: &[Event], columns: &Columns) -> Vec<Item> {
    let mut notes: Vec<Item> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let what = match &event.kind {
            EventKind::App(AppEvent::Heard) => continue,
            EventKind::App(app) => {
                let Some(column) = columns.of_host(machine(&event.host)) else {
                    continue;
                };
                What::Note {
                    column,
                    text: app.to_string(),
                }
            }
            EventKind::Fault(fault) => What::Mark {
                text: fault.to_string(),
            },
            EventKind::Message(message) => What::Mark {
                text: message.to_string(),
            },
            _ => continue,
        };
        notes.push(Item {
            index,
            at: event.at,
            what,
        });
    }
    notes
}

/// From the beginning of each fault to its end; a fault without end has no band.
fn bands(events: &[Event], end: Duration) -> Vec<Band> {
    let mut begun: BTreeMap<usize, (Duration, String)> = BTreeMap::new();
    let mut bands = Vec::new();
    for event in events {
        let EventKind::Fault(fault) = &event.kind else {
            continue;
        };
        match fault.phase {
            FaultPhase::Begins => {
                begun.insert(fault.fault, (event.at, fault.name.clone()));
            }
            FaultPhase::Ends => {
                if let Some((from, name)) = begun.remove(&fault.fault) {
                    let to = event.at.min(end);
                    bands.push(Band { from, to, name });
                }
            }
            FaultPhase::Effect { .. } => {}
        }
    }
    bands.sort_by_key(|band| band.from);
    bands
}

fn summarised(journeys: &[Journey<'_>], items: &[Item]) -> Summarised {
    let arrows = items.iter().filter_map(|item| match &item.what {
        What::Arrow(arrow) => Some(arrow),
        _ => None,
    });
    let folded = arrows.clone().map(|arrow| arrow.count - 1).sum();
    let count = |weight| {
        let is_it = |journey: &&Journey<'_>| journey.content.weight == weight && !is_shown(journey);
        journeys.iter().filter(is_it).count()
    };
    Summarised {
        media: count(Weight::Audio),
        segments: count(Weight::Carrier),
        folded,
        packets: journeys.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{columns, datagram, event};
    use super::super::{journeys, messages};
    use super::*;

    /// A check that is sent at these moments, and what the arrows are: when they begin and how many packets
    /// they stand for.
    #[track_caller]
    fn check(sent_ms: &[u64], arrows: &[(u64, usize)]) {
        let keepalive = [0x00, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        let mut events = Vec::new();
        for (number, at) in sent_ms.iter().enumerate() {
            let mut payload = keepalive.to_vec();
            payload.extend([u8::try_from(number).expect("a few"); 12]);
            let packet = datagram("192.168.1.2:5000", "203.0.113.2:6000", &payload);
            events.push(event(*at, "alice", EventKind::PacketSent(packet)));
        }
        let columns = columns(&events);
        let journeys = journeys::of(&events, &columns);
        let messages = messages::of(&events, &journeys);
        let ladder = Ladder::of(&events, &columns, &journeys, &messages);
        let seen: Vec<(u64, usize)> = ladder
            .items
            .iter()
            .map(|item| match &item.what {
                What::Arrow(arrow) => {
                    let at = u64::try_from(item.at.as_millis()).expect("a short run");
                    (at, arrow.count)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(seen, arrows);
    }

    #[test]
    fn what_is_alike_and_close_is_one_arrow() {
        check(&[0, 10, 200], &[(0, 3)]);
    }

    #[test]
    fn the_longer_it_goes_on_the_more_is_folded() {
        check(
            &[0, 400, 800, 1200, 1600, 2000],
            &[(0, 1), (400, 2), (1200, 3)],
        );
    }

    #[test]
    fn what_comes_after_a_long_pause_is_news() {
        check(
            &[0, 400, 60_000, 60_400],
            &[(0, 1), (400, 1), (60_000, 1), (60_400, 1)],
        );
    }
}
