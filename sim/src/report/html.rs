//! A run as one page that needs no network and no build: `report.html`.
//!
//! The [`model`] says what is on the page, and [`draw`] puts it there: all of it is in the page as it is, and a
//! small script opens what is folded.

mod draw;
mod model;

use crate::report::Report;
use crate::scenario::Scenario;
use crate::trace::Event;

/// The page of a run. `events` are those that a [`Recording`](crate::trace::Recording) has kept of it.
///
/// The same run gives the same bytes, but for the time that it took.
#[must_use]
pub fn render(report: &Report, scenario: &Scenario, events: &[Event]) -> String {
    draw::page(report, scenario, &model::Model::of(scenario, events))
}
