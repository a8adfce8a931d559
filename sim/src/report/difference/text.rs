//! A difference of two runs as text for people.

use std::fmt::Write as _;
use std::time::Duration;

use owo_colors::Style;

use super::{Comparison, Milestone, Row, told};
use crate::report::text::{Colour, clock, count, shortened};
use crate::scenario::value::format_duration;
use crate::trace::{Event, EventKind};

/// How many rows are shown of what both runs have, before they part.
const ROWS_BEFORE: usize = 4;

/// How many rows are shown from there on.
const ROWS_AFTER: usize = 10;

/// From there on, more rows in succession that both have are counted and not shown.
const SAME_ROWS_MAX: usize = 2;

/// How many events are shown of what both runs have before the first that differs.
const EVENTS_BEFORE: usize = 2;

/// How wide each side is.
const WIDTH: usize = 58;

/// How many of the counts that differ are shown.
const COUNTS_MAX: usize = 8;

/// Where the traces part, by events; `same` is what [`same_events`](super::same_events) says of them.
#[must_use]
pub fn trace(first: &[Event], second: &[Event], same: Option<usize>, colour: Colour) -> String {
    let Some(same) = same else {
        let events = count(first.len(), "event");
        return format!("the traces are the same: {events}\n");
    };
    let mut text = format!(
        "the traces part after {}, of {} and {}:\n",
        count(same, "event"),
        first.len(),
        second.len()
    );
    for event in &first[same.saturating_sub(EVENTS_BEFORE)..same] {
        event_line(&mut text, ' ', &told(event));
    }
    let next = [first, second].map(|events| events.get(same));
    if let [
        Some(Event {
            kind: EventKind::Canary(_),
            ..
        }),
        Some(_),
    ] = next
    {
        text.push_str("    each seed draws other numbers, and none was used before\n");
        return text;
    }
    for (mark, event) in ['A', 'B'].into_iter().zip(next) {
        match event {
            Some(event) => event_line(&mut text, mark, &told(event)),
            None => text.push_str(&colour.paint(
                &format!("  {mark} has no more events\n"),
                Style::new().dimmed(),
            )),
        }
    }
    if let [Some(first), Some(second)] = next
        && told(first) == told(second)
    {
        text.push_str("    both read the same, and differ in what they carry\n");
    }
    text
}

/// Where two runs part by what they show, side by side, and what else was different by then.
#[must_use]
pub fn comparison(comparison: &Comparison, tolerance: Duration, colour: Colour) -> String {
    let same = count(comparison.same(), "milestone");
    let tolerance = format_duration(tolerance);
    let Some(parting) = comparison.first_difference() else {
        return format!("what happens is the same, within {tolerance}: {same}\n");
    };
    let mut text = format!(
        "what happens parts at {}, after {same} that both have within {tolerance}:\n",
        clock(comparison.rows[parting].at())
    );
    let title = format!("  {:<WIDTH$}   {}", "A", "B");
    line(&mut text, &colour.paint(&title, Style::new().bold()));
    let (before, from) = comparison.rows.split_at(parting);
    for row in &before[parting.saturating_sub(ROWS_BEFORE)..] {
        line(&mut text, &sides(row, colour));
    }
    rows_from(&mut text, from, colour);
    if !comparison.counts.is_empty() {
        text.push_str("what else was different by then:\n");
        let title = format!("  {:>8} {:>8}", "A", "B");
        line(&mut text, &colour.paint(&title, Style::new().bold()));
    }
    for each in comparison.counts.iter().take(COUNTS_MAX) {
        let row = format!("  {:>8} {:>8}  {}", each.first, each.second, each.what);
        line(&mut text, &row);
    }
    if comparison.counts.len() > COUNTS_MAX {
        let more = count(comparison.counts.len() - COUNTS_MAX, "more kind");
        line(&mut text, &format!("  ({more})"));
    }
    text
}

/// The rows from the first difference on, up to [`ROWS_AFTER`] lines of them.
fn rows_from(text: &mut String, rows: &[Row], colour: Colour) {
    let mut rest = rows;
    for _ in 0..ROWS_AFTER {
        let are_both = |row: &&Row| matches!(row, Row::Both(..));
        let same = rest.iter().take_while(are_both).count();
        let Some((row, others)) = rest.split_first() else {
            return;
        };
        if same > SAME_ROWS_MAX {
            line(text, &format!("  ({same} that both have)"));
            rest = &rest[same..];
        } else {
            line(text, &sides(row, colour));
            rest = others;
        }
    }
    if !rest.is_empty() {
        line(text, &format!("  ({})", count(rest.len(), "more row")));
    }
}

fn event_line(text: &mut String, mark: char, event: &Milestone) {
    let at = clock(event.at);
    let row = format!("  {mark} {at:>11}  {}  {}", event.host, event.text);
    line(text, &row);
}

/// Both sides of a row, with `<` or `>` where one alone has it.
fn sides(row: &Row, colour: Colour) -> String {
    let (first, mark, second) = match row {
        Row::Both(first, second) => (Some(first), ' ', Some(second)),
        Row::First(first) => (Some(first), '<', None),
        Row::Second(second) => (None, '>', Some(second)),
    };
    let side = |milestone: Option<&Milestone>| milestone.map(side).unwrap_or_default();
    let row = format!("  {:<WIDTH$} {mark} {}", side(first), side(second));
    let row = row.trim_end();
    match mark {
        ' ' => colour.paint(row, Style::new().dimmed()),
        _ => row.to_owned(),
    }
}

fn side(milestone: &Milestone) -> String {
    let Milestone { at, host, text } = milestone;
    shortened(
        &format!("{:>9}  {host}  {}", clock(*at), brief(text)),
        WIDTH,
    )
}

/// The text with a candidate as its kind and address: the attribute (RFC 8839 section 5.1) is wider than a
/// side, and begins with what tells least.
fn brief(text: &str) -> String {
    let attribute = text.split_once(" candidate=candidate:");
    let Some((before, attribute)) = attribute else {
        return text.to_owned();
    };
    let words: Vec<&str> = attribute.split(' ').collect();
    match words.as_slice() {
        [_, _, _, _, address, port, "typ", kind, ..] => {
            format!("{before}: {kind} {address} {port}")
        }
        _ => text.to_owned(),
    }
}

fn line(text: &mut String, content: &str) {
    writeln!(text, "{content}").expect("a String takes every text");
}
