//! One user at two devices: both ring, one answers, and the other one stops.

use std::time::Duration;

use ringtrue::client::EndReason;
use ringtrue::signaling::message::HangUpReason;
use ringtrue_sim::check::facts::Facts;
use ringtrue_sim::trace::AppEvent;

use crate::support::{check_seeds, seeds};

const SEEDS: u64 = 3;
const DEVICES: [&str; 2] = ["bobs-phone", "bobs-tablet"];

/// Alice calls bob, who is at home with a phone and abroad with a tablet.
fn call_of_two_devices(script: &str) -> String {
    format!(
        r#"
        about = "Bob is at two devices."
        [network.a]
        nat = "home"
        [network.b]
        nat = "home"
        [network.c]
        nat = "home"
        uplink = {{ delay = "20ms" }}
        [peer.alice]
        network = "a"
        [peer.bobs-phone]
        network = "b"
        user = "bob"
        [peer.bobs-tablet]
        network = "c"
        user = "bob"
        [[script]]
        at = "1s"
        peer = "alice"
        do = "call"
        callee = "bob"
        {script}
        "#
    )
}

#[track_caller]
fn check(script: &str, also: impl Fn(&Facts)) {
    let text = call_of_two_devices(script);
    check_seeds(&text, seeds(SEEDS), also);
}

/// When a device was told or did this first.
fn when(facts: &Facts, device: &str, is: impl Fn(&AppEvent) -> bool) -> Option<Duration> {
    let mut of_device = facts.app.iter().filter(|fact| *fact.peer == *device);
    let first = of_device.find(|fact| is(&fact.event));
    first.map(|fact| fact.at)
}

fn rang(facts: &Facts, device: &str) -> Option<Duration> {
    when(facts, device, |event| {
        matches!(event, AppEvent::Incoming { .. })
    })
}

fn ended_with(facts: &Facts, device: &str, reason: &EndReason) -> Option<Duration> {
    when(
        facts,
        device,
        |event| matches!(event, AppEvent::Ended { reason: why } if why == reason),
    )
}

fn elsewhere() -> EndReason {
    EndReason::Remote(HangUpReason::AnsweredElsewhere)
}

#[test]
fn both_devices_ring_and_the_one_that_is_not_answered_stops() {
    for (answering, silent) in [(0, 1), (1, 0)] {
        let [answering, silent] = [answering, silent].map(|index: usize| DEVICES[index]);
        let script = format!(
            "[[script]]\nafter = \"ringing + 2s\"\npeer = \"{answering}\"\ndo = \"answer\"\n"
        );
        check(&script, |facts| {
            for device in DEVICES {
                assert!(rang(facts, device).is_some(), "{device} never rang");
            }
            let answered = when(facts, answering, |event| *event == AppEvent::Answered);
            let answered = answered.expect("it answered");
            let stopped = ended_with(facts, silent, &elsewhere()).expect("it stopped");
            assert!(
                stopped < answered + Duration::from_millis(500),
                "{silent} rang on for {:?}",
                stopped.saturating_sub(answered)
            );
            assert!(!facts.heard.contains_key(silent), "{silent} heard audio");
        });
    }
}

#[test]
fn of_two_devices_that_answer_at_the_same_moment_one_talks() {
    let script = "[[script]]\nafter = \"ringing + 2s\"\npeer = \"bobs-phone\"\ndo = \"answer\"\n\
                  [[script]]\nafter = \"ringing + 2s\"\npeer = \"bobs-tablet\"\ndo = \"answer\"\n";
    check(script, |facts| {
        let talks = DEVICES.map(|device| facts.heard.contains_key(device));
        assert_eq!(
            talks.iter().filter(|talks| **talks).count(),
            1,
            "{DEVICES:?}: {talks:?}"
        );
        let other = DEVICES[usize::from(talks[0])];
        assert!(
            ended_with(facts, other, &elsewhere()).is_some(),
            "{other} was not told"
        );
    });
}

#[test]
fn a_device_that_refuses_refuses_for_all() {
    let script = "[[script]]\nafter = \"ringing + 2s\"\npeer = \"bobs-phone\"\ndo = \"hang-up\"\n\
                  [expect]\noutcome = \"no-audio\"\n";
    check(script, |facts| {
        let rejected = EndReason::Remote(HangUpReason::Rejected);
        assert!(ended_with(facts, "alice", &rejected).is_some());
        let stops = when(facts, "bobs-tablet", |event| {
            matches!(event, AppEvent::Ended { .. })
        });
        assert!(stops.is_some(), "the tablet rings on");
    });
}

#[test]
fn a_caller_that_gives_up_stops_both_devices() {
    let script = "[[script]]\nafter = \"ringing + 2s\"\npeer = \"alice\"\ndo = \"hang-up\"\n\
                  [expect]\noutcome = \"no-audio\"\n";
    check(script, |facts| {
        let given_up = EndReason::Remote(HangUpReason::Normal);
        for device in DEVICES {
            assert!(
                ended_with(facts, device, &given_up).is_some(),
                "{device} rings on"
            );
        }
    });
}
