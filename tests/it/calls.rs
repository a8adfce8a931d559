//! Calls through the world: who reaches whom, and that it repeats.

use std::collections::BTreeMap;

use ringtrue_sim::report::{CandidateType, Outcome};
use ringtrue_sim::scenario::load_paths;

use crate::support::{check, homes, report, root, scenario, scenario_of};

/// A call from behind the first NAT to behind the second, with a second of talk.
fn between(first: &str, second: &str) -> String {
    homes(first, second) + "[talk]\nfor = \"1s\"\n"
}

#[test]
fn every_scenario_passes() {
    for scenario in load_paths(&[root().join("scenarios")]).expect("the scenarios are valid") {
        check(&scenario, 1);
    }
}

#[test]
fn every_pair_of_classic_nats_connects_as_its_rules_allow() {
    let nats = [
        "full-cone",
        "address-restricted",
        "port-restricted",
        "symmetric",
    ];
    let mut relayed = Vec::new();
    for first in nats {
        for second in nats {
            let report = check(&scenario_of(&between(first, second)), 1);
            if report
                .selected
                .values()
                .any(|kind| *kind == CandidateType::Relayed)
            {
                relayed.push((first, second));
            }
        }
    }
    // A symmetric NAT maps each destination anew, so nobody whose filter wants the port can let it
    // in; every other pair has one side that can.
    let expected = [
        ("port-restricted", "symmetric"),
        ("symmetric", "port-restricted"),
        ("symmetric", "symmetric"),
    ];
    assert_eq!(relayed, expected);
}

#[test]
fn a_run_repeats_from_its_seed() {
    let scenario = scenario("nat/five-percent-loss.toml");
    let digest = |seed| report(&scenario, seed).digest;
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}

#[test]
fn runs_in_parallel_threads_give_the_digests_of_runs_in_sequence() {
    let scenario = scenario("nat/cone-cone.toml");
    let in_sequence: BTreeMap<u64, String> = (1..=6)
        .map(|seed| (seed, report(&scenario, seed).digest))
        .collect();
    let in_parallel: BTreeMap<u64, String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (1..=6)
            .map(|seed| {
                let scenario = &scenario;
                (seed, scope.spawn(move || report(scenario, seed).digest))
            })
            .collect();
        runs.into_iter()
            .map(|(seed, run)| (seed, run.join().expect("the run does not panic")))
            .collect()
    });
    assert_eq!(in_parallel, in_sequence);
}

#[test]
fn watching_a_run_changes_nothing() {
    use ringtrue_sim::report::PacketOrEvent;
    use ringtrue_sim::seed::Seed;
    use ringtrue_sim::world::run::{RunOptions, run};

    let scenario = scenario("nat/cone-cone.toml");
    let watched = RunOptions {
        detail: PacketOrEvent::Packet,
        ..RunOptions::default()
    };
    let watched = run(&scenario, Seed::new(3), watched).expect("the scenario can be run");
    assert_eq!(watched.digest, report(&scenario, 3).digest);
}

#[test]
fn udp_that_is_blocked_is_named_as_the_cause() {
    let report = check(&scenario("servers/udp-blocked-no-turn.toml"), 1);
    assert_eq!(report.outcome, Outcome::Unreachable);
    assert!(report.cause.is_some_and(|cause| !cause.is_empty()));
}

#[test]
fn a_wrong_expectation_fails_the_run() {
    let text = between("symmetric", "symmetric") + "[expect]\npath = \"direct\"\n";
    let report = report(&scenario_of(&text), 1);
    assert!(!report.passed);
    let causes: Vec<_> = report
        .failures
        .iter()
        .map(|failure| failure.message.as_str())
        .collect();
    assert_eq!(causes, ["expected direct audio, and it is relayed"]);
}

#[test]
fn a_call_that_ends_before_its_talk_does_fails_the_run() {
    let text = homes("full-cone", "full-cone")
        + r#"
        [[script]]
        at = "0s"
        peer = "alice"
        do = "call"
        callee = "bob"
        [[script]]
        after = "ringing + 1s"
        peer = "bob"
        do = "answer"
        [[script]]
        after = "audio + 1s"
        peer = "bob"
        do = "hang-up"
        [[script]]
        after = "audio + 5s"
        peer = "alice"
        do = "hang-up"
        "#;
    let report = report(&scenario_of(&text), 1);
    assert!(
        !report.passed,
        "alice's hang-up met no call, and nobody said so"
    );
    assert!(
        report.failures[0].message.contains("hang-up")
            || report.failures[0].message.contains("HangUp"),
        "{:?}",
        report.failures
    );
}

#[test]
fn with_three_peers_each_call_is_judged_by_the_tone_of_its_other_side() {
    let text = r#"
        about = "bob calls carol while alice does nothing"
        [network.a]
        [peer.alice]
        network = "a"
        [peer.bob]
        network = "a"
        [peer.carol]
        network = "a"
        plays = "tone-low.opus"
        [[script]]
        at = "1s"
        peer = "bob"
        do = "call"
        callee = "carol"
        [[script]]
        after = "ringing + 1s"
        peer = "carol"
        do = "answer"
        [talk]
        for = "2s"
        "#;
    check(&scenario_of(text), 1);
}
