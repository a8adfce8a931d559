//! What faults do to a run: they show, or the run fails.

use ringtrue_sim::report::FailureCause;
use ringtrue_sim::scenario::Scenario;

use crate::support::{check, homes, report, scenario, scenario_of};

/// Two homes, and these faults.
fn with_faults(faults: &str) -> Scenario {
    let homes = homes("full-cone", "full-cone");
    scenario_of(&format!("{homes}\n{faults}\n[talk]\nfor = \"20s\"\n"))
}

/// The messages of the faults that a run finds to be without effect.
#[track_caller]
fn without_effect(faults: &str) -> Vec<String> {
    let report = report(&with_faults(faults), 1);
    let failures = report.failures.into_iter();
    failures
        .filter(|failure| failure.cause == FailureCause::FaultWithoutEffect)
        .map(|failure| failure.message)
        .collect()
}

#[test]
fn a_fault_that_changes_nothing_fails_the_run() {
    let idle = "[network.empty]\nnat = \"home\"\n[[fault]]\nkind = \"nat-reboot\"\nat = \"2s\"\n\
                network = \"empty\"\naddress = \"new\"\n";
    let said = without_effect(idle);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("had no effect"), "{said:?}");
}

#[test]
fn what_comes_after_a_fault_is_no_effect_of_it() {
    let early = "[network.empty]\nnat = \"home\"\n[[fault]]\nkind = \"blackhole\"\nat = \"2s\"\n\
                 for = \"1s\"\nnetwork = \"empty\"\n";
    assert_eq!(without_effect(early).len(), 1);
}

#[test]
fn a_fault_does_not_begin_while_another_of_its_kind_lasts_there() {
    let hole = "[[fault]]\nkind = \"blackhole\"\nnetwork = \"b\"\nfor = \"4s\"\n";
    let said = without_effect(&format!(
        "{hole}after = \"audio + 2s\"\n{hole}after = \"ringing + 5s\"\n"
    ));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("never began"), "{said:?}");
}

#[test]
fn a_run_with_faults_repeats() {
    for name in [
        "signaling/socket-drop-while-trickling.toml",
        "mobility/network-switch.toml",
        "mobility/app-suspend-sockets-killed.toml",
        "signaling/captive-portal.toml",
        "nat/dual-stack.toml",
    ] {
        let scenario = scenario(name);
        assert_eq!(check(&scenario, 2).digest, report(&scenario, 2).digest);
    }
}

#[test]
fn signaling_over_a_small_mtu_works() {
    let text = "about = \"A tunnel with a small maximum transmission unit.\"\n\
        [network.a]\nnat = \"home\"\nuplink = { mtu = 1000 }\n[network.b]\nnat = \"home\"\n\
        [peer.alice]\nnetwork = \"a\"\n[peer.bob]\nnetwork = \"b\"\n";
    check(&scenario_of(text), 1);
}
