//! What is watched in every run, over runs of the client that ships.

use crate::support::{check, facts_of, homes, scenario_of};

/// A call with a socket that is reset in the middle of it.
fn dropped() -> String {
    let homes = homes("port-restricted", "full-cone");
    format!(
        "{homes}\n[[fault]]\nkind = \"socket-drop\"\nafter = \"audio + 1s\"\npeer = \"alice\"\nhow = \"rst\"\n"
    )
}

#[test]
fn every_monitor_has_something_to_judge_and_finds_nothing_wrong() {
    let (report, facts) = facts_of(&scenario_of(&dropped()), 1);
    assert_eq!(report.failures, []);
    let seen = facts.monitors.seen();
    let blind: Vec<_> = seen.iter().filter(|(_, seen)| **seen == 0).collect();
    assert!(blind.is_empty(), "{seen:?}");
    assert!(seen["candidates"] >= 6, "{seen:?}");
    assert!(seen["states"] >= 2, "{seen:?}");
}

#[test]
fn who_may_use_relays_only_shows_no_address() {
    let text = homes("full-cone", "full-cone") + "\n[client]\npolicy = \"relay-only\"\n";
    for seed in 1..=3 {
        check(&scenario_of(&text), seed);
    }
}
