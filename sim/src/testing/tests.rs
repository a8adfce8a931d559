use std::sync::atomic::AtomicU64;

use super::*;
use crate::net::nat::NatPreset;

fn homes() -> Builder {
    Builder::new("Two \"homes\" talk.")
        .network("a", NatPreset::FullCone)
        .network("b", NatPreset::Home)
        .peer("alice", "a")
        .peer("bob", "b")
}

/// What is said where `test` panics.
#[track_caller]
fn said(test: impl Fn() + Sync) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("it was to panic");
    message(panic.as_ref())
}

#[test]
fn what_is_built_is_a_scenario() {
    let scenario = homes()
        .call("0s", "alice", "bob")
        .step("ringing + 1s", "bob", "answer")
        .fault("socket-drop", &[("after", "audio + 1s"), ("peer", "bob")])
        .expect_settled()
        .build();
    assert_eq!(scenario.about, "Two \"homes\" talk.");
    assert_eq!((scenario.peers.len(), scenario.faults.len()), (2, 1));
    assert_eq!(scenario.script.len(), 3);
}

#[test]
fn what_is_wrong_with_it_is_said_at_once() {
    let said = said(|| {
        let _ = homes().peer("carol", "c").build();
    });
    assert!(said.contains("carol") && said.contains("\"c\""), "{said}");
}

#[test]
fn a_failed_assertion_says_how_to_see_it_again() {
    let report = homes().expect_path(CallPath::Relayed).build().run(3);
    let said = said(|| report.assert_passed());
    assert!(
        said.contains("expected relayed audio, and it is direct"),
        "{said}"
    );
    assert!(
        said.contains("replay rt1-") && said.contains("--seed 3"),
        "{said}"
    );
    let bundle = report.bundle.expect("it failed");
    let place = format!("the bundle: {}", bundle.display());
    assert!(said.contains(&place), "{said}");
    assert!(bundle.join("report.html").is_file(), "{}", bundle.display());
}

#[test]
fn what_a_test_expects_beside_the_scenario_fails_as_fully() {
    let report = homes().build().run(3);
    report.assert_passed();
    let soon = Duration::from_millis(1);
    let failures = [
        (
            said(|| report.assert_path(CallPath::Relayed)),
            "wrong-path: expected relayed audio, and it is direct",
        ),
        (
            said(|| report.assert_audio_within(soon)),
            "too-late: expected audio within 1ms of the answer, and it came after",
        ),
    ];
    for (said, expected) in failures {
        for part in [expected, "call answered", "replay rt1-", "--seed 3"] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
}

#[test]
fn every_seed_is_tried_once() {
    let sum = AtomicU64::new(0);
    for_each_seed(3..7, |seed| {
        sum.fetch_add(seed.number(), Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 3 + 4 + 5 + 6);
}

#[test]
fn the_least_seed_that_fails_is_told() {
    let said = said(|| {
        for_each_seed(0..40, |seed| {
            assert!(seed.number() % 10 != 9, "nine is too many");
        });
    });
    assert!(said.contains("nine is too many"), "{said}");
    assert!(said.contains("RINGTRUE_SEED=9 cargo test"), "{said}");
}
