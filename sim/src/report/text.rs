//! Reports for people.

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use owo_colors::{OwoColorize as _, Style};

use super::failure::{Account, account};
use super::{Failure, FailureCause, Outcome, PacketOrEvent, Report, TimelineEntry};
use crate::fuzz::cause::most_telling;

/// How many failures of one kind are told: in a run that goes wrong for long they say the same.
const FAILURES_OF_A_KIND: usize = 3;

/// Whether texts have colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Never: for files and pipes.
    Off,
    /// Always.
    On,
}

impl Colour {
    /// Colour where standard output is a terminal, unless `NO_COLOR` is set (no-color.org).
    #[must_use]
    pub fn for_stdout() -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !forbidden {
            Self::On
        } else {
            Self::Off
        }
    }

    pub(super) fn paint(self, text: &str, style: Style) -> String {
        match self {
            Self::Off => text.to_owned(),
            Self::On => text.style(style).to_string(),
        }
    }
}

/// How much of a timeline is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Events without packets.
    Events,
    /// Packets too.
    Packets,
}

/// The verdict in one line, without a line break.
#[must_use]
pub fn verdict(report: &Report, colour: Colour) -> String {
    let mark = if report.passed {
        colour.paint("✓", Style::new().green())
    } else {
        colour.paint("✗", Style::new().red().bold())
    };
    let name = colour.paint(&format!("{:<28}", report.scenario), Style::new().bold());
    let came_to = came_to(report);
    let times = format!(
        "{} virtual, {} ms real",
        seconds(report.virtual_ms),
        report.wall_ms
    );
    let times = colour.paint(&times, Style::new().dimmed());
    format!("{mark} {name} {came_to} · {times}")
}

/// What a run came to, in a part of a line, without the time that it took.
#[must_use]
pub fn came_to(report: &Report) -> String {
    let mut parts = vec![outcome_name(report).to_owned()];
    if report.outcome != Outcome::AudioConnected {
        parts.extend(report.cause.clone());
    }
    if !report.selected.is_empty() {
        let selected = report.selected.iter();
        let selected: Vec<String> = selected
            .map(|(peer, kind)| format!("{peer} {kind}"))
            .collect();
        parts.push(selected.join(" / "));
    }
    if let Some(time) = report.time_to_audio() {
        parts.push(format!("audio in {} ms", time.as_millis()));
    }
    parts.join(" · ")
}

/// The last line, without a line break: `8 scenarios: 8 passed, 0 failed`.
#[must_use]
pub fn summary(what: &str, passed: usize, failed: usize, colour: Colour) -> String {
    let style = if failed == 0 {
        Style::new().green()
    } else {
        Style::new().red().bold()
    };
    let counts = colour.paint(&format!("{passed} passed, {failed} failed"), style);
    format!("{what}: {counts}")
}

/// A number of things: `1 run`, `2 runs`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The timeline, a line for each entry: virtual time in seconds, host, what happened.
#[must_use]
pub fn timeline(entries: &[TimelineEntry], detail: Detail, colour: Colour) -> String {
    let shown: Vec<&TimelineEntry> = entries
        .iter()
        .filter(|entry| shows(detail, entry))
        .collect();
    lines(&shown, colour)
}

/// What a failed run leaves to be understood: what kind of failure it is, what was expected and what
/// happened, what led there, and how to see it again. Empty for a run that passed.
#[must_use]
pub fn failure(report: &Report, colour: Colour) -> String {
    let mut text = failure_alone(report, colour);
    if report.passed {
        return text;
    }
    let command = colour.paint(&report.replay_command(), Style::new().bold());
    line(&mut text, format_args!("  see it again: {command}"));
    if let Some(bundle) = &report.bundle {
        let bundle = colour.paint(&bundle.display().to_string(), Style::new().bold());
        line(&mut text, format_args!("  the bundle: {bundle}"));
    }
    text
}

/// The same as [`failure`] without how to see it again: for a scenario that is in no file.
#[must_use]
pub fn failure_alone(report: &Report, colour: Colour) -> String {
    let mut text = String::new();
    if report.passed {
        return text;
    }
    let title = format!("{} failed with seed {}", report.scenario, report.seed);
    line(&mut text, colour.paint(&title, Style::new().red().bold()));
    for told in failures(&report.failures) {
        line(&mut text, format_args!("  {told}"));
    }
    let Account { lines, left_out } = account(report);
    if !lines.is_empty() {
        line(&mut text, "  what led there:");
        let rows = lines
            .iter()
            .map(|line| (line.at, line.host.as_str(), line.text.clone()));
        for row in table(rows.collect(), colour).lines() {
            line(&mut text, format_args!("    {row}"));
        }
    }
    if left_out > 0 {
        let others = count(left_out, "other line");
        let hint = format!("  ({others} left out: with -v the command below shows everything)");
        line(&mut text, colour.paint(&hint, Style::new().dimmed()));
    }
    text
}

/// The failures with their kinds, a line each: those of the most telling kind first, and of each kind the
/// first few.
#[must_use]
pub fn failures(failures: &[Failure]) -> Vec<String> {
    let first = most_telling(failures).map(|failure| failure.cause);
    let mut kinds: Vec<FailureCause> = first.into_iter().collect();
    for failure in failures {
        if !kinds.contains(&failure.cause) {
            kinds.push(failure.cause);
        }
    }
    let mut told = Vec::new();
    for kind in kinds {
        let of_kind = || failures.iter().filter(|failure| failure.cause == kind);
        let shown = of_kind().take(FAILURES_OF_A_KIND);
        told.extend(shown.map(|failure| format!("{kind}: {}", failure.message)));
        let more = of_kind().count().saturating_sub(FAILURES_OF_A_KIND);
        if more > 0 {
            told.push(format!("{kind}: and {more} more"));
        }
    }
    told
}

fn shows(detail: Detail, entry: &TimelineEntry) -> bool {
    detail == Detail::Packets || entry.packet == PacketOrEvent::Event
}

fn lines(entries: &[&TimelineEntry], colour: Colour) -> String {
    let mut rows = Vec::new();
    for entry in entries {
        let what = match entry.packet {
            PacketOrEvent::Event => entry.text.clone(),
            PacketOrEvent::Packet => colour.paint(&entry.text, Style::new().dimmed()),
        };
        rows.push((entry.at, entry.host.as_str(), what));
    }
    table(rows, colour)
}

/// Lines of a time, a host, and what happened there then.
fn table(rows: Vec<(Duration, &str, String)>, colour: Colour) -> String {
    let width = rows.iter().map(|(_, host, _)| host.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for (at, host, what) in rows {
        let at = colour.paint(&format!("{:>11}", clock(at)), Style::new().dimmed());
        let host = colour.paint(&format!("{host:<width$}"), Style::new().cyan());
        line(&mut text, format_args!("{at}  {host}  {what}"));
    }
    text
}

/// A text of at most so many characters, the last of which is an ellipsis where more followed.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}

/// Seconds with the three decimals that the world counts in, and finer ones where there are any.
pub(super) fn clock(at: Duration) -> String {
    let micros = at.subsec_micros();
    if micros.is_multiple_of(1000) {
        format!("{}.{:03}s", at.as_secs(), micros / 1000)
    } else {
        format!("{}.{micros:06}s", at.as_secs())
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}

pub(super) fn outcome_name(report: &Report) -> &'static str {
    match report.outcome {
        Outcome::AudioConnected => "audio connected",
        Outcome::Unreachable => "unreachable",
        // Both sides had audio.
        Outcome::Failed if report.audio_connected_ms.len() > 1 => "audio lost",
        Outcome::Failed => "call failed",
    }
}

fn line(text: &mut String, content: impl Display) {
    writeln!(text, "{content}").expect("a String takes every text");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use insta::assert_snapshot;

    use super::super::traffic::Traffic;
    use super::super::{CandidateType, Topic};
    use super::*;
    use crate::check::milestones::Timings;

    fn passed() -> Report {
        let both =
            |alice, bob| BTreeMap::from([("alice".to_owned(), alice), ("bob".to_owned(), bob)]);
        Report {
            scenario: "cone-cone".to_owned(),
            seed: 7,
            passed: true,
            outcome: Outcome::AudioConnected,
            audio_connected_ms: BTreeMap::from([
                ("alice".to_owned(), 2034),
                ("bob".to_owned(), 2051),
            ]),
            selected: both(CandidateType::ServerReflexive, CandidateType::Host),
            mean_opinion: BTreeMap::new(),
            digest: "00ff".to_owned(),
            virtual_ms: 7120,
            wall_ms: 14,
            failures: Vec::new(),
            file: PathBuf::from("scenarios/nat/cone-cone.toml"),
            client: None,
            answered_at: Some(Duration::from_millis(1200)),
            cause: None,
            signaling_frames: BTreeMap::new(),
            timings: Timings::default(),
            timeline: Vec::new(),
            key_log: Vec::new(),
            traffic: Traffic::default(),
            bundle: None,
        }
    }

    fn failed() -> Report {
        let entry = |milliseconds, host: &str, text: &str, packet, topic| TimelineEntry {
            at: Duration::from_millis(milliseconds),
            host: host.to_owned(),
            text: text.to_owned(),
            packet,
            topic,
        };
        Report {
            passed: false,
            outcome: Outcome::Unreachable,
            audio_connected_ms: BTreeMap::new(),
            selected: BTreeMap::new(),
            cause: Some("UDP is blocked".to_owned()),
            failures: vec![Failure {
                cause: FailureCause::WrongOutcome,
                message: "expected audio both ways, and there is none".to_owned(),
            }],
            timeline: vec![
                entry(
                    0,
                    "alice",
                    "calls bob",
                    PacketOrEvent::Event,
                    Topic::CallBegins,
                ),
                entry(
                    12,
                    "hotel",
                    "drops a packet: UDP is blocked",
                    PacketOrEvent::Packet,
                    Topic::Other,
                ),
                entry(
                    41_200,
                    "bob",
                    "gives up",
                    PacketOrEvent::Event,
                    Topic::CallEnds,
                ),
            ],
            ..passed()
        }
    }

    #[test]
    fn a_verdict_is_one_line() {
        assert_snapshot!(verdict(&passed(), Colour::Off), @"✓ cone-cone                    audio connected · alice srflx / bob host · audio in 851 ms · 7.120 s virtual, 14 ms real");
        assert_snapshot!(verdict(&failed(), Colour::Off), @"✗ cone-cone                    unreachable · UDP is blocked · 7.120 s virtual, 14 ms real");
    }

    #[test]
    fn audio_that_was_lost_is_told_from_audio_that_never_was() {
        let lost = Report {
            outcome: Outcome::Failed,
            cause: Some("no packet for 40 s".to_owned()),
            ..passed()
        };
        assert_snapshot!(verdict(&lost, Colour::Off), @"✓ cone-cone                    audio lost · no packet for 40 s · alice srflx / bob host · 7.120 s virtual, 14 ms real");
        let silent = Report {
            audio_connected_ms: BTreeMap::new(),
            selected: BTreeMap::new(),
            cause: None,
            ..lost
        };
        assert_snapshot!(verdict(&silent, Colour::Off), @"✓ cone-cone                    call failed · 7.120 s virtual, 14 ms real");
    }

    #[test]
    fn the_summary_counts() {
        assert_snapshot!(summary(&count(3, "scenario"), 2, 1, Colour::Off), @"3 scenarios: 2 passed, 1 failed");
        assert_snapshot!(summary(&count(1, "scenario"), 1, 0, Colour::Off), @"1 scenario: 1 passed, 0 failed");
    }

    #[test]
    fn packets_are_shown_when_asked_for() {
        let timeline_of = |detail| timeline(&failed().timeline, detail, Colour::Off);
        assert_snapshot!(timeline_of(Detail::Events), @"
         0.000s  alice  calls bob
        41.200s  bob    gives up
        ");
        assert_snapshot!(timeline_of(Detail::Packets), @"
         0.000s  alice  calls bob
         0.012s  hotel  drops a packet: UDP is blocked
        41.200s  bob    gives up
        ");
    }

    #[test]
    fn a_failure_says_what_happened_and_how_to_see_it_again() {
        let report = Report {
            bundle: Some(PathBuf::from("out/cone-cone-7")),
            ..failed()
        };
        assert_snapshot!(failure(&report, Colour::Off), @"
        cone-cone failed with seed 7
          wrong-outcome: expected audio both ways, and there is none
          what led there:
                 0.000s  alice  calls bob
                41.200s  bob    gives up
                41.200s  alice  no signaling message was sent or received
                41.200s  bob    no signaling message was sent or received
          see it again: cargo run -- run scenarios/nat/cone-cone.toml --seed 7
          the bundle: out/cone-cone-7
        ");
        assert_eq!(failure(&passed(), Colour::Off), "");
    }

    #[test]
    fn the_most_telling_failures_come_first_and_many_of_a_kind_are_counted() {
        let of = |cause, message: &str| Failure::new(cause, message.to_owned());
        let mut many = vec![of(FailureCause::TooLate, "it came late")];
        for number in 1..=5 {
            let message = format!("candidate {number} is lost");
            many.push(of(FailureCause::CandidateLost, &message));
        }
        assert_snapshot!(failures(&many).join("\n"), @"
        candidate-lost: candidate 1 is lost
        candidate-lost: candidate 2 is lost
        candidate-lost: candidate 3 is lost
        candidate-lost: and 2 more
        too-late: it came late
        ");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let coloured = failure(&failed(), Colour::On);
        assert!(coloured.contains('\u{1b}'));
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, code)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = code.split_once('m').expect("a colour code ends").1;
        }
        plain.push_str(rest);
        assert_eq!(plain, failure(&failed(), Colour::Off));
    }

    #[test]
    fn the_json_has_the_promised_keys_and_no_others() {
        let json = serde_json::to_string(&failed()).expect("a report is JSON");
        assert_snapshot!(json, @r#"{"scenario":"cone-cone","seed":7,"passed":false,"outcome":"unreachable","audio_connected_ms":{},"selected":{},"digest":"00ff","virtual_ms":7120,"wall_ms":14,"failures":[{"cause":"wrong-outcome","message":"expected audio both ways, and there is none"}]}"#);
    }

    #[test]
    fn a_file_with_spaces_is_quoted_in_the_replay_command() {
        let report = Report {
            file: PathBuf::from("my scenarios/a'b.toml"),
            ..passed()
        };
        assert_eq!(
            report.replay_command(),
            r"cargo run -- run 'my scenarios/a'\''b.toml' --seed 7",
        );
    }
}
