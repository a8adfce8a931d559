//! Media goes to who agrees to it, for as long as it does (RFC 7675).

use crate::support::{check, homes, scenario_of};

/// Two minutes hold four lifetimes of consent, and the audio of all of them is judged.
#[track_caller]
fn check_two_minutes(nat: &str) {
    let text = homes(nat, nat) + "[talk]\nfor = \"2m\"\n";
    check(&scenario_of(&text), 1);
}

#[test]
fn consent_is_renewed_on_a_direct_path() {
    check_two_minutes("full-cone");
}

#[test]
fn consent_is_renewed_by_way_of_a_relay() {
    check_two_minutes("symmetric");
}
