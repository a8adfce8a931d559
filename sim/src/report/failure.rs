//! What led to a failure: of all that happened in a run the few lines that matter for it.
//!
//! The most telling failure of a run says which peers and which part of the run it is about. Of what
//! happened, that which says most comes first: the faults, how calls went and ended, paths and audio, what
//! was dropped and why, and the last signaling message each way. What repeats is one line.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::text::shortened;
use super::traffic::{Drops, MessageWay, PassedMessage};
use super::{PacketOrEvent, Report, TimelineEntry, Topic};
use crate::net::cause::DropCause;

mod focus;

use self::focus::Focus;

/// The most lines of an account.
pub const LINES_MAX: usize = 15;

/// The most characters of a line's text: candidates and causes are longer than a terminal is wide.
const TEXT_MAX: usize = 150;

/// What led to the failure of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// In order of time.
    pub lines: Vec<Line>,
    /// How many more lines there would be.
    pub left_out: usize,
}

/// One line of an account: something that happened, once or more often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, for the first time.
    pub at: Duration,
    /// Where.
    pub host: String,
    /// What, and how often until when.
    pub text: String,
}

/// Picks from what a failed run shows the lines that matter for its most telling failure. Empty for a run
/// that passed.
#[must_use]
pub fn account(report: &Report) -> Account {
    let Some(focus) = Focus::of(report) else {
        return Account::default();
    };
    let entries = told_once(&report.timeline).filter_map(Weighed::of_entry);
    let drops = drops_by_cause(&report.traffic.drops);
    let all = entries.chain(drops).chain(last_messages(report, &focus));
    let mut groups = folded(all, &focus);
    groups.sort_by_key(|group| (-group.worth, focus.distance(group.first)));
    let left_out = groups.len().saturating_sub(LINES_MAX);
    groups.truncate(LINES_MAX);
    groups.sort_by_key(|group| (group.first, group.order));
    Account {
        lines: groups.into_iter().map(Group::line).collect(),
        left_out,
    }
}

/// The entries without a client's word that audio is up where the other side's tone is heard at that moment.
fn told_once(entries: &[TimelineEntry]) -> impl Iterator<Item = &TimelineEntry> {
    let mut told = BTreeSet::new();
    entries.iter().filter(move |entry| {
        entry.topic != Topic::Audio || told.insert((entry.at, entry.host.clone()))
    })
}

/// Something that may become a line.
#[derive(Debug)]
struct Weighed {
    /// What it is worth in the middle of what the failure is about.
    worth: i32,
    host: String,
    text: String,
    first: Duration,
    last: Duration,
    count: u64,
    /// What lines that say the same have in common.
    key: String,
    lasting: Lasting,
}

/// Whether a thing goes on to matter once it has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasting {
    ToTheEnd,
    ForTheMoment,
}

impl Weighed {
    fn of_entry(entry: &TimelineEntry) -> Option<Self> {
        let worth = match entry.topic {
            _ if entry.packet == PacketOrEvent::Packet => return None,
            Topic::Other => return None,
            Topic::Fault | Topic::CallEnds => 9,
            Topic::Perturbation | Topic::Audio => 8,
            Topic::CallBegins | Topic::Call | Topic::Path => 7,
            Topic::Warning => 6,
            Topic::Signaling => 5,
            Topic::Release => 4,
        };
        // One perturbation meets many messages, each with a number of its own, and one trouble many servers.
        let key = match entry.topic {
            Topic::Perturbation | Topic::Release | Topic::Warning => {
                entry.text.replace(|c: char| c.is_ascii_digit(), "")
            }
            _ => entry.text.clone(),
        };
        let lasting = match entry.topic {
            Topic::Fault => Lasting::ToTheEnd,
            _ => Lasting::ForTheMoment,
        };
        Some(Self {
            worth,
            host: entry.host.clone(),
            text: entry.text.clone(),
            first: entry.at,
            last: entry.at,
            count: 1,
            key,
            lasting,
        })
    }
}

/// A line for each cause, at its first packet.
fn drops_by_cause(drops: &[Drops]) -> impl Iterator<Item = Weighed> {
    let mut by_cause: BTreeMap<&str, Weighed> = BTreeMap::new();
    for drops in drops {
        let line = by_cause.entry(&drops.cause).or_insert_with(|| Weighed {
            worth: worth_of_drops(&drops.cause),
            host: drops.host.to_string(),
            text: format!("drops {}: {}", drops.packet, drops.cause),
            first: drops.first,
            last: drops.last,
            count: 0,
            key: format!("drops: {}", drops.cause),
            lasting: Lasting::ForTheMoment,
        });
        line.count += drops.count;
        line.last = line.last.max(drops.last);
    }
    by_cause.into_values()
}

fn worth_of_drops(cause: &str) -> i32 {
    // Checks to the private addresses of another network get nowhere in any call.
    if cause == DropCause::NoRoute.as_str() {
        3
    } else if cause == DropCause::Loss.as_str() {
        4
    } else {
        6
    }
}

/// The last signaling message each way of each peer, up to the end of what the failure is about; or that
/// there was none, which says more than many a message. That calls are over is said already.
fn last_messages(report: &Report, focus: &Focus) -> impl Iterator<Item = Weighed> {
    let is_meant = |each: &PassedMessage| each.at <= focus.to && each.kind != "hang-up";
    let last = move |host: &str, way: MessageWay| {
        let mut messages = report.traffic.messages.iter();
        messages.rfind(|each| *each.host == *host && each.way == way && is_meant(each))
    };
    let line = |host: &str, worth: i32, at: Duration, text: String| Weighed {
        worth,
        host: host.to_owned(),
        key: text.clone(),
        text,
        first: at,
        last: at,
        count: 1,
        lasting: Lasting::ForTheMoment,
    };
    let said = move |host: &str, way: MessageWay| {
        let Some(message) = last(host, way) else {
            let text = format!("no signaling message was {}", way.as_str());
            return line(host, 7, focus.to, text);
        };
        let text = format!("last signaling message {}: {}", way.as_str(), message.kind);
        line(host, 5, message.at, text)
    };
    focus.about.iter().flat_map(move |peer| {
        if MessageWay::ALL
            .into_iter()
            .all(|way| last(peer, way).is_none())
        {
            let text = "no signaling message was sent or received".to_owned();
            return vec![line(peer, 7, focus.to, text)];
        }
        MessageWay::ALL.map(|way| said(peer, way)).into()
    })
}

/// Lines that say the same, made one.
#[derive(Debug)]
struct Group {
    worth: i32,
    /// Its place among lines of the same time.
    order: usize,
    host: String,
    text: String,
    first: Duration,
    last: Duration,
    count: u64,
    /// Whether all of them have the very same text.
    alike: bool,
}

impl Group {
    fn line(self) -> Line {
        let text = shortened(&self.text, TEXT_MAX);
        let until = self.last.as_secs_f64();
        let text = match self.count {
            1 => text,
            count if self.alike => format!("{text} × {count}, until {until:.3}s"),
            count => format!("{text}, and {} more like it until {until:.3}s", count - 1),
        };
        Line {
            at: self.first,
            host: self.host,
            text,
        }
    }
}

fn folded(lines: impl Iterator<Item = Weighed>, focus: &Focus) -> Vec<Group> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for (order, line) in lines.enumerate() {
        let last = match line.lasting {
            Lasting::ToTheEnd => focus.to,
            Lasting::ForTheMoment => line.last,
        };
        let worth = focus.worth(line.worth, &line.host, line.first, last);
        if worth <= 0 {
            continue;
        }
        let group = groups
            .entry((line.host.clone(), line.key))
            .or_insert_with(|| Group {
                worth,
                order,
                host: line.host,
                text: line.text.clone(),
                first: line.first,
                last: line.last,
                count: 0,
                alike: true,
            });
        group.worth = group.worth.max(worth);
        group.alike &= group.text == line.text;
        group.count += line.count;
        group.last = group.last.max(line.last);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests;
