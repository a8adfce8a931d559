//! What is picked of a run, and what is left out.

use std::path::PathBuf;

use super::super::traffic::{PassedMessage, Traffic};
use super::super::{Failure, FailureCause, Outcome};
use super::focus::moments;
use super::*;
use crate::check::milestones::Timings;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn entry(second: u64, host: &str, text: &str, topic: Topic) -> TimelineEntry {
    TimelineEntry {
        at: seconds(second),
        host: host.to_owned(),
        text: text.to_owned(),
        packet: PacketOrEvent::Event,
        topic,
    }
}

/// A call that failed so.
fn failed(cause: FailureCause, message: &str, timeline: Vec<TimelineEntry>) -> Report {
    Report {
        scenario: "a-test".to_owned(),
        seed: 1,
        passed: false,
        outcome: Outcome::Failed,
        audio_connected_ms: BTreeMap::new(),
        selected: BTreeMap::new(),
        digest: String::new(),
        virtual_ms: 60_000,
        wall_ms: 1,
        failures: vec![Failure::new(cause, message.to_owned())],
        file: PathBuf::from("a-test.toml"),
        client: None,
        answered_at: None,
        cause: None,
        signaling_frames: BTreeMap::new(),
        timings: Timings::default(),
        mean_opinion: BTreeMap::new(),
        timeline,
        key_log: Vec::new(),
        traffic: Traffic::default(),
        bundle: None,
    }
}

fn a_call() -> Vec<TimelineEntry> {
    vec![
        entry(0, "alice", "signaling connected", Topic::Signaling),
        entry(1, "alice", "calls bob", Topic::CallBegins),
        entry(2, "bob", "rings: alice calls", Topic::Call),
        entry(3, "bob", "call answered", Topic::Call),
        entry(3, "bob", "added a candidate", Topic::Other),
        entry(50, "alice", "call over: unreachable", Topic::CallEnds),
    ]
}

#[track_caller]
fn check_focus(cause: FailureCause, message: &str, about: &[&str], period: [u64; 2]) {
    let focus = Focus::of(&failed(cause, message, a_call())).expect("it failed");
    let about: BTreeSet<String> = about.iter().map(|peer| (*peer).to_owned()).collect();
    let seen = [focus.from.as_secs(), focus.to.as_secs()];
    assert_eq!((focus.about, seen), (about, period));
}

#[track_caller]
fn texts(report: &Report) -> Vec<String> {
    let account = account(report);
    account.lines.into_iter().map(|line| line.text).collect()
}

#[test]
fn a_wrong_outcome_is_about_both_peers_and_the_whole_last_call() {
    let message = "no audio both ways within 20s of the last healing at 2.290 s";
    check_focus(
        FailureCause::WrongOutcome,
        message,
        &["alice", "bob"],
        [1, 50],
    );
}

#[test]
fn a_broken_rule_is_about_whom_and_when_its_message_names() {
    let message = "bob at 30.083s has not added a candidate that it has had since 22.083s";
    check_focus(FailureCause::CandidateLost, message, &["bob"], [11, 32]);
    let message = "bob at 20.05s is Controlling in its checks, as alice is";
    check_focus(
        FailureCause::IceRuleBroken,
        message,
        &["alice", "bob"],
        [9, 22],
    );
}

#[test]
fn lost_audio_is_about_the_time_since_the_fault() {
    let message =
        "in the 2 s from 13.280 s alice heard 0 % of the audio, not 90 %, after flight-mode";
    check_focus(FailureCause::AudioNotKept, message, &["alice"], [2, 15]);
    let mut timeline = a_call();
    timeline.insert(3, entry(1, "fault", "fault: flight-mode", Topic::Fault));
    let focus = Focus::of(&failed(FailureCause::AudioNotKept, message, timeline));
    assert_eq!(focus.expect("it failed").from, seconds(1));
}

#[test]
fn times_that_are_limits_are_no_moments() {
    let message = "audio at 3s, at 4.5 s and at 1m5s, not within 9s of 7s";
    let seen: Vec<Duration> = moments(message, &["at"]).collect();
    assert_eq!(seen, [seconds(3), Duration::from_millis(4500), seconds(65)]);
}

#[test]
fn what_says_nothing_is_left_out_and_what_happened_stays() {
    let report = failed(FailureCause::WrongOutcome, "no audio", a_call());
    assert_eq!(
        texts(&report),
        [
            "calls bob",
            "rings: alice calls",
            "call answered",
            "call over: unreachable",
            "no signaling message was sent or received",
            "no signaling message was sent or received",
        ]
    );
}

#[test]
fn the_last_message_each_way_is_the_last_before_the_end() {
    let mut report = failed(
        FailureCause::CandidateLost,
        "bob at 5s has not added a candidate",
        a_call(),
    );
    let message = |second, way, kind: &str| PassedMessage {
        at: seconds(second),
        host: "bob".into(),
        way,
        kind: kind.to_owned(),
    };
    report.traffic.messages = vec![
        message(2, MessageWay::Received, "offer"),
        message(3, MessageWay::Sent, "answer"),
        message(4, MessageWay::Received, "candidate"),
        message(9, MessageWay::Received, "hang-up"),
    ];
    let seen = texts(&report);
    assert!(seen.contains(&"last signaling message sent: answer".to_owned()));
    assert!(seen.contains(&"last signaling message received: candidate".to_owned()));
}

#[test]
fn drops_are_a_line_for_each_cause_with_their_count() {
    let mut report = failed(FailureCause::WrongOutcome, "no audio", a_call());
    let drops = |host: &str, cause: &str, count, first| Drops {
        host: host.into(),
        cause: cause.to_owned(),
        count,
        first: seconds(first),
        last: seconds(40),
        packet: "udp a > b STUN 100 B".to_owned(),
    };
    report.traffic.drops = vec![
        drops("gateway", "nat: filtered", 5, 3),
        drops("link", "nat: filtered", 7, 4),
        drops("gateway", "firewall: udp blocked", 1, 5),
    ];
    let seen = texts(&report);
    let filtered = "drops udp a > b STUN 100 B: nat: filtered × 12, until 40.000s";
    assert!(seen.contains(&filtered.to_owned()), "{seen:#?}");
    let blocked = "drops udp a > b STUN 100 B: firewall: udp blocked";
    assert!(seen.contains(&blocked.to_owned()), "{seen:#?}");
}

#[test]
fn a_fault_matters_long_after_it_struck() {
    let mut timeline = a_call();
    timeline.insert(
        0,
        entry(0, "fault", "fault: server-pause turn", Topic::Fault),
    );
    let message = "bob at 40s has not added a candidate";
    let report = failed(FailureCause::CandidateLost, message, timeline);
    assert_eq!(texts(&report)[0], "fault: server-pause turn");
}

#[test]
fn audio_is_told_once() {
    let mut timeline = a_call();
    timeline.insert(
        5,
        entry(4, "bob", "hears the other side's tone", Topic::Audio),
    );
    timeline.insert(6, entry(4, "bob", "audio is up", Topic::Audio));
    let seen = texts(&failed(FailureCause::WrongOutcome, "no audio", timeline));
    assert!(
        seen.contains(&"hears the other side's tone".to_owned()),
        "{seen:#?}"
    );
    assert!(!seen.contains(&"audio is up".to_owned()), "{seen:#?}");
}

#[test]
fn repeated_lines_are_one() {
    let mut timeline = a_call();
    for second in 10..14 {
        let text = format!("alice's candidate {second} is lost");
        timeline.push(entry(second, "server", &text, Topic::Perturbation));
        timeline.push(entry(second, "alice", "WARN no", Topic::Warning));
    }
    timeline.sort_by_key(|entry| entry.at);
    let report = failed(FailureCause::WrongOutcome, "no audio", timeline);
    let seen = texts(&report);
    let lost = "alice's candidate 10 is lost, and 3 more like it until 13.000s";
    assert!(seen.contains(&lost.to_owned()), "{seen:#?}");
    assert!(
        seen.contains(&"WARN no × 4, until 13.000s".to_owned()),
        "{seen:#?}"
    );
}

#[test]
fn of_too_many_lines_those_that_say_less_or_are_far_away_are_left_out() {
    let mut timeline = a_call();
    for second in 4..30 {
        let text = format!("path selected: {second}");
        timeline.push(entry(second, "alice", &text, Topic::Path));
    }
    timeline.sort_by_key(|entry| entry.at);
    let report = failed(FailureCause::WrongOutcome, "no audio", timeline);
    let account = account(&report);
    assert_eq!(account.lines.len(), LINES_MAX);
    let texts: Vec<&str> = account.lines.iter().map(|line| &*line.text).collect();
    assert!(texts.contains(&"call over: unreachable"), "{texts:#?}");
    assert!(texts.contains(&"path selected: 29"), "{texts:#?}");
    assert!(!texts.contains(&"path selected: 4"), "{texts:#?}");
    // Four of the call, 26 paths, two about messages.
    assert_eq!(account.left_out + LINES_MAX, 32);
}

#[test]
fn a_run_that_passed_has_no_account() {
    let mut report = failed(FailureCause::WrongOutcome, "no audio", a_call());
    report.failures.clear();
    assert_eq!(account(&report), Account::default());
}
