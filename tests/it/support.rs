//! What the tests share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use ringtrue_sim::check::facts::{FactCollector, Facts};
use ringtrue_sim::report::{Report, text};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::world::run::{RunOptions, run};

/// The top of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package `sim` stands in the checkout")
        .to_owned()
}

/// A scenario of the checkout, by its path under `scenarios/`.
#[track_caller]
pub(crate) fn scenario(path: &str) -> Scenario {
    let path = root().join("scenarios").join(path);
    Scenario::load(&path).unwrap_or_else(|error| panic!("{error:?}"))
}

/// A scenario written in the test; it finds the fixtures of the checkout.
#[track_caller]
pub(crate) fn scenario_of(text: &str) -> Scenario {
    let path = root().join("scenarios/in-a-test.toml");
    Scenario::parse(&path, text).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Runs a scenario as it is.
#[track_caller]
pub(crate) fn report(scenario: &Scenario, seed: u64) -> Report {
    let result = run(scenario, Seed::new(seed), RunOptions::default());
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a scenario as it is, and gives what the checkers remember of it beside the report.
#[track_caller]
pub(crate) fn facts_of(scenario: &Scenario, seed: u64) -> (Report, Facts) {
    let facts = FactCollector::default();
    let options = RunOptions {
        observers: vec![Box::new(facts.clone())],
        ..RunOptions::default()
    };
    let report = run(scenario, Seed::new(seed), options).unwrap_or_else(|error| panic!("{error}"));
    (report, facts.with(Clone::clone))
}

/// Runs a scenario and asserts that all came as it expects. The message of a failure holds the seed
/// and the command that repeats it.
#[track_caller]
pub(crate) fn check(scenario: &Scenario, seed: u64) -> Report {
    let report = report(scenario, seed);
    assert!(
        report.passed,
        "{}",
        text::failure(&report, text::Colour::Off)
    );
    report
}

/// Runs a scenario of the test's own over the first seeds, asserts that all came as it expects, and then
/// what `also` asserts.
#[track_caller]
pub(crate) fn check_seeds(text: &str, seeds: u64, also: impl Fn(&Facts)) {
    for seed in 1..=seeds {
        let (report, facts) = facts_of(&scenario_of(text), seed);
        assert!(
            report.passed,
            "seed {seed}: {}",
            text::failure(&report, text::Colour::Off)
        );
        also(&facts);
    }
}

/// What comes of each of these cases, in no order. Both cores of a small machine work on them.
pub(crate) fn on_both_cores<C: Sync, O: Send>(cases: &[C], run: impl Fn(&C) -> O + Sync) -> Vec<O> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut outcomes = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            outcomes.push(run(case));
        }
        outcomes
    };
    std::thread::scope(|scope| {
        let helper = scope.spawn(work);
        let mut outcomes = work();
        outcomes.extend(helper.join().expect("a failing case is told, no panic"));
        outcomes
    })
}

/// What is wrong with any of these cases, as `judge` tells it.
#[track_caller]
pub(crate) fn check_all<C: Sync>(cases: &[C], judge: impl Fn(&C) -> Option<String> + Sync) {
    let wrong: Vec<String> = on_both_cores(cases, judge).into_iter().flatten().collect();
    let shown = wrong[..wrong.len().min(3)].join("\n\n");
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{shown}",
        wrong.len(),
        cases.len()
    );
}

/// How many seeds or rounds to run: what `RINGTRUE_SEEDS` says, or what the suite has time for.
#[track_caller]
pub(crate) fn seeds(default: u64) -> u64 {
    let wanted = std::env::var("RINGTRUE_SEEDS").ok();
    wanted.map_or(default, |seeds| {
        seeds.parse().expect("RINGTRUE_SEEDS is a number")
    })
}

/// Alice and bob, each behind a NAT of this name; a table of its own may follow.
pub(crate) fn homes(alices: &str, bobs: &str) -> String {
    format!(
        r#"
        about = "alice behind {alices}, bob behind {bobs}"
        [network.a]
        nat = "{alices}"
        [network.b]
        nat = "{bobs}"
        [peer.alice]
        network = "a"
        [peer.bob]
        network = "b"
        "#
    )
}

/// A directory of its own with the fixtures of the checkout, for scenarios that a test writes.
#[track_caller]
pub(crate) fn project() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a new directory");
    let fixtures = directory.path().join("fixtures");
    std::fs::create_dir(&fixtures).expect("a new directory");
    for tone in ["tone-low.opus", "tone-high.opus"] {
        let from = root().join("fixtures").join(tone);
        std::fs::copy(from, fixtures.join(tone)).expect("the fixture is there");
    }
    directory
}

/// Runs the `ringtrue` command at the top of the checkout, in a terminal of 100 columns.
#[track_caller]
pub(crate) fn ringtrue(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringtrue"))
        .args(arguments)
        .current_dir(root())
        .env("COLUMNS", "100")
        .output()
        .expect("the command starts")
}

/// What a command prints, and then what it says on standard error, when it exits with this code.
#[track_caller]
pub(crate) fn said(arguments: &[&str], code: i32) -> String {
    let output = ringtrue(arguments);
    let text = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?} said: {text}"
    );
    text
}

/// What a command printed.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
