//! Signaling connections that are cut at a frame: to the byte, in both ways, on both sides of it.

use std::path::Path;
use std::time::Duration;

use ringtrue_sim::fault::{Begin, Breakage, FaultKind, FrameWay};
use ringtrue_sim::report::FailureCause;
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::trace::{FaultPhase, Purpose, WirePhase};

use crate::support::{check, facts_of, homes, report, root, scenario_of};

/// Two homes, and a connection of alice's that breaks `on` a frame.
fn with_drop(on: &str, how: &str) -> Scenario {
    let homes = homes("full-cone", "full-cone");
    scenario_of(&format!("{homes}\n{}", drop(on, how)))
}

fn drop(on: &str, how: &str) -> String {
    format!("[[fault]]\nkind = \"socket-drop\"\npeer = \"alice\"\non = \"{on}\"\nhow = \"{how}\"\n")
}

/// Alice's connection is cut at this frame of hers, and not one frame sooner or later.
#[track_caller]
fn check_cut(side: &str, way: &str, number: usize, how: &str) {
    let on = format!("{side} alice {way} frame {number}");
    let (report, facts) = facts_of(&with_drop(&on, how), 7);
    let strikes = facts.faults.iter().map(|fact| (fact.at, &fact.phase));
    let begins: Vec<Duration> = strikes
        .filter(|(_, phase)| **phase == FaultPhase::Begins)
        .map(|(at, _)| at)
        .collect();
    let [cut] = begins[..] else {
        panic!("{on}: struck at {begins:?}, {:?}", report.failures);
    };
    let which = match way {
        "sends" => FrameWay::Sends,
        _ => FrameWay::Receives,
    };
    let frames = facts.frames("alice", which);
    let whole = frames.iter().filter(|at| **at <= cut).count();
    let expected = if side == "before" { number - 1 } else { number };
    assert_eq!(whole, expected, "{on} ({how}): cut at {cut:?}, {frames:?}");
    assert!(
        frames.len() > expected,
        "{on} ({how}): alice never came back"
    );
    let effect = |failure: &&ringtrue_sim::report::Failure| {
        failure.cause == FailureCause::FaultWithoutEffect
    };
    assert_eq!(report.failures.iter().find(effect), None);
}

#[test]
fn a_connection_is_cut_exactly_at_a_frame() {
    for how in ["fin", "rst", "silence"] {
        for side in ["before", "after"] {
            check_cut(side, "sends", 3, how);
            check_cut(side, "receives", 3, how);
        }
    }
}

#[test]
fn every_frame_of_a_call_is_a_place_to_cut() {
    let whole = check(&scenario_of(&homes("full-cone", "full-cone")), 7);
    let count = whole.signaling_frames["alice"];
    assert!(count.sent > 10 && count.received > 10, "{count:?}");
    for number in 1..=count.sent {
        check_cut("before", "sends", number, "rst");
    }
    // After the last one nothing more has to come.
    let last = with_drop(&format!("after alice sends frame {}", count.sent), "rst");
    let beyond = with_drop(
        &format!("before alice sends frame {}", count.sent + 1),
        "rst",
    );
    let effects = |scenario: &Scenario| {
        let failures = report(scenario, 7).failures.into_iter();
        failures
            .filter(|failure| failure.cause == FailureCause::FaultWithoutEffect)
            .count()
    };
    assert_eq!((effects(&last), effects(&beyond)), (0, 1));
}

#[test]
fn what_left_before_the_cut_arrives_over_a_lossy_link_too() {
    for how in ["silence", "fin", "rst"] {
        let text = format!(
            "about = \"A lossy link.\"\n[network.a]\nuplink = {{ loss = \"20%\" }}\n\
             [network.b]\n[peer.alice]\nnetwork = \"a\"\n[peer.bob]\nnetwork = \"b\"\n{}",
            drop("after alice sends frame 4", how)
        );
        for seed in 1..=5 {
            let (report, facts) = facts_of(&scenario_of(&text), seed);
            assert!(
                facts.frames("alice", FrameWay::Sends).len() > 4,
                "{how}, seed {seed}"
            );
            let strikes = facts.faults.len();
            assert_eq!(strikes, 2, "{how}, seed {seed}: {:?}", report.failures);
            // A server that is never told of the cut has two sockets of her, for as long as it is patient.
            let left = report.failures.iter();
            let left = left.filter(|failure| failure.cause == FailureCause::SocketsLeft);
            assert_eq!(left.count(), 0, "{how}, seed {seed}: {:?}", report.failures);
        }
    }
}

#[test]
fn the_wire_shows_connections_and_frames() {
    let (report, facts) = facts_of(&scenario_of(&homes("full-cone", "full-cone")), 7);
    let wire = &facts.wires["bob"];
    let first: Vec<WirePhase> = wire.iter().take(5).map(|fact| fact.event.phase).collect();
    let frame = |way, number| WirePhase::Frame { way, number };
    assert_eq!(
        first,
        [
            WirePhase::Opened,
            frame(FrameWay::Sends, 1),
            WirePhase::Asks(Purpose::WebSocket),
            frame(FrameWay::Receives, 1),
            WirePhase::Upgraded,
        ]
    );
    let received = facts.frames("bob", FrameWay::Receives).len();
    assert_eq!(report.signaling_frames["bob"].received, received);
}

#[test]
fn a_cut_at_a_frame_repeats() {
    let scenario = with_drop("after alice receives frame 5", "fin");
    assert_eq!(report(&scenario, 3).digest, report(&scenario, 3).digest);
}

#[test]
fn a_frame_is_named_in_the_file() {
    let scenario = with_drop("after alice receives frame 17", "silence");
    let fault = &scenario.faults[0];
    let peer = "alice".to_owned();
    let how = Breakage::Silence;
    assert_eq!(fault.kind, FaultKind::SocketDrop { peer, how });
    assert_eq!(fault.begin.to_string(), "after alice receives frame 17");
    assert!(matches!(fault.begin, Begin::OnFrame { .. }));
}

/// What is said of a fault with these keys, without its place.
#[track_caller]
fn check_refused(keys: &str, said: &str) {
    let text = format!("{}\n[[fault]]\n{keys}\n", homes("home", "home"));
    let path = root().join(Path::new("scenarios/bad.toml"));
    let invalid = Scenario::parse(&path, &text).expect_err("the text is no valid scenario");
    let problems: Vec<String> = invalid.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems, [said]);
}

#[test]
fn a_frame_that_cannot_be_struck_at_is_an_error() {
    check_refused(
        "kind = \"turn-out\"\non = \"before alice sends frame 1\"",
        "fault[0].on = \"before alice sends frame 1\": `turn-out` cannot happen at a frame",
    );
    check_refused(
        "kind = \"socket-drop\"\npeer = \"bob\"\non = \"before alice sends frame 1\"",
        "fault[0].on = \"before alice sends frame 1\": this is no frame of `bob`, whose connection \
         is to break",
    );
    check_refused(
        "kind = \"socket-drop\"\npeer = \"alice\"\non = \"before alise sends frame 1\"",
        "fault[0].on = \"before alise sends frame 1\": there is no such peer; did you mean `alice`?",
    );
    check_refused(
        "kind = \"socket-drop\"\npeer = \"alice\"\non = \"before alice sends frame 0\"",
        "fault[0].on = \"before alice sends frame 0\": this is not a frame of a peer",
    );
}

#[test]
fn two_cuts_at_one_place_are_an_error() {
    let text = format!(
        "{}\n{}{}",
        homes("home", "home"),
        drop("before alice sends frame 9", "rst"),
        drop("before alice sends frame 9", "fin"),
    );
    let path = root().join(Path::new("scenarios/bad.toml"));
    let invalid = Scenario::parse(&path, &text).expect_err("the text is no valid scenario");
    let said = invalid.problems()[0].to_string();
    assert_eq!(
        said,
        "fault[1].kind = \"socket-drop\": this overlaps socket-drop alice (rst), before alice sends \
         frame 9"
    );
}
