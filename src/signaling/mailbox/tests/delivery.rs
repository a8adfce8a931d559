//! From one device to another.

use super::*;

#[test]
fn a_message_is_kept_until_the_other_device_has_it() {
    let now = Instant::now();
    let (mut anna, mut boris) = (connected("anna", "phone"), connected("boris", "tablet"));
    let posts = [
        post(&mut anna, now, "boris", offer()),
        post(&mut anna, now, "boris", candidate("1")),
        post(&mut anna, now, "boris", hang_up()),
    ];
    assert_eq!((anna.len(), anna.is_empty()), (3, false));
    let sent = frames(&mut anna);
    let lines: Vec<_> = sent.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "boris: 1 after 0 offer",
            "boris: 2 candidate",
            "boris: 3 after 1 hang-up"
        ]
    );
    assert!(sent.iter().all(|frame| frame.from == "anna"));
    assert!(sent.iter().all(|frame| frame.device.0 == "phone"));
    assert_eq!(events(&mut anna), []);

    for frame in sent {
        assert_eq!(boris.handle_frame(now, frame), Ok(()));
    }
    let received: Vec<_> = [offer(), candidate("1"), hang_up()]
        .into_iter()
        .map(|body| {
            MailboxEvent::Received(Envelope {
                from: "anna".into(),
                ..envelope("boris", "c1", body)
            })
        })
        .collect();
    assert_eq!(events(&mut boris), received);
    carry(now, &mut boris, &mut [&mut anna]);
    let acknowledged = posts.map(|post| MailboxEvent::Acknowledged { post });
    assert_eq!(events(&mut anna), acknowledged);
}

#[test]
fn acknowledgements_that_say_the_same_are_written_once() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    for frame in [
        from_anna(1, Some(0), offer()),
        from_anna(3, None, candidate("3")),
    ] {
        assert_eq!(boris.handle_frame(now, frame), Ok(()));
    }
    assert_eq!(written(&mut boris), ["anna/phone: has 1 [3]"]);
    // A repetition shows that the first acknowledgement was lost.
    let repeated = from_anna(3, None, candidate("3"));
    assert_eq!(boris.handle_frame(now, repeated), Ok(()));
    assert_eq!(written(&mut boris), ["anna/phone: has 1 [3]"]);
    assert_eq!(heard(&mut boris), ["offer", "candidate"]);
}

#[test]
fn a_message_is_sent_again_by_a_growing_timer() {
    let start = Instant::now();
    let mut anna = connected("anna", "phone");
    post(&mut anna, start, "boris", offer());
    let mut sent_at = Vec::new();
    let mut now = start;
    while !anna.is_empty() {
        if !written(&mut anna).is_empty() {
            sent_at.push((now - start).as_secs());
        }
        now = anna.poll_timeout().expect("a message is kept").0;
        anna.handle_timeout(now);
    }
    assert_eq!(sent_at, [0, 3, 9, 19, 29, 39, 49, 59, 69, 79, 89]);
    assert_eq!(now - start, KEPT);
    assert_eq!(anna.poll_timeout(), None);
}

#[test]
fn a_timer_that_fires_early_does_nothing() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    post(&mut anna, now, "boris", offer());
    written(&mut anna);
    let due = now + 3 * SECOND;
    assert_eq!(anna.poll_timeout(), Some((due, MailboxTimer::Repeat)));
    anna.handle_timeout(due - Duration::from_millis(1));
    assert_eq!(written(&mut anna), [""; 0]);
    assert_eq!(events(&mut anna), []);
    anna.handle_timeout(due);
    assert_eq!(written(&mut anna), ["boris: 1 after 0 offer"]);
    assert_eq!(events(&mut anna), [MailboxEvent::PathDoubted]);
}

#[test]
fn the_path_is_doubted_while_a_message_is_unacknowledged() {
    let start = Instant::now();
    let mut anna = connected("anna", "phone");
    let mut boris = connected("boris", "tablet");
    let mut doubts = Vec::new();
    post(&mut anna, start, "boris", offer());
    for millisecond in (0..10_500).step_by(500) {
        let now = start + Duration::from_millis(millisecond);
        if millisecond == 1000 {
            post(&mut anna, now, "boris", candidate("1"));
        }
        anna.handle_timeout(now);
        if events(&mut anna).contains(&MailboxEvent::PathDoubted) {
            doubts.push(millisecond);
        }
    }
    assert_eq!(doubts, [3000, 6000, 9000]);
    exchange(start + 11 * SECOND, &mut anna, &mut [&mut boris]);
    events(&mut anna);
    anna.handle_timeout(start + 20 * SECOND);
    assert_eq!(events(&mut anna), []);
}

#[test]
fn a_new_connection_is_not_doubted_for_the_silence_of_the_old_one() {
    let start = Instant::now();
    let mut anna = connected("anna", "phone");
    post(&mut anna, start, "boris", offer());
    anna.handle_disconnected();
    let doubted = |anna: &mut Mailbox, second: u32| {
        anna.handle_timeout(start + second * SECOND);
        events(anna).contains(&MailboxEvent::PathDoubted)
    };
    assert!(!doubted(&mut anna, 4), "there is no path to doubt");
    anna.handle_connected(start + 5 * SECOND);
    assert!(!doubted(&mut anna, 7));
    assert!(doubted(&mut anna, 8));
}

#[test]
fn without_a_connection_everything_waits_for_one() {
    let now = Instant::now();
    let mut anna = mailbox("anna", "phone");
    post(&mut anna, now, "boris", offer());
    post(&mut anna, now, "boris", candidate("1"));
    assert_eq!(written(&mut anna), [""; 0]);
    assert_eq!(
        anna.poll_timeout(),
        Some((now + KEPT, MailboxTimer::Expire))
    );
    anna.handle_connected(now + SECOND);
    assert_eq!(
        written(&mut anna),
        [
            "boris: resumes 0 []",
            "boris: 1 after 0 offer",
            "boris: 2 candidate"
        ]
    );
    let due = now + 4 * SECOND;
    assert_eq!(anna.poll_timeout(), Some((due, MailboxTimer::Repeat)));
}

#[test]
fn a_new_connection_begins_with_what_has_arrived_and_what_has_not() {
    let now = Instant::now();
    let (mut anna, mut boris) = (connected("anna", "phone"), connected("boris", "tablet"));
    post(&mut anna, now, "boris", offer());
    post(&mut anna, now, "boris", candidate("1"));
    exchange(now, &mut anna, &mut [&mut boris]);
    post(&mut boris, now, "anna", answer());
    exchange(now, &mut anna, &mut [&mut boris]);
    post(&mut boris, now, "anna", candidate("2"));
    written(&mut boris);
    boris.handle_disconnected();
    assert_eq!(written(&mut boris), [""; 0]);
    boris.handle_connected(now + SECOND);
    assert_eq!(
        written(&mut boris),
        ["anna/phone: resumes 2 []", "anna/phone: 2 candidate"]
    );
    // The wait starts over on the new connection.
    let due = now + 4 * SECOND;
    assert_eq!(boris.poll_timeout(), Some((due, MailboxTimer::Repeat)));
}

#[test]
fn what_was_to_be_written_to_a_lost_connection_is_not_written_to_the_next() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    let offered = from_anna(1, Some(0), offer());
    assert_eq!(boris.handle_frame(now, offered.clone()), Ok(()));
    boris.handle_disconnected();
    // It was under way to the application when the connection broke.
    assert_eq!(boris.handle_frame(now, offered), Ok(()));
    boris.handle_connected(now);
    assert_eq!(written(&mut boris), ["anna/phone: resumes 1 []"]);
}

#[test]
fn a_device_that_resumes_is_sent_everything_it_lacks_at_once() {
    let now = Instant::now();
    let (mut anna, mut boris) = (connected("anna", "phone"), connected("boris", "tablet"));
    post(&mut anna, now, "boris", offer());
    exchange(now, &mut anna, &mut [&mut boris]);
    post(&mut boris, now, "anna", answer());
    exchange(now, &mut anna, &mut [&mut boris]);
    let posts: Vec<_> = ["1", "2", "3"]
        .into_iter()
        .map(|text| post(&mut boris, now, "anna", candidate(text)))
        .collect();
    written(&mut boris);
    events(&mut boris);
    let resume = Frame {
        to_device: Some(DeviceId("tablet".into())),
        content: FrameContent::Resume(Received {
            up_to: 1,
            beyond: vec![3],
        }),
        ..from_anna(1, None, candidate(""))
    };
    assert_eq!(boris.handle_frame(now, resume), Ok(()));
    assert_eq!(
        written(&mut boris),
        ["anna/phone: 2 candidate", "anna/phone: 4 candidate"]
    );
    let post = posts[1];
    assert_eq!(events(&mut boris), [MailboxEvent::Acknowledged { post }]);
}

#[test]
fn candidates_pass_before_their_offer_and_what_keeps_its_order_waits() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    let mut take = |frame| {
        assert_eq!(boris.handle_frame(now, frame), Ok(()));
        heard(&mut boris)
    };
    assert_eq!(take(from_anna(3, None, candidate("3"))), ["candidate"]);
    assert_eq!(take(from_anna(4, Some(1), hang_up())), [""; 0]);
    let end = CallMessage::EndOfCandidates { ufrag: "u".into() };
    assert_eq!(take(from_anna(2, None, end)), ["end-of-candidates"]);
    assert_eq!(take(from_anna(1, Some(0), offer())), ["offer", "hang-up"]);
}

#[test]
fn a_call_that_does_not_begin_with_an_offer_is_stale() {
    let now = Instant::now();
    for body in [answer(), hang_up(), CallMessage::Ringing] {
        let mut boris = connected("boris", "tablet");
        let early = from_anna(2, None, candidate("1"));
        assert_eq!(boris.handle_frame(now, early), Ok(()));
        assert_eq!(heard(&mut boris), ["candidate"]);
        written(&mut boris);
        assert_eq!(boris.handle_frame(now, from_anna(5, Some(0), body)), Ok(()));
        assert_eq!(heard(&mut boris), [""; 0]);
        assert_eq!(written(&mut boris), ["anna/phone: has 5 []"]);
        assert_eq!(boris.calls(), 0);
        // Its offer was overtaken: the caller has given up.
        let late = from_anna(1, Some(0), offer());
        assert_eq!(boris.handle_frame(now, late), Ok(()));
        assert_eq!(heard(&mut boris), [""; 0]);
    }
}

#[test]
fn a_message_of_an_unknown_kind_holds_nothing_up() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    for frame in [
        from_anna(1, Some(0), CallMessage::Unknown),
        from_anna(2, Some(1), offer()),
        from_anna(3, None, CallMessage::Unknown),
    ] {
        assert_eq!(boris.handle_frame(now, frame), Ok(()));
    }
    assert_eq!(heard(&mut boris), ["offer"]);
    assert_eq!(written(&mut boris), ["anna/phone: has 3 []"]);
}

#[test]
fn a_call_of_which_only_candidates_came_is_forgotten() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    let take = |boris: &mut Mailbox, at, number, follows, body| {
        assert_eq!(
            boris.handle_frame(at, from_anna(number, follows, body)),
            Ok(())
        );
    };
    take(&mut boris, now, 2, None, candidate("1"));
    take(&mut boris, now + SECOND, 3, None, candidate("2"));
    let end = now + 61 * SECOND;
    assert_eq!(boris.poll_timeout(), Some((end, MailboxTimer::Forget)));
    boris.handle_timeout(end - Duration::from_millis(1));
    assert_eq!(boris.calls(), 1);
    boris.handle_timeout(end);
    assert_eq!((boris.calls(), boris.poll_timeout()), (0, None));

    take(&mut boris, end, 1, Some(0), offer());
    assert_eq!(boris.poll_timeout(), None, "an offered call is kept");
}

#[test]
fn a_refused_message_is_forgotten_and_holds_nothing_up() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    let mut boris = connected("boris", "tablet");
    post(&mut anna, now, "boris", offer());
    exchange(now, &mut anna, &mut [&mut boris]);
    let refused = post(&mut anna, now, "boris", CallMessage::Ringing);
    post(&mut anna, now, "boris", candidate("1"));
    post(&mut anna, now, "boris", hang_up());
    assert_eq!(written(&mut anna).len(), 3);
    events(&mut anna);
    anna.handle_refused(now, refused, "no".into());
    let message = "no".into();
    let event = MailboxEvent::Refused {
        post: refused,
        message,
    };
    assert_eq!(events(&mut anna), [event]);
    assert_eq!(anna.len(), 3);
    assert_eq!(written(&mut anna), ["boris: 4 after 1 hang-up"]);

    let candidate = post(&mut anna, now, "boris", candidate("2"));
    written(&mut anna);
    anna.handle_refused(now, candidate, "no".into());
    assert_eq!(written(&mut anna), [""; 0], "nothing waited for it");
    anna.handle_refused(now, candidate, "no".into());
    assert_eq!(events(&mut anna).len(), 1, "it is not known any more");
}

#[test]
fn a_refusal_does_not_touch_what_a_device_has() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    let offered = post(&mut anna, now, "boris", offer());
    exchange(now, &mut anna, &mut [&mut connected("boris", "tablet")]);
    events(&mut anna);
    anna.handle_refused(now, offered, "no".into());
    assert_eq!((events(&mut anna), anna.len()), (Vec::new(), 1));
}

#[test]
fn a_message_that_is_not_written_can_be_taken_back() {
    let now = Instant::now();
    let mut anna = mailbox("anna", "phone");
    let first = post(&mut anna, now, "boris", offer());
    let second = post(&mut anna, now, "boris", candidate("1"));
    anna.withdraw(second);
    let withdrawn = MailboxEvent::Withdrawn { post: second };
    assert_eq!((anna.len(), events(&mut anna)), (1, vec![withdrawn]));
    anna.handle_connected(now);
    assert_eq!(written(&mut anna).len(), 2);
    anna.withdraw(first);
    assert_eq!(anna.len(), 1, "it is on its way");
    assert_eq!(events(&mut anna), []);
}

#[test]
fn a_hang_up_that_is_taken_back_leaves_nothing_of_its_call() {
    let now = Instant::now();
    let mut anna = mailbox("anna", "phone");
    let post = post(&mut anna, now, "boris", hang_up());
    anna.close_call(&call("c1"));
    assert_eq!(anna.calls(), 1);
    anna.withdraw(post);
    assert_eq!((anna.calls(), anna.poll_timeout()), (0, None));
}

#[test]
fn a_hang_up_that_is_refused_leaves_nothing_of_its_call() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    let post = post(&mut anna, now, "boris", hang_up());
    anna.close_call(&call("c1"));
    anna.handle_refused(now, post, "no".into());
    assert_eq!((anna.calls(), anna.poll_timeout()), (0, None));
}

#[test]
fn a_message_is_written_with_the_oldest_that_is_kept() {
    let now = Instant::now();
    let (mut anna, mut boris) = (connected("anna", "phone"), connected("boris", "tablet"));
    post(&mut anna, now, "boris", offer());
    exchange(now, &mut anna, &mut [&mut boris]);
    post(&mut boris, now, "anna", answer());
    exchange(now, &mut anna, &mut [&mut boris]);
    post(&mut anna, now, "boris", candidate("1"));
    post(&mut anna, now, "boris", candidate("2"));
    let oldest: Vec<_> = frames(&mut anna)
        .into_iter()
        .map(|frame| match frame.content {
            FrameContent::Message { oldest, .. } => oldest,
            _ => None,
        })
        .collect();
    assert_eq!(oldest, [Some(2), Some(2)]);
}

#[test]
fn a_transmit_names_the_message_in_it() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    let offered = post(&mut anna, now, "boris", offer());
    let named = anna.poll_transmit().map(|transmit| transmit.message);
    assert_eq!(named, Some(Some(offered)));
    let mut boris = connected("boris", "tablet");
    let first = from_anna(1, Some(0), offer());
    assert_eq!(boris.handle_frame(now, first), Ok(()));
    let named = boris.poll_transmit().map(|transmit| transmit.message);
    assert_eq!(named, Some(None));
}

#[test]
fn an_expired_message_is_reported_and_holds_nothing_up() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    let first = post(&mut anna, now, "boris", offer());
    let second = post(&mut anna, now + 2 * SECOND, "boris", hang_up());
    for second in 0..90 {
        anna.handle_timeout(now + second * SECOND);
    }
    written(&mut anna);
    events(&mut anna);
    let expired = |post| MailboxEvent::Expired { post };
    anna.handle_timeout(now + KEPT);
    assert!(events(&mut anna).contains(&expired(first)));
    // Its turn would come a second later, but now it follows another one.
    assert_eq!(written(&mut anna), ["boris: 2 after 0 hang-up"]);
    anna.handle_timeout(now + KEPT + 2 * SECOND);
    assert!(events(&mut anna).contains(&expired(second)));
    assert!(anna.is_empty());
}

#[test]
fn of_a_closed_call_only_its_hang_up_is_sent() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    let posts = [offer(), candidate("1")].map(|body| post(&mut anna, now, "boris", body));
    post(&mut anna, now, "boris", hang_up());
    anna.close_call(&call("c1"));
    let withdrawn = posts.map(|post| MailboxEvent::Withdrawn { post });
    assert_eq!(events(&mut anna), withdrawn);
    assert_eq!(written(&mut anna), ["boris: 3 after 0 hang-up"]);
    assert_eq!((anna.len(), anna.calls()), (1, 1));
    let closed = PostError::CallClosed { call: call("c1") };
    let late = anna.post(now, envelope("boris", "c1", candidate("2")));
    assert_eq!(late, Err(closed.clone()));

    let mut boris = connected("boris", "tablet");
    anna.handle_disconnected();
    anna.handle_connected(now);
    let again = frames(&mut anna);
    assert_eq!(
        again.iter().map(line).collect::<Vec<_>>(),
        ["boris: 3 after 0 hang-up"]
    );
    assert_eq!(boris.handle_frame(now, again[0].clone()), Ok(()));
    carry(now, &mut boris, &mut [&mut anna]);
    assert_eq!((anna.len(), anna.calls()), (0, 0));
    assert_eq!(heard(&mut boris), [""; 0]);
    let late = anna.post(now, envelope("boris", "c1", candidate("2")));
    assert_eq!(late, Err(closed));
}

#[test]
fn a_hang_up_that_nobody_acknowledges_is_given_up() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    let post = post(&mut anna, now, "boris", hang_up());
    anna.close_call(&call("c1"));
    anna.handle_timeout(now + KEPT);
    assert!(events(&mut anna).contains(&MailboxEvent::Expired { post }));
    assert_eq!((anna.len(), anna.calls()), (0, 0));
}

#[test]
fn what_belongs_to_a_closed_call_is_acknowledged_and_dropped() {
    let now = Instant::now();
    let (mut anna, mut boris) = (connected("anna", "phone"), connected("boris", "tablet"));
    post(&mut anna, now, "boris", offer());
    exchange(now, &mut anna, &mut [&mut boris]);
    assert_eq!(heard(&mut boris), ["offer"]);
    post(&mut boris, now, "anna", hang_up());
    boris.close_call(&call("c1"));
    for (number, calls) in [(9, 1), (11, 0)] {
        assert_eq!(boris.calls(), calls, "closing, then closed");
        let late = from_anna(number, None, candidate("1"));
        assert_eq!(boris.handle_frame(now, late), Ok(()));
        assert_eq!(heard(&mut boris), [""; 0]);
        let lines = written(&mut boris);
        let expected = format!("anna/phone: has {number} []");
        assert!(lines.contains(&expected), "{lines:?}");
        let all = Frame {
            content: FrameContent::Acknowledge(Received {
                up_to: 1,
                beyond: Vec::new(),
            }),
            ..from_anna(1, None, candidate(""))
        };
        assert_eq!(boris.handle_frame(now, all), Ok(()));
    }
}

#[test]
fn closing_a_call_leaves_others_alone() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    post(&mut anna, now, "boris", offer());
    let other = anna.post(now, envelope("boris", "c2", offer()));
    assert!(other.is_ok());
    anna.close_call(&call("c1"));
    assert_eq!((anna.len(), anna.calls()), (1, 1));
    anna.close_call(&call("c3"));
    assert_eq!(written(&mut anna), ["boris: 1 after 0 offer"]);
}

#[test]
fn what_is_said_of_a_call_that_is_not_known_changes_nothing() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    let received = Received::default();
    for content in [
        FrameContent::Resume(received.clone()),
        FrameContent::Acknowledge(received),
    ] {
        let frame = Frame {
            content,
            ..from_anna(1, None, candidate(""))
        };
        assert_eq!(boris.handle_frame(now, frame), Ok(()));
        assert_eq!(written(&mut boris), [""; 0]);
        assert_eq!(boris.calls(), 0);
    }
}
