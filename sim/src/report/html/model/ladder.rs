//! The ladder: what goes between the columns, what happens at them, and what is folded into one.

use std::time::Duration;

use serde::Serialize;

use super::columns::Columns;
use super::content::{Topic, Weight};
use super::folding::{arrows, is_shown};
use super::journeys::Journey;
use super::media::{self, Stretch};
use super::messages::{Message, Way};
use super::notes::{bands, notes};
use crate::trace::Event;

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

pub(crate) fn dropped(journey: &Journey<'_>) -> Option<Drop> {
    let end = journey.end?;
    Some(Drop {
        place: end.hop.host.to_owned(),
        cause: end.cause?.to_owned(),
    })
}

/// The columns that an arrow goes from and to. A packet that ended nowhere in the run is drawn to the server
/// that it was for, or to the core.
pub(crate) fn ends(journey: &Journey<'_>, columns: &Columns) -> Option<(f64, f64)> {
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
