//! After a fault of the signaling server, or of the path to it, signaling is back soon.

use std::time::Duration;

use ringtrue_sim::check::facts::Facts;
use ringtrue_sim::report::text;
use ringtrue_sim::trace::AppEvent;

use crate::support::{facts_of, homes, scenario_of};

/// How long after the server, or the path, signaling is back.
const BACK_WITHIN: Duration = Duration::from_secs(12);
/// When the fault begins: just before an idle client asks for a sign of life, as it does every 6 s.
const BEGIN: Duration = Duration::from_secs(12);
const SEEDS: u64 = 3;

fn fault(kind: &str, lasts: Duration) -> String {
    format!("\n[[fault]]\n{kind}\nat = \"{BEGIN:?}\"\nfor = \"{lasts:?}\"\n")
}

/// When `peer` was connected and remained so, after this moment.
fn connected_for_good(facts: &Facts, peer: &str) -> Option<Duration> {
    let events = facts.app.iter().filter(|fact| *fact.peer == *peer);
    let mut since = None;
    for fact in events {
        match fact.event {
            AppEvent::SignalingConnected => since = Some(fact.at),
            AppEvent::SignalingLost { .. } => since = None,
            _ => {}
        }
    }
    since
}

/// Alice and bob talk while the fault is there, and long after it.
#[track_caller]
fn check_in_a_call(kind: &str, seconds: &[u64]) {
    for lasts in seconds.iter().map(|seconds| Duration::from_secs(*seconds)) {
        let talk = format!(
            "\n[talk]\nfor = \"{:?}\"\n",
            BEGIN + lasts + BACK_WITHIN * 2
        );
        let scenario = scenario_of(&[homes("home", "home"), fault(kind, lasts), talk].concat());
        for seed in 1..=SEEDS {
            let (report, facts) = facts_of(&scenario, seed);
            let told = text::failure(&report, text::Colour::Off);
            assert!(report.passed, "{kind} for {lasts:?}: {told}");
            for peer in ["alice", "bob"] {
                let back = connected_for_good(&facts, peer);
                let limit = BEGIN + lasts + BACK_WITHIN;
                assert!(
                    back.is_some_and(|back| back <= limit),
                    "{kind} for {lasts:?} with seed {seed}: {peer} is back at {back:?}, not by {limit:?}"
                );
            }
        }
    }
}

/// Alice calls bob as soon as signaling has to be back; gives how long he takes to ring.
#[track_caller]
fn rings_after(before: &str, fault: &str, lasts: Duration, seed: u64) -> Duration {
    let called = BEGIN + lasts + BACK_WITHIN;
    let script = format!(
        "\n[[script]]\nat = \"{called:?}\"\npeer = \"alice\"\ndo = \"call\"\ncallee = \"bob\"\n\
         [[script]]\nafter = \"ringing + 1s\"\npeer = \"bob\"\ndo = \"answer\"\n"
    );
    let (report, facts) = facts_of(&scenario_of(&[before, fault, &script].concat()), seed);
    let told = text::failure(&report, text::Colour::Off);
    assert!(report.passed, "{fault}: {told}");
    let ringing = facts.first_ringing().expect("audio is connected");
    ringing.saturating_sub(called)
}

/// Nobody calls while the fault is there.
#[track_caller]
fn check_idle(before: &str, kind: &str, seconds: &[u64]) {
    for lasts in seconds.iter().map(|seconds| Duration::from_secs(*seconds)) {
        for seed in 1..=SEEDS {
            let took = rings_after(before, &fault(kind, lasts), lasts, seed);
            let limit = Duration::from_secs(1);
            assert!(took <= limit, "{kind} for {lasts:?}: {took:?}, seed {seed}");
        }
    }
}

const RESTART: &str = "kind = \"signaling-restart\"\nhow = \"polite\"";
const CUT: &str = "kind = \"signaling-restart\"\nhow = \"cut\"";

#[test]
fn after_a_server_that_restarts_in_a_call() {
    check_in_a_call(RESTART, &[1, 10, 40]);
    check_in_a_call(CUT, &[1, 10, 40]);
}

#[test]
fn after_a_server_that_restarts_while_nobody_calls() {
    check_idle(&homes("home", "home"), RESTART, &[1, 10, 40]);
    check_idle(&homes("home", "home"), CUT, &[1, 10, 40, 60, 100]);
}

#[test]
fn after_a_server_that_answers_nothing_for_a_while() {
    let pause = "kind = \"server-pause\"\nserver = \"signaling\"";
    check_idle(&homes("home", "home"), pause, &[60, 100]);
    check_in_a_call(pause, &[5, 30, 100]);
}

#[test]
fn after_a_path_that_swallowed_everything() {
    let hole = "kind = \"blackhole\"\nnetwork = \"a\"";
    check_idle(&homes("home", "home"), hole, &[1, 5, 30, 60, 100]);
    check_in_a_call(hole, &[1, 5, 30, 60]);
}

#[test]
fn behind_a_proxy_that_breaks_upgrades() {
    let before = homes("home", "home").replace(
        "[network.b]",
        "[network.b]\n        proxy = \"breaks-websocket\"",
    );
    check_idle(&before, RESTART, &[1, 10, 40]);
}
