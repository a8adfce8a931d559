//! Where two runs part: at the first event that differs, and at the first thing that people would see.
//!
//! The first is exact: up to that event the digests of both runs are the same. But two runs with different
//! seeds part there at once, before anything happens. What people want to see are the *milestones*: what
//! peers, faults and servers do. Two of them are the same where they say the same, but for what a run draws
//! at random, and are not further apart in time than a tolerance. Which one comes first does not matter.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::traffic::{Traffic, TrafficCount};
use crate::trace::{Event, digest};

pub mod text;

/// How many events two runs have in common before the first one that differs; `None` where all are the same,
/// and the runs too.
#[must_use]
pub fn same_events(first: &[Event], second: &[Event]) -> Option<usize> {
    let pairs = first.iter().zip(second);
    let same = pairs.take_while(|(first, second)| digest::is_same(first, second));
    let same = same.count();
    (same < first.len().max(second.len())).then_some(same)
}

/// What two runs show, side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The milestones of both runs, in order of time.
    pub rows: Vec<Row>,
    /// Of what the timelines do not show, all that had happened more often in one of the runs by the time they
    /// parted. Empty where they do not part.
    pub counts: Vec<Count>,
}

/// A milestone of both runs, or of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Both have it.
    Both(Milestone, Milestone),
    /// The first run alone has it.
    First(Milestone),
    /// The second run alone has it.
    Second(Milestone),
}

/// Something that a reader of a timeline wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milestone {
    /// When.
    pub at: Duration,
    /// Where.
    pub host: String,
    /// What.
    pub text: String,
}

/// How often something had happened in each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// What.
    pub what: String,
    /// How often in the first run.
    pub first: u64,
    /// How often in the second run.
    pub second: u64,
}

impl Comparison {
    /// Compares what two runs show; `tolerance` is how far apart the same thing may be.
    #[must_use]
    pub fn of(first: &[Event], second: &[Event], tolerance: Duration) -> Self {
        let rows = aligned(milestones(first), milestones(second), tolerance);
        let mut comparison = Self {
            rows,
            counts: Vec::new(),
        };
        if let Some(row) = comparison.first_difference() {
            let until = comparison.rows[row].at();
            comparison.counts = counts(first, second, until, tolerance);
        }
        comparison
    }

    /// The index of the first row that one run alone has.
    #[must_use]
    pub fn first_difference(&self) -> Option<usize> {
        let mut rows = self.rows.iter();
        rows.position(|row| !matches!(row, Row::Both(..)))
    }

    /// How many milestones both runs have before they part.
    #[must_use]
    pub fn same(&self) -> usize {
        self.first_difference().unwrap_or(self.rows.len())
    }
}

impl Row {
    /// When it was, in the run that came to it first.
    #[must_use]
    pub fn at(&self) -> Duration {
        match self {
            Self::Both(first, second) => first.at.min(second.at),
            Self::First(one) | Self::Second(one) => one.at,
        }
    }
}

fn milestones(events: &[Event]) -> Vec<Milestone> {
    let milestones = events.iter().filter(|event| event.kind.is_milestone());
    milestones.map(told).collect()
}

fn told(event: &Event) -> Milestone {
    Milestone {
        at: event.at,
        host: event.host.to_string(),
        text: event.kind.to_string(),
    }
}

/// Something with its place in the run that it is of.
type Placed<T> = (usize, T);

/// Pairs the milestones that are the same. Those that say the same are paired in their order.
fn aligned(first: Vec<Milestone>, second: Vec<Milestone>, tolerance: Duration) -> Vec<Row> {
    let mut by_key: BTreeMap<(String, String), [Vec<Placed<Milestone>>; 2]> = BTreeMap::new();
    for (side, milestones) in [first, second].into_iter().enumerate() {
        for (place, milestone) in milestones.into_iter().enumerate() {
            let key = (milestone.host.clone(), without_chance(&milestone.text));
            by_key.entry(key).or_default()[side].push((place, milestone));
        }
    }
    let mut rows = Vec::new();
    for [first, second] in by_key.into_values() {
        let mut first = first.into_iter().peekable();
        let mut second = second.into_iter().peekable();
        loop {
            let order = match (first.peek(), second.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((_, one)), Some((_, other))) if one.at.abs_diff(other.at) <= tolerance => {
                    Ordering::Equal
                }
                (Some((_, one)), Some((_, other))) => one.at.cmp(&other.at),
            };
            let row = match order {
                Ordering::Less => first.next().map(|(place, one)| (place, Row::First(one))),
                Ordering::Greater => second.next().map(|(place, one)| (place, Row::Second(one))),
                Ordering::Equal => {
                    let pair = first.next().zip(second.next());
                    pair.map(|((place, one), (_, other))| (place, Row::Both(one, other)))
                }
            };
            rows.extend(row);
        }
    }
    // Of one moment, what both runs have comes first: it did not follow from what one alone has.
    rows.sort_by_key(|(place, row)| (row.at(), !matches!(row, Row::Both(..)), *place));
    rows.into_iter().map(|(_, row)| row).collect()
}

/// A milestone's text without what a run draws at random: the ids of calls and devices, credentials of ICE,
/// ports, and numbers of candidates. Small numbers stay, because they count something.
fn without_chance(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once('=') {
        Some((field, _)) if DRAWN_FIELDS.contains(&field) => format!("{field}="),
        _ => without_long_numbers(word),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The fields of log lines whose values are drawn at random.
const DRAWN_FIELDS: [&str; 5] = ["call", "device", "local", "remote", "generation"];

/// From this length on a number is a port, or one that stands for a name.
const LONG_NUMBER: usize = 5;

/// Runs of hexadecimal digits that are long and hold a decimal one, as one sign.
fn without_long_numbers(word: &str) -> String {
    let mut plain = String::new();
    let mut rest = word;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, from) = rest.split_at(begin);
        let end = from.find(|c: char| !c.is_ascii_hexdigit());
        let (number, after) = from.split_at(end.unwrap_or(from.len()));
        plain.push_str(before);
        let is_drawn = number.len() >= LONG_NUMBER && number.contains(|c: char| c.is_ascii_digit());
        plain.push_str(if is_drawn { "#" } else { number });
        rest = after;
    }
    plain + rest
}

/// What had happened more often in one run by `until`, of signaling messages and dropped packets, and does not
/// happen in the other within the tolerance.
fn counts(first: &[Event], second: &[Event], until: Duration, tolerance: Duration) -> Vec<Count> {
    let [first_by_then, second_by_then] = [first, second].map(|events| counted(events, until));
    let [first_later, second_later] =
        [first, second].map(|events| counted(events, until + tolerance));
    let of = |counts: &Counts, what| counts.get(what).copied().unwrap_or_default();
    let differs = |what| {
        of(&first_by_then, what) > of(&second_later, what)
            || of(&second_by_then, what) > of(&first_later, what)
    };
    let all: BTreeSet<_> = first_by_then.keys().chain(second_by_then.keys()).collect();
    let different = all.into_iter().filter(|what| differs(*what));
    different
        .map(|what| Count {
            what: what.1.clone(),
            first: of(&first_by_then, what),
            second: of(&second_by_then, what),
        })
        .collect()
}

/// How often each thing has happened; the number puts what is more telling first.
type Counts = BTreeMap<(u8, String), u64>;

fn counted(events: &[Event], until: Duration) -> Counts {
    let Traffic { drops, messages } = traffic_until(events, until);
    let mut counts = Counts::new();
    for message in messages {
        let what = format!(
            "{} {} by {}",
            message.kind,
            message.way.as_str(),
            message.host
        );
        *counts.entry((0, what)).or_default() += 1;
    }
    for drops in drops {
        let what = format!("packet dropped: {}", drops.cause);
        *counts.entry((1, what)).or_default() += drops.count;
    }
    counts
}

fn traffic_until(events: &[Event], until: Duration) -> Traffic {
    let mut count = TrafficCount::default();
    let early = events.iter().take_while(|event| event.at <= until);
    early.for_each(|event| count.note(event));
    count.finish()
}

#[cfg(test)]
mod tests;
