//! What a failure is about: which peers, and which part of the run.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{FailureCause, Report, Topic};
use crate::fuzz::cause::most_telling;

/// How much before a moment belongs to it: the longest that a client waits for another path.
const BEFORE: Duration = Duration::from_secs(11);

/// How much after a moment belongs to it.
const AFTER: Duration = Duration::from_secs(2);

/// What a line is worth less that is about a peer which the failure does not name.
const OTHER_PEER: i32 = 3;

/// What a line is worth less that is about another part of the run.
const OTHER_TIME: i32 = 5;

/// What a failure is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Focus {
    /// Every peer of the run.
    peers: BTreeSet<String>,
    /// The peers that it is about.
    pub(super) about: BTreeSet<String>,
    pub(super) from: Duration,
    pub(super) to: Duration,
}

impl Focus {
    /// What the most telling failure of a run is about.
    pub(super) fn of(report: &Report) -> Option<Self> {
        let failure = most_telling(&report.failures)?;
        let peers: BTreeSet<String> = report
            .timeline
            .iter()
            .filter(|entry| is_of_a_peer(entry.topic))
            .map(|entry| entry.host.clone())
            .collect();
        let message = &failure.message;
        let named: BTreeSet<String> = words(message)
            .filter(|word| peers.contains(*word))
            .map(str::to_owned)
            .collect();
        let about = if named.is_empty() {
            peers.clone()
        } else {
            named
        };
        let (from, to) = period(report, failure.cause, message);
        Some(Self {
            peers,
            about,
            from,
            to,
        })
    }

    /// What a line is worth, if it would be worth `worth` in the middle of what the failure is about.
    pub(super) fn worth(&self, worth: i32, host: &str, from: Duration, to: Duration) -> i32 {
        let is_other_peer = self.peers.contains(host) && !self.about.contains(host);
        let is_other_time = to < self.from || from > self.to;
        worth - i32::from(is_other_peer) * OTHER_PEER - i32::from(is_other_time) * OTHER_TIME
    }

    /// How far from the end of the period, where the failure shows, something is.
    pub(super) fn distance(&self, at: Duration) -> Duration {
        at.abs_diff(self.to)
    }
}

/// The part of the run that a failure is about. Where its message names moments, what led to the failure
/// was around them; otherwise it is about the last call.
fn period(report: &Report, cause: FailureCause, message: &str) -> (Duration, Duration) {
    let of_topic = |topic| report.timeline.iter().filter(move |e| e.topic == topic);
    let begin = of_topic(Topic::CallBegins).next_back();
    let begin = begin.map(|entry| entry.at).unwrap_or_default();
    let end = report.timeline.last().map(|entry| entry.at);
    let end = end.unwrap_or_default().max(begin);
    match cause {
        FailureCause::AudioNotKept | FailureCause::OneWayAudio => {
            let Some(gap) = moments(message, &["from"]).next() else {
                return (begin, end);
            };
            let faults = of_topic(Topic::Fault).filter(|entry| entry.at <= gap);
            let fault = faults.map(|entry| entry.at).next_back();
            let from = fault.unwrap_or(gap).min(gap.saturating_sub(BEFORE));
            (from, gap + AFTER)
        }
        FailureCause::TooLate => {
            let audio = report.audio_connected_ms.values().max();
            let audio = audio.map_or(end, |at| Duration::from_millis(*at));
            (report.answered_at.unwrap_or(begin), audio)
        }
        FailureCause::WrongPath | FailureCause::WrongCandidate => {
            let selected = of_topic(Topic::Path).next_back();
            (begin, selected.map_or(end, |entry| entry.at))
        }
        FailureCause::WrongOutcome
        | FailureCause::WrongCause
        | FailureCause::Stalled
        | FailureCause::LeftRunning
        | FailureCause::FaultWithoutEffect => (begin, end),
        FailureCause::ScriptNotFinished
        | FailureCause::Panic
        | FailureCause::ForeignThread
        | FailureCause::NotStarted
        | FailureCause::ErrorLogged
        | FailureCause::SocketsLeft
        | FailureCause::AllocationsLeft
        | FailureCause::NoConsent
        | FailureCause::MessageDoubled
        | FailureCause::CandidateRepeated
        | FailureCause::CandidateLost
        | FailureCause::IllegalState
        | FailureCause::RetryMistimed
        | FailureCause::MediaToOthers
        | FailureCause::AddressLeaked
        | FailureCause::IceRuleBroken => {
            let moments: Vec<Duration> = moments(message, &["at", "since"]).collect();
            match (moments.iter().min(), moments.iter().max()) {
                (Some(first), Some(last)) => (first.saturating_sub(BEFORE), *last + AFTER),
                _ => (begin, end),
            }
        }
    }
}

/// The moments that a message names: the times right after one of `prepositions`. Other times in a message
/// are limits.
pub(super) fn moments<'a>(
    message: &'a str,
    prepositions: &'a [&'a str],
) -> impl Iterator<Item = Duration> + 'a {
    let mut words = words(message).peekable();
    std::iter::from_fn(move || {
        loop {
            let word = words.next()?;
            if !prepositions.contains(&word) {
                continue;
            }
            let time = words.peek()?;
            // "at 12.050 s" as well as "at 12.05s" and "at 12s50ms".
            let seconds = time
                .parse()
                .ok()
                .and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
            let in_units = || humantime::parse_duration(time).ok();
            let in_decimals = || {
                let seconds: f64 = time.strip_suffix('s')?.parse().ok()?;
                Duration::try_from_secs_f64(seconds).ok()
            };
            if let Some(moment) = seconds.or_else(in_units).or_else(in_decimals) {
                return Some(moment);
            }
        }
    })
}

fn words(message: &str) -> impl Iterator<Item = &str> {
    let ends = [',', ';', ':', '.', '(', ')', '"', '\''];
    message
        .split_whitespace()
        .map(move |word| word.trim_matches(ends))
        .map(|word| word.strip_suffix("'s").unwrap_or(word))
}

/// What only peers' applications do.
fn is_of_a_peer(topic: Topic) -> bool {
    match topic {
        Topic::CallBegins
        | Topic::Call
        | Topic::CallEnds
        | Topic::Signaling
        | Topic::Path
        | Topic::Audio => true,
        Topic::Fault | Topic::Perturbation | Topic::Release | Topic::Warning | Topic::Other => {
            false
        }
    }
}
