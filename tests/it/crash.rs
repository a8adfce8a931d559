//! Runs in which something breaks the rules: they fail by name and can be repeated.

use ringtrue_sim::report::{FailureCause, Report, text};
use ringtrue_sim::seed::Seed;
use ringtrue_sim::trace::digest::Chain;
use ringtrue_sim::trace::{AppEvent, Event, EventKind, Observer};
use ringtrue_sim::world::run::{RunOptions, run};

use crate::support::scenario;

/// Does something inside the task that records that a phone rings.
struct WhenItRings(fn());

impl Observer for WhenItRings {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        if let EventKind::App(AppEvent::Incoming { .. }) = event.kind {
            (self.0)();
        }
    }
}

#[track_caller]
fn check(does: fn(), cause: FailureCause, message: &str) -> Report {
    let options = RunOptions {
        observers: vec![Box::new(WhenItRings(does))],
        ..RunOptions::default()
    };
    let scenario = scenario("nat/cone-cone.toml");
    let report = run(&scenario, Seed::new(9), options).expect("the scenario can be run");
    assert!(!report.passed);
    assert_eq!(report.failures[0].cause, cause, "{:?}", report.failures);
    let said = text::failure(&report, text::Colour::Off);
    assert!(said.contains(message), "{said}");
    assert!(said.contains("cone-cone.toml --seed 9"), "{said}");
    report
}

#[test]
fn a_panic_in_a_task_fails_the_run_with_its_message_and_the_way_to_repeat_it() {
    check(
        || panic!("the ringtone is missing"),
        FailureCause::Panic,
        "the ringtone is missing",
    );
}

#[test]
fn a_thread_made_in_a_task_fails_the_run_by_name() {
    let makes_a_thread = || {
        // The refusal is what is tested; the thread itself is of no use.
        let _ = std::thread::Builder::new().spawn(|| {});
    };
    check(makes_a_thread, FailureCause::ForeignThread, "thread");
}
