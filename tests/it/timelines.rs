//! What happens in a call, as a timeline tells it: one of each kind of trouble, with a fixed seed.

use insta::assert_snapshot;
use ringtrue_sim::report::text::{self, Colour, Detail};

use crate::support::{report, scenario};

const SEED: u64 = 7;

/// The timeline of a scenario and what came of the call, without the real time that it took.
#[track_caller]
fn told(path: &str) -> String {
    let report = report(&scenario(path), SEED);
    let timeline = text::timeline(&report.timeline, Detail::Events, Colour::Off);
    format!("{timeline}{}", text::came_to(&report))
}

#[test]
fn a_direct_call() {
    assert_snapshot!(told("nat/cone-cone.toml"));
}

#[test]
fn a_relayed_call() {
    assert_snapshot!(told("nat/symmetric-symmetric.toml"));
}

#[test]
fn a_call_between_two_families_of_addresses() {
    assert_snapshot!(told("nat/dual-stack.toml"));
}

#[test]
fn a_call_that_finds_no_way() {
    assert_snapshot!(told("servers/udp-blocked-no-turn.toml"));
}

#[test]
fn candidates_before_their_offer() {
    assert_snapshot!(told("candidates/before-the-offer.toml"));
}

#[test]
fn two_who_call_each_other() {
    assert_snapshot!(told("calls/both-at-once.toml"));
}

#[test]
fn a_callee_with_two_devices() {
    assert_snapshot!(told("calls/two-devices.toml"));
}

#[test]
fn a_socket_that_falls_silent() {
    assert_snapshot!(told("signaling/socket-drop-silence.toml"));
}

#[test]
fn a_server_that_restarts() {
    assert_snapshot!(told("signaling/restart-polite.toml"));
}

#[test]
fn a_phone_that_changes_its_network() {
    assert_snapshot!(told("mobility/network-switch.toml"));
}

#[test]
fn an_app_that_is_killed() {
    assert_snapshot!(told("mobility/app-kill.toml"));
}
