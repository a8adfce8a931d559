//! Faults that cannot be: what is said of them.

use super::*;

#[test]
fn a_fault_without_a_kind_or_a_moment_is_an_error() {
    check_refused("at = \"1s\"", "fault[0].kind: this key is missing");
    check_refused("kind = \"turn-out\"", "fault[0].at: this key is missing");
    check_refused(
        "kind = \"turn-out\"\nat = \"1s\"\nafter = \"audio + 1s\"",
        "fault[0].after = \"audio + 1s\": the fault begins at another moment too",
    );
}

#[test]
fn names_that_stand_for_nothing_are_errors() {
    check_refused(
        "kind = \"turn-outt\"\nat = \"1s\"",
        "fault[0].kind = \"turn-outt\": there is no such value; did you mean `turn-out`?",
    );
    check_refused(
        "kind = \"socket-drop\"\nat = \"1s\"\npeer = \"alise\"",
        "fault[0].peer = \"alise\": there is no such peer; did you mean `alice`?",
    );
    check_refused(
        "kind = \"socket-drop\"\nat = \"1s\"\npeer = \"alice\"\nhow = \"rts\"",
        "fault[0].how = \"rts\": there is no such value; did you mean `rst`?",
    );
    check_refused(
        "kind = \"rebinding\"\nat = \"1s\"\nnetwork = \"hom\"",
        "fault[0].network = \"hom\": there is no such network; did you mean `home`?",
    );
    check_refused(
        "kind = \"turn-out\"\non = \"alise sends offer\"",
        "fault[0].on = \"alise sends offer\": there is no such peer; did you mean `alice`?",
    );
    check_refused(
        "kind = \"turn-out\"\non = \"alice sends silence\"",
        "fault[0].on = \"alice sends silence\": this is not a message that a peer sends",
    );
    check_refused(
        "kind = \"network-switch\"\nat = \"1s\"\npeer = \"alice\"\nto = \"lta\"",
        "fault[0].to = \"lta\": there is no such network; did you mean `lte`?",
    );
}

#[test]
fn arguments_that_are_missing_or_of_another_kind_are_errors() {
    check_refused(
        "kind = \"socket-drop\"\nat = \"1s\"",
        "fault[0].peer: this key is missing",
    );
    check_refused(
        "kind = \"server-pause\"\nat = \"1s\"\nfor = \"1s\"",
        "fault[0].server: this key is missing",
    );
    check_refused(
        "kind = \"network-switch\"\nat = \"1s\"\npeer = \"alice\"",
        "fault[0].to: this key is missing",
    );
    check_refused(
        "kind = \"turn-out\"\nat = \"1s\"\npeer = \"alice\"",
        "fault[0].peer = \"alice\": this means nothing where `kind` is `turn-out`",
    );
    check_refused(
        "kind = \"link-change\"\nat = \"1s\"\nnetwork = \"home\"\nto = \"lt\"",
        "fault[0].to = \"lt\": there is no such preset of a link; did you mean `lte`?",
    );
    check_refused(
        "kind = \"network-switch\"\nat = \"1s\"\npeer = \"alice\"\nto = { loss = \"1%\" }",
        "fault[0].to: this is no network",
    );
    check_refused(
        "kind = \"link-change\"\nat = \"1s\"\nnetwork = \"home\"\nto = { loss = \"130%\" }",
        "fault[0].to.loss = \"130%\": this is over 100%",
    );
}

#[test]
fn a_fault_of_a_nat_that_is_not_there_is_an_error() {
    for kind in ["nat-reboot", "mapping-flush", "rebinding"] {
        check_refused(
            &format!("kind = \"{kind}\"\nat = \"1s\"\nnetwork = \"public\""),
            "fault[0].network = \"public\": this network has no NAT",
        );
    }
}

#[test]
fn ends_that_cannot_be_are_errors() {
    check_refused(
        "kind = \"flight-mode\"\nat = \"1s\"\npeer = \"alice\"",
        "fault[0].for: this key is missing",
    );
    check_refused(
        "kind = \"turn-out\"\nat = \"5s\"\nuntil = \"3s\"",
        "fault[0].until = \"3s\": this is not after the fault begins, at 5s",
    );
    check_refused(
        "kind = \"turn-out\"\nat = \"5s\"\nuntil = \"5s\"",
        "fault[0].until = \"5s\": this is not after the fault begins, at 5s",
    );
    check_refused(
        "kind = \"turn-out\"\nat = \"5s\"\nfor = \"0s\"",
        "fault[0].for = \"0s\": the fault would be over before anything happens",
    );
    check_refused(
        "kind = \"turn-out\"\nat = \"5s\"\nfor = \"3s\"\nuntil = \"8s\"",
        "fault[0].until = \"8s\": the fault has `for` too",
    );
    check_refused(
        "kind = \"turn-out\"\nafter = \"audio\"\nuntil = \"8s\"",
        "fault[0].until = \"8s\": nobody knows when the event of this fault happens",
    );
    check_refused(
        "kind = \"rebinding\"\nat = \"5s\"\nnetwork = \"home\"\nfor = \"3s\"",
        "fault[0].for = \"3s\": `rebinding` happens at a moment, so it has no end",
    );
}

#[test]
fn faults_that_overlap_are_errors() {
    check_contradiction(
        "kind = \"flight-mode\"\npeer = \"alice\"\nat = \"3s\"\nfor = \"4s\"",
        "kind = \"flight-mode\"\npeer = \"alice\"\nat = \"5s\"\nfor = \"4s\"",
        "fault[1].kind = \"flight-mode\": this overlaps flight-mode alice, at 3s for 4s",
    );
    check_contradiction(
        "kind = \"server-pause\"\nserver = \"signaling\"\nat = \"3s\"\nfor = \"4s\"",
        "kind = \"signaling-restart\"\nat = \"5s\"",
        "fault[1].kind = \"signaling-restart\": this overlaps server-pause signaling, at 3s for 4s",
    );
    check_contradiction(
        "kind = \"flight-mode\"\npeer = \"alice\"\nat = \"3s\"\nfor = \"4s\"",
        "kind = \"network-switch\"\npeer = \"alice\"\nto = \"lte\"\nat = \"5s\"",
        "fault[1].kind = \"network-switch\": this overlaps flight-mode alice, at 3s for 4s",
    );
    check_contradiction(
        "kind = \"app-suspend\"\npeer = \"alice\"\nat = \"3s\"\nfor = \"4s\"",
        "kind = \"app-kill\"\npeer = \"alice\"\nat = \"5s\"",
        "fault[1].kind = \"app-kill\": this overlaps app-suspend alice (sockets kept), at 3s for 4s",
    );
    check_contradiction(
        "kind = \"turn-out\"\nafter = \"audio + 3s\"",
        "kind = \"turn-out\"\nafter = \"audio + 9s\"\nhow = \"quota\"",
        "fault[1].kind = \"turn-out\": this overlaps turn-out (down), audio + 3s",
    );
}

#[test]
fn faults_of_different_targets_or_times_are_none() {
    let pause = |peer: &str, when: &str| {
        fault(&format!(
            "kind = \"flight-mode\"\npeer = \"{peer}\"\n{when}\nfor = \"4s\""
        ))
    };
    let one = pause("alice", "at = \"3s\"");
    scenario(&[one.clone(), pause("bob", "at = \"3s\"")].concat());
    scenario(&[one.clone(), pause("alice", "at = \"7s\"")].concat());
    scenario(&[one, pause("alice", "after = \"audio + 3s\"")].concat());
    let change = |at: u32, loss: u32| {
        fault(&format!(
            "kind = \"link-change\"\nnetwork = \"home\"\nat = \"{at}s\"\nto = {{ loss = \"{loss}%\" }}"
        ))
    };
    scenario(&[change(3, 10), change(5, 30)].concat());
}

#[test]
fn a_fault_of_a_dead_app_is_an_error() {
    check_contradiction(
        "kind = \"app-kill\"\npeer = \"alice\"\nat = \"3s\"",
        "kind = \"socket-drop\"\npeer = \"alice\"\nat = \"5s\"",
        "fault[1].kind = \"socket-drop\": this peer's app is dead by then: app-kill alice at 3s",
    );
    let again = "kind = \"app-kill\"\npeer = \"alice\"\nat = \"3s\"\nfor = \"1s\"";
    let later = "kind = \"socket-drop\"\npeer = \"alice\"\nat = \"5s\"";
    scenario(&[fault(again), fault(later)].concat());
}

const SCRIPT: &str = r#"
[[script]]
at = "0s"
peer = "alice"
do = "call"
callee = "bob"
[[script]]
at = "4s"
peer = "bob"
do = "answer"
"#;

#[test]
fn a_fault_that_the_script_contradicts_is_an_error() {
    let kill = "[[script]]\nat = \"5s\"\npeer = \"bob\"\ndo = \"kill\"\n";
    let drop = "kind = \"socket-drop\"\npeer = \"bob\"\nat = \"6s\"";
    assert_eq!(
        problems(&format!("{SCRIPT}{kill}{}", fault(drop))),
        [
            "fault[0].kind = \"socket-drop\": this peer's app is dead by then: the script kills it at 5s"
        ],
    );
    let suspend = "kind = \"app-suspend\"\npeer = \"bob\"\nat = \"4500ms\"\nfor = \"2s\"";
    assert_eq!(
        problems(&format!("{SCRIPT}{kill}{}", fault(suspend))),
        [
            "fault[0].kind = \"app-suspend\": the script says `kill` while this peer's app stands still"
        ],
    );
    let app_kill = "kind = \"app-kill\"\npeer = \"bob\"\nat = \"3s\"";
    assert_eq!(
        problems(&format!("{SCRIPT}{}", fault(app_kill))),
        ["fault[0].kind = \"app-kill\": the script says `answer` while this peer's app is dead"],
    );
}

#[test]
fn a_move_to_where_the_peer_is_already_is_an_error() {
    let switch = "kind = \"network-switch\"\npeer = \"alice\"\nat = \"3s\"\nto = \"home\"";
    check_refused(
        switch,
        "fault[0].to = \"home\": `alice` is on this network already",
    );
    check_contradiction(
        &switch.replace("home", "lte"),
        "kind = \"network-switch\"\npeer = \"alice\"\nat = \"9s\"\nto = \"lte\"",
        "fault[1].to = \"lte\": `alice` is on this network already",
    );
}
