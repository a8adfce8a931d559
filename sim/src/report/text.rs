//! Reports for people.

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use owo_colors::{OwoColorize as _, Style};

use super::{Outcome, PacketOrEvent, Report, TimelineEntry};

/// How many events a failure shows of the end of its run.
const LAST_EVENTS: usize = 12;

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
    let times = format!(
        "{} virtual, {} ms real",
        seconds(report.virtual_ms),
        report.wall_ms
    );
    parts.push(colour.paint(&times, Style::new().dimmed()));
    format!("{mark} {name} {}", parts.join(" · "))
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

/// What a failed run leaves to be understood: what was expected and what happened, the end of the
/// timeline, and how to see it again. Empty for a run that passed.
#[must_use]
pub fn failure(report: &Report, colour: Colour) -> String {
    let mut text = String::new();
    if report.passed {
        return text;
    }
    let title = format!("{} failed with seed {}", report.scenario, report.seed);
    line(&mut text, colour.paint(&title, Style::new().red().bold()));
    for failure in &report.failures {
        line(&mut text, format_args!("  {}", failure.message));
    }
    let events: Vec<&TimelineEntry> = report
        .timeline
        .iter()
        .filter(|entry| shows(Detail::Events, entry))
        .collect();
    let last = &events[events.len().saturating_sub(LAST_EVENTS)..];
    if !last.is_empty() {
        line(&mut text, "  last events:");
        for event in lines(last, colour).lines() {
            line(&mut text, format_args!("    {event}"));
        }
    }
    let command = colour.paint(&report.replay_command(), Style::new().bold());
    line(&mut text, format_args!("  see it again: {command}"));
    text
}

fn shows(detail: Detail, entry: &TimelineEntry) -> bool {
    detail == Detail::Packets || entry.packet == PacketOrEvent::Event
}

fn lines(entries: &[&TimelineEntry], colour: Colour) -> String {
    let width = entries
        .iter()
        .map(|entry| entry.host.chars().count())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for entry in entries {
        let at = colour.paint(&format!("{:>11}", clock(entry.at)), Style::new().dimmed());
        let host = colour.paint(&format!("{:<width$}", entry.host), Style::new().cyan());
        let what = match entry.packet {
            PacketOrEvent::Event => entry.text.clone(),
            PacketOrEvent::Packet => colour.paint(&entry.text, Style::new().dimmed()),
        };
        line(&mut text, format_args!("{at}  {host}  {what}"));
    }
    text
}

/// Seconds with the three decimals that the world counts in, and finer ones where there are any.
fn clock(at: Duration) -> String {
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
        Outcome::Failed => "failed",
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

    use super::super::{CandidateType, Failure, FailureCause};
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
        }
    }

    fn failed() -> Report {
        let entry = |milliseconds, host: &str, text: &str, packet| TimelineEntry {
            at: Duration::from_millis(milliseconds),
            host: host.to_owned(),
            text: text.to_owned(),
            packet,
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
                entry(0, "alice", "calls bob", PacketOrEvent::Event),
                entry(
                    12,
                    "hotel",
                    "drops a packet: UDP is blocked",
                    PacketOrEvent::Packet,
                ),
                entry(41_200, "bob", "gives up", PacketOrEvent::Event),
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
        assert_snapshot!(verdict(&silent, Colour::Off), @"✓ cone-cone                    failed · 7.120 s virtual, 14 ms real");
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
        assert_snapshot!(failure(&failed(), Colour::Off), @"
        cone-cone failed with seed 7
          expected audio both ways, and there is none
          last events:
                 0.000s  alice  calls bob
                41.200s  bob    gives up
          see it again: cargo run -- run scenarios/nat/cone-cone.toml --seed 7
        ");
        assert_eq!(failure(&passed(), Colour::Off), "");
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
