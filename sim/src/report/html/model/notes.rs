//! What the applications, the faults and the perturbations did, beside the packets.

use std::collections::BTreeMap;
use std::time::Duration;

use super::columns::{Columns, machine};
use super::ladder::{Band, Item, What};
use crate::trace::{AppEvent, Event, EventKind, FaultPhase};

/// What the applications, the faults and the perturbations did.
pub(crate) fn notes(events: &[Event], columns: &Columns) -> Vec<Item> {
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
pub(crate) fn bands(events: &[Event], end: Duration) -> Vec<Band> {
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
