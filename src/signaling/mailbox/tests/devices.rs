//! Several devices of one user.

use super::*;

fn device(name: &str) -> DeviceId {
    DeviceId(name.into())
}

/// Boris's device says something to anna in call c1.
fn from_boris(name: &str, content: FrameContent) -> Frame {
    Frame {
        from: "boris".into(),
        device: device(name),
        to: "anna".into(),
        to_device: Some(device("phone")),
        call: call("c1"),
        content,
    }
}

fn has(up_to: u64, beyond: &[u64]) -> FrameContent {
    FrameContent::Acknowledge(Received {
        up_to,
        beyond: beyond.to_vec(),
    })
}

fn says(number: u64, follows: Option<u64>, body: CallMessage) -> FrameContent {
    FrameContent::Message {
        number,
        follows,
        oldest: None,
        body,
    }
}

#[track_caller]
fn take(anna: &mut Mailbox, now: Instant, name: &str, content: FrameContent) {
    assert_eq!(anna.handle_frame(now, from_boris(name, content)), Ok(()));
}

/// Anna has called boris and sent an offer and two candidates.
fn calling(now: Instant) -> Mailbox {
    let mut anna = connected("anna", "phone");
    for body in [offer(), candidate("1"), candidate("2")] {
        post(&mut anna, now, "boris", body);
    }
    written(&mut anna);
    anna
}

#[test]
fn the_device_that_offers_first_is_talked_to_alone() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    post(&mut anna, now, "boris", candidate("1"));
    take(&mut anna, now, "tablet", says(1, Some(0), offer()));
    written(&mut anna);
    post(&mut anna, now, "boris", candidate("2"));
    assert_eq!(written(&mut anna), ["boris/tablet: 2 candidate"]);
}

#[test]
fn an_offer_that_crosses_our_own_chooses_no_device() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", says(1, Some(0), offer()));
    written(&mut anna);
    post(&mut anna, now, "boris", candidate("3"));
    assert_eq!(written(&mut anna), ["boris: 4 candidate"]);
}

#[test]
fn no_more_devices_learn_of_an_answer_than_may_be_known() {
    let now = Instant::now();
    let limits = MailboxLimits {
        devices_max: 2,
        ..MailboxLimits::default()
    };
    let mut anna = with_limits("anna", "phone", limits);
    anna.handle_connected(now);
    post(&mut anna, now, "boris", offer());
    take(&mut anna, now, "tablet", says(1, Some(0), answer()));
    written(&mut anna);
    for (name, is_told) in [
        ("watch", true),
        ("laptop", true),
        ("car", false),
        ("watch", true),
    ] {
        take(&mut anna, now, name, says(1, None, candidate("1")));
        let told = format!("boris/{name}: answered elsewhere");
        assert_eq!(written(&mut anna).contains(&told), is_told, "{name}");
    }
}

#[test]
fn closing_a_call_withdraws_only_what_no_device_has() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", has(1, &[]));
    assert!(matches!(
        events(&mut anna)[..],
        [MailboxEvent::Acknowledged { .. }]
    ));
    anna.close_call(&call("c1"));
    assert!(matches!(
        events(&mut anna)[..],
        [
            MailboxEvent::Withdrawn { .. },
            MailboxEvent::Withdrawn { .. }
        ]
    ));
}

#[test]
fn every_device_gets_the_offer_and_the_one_that_answers_gets_the_rest() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    let (mut tablet, mut watch) = (connected("boris", "tablet"), connected("boris", "watch"));
    post(&mut anna, now, "boris", offer());
    exchange(now, &mut anna, &mut [&mut tablet, &mut watch]);
    post(&mut anna, now, "boris", candidate("1"));
    // The watch has no reception for a moment.
    exchange(now, &mut anna, &mut [&mut tablet]);
    assert_eq!(heard(&mut tablet), ["offer", "candidate"]);
    assert_eq!(heard(&mut watch), ["offer"]);
    assert_eq!(anna.len(), 2, "everything is kept until one answers");

    post(&mut watch, now, "anna", answer());
    carry(now, &mut watch, &mut [&mut anna]);
    assert_eq!(anna.len(), 1, "the watch has the offer");
    assert_eq!(heard(&mut anna), ["answer"]);
    exchange(now, &mut anna, &mut [&mut tablet, &mut watch]);
    assert_eq!(heard(&mut watch), ["candidate"]);
    assert!(anna.is_empty());

    post(&mut anna, now, "boris", candidate("2"));
    assert_eq!(written(&mut anna), ["boris/watch: 3 candidate"]);
}

#[test]
fn a_message_is_told_as_acknowledged_once() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    let post = post(&mut anna, now, "boris", offer());
    for name in ["tablet", "watch", "tablet"] {
        take(&mut anna, now, name, has(1, &[]));
    }
    assert_eq!(events(&mut anna), [MailboxEvent::Acknowledged { post }]);
    take(&mut anna, now, "watch", says(1, Some(0), answer()));
    assert_eq!(heard(&mut anna), ["answer"]);
    take(&mut anna, now, "watch", has(1, &[]));
    assert_eq!(events(&mut anna), []);
}

#[test]
fn only_devices_that_lack_a_message_are_sent_it_again() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", has(3, &[]));
    // The watch is late: only now it is known that it lacks something.
    let later = now + 2 * SECOND;
    take(&mut anna, later, "watch", has(1, &[3]));
    events(&mut anna);
    anna.handle_timeout(later + 2 * SECOND);
    assert_eq!(written(&mut anna), ["boris: 1 after 0 offer"]);
    anna.handle_timeout(later + 3 * SECOND);
    assert_eq!(written(&mut anna), ["boris/watch: 2 candidate"]);
    assert_eq!(
        events(&mut anna),
        [],
        "the path is fine: the tablet has everything"
    );

    // What nobody has goes to everybody.
    post(&mut anna, later, "boris", candidate("3"));
    assert_eq!(written(&mut anna), ["boris: 4 candidate"]);
}

#[test]
fn an_offer_is_repeated_for_devices_that_are_not_known_until_one_answers() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", has(3, &[]));
    let mut offered_at = Vec::new();
    for second in 0..=30 {
        anna.handle_timeout(now + second * SECOND);
        for line in written(&mut anna) {
            assert_eq!(line, "boris: 1 after 0 offer");
            offered_at.push(second);
        }
    }
    assert_eq!(offered_at, [3, 9, 19, 29]);
    take(&mut anna, now, "tablet", says(1, Some(0), answer()));
    let end = now + KEPT;
    anna.handle_timeout(end);
    assert_eq!(written(&mut anna), ["boris/tablet: has 1 []"]);
    assert_eq!(anna.poll_timeout(), None);
}

#[test]
fn a_new_connection_resumes_with_every_known_device() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", has(3, &[]));
    take(
        &mut anna,
        now,
        "watch",
        says(1, Some(0), CallMessage::Ringing),
    );
    anna.handle_connected(now);
    assert_eq!(
        written(&mut anna),
        [
            "boris/tablet: resumes 0 []",
            "boris/watch: resumes 1 []",
            "boris: 1 after 0 offer",
            "boris/watch: 2 candidate",
            "boris/watch: 3 candidate",
        ]
    );
}

#[test]
fn a_device_that_resumes_before_anybody_answered_gets_what_it_lacks() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", has(3, &[]));
    let resume = FrameContent::Resume(Received {
        up_to: 0,
        beyond: vec![2],
    });
    take(&mut anna, now, "watch", resume);
    assert_eq!(
        written(&mut anna),
        ["boris/watch: 1 after 0 offer", "boris/watch: 3 candidate"]
    );
}

#[test]
fn a_caller_is_known_by_its_first_frame() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    let offered = from_anna(1, Some(0), offer());
    assert_eq!(boris.handle_frame(now, offered), Ok(()));
    written(&mut boris);
    post(&mut boris, now, "anna", CallMessage::Ringing);
    assert_eq!(written(&mut boris), ["anna/phone: 1 after 0 ringing"]);
    let stranger = Frame {
        device: device("laptop"),
        ..from_anna(7, None, candidate("1"))
    };
    heard(&mut boris);
    assert_eq!(boris.handle_frame(now, stranger), Ok(()));
    assert_eq!(heard(&mut boris), [""; 0]);
    assert_eq!(written(&mut boris), ["anna/laptop: has 7 []"]);
}

#[test]
fn after_one_device_has_answered_the_others_are_not_heard() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(
        &mut anna,
        now,
        "tablet",
        says(1, Some(0), CallMessage::Ringing),
    );
    take(
        &mut anna,
        now,
        "watch",
        says(1, Some(0), CallMessage::Ringing),
    );
    take(&mut anna, now, "tablet", says(2, None, candidate("t")));
    take(&mut anna, now, "watch", says(2, Some(1), answer()));
    assert_eq!(
        heard(&mut anna),
        ["ringing", "ringing", "candidate", "answer"]
    );
    written(&mut anna);
    for (number, follows, body) in [
        (3, Some(1), answer()),
        (4, None, candidate("t")),
        (5, Some(3), hang_up()),
    ] {
        take(&mut anna, now, "tablet", says(number, follows, body));
        assert_eq!(heard(&mut anna), [""; 0]);
        let expected = [
            format!("boris/tablet: has {number} []"),
            "boris/tablet: answered elsewhere".to_owned(),
        ];
        assert_eq!(written(&mut anna), expected);
    }
    // Nor is what they have or lack.
    take(&mut anna, now, "tablet", has(3, &[]));
    let all = FrameContent::Resume(Received::default());
    take(&mut anna, now, "tablet", all);
    let told = vec!["boris/tablet: answered elsewhere".to_owned()];
    assert_eq!((anna.len(), written(&mut anna)), (3, told));
}

#[test]
fn devices_that_ring_learn_that_another_one_answered_whatever_is_lost() {
    let now = Instant::now();
    let mut anna = calling(now);
    for name in ["tablet", "watch"] {
        take(&mut anna, now, name, says(1, Some(0), CallMessage::Ringing));
    }
    heard(&mut anna);
    written(&mut anna);
    take(&mut anna, now, "watch", says(2, Some(1), answer()));
    let told = "boris/tablet: answered elsewhere".to_owned();
    assert!(written(&mut anna).contains(&told));
    // The connection may have been dead already.
    anna.handle_connected(now);
    assert!(written(&mut anna).contains(&told));
}

#[test]
fn a_device_that_rings_stops_when_another_one_answered() {
    let now = Instant::now();
    let mut boris = Mailbox::new("boris".into(), device("tablet"), MailboxLimits::default());
    boris.handle_connected(now);
    let from_anna = |name: &str, content| Frame {
        from: "anna".into(),
        device: device(name),
        to: "boris".into(),
        to_device: None,
        call: CallId("c1".into()),
        content,
    };
    let rings = from_anna("phone", says(1, Some(0), offer()));
    boris.handle_frame(now, rings).expect("a sound frame");
    assert_eq!(heard(&mut boris), ["offer"]);
    // Only the caller's own device can say so.
    for (name, expected) in [("other", &[][..]), ("phone", &["hang-up"][..])] {
        let frame = from_anna(name, FrameContent::AnsweredElsewhere);
        boris.handle_frame(now, frame).expect("a sound frame");
        assert_eq!(heard(&mut boris), expected, "{name}");
    }
}

#[test]
fn a_second_answer_of_the_same_device_changes_nothing() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "watch", says(1, Some(0), answer()));
    assert_eq!(
        written(&mut anna).len(),
        4,
        "an acknowledgement and all it lacks"
    );
    take(&mut anna, now, "watch", says(2, Some(1), answer()));
    assert_eq!(written(&mut anna), ["boris/watch: has 2 []"]);
}

#[test]
fn an_answer_binds_once_it_is_handed_up() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", says(2, Some(1), answer()));
    assert_eq!(heard(&mut anna), [""; 0]);
    take(&mut anna, now, "watch", says(1, Some(0), answer()));
    assert_eq!(heard(&mut anna), ["answer"]);
    take(
        &mut anna,
        now,
        "tablet",
        says(1, Some(0), CallMessage::Ringing),
    );
    assert_eq!(heard(&mut anna), [""; 0]);
}

#[test]
fn without_a_connection_the_rest_waits_for_one() {
    let now = Instant::now();
    let mut anna = calling(now);
    anna.handle_disconnected();
    take(&mut anna, now, "watch", says(1, Some(0), answer()));
    assert_eq!(written(&mut anna), [""; 0]);
    let end = now + KEPT;
    assert_eq!(anna.poll_timeout(), Some((end, MailboxTimer::Expire)));
    anna.handle_connected(now);
    assert_eq!(written(&mut anna).len(), 4, "a resumption and all it lacks");
}

#[test]
fn what_one_device_has_is_kept_for_the_others_as_long_as_nobody_answers() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", has(3, &[]));
    take(&mut anna, now, "watch", has(1, &[]));
    events(&mut anna);
    anna.handle_timeout(now + KEPT);
    assert_eq!(events(&mut anna), []);
    assert_eq!(written(&mut anna), [""; 0]);
    assert_eq!(
        anna.poll_timeout(),
        None,
        "no timer tells a dead device for ever"
    );
    assert_eq!(anna.len(), 3);

    let answered = now + 90 * SECOND;
    take(&mut anna, answered, "watch", says(1, Some(0), answer()));
    assert_eq!(
        written(&mut anna),
        [
            "boris/tablet: answered elsewhere",
            "boris/watch: 2 candidate",
            "boris/watch: 3 candidate",
            "boris/watch: has 1 []"
        ]
    );
    // It has all the time that a message has.
    let due = answered + 3 * SECOND;
    assert_eq!(anna.poll_timeout(), Some((due, MailboxTimer::Repeat)));
    events(&mut anna);
    let end = answered + KEPT;
    anna.handle_timeout(end - Duration::from_millis(1));
    assert_eq!(events(&mut anna), [MailboxEvent::PathDoubted]);
    anna.handle_timeout(end);
    let expired = events(&mut anna);
    assert_eq!(expired.len(), 2, "{expired:?}");
    assert!(anna.is_empty());
}

#[test]
fn a_hang_up_goes_to_every_device_that_is_known() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", has(3, &[]));
    take(&mut anna, now, "watch", has(3, &[]));
    let post = post(&mut anna, now, "boris", hang_up());
    anna.close_call(&call("c1"));
    assert_eq!(written(&mut anna), ["boris: 4 after 0 hang-up"]);
    events(&mut anna);
    take(&mut anna, now, "tablet", has(3, &[4]));
    assert_eq!(events(&mut anna), [MailboxEvent::Acknowledged { post }]);
    anna.handle_timeout(now + 3 * SECOND);
    assert_eq!(written(&mut anna), ["boris/watch: 4 after 0 hang-up"]);
    assert_eq!(anna.calls(), 1);
    take(&mut anna, now, "watch", has(4, &[]));
    assert_eq!((anna.calls(), anna.len()), (0, 0));
}

#[test]
fn a_hang_up_that_one_device_never_acknowledges_ends_as_well() {
    let now = Instant::now();
    let mut anna = calling(now);
    take(&mut anna, now, "tablet", has(3, &[]));
    take(&mut anna, now, "watch", has(3, &[]));
    post(&mut anna, now, "boris", hang_up());
    anna.close_call(&call("c1"));
    take(&mut anna, now, "tablet", has(4, &[]));
    events(&mut anna);
    anna.handle_timeout(now + KEPT);
    assert_eq!(events(&mut anna), [], "its sender was told that it arrived");
    assert_eq!((anna.calls(), anna.len()), (0, 0));
}

#[test]
fn what_a_device_holds_back_does_not_reach_the_call_after_it_is_closed() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    assert_eq!(
        boris.handle_frame(now, from_anna(1, Some(0), offer())),
        Ok(())
    );
    assert_eq!(
        boris.handle_frame(now, from_anna(4, Some(3), hang_up())),
        Ok(())
    );
    post(&mut boris, now, "anna", hang_up());
    boris.close_call(&call("c1"));
    let held: usize = boris.conversations.values().map(Conversation::held).sum();
    assert_eq!(held, 0);
}
