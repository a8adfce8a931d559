//! What is the same cause and what is not.

use std::path::Path;

use super::*;

fn scenario() -> Scenario {
    let text = "about = \"Two homes talk.\"\n\
        [network.home]\nnat = \"home\"\n[network.office]\nnat = \"corporate\"\n\
        [peer.alice]\nnetwork = \"home\"\nuser = \"al\"\n[peer.bob]\nnetwork = \"office\"\n";
    Scenario::parse_alone(Path::new("case-17.toml"), text).expect("a valid scenario")
}

#[track_caller]
fn check(message: &str, expected: &str) {
    let failure = Failure::new(FailureCause::WrongOutcome, message.to_owned());
    let cause = Cause::of_failure(&scenario(), &failure);
    assert_eq!(cause.what(), expected);
}

#[test]
fn what_belongs_to_the_case_is_taken_out() {
    let same = "expected audio both ways, and the call is unreachable: UDP is blocked";
    check(same, same);
    check(
        "bob hears alice, who hears nothing",
        "PEER hears PEER, who hears nothing",
    );
    check(
        "in the 2 s from 12.340 s al heard 5 % of the audio, not 90 %, after blackhole home (both)",
        "in the N from N PEER heard N of the audio, not N, after blackhole NETWORK (both)",
    );
    check(
        "alice sent media to 203.0.113.7:4000 at 31.5s, which had answered no check for over 30s",
        "PEER sent media to ADDRESS at N, which had answered no check for over N",
    );
    check("no way to [2001:db8::1]:4000", "no way to ADDRESS");
    check(
        "no way to fe80::1, nor to ::1",
        "no way to ADDRESS, nor to ADDRESS",
    );
    check(
        "the call 3f2a9c01-77aa-4b00-9d11-0123456789ab is gone",
        "the call ID is gone",
    );
    check("it came after 1m30s, not 1m 30s", "it came after N, not N");
    check(
        "the fault socket-drop alice (rst) on line 12 never began (audio + 1s)",
        "the fault socket-drop PEER (rst) on line N never began (audio + N)",
    );
    check(
        "run `case-17` failed: panicked at src/call/state.rs:12:5: index 7 of turn-2",
        "run `SCENARIO` failed: panicked at src/call/state.rs:12:5: index N of turn-N",
    );
    check(
        "description for generation \"aBcdEf\" is set, ufrag=XyZw call=abcdef trouble=PathFailed",
        "description for generation \"ID\" is set, ufrag=ID call=ID trouble=PathFailed",
    );
    check("this call is new", "this call is new");
    check("two\n  lines", "two lines");
    check("", "");
}

#[test]
fn what_only_one_side_saw_is_taken_out() {
    let worked =
        "expected audio both ways, and the call found no way through: no candidate pair worked";
    for saw in [
        ": local host; remote host, srflx; no STUN or TURN server answered this side",
        ": local host, srflx; remote host; the other side learned no address from any server",
        "",
    ] {
        check(&format!("{worked}{saw}"), worked);
    }
}

#[test]
fn words_that_are_no_numbers_stay() {
    for text in [
        "a face is not an identity",
        "a WebSocket, and an answer",
        "alice's is not a name of its own…",
    ] {
        let expected = text.replace("alice", PEER);
        check(text, &expected);
    }
}

#[test]
fn a_long_message_is_cut_at_a_character() {
    let cause = |text: &str| {
        let failure = Failure::new(FailureCause::Panic, text.to_owned());
        Cause::of_failure(&scenario(), &failure)
    };
    let long = cause(&"ä ".repeat(400));
    assert_eq!(long.what().chars().count(), LONGEST);
    assert!(long.what().ends_with('…'));
    assert!(!long.common_part().contains('…'));
}

#[test]
fn the_common_part_is_in_the_message() {
    let message = "in the 2 s from 12.340 s alice heard 5 % of the audio, not 90 %";
    let failure = Failure::new(FailureCause::AudioNotKept, message.to_owned());
    let cause = Cause::of_failure(&scenario(), &failure);
    assert_eq!(cause.common_part(), "of the audio, not");
    assert!(message.contains(cause.common_part()));
}

#[test]
fn the_most_telling_failure_names_the_cause() {
    let failure = |cause, message: &str| Failure::new(cause, message.to_owned());
    let failures = [
        failure(FailureCause::FaultWithoutEffect, "a fault"),
        failure(FailureCause::WrongOutcome, "first"),
        failure(FailureCause::AudioNotKept, "second"),
        failure(FailureCause::TooLate, "late"),
    ];
    let told = most_telling(&failures).expect("there are failures");
    assert_eq!(told.message, "first");
    assert_eq!(most_telling(&[]), None);
}

#[test]
fn a_cause_reads_back_as_itself() {
    let failure = Failure::new(FailureCause::OneWayAudio, "bob: hears alice".to_owned());
    let cause = Cause::of_failure(&scenario(), &failure);
    assert_eq!(cause.to_string(), "one-way-audio: PEER: hears PEER");
    assert_eq!(cause.to_string().parse(), Ok(cause.clone()));
    let json = serde_json::to_string(&cause).expect("a text");
    assert_eq!(
        serde_json::from_str::<Cause>(&json).expect("a cause"),
        cause
    );
    for text in ["", "one-way-audio", "no-such-kind: x"] {
        assert!(text.parse::<Cause>().is_err(), "{text:?} was accepted");
    }
}
