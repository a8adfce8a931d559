//! What is taken out and what stays, by causes that need no run.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::fault::FaultKind;
use crate::scenario::model::Expectation;

const CROWDED: &str = r#"
# A comment.
about = "Much goes wrong."
story = "It was night."
[network.carrier]
nat = "carrier-grade"
[network.home]
behind = "carrier"
nat = { preset = "home", udp_timeout = "30s" }
uplink = { delay = "37ms", loss = "2%", up = { rate = "1Mbps" } }
[network.office]
nat = "corporate"
idle_tcp = { after = "60s", how = "reset" }
[network.cafe]
[peer.alice]
network = "home"
[peer.bob]
network = "office"
[peer.carol]
network = "cafe"
plays = "tone-low.opus"
[servers]
delay = "7ms"
turn = "down"
[[script]]
at = "317ms"
peer = "alice"
do = "call"
callee = "bob"
[[script]]
after = "ringing + 1203ms"
peer = "bob"
do = "answer"
[[fault]]
kind = "socket-drop"
after = "ringing + 1s"
peer = "bob"
how = "fin"
[[fault]]
kind = "blackhole"
at = "11312ms"
for = "2919ms"
network = "home"
[[fault]]
kind = "rebinding"
at = "15s"
network = "office"
[[fault]]
kind = "network-switch"
at = "20s"
peer = "alice"
to = "cafe"
[[message]]
from = "alice"
kind = "candidate"
which = 3
copies = 8
copy_delay = "1s"
[[message]]
from = "bob"
delay = "0s to 3s"
[expect]
back_within = "9s"
[talk]
for = "40s"
"#;

fn read(text: &str) -> Result<Scenario, InvalidScenario> {
    Scenario::parse_alone(Path::new("crowded.toml"), text)
}

fn cause() -> Cause {
    "wrong-outcome: it is wrong".parse().expect("a cause")
}

fn never() -> bool {
    false
}

/// What is left of the crowded scenario where it fails as long as `is_failing` says so.
#[track_caller]
fn shrunk(jobs: usize, runs_max: usize, is_failing: fn(&Scenario) -> bool) -> Shrunk {
    let (cause, jobs) = (cause(), NonZero::new(jobs).expect("a job"));
    let failing = Failing {
        text: CROWDED,
        read: &read,
        seed: Seed::new(1),
        cause: &cause,
    };
    let budget = Budget {
        runs_max,
        is_over: &never,
    };
    let run = |scenario: &Scenario, _| is_failing(scenario).then(|| cause.clone());
    shrink(failing, budget, jobs, &run).expect("it fails at first")
}

fn is_blackholed(scenario: &Scenario) -> bool {
    let mut faults = scenario.faults.iter();
    faults.any(
        |fault| matches!(&fault.kind, FaultKind::Blackhole { network, .. } if network == "home"),
    )
}

fn has_a_copy_after_a_call_to_bob(scenario: &Scenario) -> bool {
    let mut perturbations = scenario.perturbations.iter();
    let is_behind = scenario.way_out("home").len() == 2;
    is_behind && perturbations.any(|perturbation| perturbation.copies > 2)
}

#[test]
fn where_everything_fails_nothing_is_left() {
    let least = shrunk(1, 10_000, |_| true);
    insta::assert_snapshot!(least.text);
    assert_eq!(least.ended, Ended::Least);
}

#[test]
fn what_the_cause_needs_stays() {
    insta::assert_snapshot!(shrunk(1, 10_000, is_blackholed).text);
    insta::assert_snapshot!(shrunk(1, 10_000, has_a_copy_after_a_call_to_bob).text);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for runs_max in [1, 2, 3, 7, 20, 10_000] {
        for is_failing in [is_blackholed, has_a_copy_after_a_call_to_bob] {
            let alone = shrunk(1, runs_max, is_failing);
            for jobs in [2, 3, 16] {
                assert_eq!(shrunk(jobs, runs_max, is_failing), alone, "{jobs} jobs");
            }
        }
    }
}

#[test]
fn what_is_expected_is_never_touched() {
    let least = shrunk(1, 10_000, is_blackholed);
    let back = |text: &str| match read(text).expect("a scenario").expect {
        Expectation::AudioConnected { back_within, .. } => back_within,
        other => panic!("{other:?}"),
    };
    assert_eq!(back(&least.text), back(CROWDED));
}

#[test]
fn a_budget_of_runs_is_kept() {
    for runs_max in [1, 2, 5, 17] {
        let some = shrunk(1, runs_max, is_blackholed);
        assert_eq!((some.runs, some.ended), (runs_max, Ended::BudgetUsed));
        assert!(is_blackholed(&read(&some.text).expect("a scenario")));
    }
}

#[test]
fn a_time_that_is_over_ends_it() {
    let (cause, asked) = (cause(), AtomicUsize::new(0));
    let failing = Failing {
        text: CROWDED,
        read: &read,
        seed: Seed::new(1),
        cause: &cause,
    };
    let budget = Budget {
        runs_max: 10_000,
        is_over: &|| asked.fetch_add(1, Ordering::Relaxed) == 4,
    };
    let run = |_: &Scenario, _| Some(cause.clone());
    let some = shrink(failing, budget, NonZero::<usize>::MIN, &run).expect("it fails");
    assert_eq!((some.runs, some.ended), (5, Ended::BudgetUsed));
}

#[test]
fn another_cause_is_not_the_one_to_hold_on_to() {
    let expected = cause();
    let failing = Failing {
        text: CROWDED,
        read: &read,
        seed: Seed::new(7),
        cause: &expected,
    };
    let budget = Budget {
        runs_max: 10,
        is_over: &never,
    };
    let refused = |found: Option<Cause>| {
        let error = shrink(
            failing,
            budget,
            NonZero::<usize>::MIN,
            &|_: &Scenario, _| found.clone(),
        );
        error
            .expect_err("it does not fail for the cause")
            .to_string()
    };
    let expected =
        "with seed 7 the scenario does not fail for the cause \"wrong-outcome: it is wrong\": ";
    assert_eq!(refused(None), format!("{expected}it passes"));
    let other = "panic: at once".parse().expect("a cause");
    assert_eq!(refused(Some(other)), format!("{expected}panic: at once"));
}
