//! What a failing run says: what was expected and what happened, what led there, and how to see it again.

use insta::assert_snapshot;

use crate::support::said;

/// What `ringtrue replay` says of a run that fails, from where the failure begins: the verdict before it has
/// the real time in it.
#[track_caller]
fn told(arguments: &[&str], code: i32) -> String {
    let said = said(&[&["replay"], arguments].concat(), code);
    let name = said.find(" failed with seed ");
    let begin = name.and_then(|name| said[..name].rfind('\n'));
    let begin = begin.unwrap_or_else(|| panic!("{arguments:?} says no failure: {said}"));
    said[begin..].trim().to_owned()
}

#[test]
fn a_call_that_is_given_up_while_its_answer_is_late() {
    assert_snapshot!(told(&["fixtures/field/janus-738.toml"], 1));
}

#[test]
fn candidates_that_come_before_their_offer_and_are_lost() {
    assert_snapshot!(told(&["fixtures/field/matrix-ios-sdk-pr-814.toml"], 1));
}

#[test]
fn audio_that_is_lost_as_a_phone_changes_its_network() {
    assert_snapshot!(told(&["fixtures/field/webrtc-pc-1227.toml"], 1));
}

#[test]
fn two_sides_that_both_control() {
    assert_snapshot!(told(&["fixtures/field/simple-peer-265.toml"], 1));
}

#[test]
fn an_offer_that_is_lost_and_not_sent_again() {
    let found = "fixtures/found/resumed-crosses-restart.toml";
    assert_snapshot!(told(&[found, "--client", "nothing-sent-again"], 3));
}
