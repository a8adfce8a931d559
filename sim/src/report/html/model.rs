//! What a page shows of a run, before anything is drawn (pure).

pub(crate) mod columns;
pub(crate) mod content;
pub(crate) mod folding;
pub(crate) mod journeys;
pub(crate) mod ladder;
pub(crate) mod lanes;
pub(crate) mod media;
pub(crate) mod messages;
pub(crate) mod notes;
pub(crate) mod pairs;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Serialize, Serializer};

use columns::{Column, Columns};
use journeys::Journey;
use ladder::Ladder;
use lanes::PeerLanes;
use media::Direction;
use pairs::Pair;

use crate::scenario::Scenario;
use crate::trace::{AppEvent, Event, EventKind};

/// Everything but the head of a page.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Model<'a> {
    pub(crate) columns: Vec<Column>,
    #[serde(skip)]
    pub(crate) places: Columns,
    #[serde(skip)]
    pub(crate) journeys: Vec<Journey<'a>>,
    pub(crate) ladder: Ladder,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) lanes: Vec<PeerLanes>,
    pub(crate) directions: Vec<Direction>,
    pub(crate) milestones: Vec<Milestone>,
    #[serde(serialize_with = "seconds")]
    pub(crate) end: Duration,
}

/// One row of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Milestone {
    pub(crate) index: usize,
    #[serde(serialize_with = "seconds")]
    pub(crate) at: Duration,
    pub(crate) host: String,
    pub(crate) text: String,
}

impl<'a> Model<'a> {
    pub(crate) fn of(scenario: &Scenario, events: &'a [Event]) -> Self {
        let columns = Columns::of(scenario, events);
        let journeys = journeys::of(events, &columns);
        let messages = messages::of(events, &journeys);
        let peers: Vec<String> = scenario.peers.keys().cloned().collect();
        Self {
            columns: columns.list.clone(),
            ladder: Ladder::of(events, &columns, &journeys, &messages),
            pairs: pairs::of(&journeys, &messages, &columns),
            lanes: lanes::of(events, &journeys, &columns, &peers),
            directions: media::directions(events, &journeys, &columns),
            milestones: milestones(events),
            end: events.last().map_or(Duration::ZERO, |event| event.at),
            places: columns,
            journeys,
        }
    }
}

fn milestones(events: &[Event]) -> Vec<Milestone> {
    let shown = events.iter().enumerate().filter(|(_, event)| {
        event.kind.is_milestone() && !matches!(event.kind, EventKind::App(AppEvent::Heard))
    });
    let rows = shown.map(|(index, event)| Milestone {
        index,
        at: event.at,
        host: event.host.to_string(),
        text: event.kind.to_string(),
    });
    rows.collect()
}

/// Seconds to the microsecond, which is as fine as the world is.
fn rounded_seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded_seconds(*duration))
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn optional_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_some(&rounded_seconds(*duration)),
        None => serializer.serialize_none(),
    }
}
