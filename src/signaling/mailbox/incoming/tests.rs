use super::*;
use crate::signaling::message::TrickledCandidate;

fn candidate() -> CallMessage {
    CallMessage::Candidate(TrickledCandidate {
        candidate: String::new(),
        sdp_mid: String::new(),
        username_fragment: String::new(),
    })
}

fn ordered(number: u64, follows: u64) -> Heard {
    Heard {
        number,
        follows: Some(follows),
        oldest: None,
        body: CallMessage::offer(number.to_string()),
    }
}

fn loose(number: u64) -> Heard {
    Heard {
        number,
        follows: None,
        oldest: None,
        body: candidate(),
    }
}

fn oldest(heard: Heard, oldest: u64) -> Heard {
    let oldest = Some(oldest);
    Heard { oldest, ..heard }
}

/// The numbers of the ordered messages that are handed up; a candidate counts as 0.
fn take(incoming: &mut Incoming, heard: Heard) -> Option<Vec<u64>> {
    let messages = incoming.take(heard, 100)?;
    let number = |message: &CallMessage| match message {
        CallMessage::Offer { sdp, .. } => sdp.parse().expect("a number"),
        _ => 0,
    };
    Some(messages.iter().map(number).collect())
}

#[track_caller]
fn check(incoming: &mut Incoming, heard: Heard, handed_up: &[u64]) {
    assert_eq!(take(incoming, heard).as_deref(), Some(handed_up));
}

#[track_caller]
fn check_received(incoming: &Incoming, up_to: u64, beyond: &[u64]) {
    let received = incoming.received();
    assert_eq!((received.up_to, &received.beyond[..]), (up_to, beyond));
}

#[test]
fn ordered_messages_wait_for_those_before_them_and_candidates_for_nothing() {
    let mut incoming = Incoming::default();
    check(&mut incoming, ordered(5, 3), &[]);
    check(&mut incoming, loose(4), &[0]);
    check(&mut incoming, ordered(3, 1), &[]);
    assert_eq!(incoming.held(), 2);
    check_received(&incoming, 0, &[4]);
    check(&mut incoming, ordered(1, 0), &[1, 3, 5]);
    assert_eq!(incoming.held(), 0);
    check_received(&incoming, 1, &[3, 4, 5]);
    check(&mut incoming, loose(2), &[0]);
    check_received(&incoming, 5, &[]);
}

#[test]
fn a_repetition_is_handed_up_once() {
    let mut incoming = Incoming::default();
    check(&mut incoming, ordered(2, 1), &[]);
    check(&mut incoming, ordered(2, 1), &[]);
    check(&mut incoming, loose(4), &[0]);
    check(&mut incoming, loose(4), &[]);
    check(&mut incoming, ordered(1, 0), &[1, 2]);
    check(&mut incoming, ordered(1, 0), &[]);
    check(&mut incoming, ordered(2, 1), &[]);
}

#[test]
fn what_follows_a_message_that_was_given_up_waits_no_longer() {
    let mut incoming = Incoming::default();
    check(&mut incoming, ordered(1, 0), &[1]);
    check(&mut incoming, ordered(3, 2), &[]);
    check(&mut incoming, ordered(4, 3), &[]);
    check(&mut incoming, ordered(3, 1), &[3, 4]);
    check_received(&incoming, 1, &[3, 4]);
    // The one that was given up was on its way all the same.
    check(&mut incoming, ordered(2, 1), &[]);
    check_received(&incoming, 4, &[]);
}

#[test]
fn what_waits_below_a_message_that_does_not_follow_it_was_given_up() {
    let mut incoming = Incoming::default();
    check(&mut incoming, ordered(2, 1), &[]);
    check(&mut incoming, ordered(3, 0), &[3]);
    assert_eq!(incoming.held(), 0);
    check_received(&incoming, 0, &[2, 3]);
    check(&mut incoming, ordered(1, 0), &[]);
    check_received(&incoming, 3, &[]);
}

#[test]
fn gaps_below_what_the_sender_keeps_are_closed() {
    let mut incoming = Incoming::default();
    check(&mut incoming, ordered(2, 1), &[]);
    check(&mut incoming, loose(4), &[0]);
    check(&mut incoming, loose(7), &[0]);
    check(&mut incoming, oldest(ordered(6, 0), 4), &[6]);
    assert_eq!(incoming.held(), 0);
    check_received(&incoming, 4, &[6, 7]);
    // An older copy says less.
    check(&mut incoming, oldest(loose(7), 1), &[]);
    check_received(&incoming, 4, &[6, 7]);
    check(&mut incoming, oldest(loose(7), 6), &[]);
    check_received(&incoming, 7, &[]);
    check(&mut incoming, oldest(loose(9), 9), &[0]);
    check_received(&incoming, 9, &[]);
}

#[test]
fn what_is_just_below_what_the_sender_keeps_is_done_with() {
    let mut incoming = Incoming::default();
    check(&mut incoming, ordered(2, 1), &[]);
    check(&mut incoming, oldest(loose(5), 3), &[0]);
    assert_eq!(incoming.held(), 0);
    check_received(&incoming, 2, &[5]);
    check(&mut incoming, oldest(loose(8), 6), &[0]);
    check_received(&incoming, 5, &[8]);
}

#[test]
fn what_is_remembered_beyond_a_gap_is_bounded() {
    let mut incoming = Incoming::default();
    for number in 2..=257 {
        check(&mut incoming, loose(number), &[0]);
    }
    assert_eq!(take(&mut incoming, loose(258)), None);
    assert_eq!(take(&mut incoming, ordered(258, 0)), None);
    assert_eq!(incoming.received().beyond.len(), 256);
    // What is known stays known, and the missing one has room.
    check(&mut incoming, loose(257), &[]);
    check(&mut incoming, loose(1), &[0]);
    check_received(&incoming, 257, &[]);
    check(&mut incoming, loose(258), &[0]);
}

#[test]
fn what_waits_is_bounded() {
    let mut incoming = Incoming::default();
    for number in 2..=9 {
        check(&mut incoming, ordered(number, number - 1), &[]);
    }
    assert_eq!(take(&mut incoming, ordered(10, 9)), None);
    check(&mut incoming, ordered(9, 8), &[]);
    assert_eq!(incoming.held(), 8);
    check(&mut incoming, ordered(1, 0), &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    check(&mut incoming, ordered(10, 9), &[10]);
}

#[test]
fn what_waits_needs_room_and_what_does_not_wait_needs_none() {
    let mut incoming = Incoming::default();
    assert!(incoming.take(ordered(2, 1), 0).is_none());
    assert!(incoming.take(ordered(2, 1), 1).is_some());
    assert!(incoming.take(ordered(2, 1), 0).is_some());
    let released = incoming.take(ordered(1, 0), 0);
    assert_eq!(released.map(|messages| messages.len()), Some(2));
}
