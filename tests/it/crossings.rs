//! What crosses on the way: both call at once, one hangs up while the other answers, both look for
//! another path at the same moment; and the ends that a call can have before anybody talks.

use std::cell::Cell;
use std::time::Duration;

use ringtrue::client::EndReason;
use ringtrue::signaling::message::HangUpReason;
use ringtrue_sim::check::facts::Facts;
use ringtrue_sim::fault::MessageName;
use ringtrue_sim::trace::AppEvent;

use crate::support::{check_seeds, homes, seeds};

const SEEDS: u64 = 3;

/// One step of a script.
fn step(when: &str, peer: &str, what: &str) -> String {
    format!("[[script]]\n{when}\npeer = \"{peer}\"\ndo = \"{what}\"\n")
}

fn call(when: &str, peer: &str, callee: &str) -> String {
    step(when, peer, "call") + &format!("callee = \"{callee}\"\n")
}

/// Runs what `tables` describe between two homes, and asks for what comes of it.
#[track_caller]
fn check(tables: &str, also: impl Fn(&Facts)) {
    let text = format!("{}\n{tables}", homes("home", "home"));
    check_seeds(&text, seeds(SEEDS), also);
}

/// A call that `tables` end before anybody talks.
#[track_caller]
fn check_silent(tables: &str, ends: &[EndReason; 2]) {
    check(
        &format!("{tables}\n[expect]\noutcome = \"no-audio\"\n"),
        |facts| {
            for (peer, end) in ["alice", "bob"].into_iter().zip(ends) {
                assert_eq!(ended(facts, peer), [end], "{peer}");
            }
        },
    );
}

fn events<'a>(facts: &'a Facts, peer: &str) -> impl Iterator<Item = &'a AppEvent> {
    let of_peer = facts.app.iter().filter(move |fact| *fact.peer == *peer);
    of_peer.map(|fact| &fact.event)
}

fn count(facts: &Facts, peer: &str, is: fn(&AppEvent) -> bool) -> usize {
    events(facts, peer).filter(|event| is(event)).count()
}

/// Why each call of a peer ended.
fn ended<'a>(facts: &'a Facts, peer: &str) -> Vec<&'a EndReason> {
    events(facts, peer)
        .filter_map(|event| match event {
            AppEvent::Ended { reason } => Some(reason),
            _ => None,
        })
        .collect()
}

#[test]
fn both_call_at_once_and_there_is_one_call() {
    // An offer takes 50 ms, so these cross.
    for later in [0, 20, 40] {
        let calls = call("at = \"1s\"", "alice", "bob")
            + &call(&format!("at = \"{}ms\"", 1_000 + later), "bob", "alice");
        check(&calls, |facts| {
            for peer in ["alice", "bob"] {
                let answered = count(facts, peer, |event| *event == AppEvent::Answered);
                let hears = count(facts, peer, |event| *event == AppEvent::AudioConnected);
                let ends = ended(facts, peer).len();
                assert_eq!(
                    (answered, hears, ends),
                    (1, 1, 1),
                    "{peer}, {later} ms later"
                );
            }
        });
    }
}

#[test]
fn a_hang_up_that_crosses_the_answer_ends_the_call_on_both_sides() {
    let script = call("at = \"0s\"", "alice", "bob")
        + &step("after = \"ringing + 2s\"", "alice", "hang-up")
        + &step("after = \"ringing + 2s\"", "bob", "answer");
    let ends = [EndReason::HungUp, EndReason::Remote(HangUpReason::Normal)];
    check_silent(&script, &ends);
    let late = "[[message]]\nfrom = \"alice\"\nkind = \"hang-up\"\ndelay = \"3s\"\n\
                [[message]]\nfrom = \"bob\"\nkind = \"answer\"\ndelay = \"5s\"\n";
    check_silent(&(script + late), &ends);
}

#[test]
fn a_call_that_is_refused_is_over_on_both_sides() {
    let script =
        call("at = \"0s\"", "alice", "bob") + &step("after = \"ringing + 2s\"", "bob", "hang-up");
    let rejected = EndReason::Remote(HangUpReason::Rejected);
    check_silent(&script, &[rejected, EndReason::Refused]);
}

#[test]
fn a_call_that_is_given_up_while_it_rings_stops_ringing() {
    let script =
        call("at = \"0s\"", "alice", "bob") + &step("after = \"ringing + 2s\"", "alice", "hang-up");
    let cancelled = EndReason::Remote(HangUpReason::Normal);
    check_silent(&script, &[EndReason::HungUp, cancelled]);
}

#[test]
fn a_call_that_is_given_up_before_it_rings_never_rings() {
    let script = call("at = \"1s\"", "alice", "bob") + &step("at = \"1s\"", "alice", "hang-up");
    check(
        &format!("{script}\n[expect]\noutcome = \"no-audio\"\n"),
        |facts| {
            assert_eq!(ended(facts, "alice"), [&EndReason::HungUp]);
            let rang = count(facts, "bob", |event| {
                matches!(event, AppEvent::Incoming { .. })
            });
            // The offer may have been on its way.
            assert_eq!(rang, ended(facts, "bob").len());
        },
    );
}

#[test]
fn a_call_that_nobody_answers_ends_by_itself() {
    // The last step is only what the run waits for: there is no call any more by then.
    let script =
        call("at = \"0s\"", "alice", "bob") + &step("after = \"ringing + 3m\"", "alice", "hang-up");
    let unanswered = EndReason::Remote(HangUpReason::Unanswered);
    check(
        &format!("{script}\n[expect]\noutcome = \"no-audio\"\n"),
        |facts| {
            assert_eq!(ended(facts, "alice"), [&EndReason::Unanswered]);
            assert_eq!(ended(facts, "bob"), [&unanswered]);
            let rang = facts.first_ringing().expect("bob rang");
            let mut ends = facts.app.iter();
            let end = ends.find(|fact| matches!(fact.event, AppEvent::Ended { .. }));
            let lasted = end.expect("the call ended").at.saturating_sub(rang);
            let limit = Duration::from_secs(90);
            assert!(
                (limit..limit + Duration::from_secs(1)).contains(&lasted),
                "{lasted:?}"
            );
        },
    );
}

#[test]
fn who_calls_somebody_that_talks_finds_the_line_busy_and_disturbs_nobody() {
    let text = format!(
        "{}\n[peer.carol]\nnetwork = \"a\"\nplays = \"tone-low.opus\"\n{}{}{}{}\n[expect]\noutcome = \"no-audio\"\n",
        homes("home", "home"),
        call("at = \"0s\"", "alice", "bob"),
        step("after = \"ringing + 1s\"", "bob", "answer"),
        call("after = \"audio + 2s\"", "carol", "bob"),
        step("after = \"audio + 6s\"", "alice", "hang-up"),
    );
    check_seeds(&text, seeds(SEEDS), |facts| {
        let busy = EndReason::Remote(HangUpReason::Busy);
        assert_eq!(ended(facts, "carol"), [&busy]);
        assert_eq!(ended(facts, "alice"), [&EndReason::HungUp]);
        let audio = facts.audio_on_both_sides().expect("alice and bob talk");
        for peer in ["alice", "bob"] {
            let talk = audio..audio + Duration::from_secs(6);
            let heard = facts.heard[peer].iter().filter(|at| talk.contains(*at));
            let heard = heard.count();
            assert!(heard >= 290, "{peer} heard {heard} packets of 300");
        }
    });
}

#[test]
fn both_look_for_another_path_at_once_and_audio_is_back() {
    let text = r#"
        about = "Both phones change networks at the same moment."
        [network.a]
        nat = "home"
        [network.b]
        nat = "home"
        [network.c]
        nat = "port-restricted"
        [network.d]
        nat = "port-restricted"
        [peer.alice]
        network = "a"
        [peer.bob]
        network = "b"
        [[fault]]
        kind = "network-switch"
        peer = "alice"
        to = "c"
        after = "audio + 3s"
        [[fault]]
        kind = "network-switch"
        peer = "bob"
        to = "d"
        after = "audio + 3s"
        [talk]
        for = "20s"
        [expect]
        back_within = "15s"
        "#;
    let crossed = Cell::new(0);
    check_seeds(text, seeds(SEEDS), |facts| {
        let offers = |peer| facts.messages_sent(peer, MessageName::Offer);
        let both = offers("alice") >= 2 && offers("bob") >= 1;
        crossed.set(crossed.get() + u32::from(both));
    });
    assert!(crossed.get() > 0, "in no run both sides offered");
}

#[test]
fn an_answer_to_a_push_message_before_the_socket_is_up_is_an_answer() {
    // The app of bob is woken by the message, and he answers before it is connected.
    let script = step("at = \"0s\"", "bob", "kill")
        + &call("at = \"1s\"", "alice", "bob")
        + &step("at = \"4s\"", "bob", "start")
        + &step("at = \"4s\"", "bob", "push")
        + "caller = \"alice\"\n"
        + &step("at = \"4s\"", "bob", "answer");
    check(&script, |facts| {
        let when = |is: fn(&AppEvent) -> bool| {
            let of_bob = facts.app.iter().filter(|fact| *fact.peer == *"bob");
            of_bob
                .filter(|fact| is(&fact.event))
                .map(|fact| fact.at)
                .max()
        };
        let pushed = when(|event| matches!(event, AppEvent::Pushed { .. })).expect("bob is told");
        let connected = when(|event| *event == AppEvent::SignalingConnected);
        let connected = connected.expect("bob is connected");
        let answered = when(|event| *event == AppEvent::Answered).expect("bob answers");
        // Its own answer is given as soon as there is an offer to answer.
        assert!(
            pushed < connected && connected <= answered,
            "{pushed:?} {connected:?} {answered:?}"
        );
        assert_eq!(
            count(facts, "bob", |event| matches!(
                event,
                AppEvent::Incoming { .. }
            )),
            0,
            "who has answered is not asked again"
        );
    });
}
