//! What is kept is bounded, and frames that make no sense are refused.

use super::*;
use crate::signaling::message::NUMBER_MAX;

fn limits() -> MailboxLimits {
    MailboxLimits {
        messages_max: 5,
        messages_per_call_max: 3,
        calls_max: 4,
        calls_per_peer_max: 2,
        devices_max: 2,
        held_max: 3,
        kept_for: 10 * SECOND,
    }
}

#[test]
fn one_call_cannot_take_all_room() {
    let now = Instant::now();
    let mut anna = with_limits("anna", "phone", limits());
    for text in ["1", "2", "3"] {
        post(&mut anna, now, "boris", candidate(text));
    }
    let call = call("c1");
    let full = anna.post(now, envelope("boris", "c1", candidate("4")));
    assert_eq!(full, Err(PostError::CallFull { call, max: 3 }));
    for text in ["1", "2"] {
        let posted = anna.post(now, envelope("boris", "c2", candidate(text)));
        assert!(posted.is_ok(), "{posted:?}");
    }
    let full = anna.post(now, envelope("carla", "c3", offer()));
    assert_eq!(full, Err(PostError::Full { max: 5 }));
    assert_eq!((anna.len(), anna.calls()), (5, 2), "nothing is kept of it");
    anna.handle_timeout(now + 10 * SECOND);
    assert!(anna.is_empty(), "as long as the limits say");
}

#[test]
fn calls_are_bounded() {
    let now = Instant::now();
    let mut anna = with_limits("anna", "phone", limits());
    for name in ["c1", "c2", "c3", "c4"] {
        assert!(anna.post(now, envelope("boris", name, offer())).is_ok());
    }
    let full = anna.post(now, envelope("boris", "c5", offer()));
    assert_eq!(full, Err(PostError::TooManyCalls { max: 4 }));
    assert!(
        anna.post(now, envelope("boris", "c4", candidate("1")))
            .is_ok()
    );
    anna.close_call(&call("c1"));
    assert!(anna.post(now, envelope("boris", "c5", offer())).is_ok());
}

#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let now = Instant::now();
    let mut anna = connected("anna", "phone");
    for (envelope, expected) in [
        (envelope("", "c1", offer()), "to of a frame is empty"),
        (envelope("boris", "", offer()), "call of a frame is empty"),
        (
            envelope("boris", "c1", candidate(&"x".repeat(3000))),
            "candidate of a frame has 3000 bytes, over 2048",
        ),
    ] {
        let error = anna.post(now, envelope).expect_err("invalid");
        assert!(matches!(error, PostError::Invalid(_)), "{error:?}");
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!((anna.len(), anna.calls()), (0, 0));
}

#[test]
fn a_user_cannot_begin_calls_without_end() {
    let now = Instant::now();
    let mut boris = with_limits("boris", "tablet", limits());
    let mut begin = |from: &str, name: &str| {
        let frame = Frame {
            from: from.into(),
            call: call(name),
            ..from_anna(1, Some(0), offer())
        };
        boris.handle_frame(now, frame)
    };
    let too_many = |from: &str, max| PeerFault::TooManyCalls {
        from: from.into(),
        max,
    };
    assert_eq!(begin("anna", "c1"), Ok(()));
    assert_eq!(begin("anna", "c2"), Ok(()));
    assert_eq!(begin("anna", "c3"), Err(too_many("anna", 2)));
    assert_eq!(begin("carla", "c1"), Ok(()));
    assert_eq!(begin("doris", "c1"), Ok(()));
    assert_eq!(begin("emil", "c1"), Err(too_many("emil", 4)));
    assert_eq!(begin("anna", "c2"), Ok(()), "a call that is known goes on");
}

#[test]
fn devices_of_a_user_are_bounded() {
    let now = Instant::now();
    let mut anna = with_limits("anna", "phone", limits());
    post(&mut anna, now, "boris", offer());
    let mut say = |device: &str, content| {
        anna.handle_frame(
            now,
            Frame {
                from: "boris".into(),
                device: DeviceId(device.into()),
                to: "anna".into(),
                to_device: None,
                call: call("c1"),
                content,
            },
        )
    };
    let has = || FrameContent::Acknowledge(Received::default());
    let ringing = || FrameContent::Message {
        number: 1,
        follows: Some(0),
        oldest: None,
        body: CallMessage::Ringing,
    };
    assert_eq!(say("tablet", has()), Ok(()));
    assert_eq!(say("watch", ringing()), Ok(()));
    let too_many = Err(PeerFault::TooManyDevices {
        from: "boris".into(),
        call: call("c1"),
        max: 2,
    });
    assert_eq!(say("laptop", has()), too_many);
    assert_eq!(say("laptop", ringing()), too_many);
    assert_eq!(say("tablet", ringing()), Ok(()));
}

#[test]
fn what_waits_for_its_order_is_bounded_in_all() {
    let now = Instant::now();
    let mut boris = with_limits("boris", "tablet", limits());
    boris.handle_connected(now);
    let mut hold = |from: &str, number| {
        let frame = Frame {
            from: from.into(),
            ..from_anna(number, Some(1), hang_up())
        };
        boris.handle_frame(now, frame)
    };
    assert_eq!(hold("anna", 2), Ok(()));
    assert_eq!(hold("anna", 3), Ok(()));
    assert_eq!(hold("carla", 2), Ok(()));
    let from = "carla".to_owned();
    let too_far = PeerFault::TooFarAhead { from, number: 3 };
    assert_eq!(hold("carla", 3), Err(too_far));
    // What is not handed up is not acknowledged: its sender keeps it.
    assert_eq!(
        written(&mut boris),
        ["anna/phone: has 0 []", "carla/phone: has 0 []"]
    );
}

#[test]
fn a_frame_for_somebody_else_is_refused() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    let offered = from_anna(1, Some(0), offer());
    let to_device = Some(DeviceId("watch".into()));
    let misdirected = [
        Frame {
            to: "carla".into(),
            ..offered.clone()
        },
        Frame {
            to_device,
            ..offered.clone()
        },
        Frame {
            from: "boris".into(),
            device: DeviceId("tablet".into()),
            ..offered.clone()
        },
    ];
    for frame in misdirected {
        let from = frame.from.clone();
        let refused = Err(PeerFault::Misdirected { from });
        assert_eq!(boris.handle_frame(now, frame), refused);
    }
    for frame in [
        Frame {
            to_device: Some(DeviceId("tablet".into())),
            ..offered.clone()
        },
        // A user may call another device of the same user, which may have the same id as another
        // user's.
        Frame {
            from: "boris".into(),
            ..offered.clone()
        },
        Frame {
            device: DeviceId("tablet".into()),
            call: call("c2"),
            ..offered
        },
    ] {
        assert_eq!(boris.handle_frame(now, frame), Ok(()));
    }
}

#[test]
fn numbers_at_the_end_of_their_range_do_no_harm() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    let mut say = |number, oldest, body| {
        let mut frame = from_anna(number, None, body);
        if let FrameContent::Message { oldest: field, .. } = &mut frame.content {
            *field = Some(oldest);
        }
        boris.handle_frame(now, frame)
    };
    assert_eq!(say(NUMBER_MAX, NUMBER_MAX, candidate("1")), Ok(()));
    assert_eq!(say(NUMBER_MAX, 1, candidate("1")), Ok(()));
    assert!(matches!(
        say(u64::MAX, u64::MAX, candidate("1")),
        Err(PeerFault::Invalid(_))
    ));
    let has = format!("anna/phone: has {NUMBER_MAX} []");
    assert_eq!(written(&mut boris), [has]);
    assert_eq!(heard(&mut boris), ["candidate"]);
}

#[test]
fn closed_calls_are_forgotten_at_last() {
    let now = Instant::now();
    let mut boris = connected("boris", "tablet");
    for number in 0..=CLOSED_CALLS_MAX {
        let frame = Frame {
            call: CallId(number.to_string()),
            ..from_anna(1, Some(0), offer())
        };
        assert_eq!(boris.handle_frame(now, frame), Ok(()));
        boris.close_call(&CallId(number.to_string()));
        assert_eq!(boris.calls(), 0);
    }
    let is_closed = |number: usize| {
        boris.closed.contains(&ConversationId {
            peer: "anna".into(),
            call: CallId(number.to_string()),
        })
    };
    assert_eq!((is_closed(0), is_closed(1)), (false, true));
}
