use super::*;
use crate::signaling::message::{HangUpReason, TrickledCandidate};
use proptest::prelude::*;
use serde_json::json;

fn frame(content: FrameContent) -> Frame {
    Frame {
        from: "anna".into(),
        device: DeviceId("6f".into()),
        to: "boris".into(),
        to_device: None,
        call: CallId("c1".into()),
        content,
    }
}

fn message(number: u64, follows: Option<u64>, body: CallMessage) -> FrameContent {
    FrameContent::Message {
        number,
        follows,
        oldest: None,
        body,
    }
}

fn received(up_to: u64, beyond: &[u64]) -> FrameContent {
    FrameContent::Acknowledge(Received {
        up_to,
        beyond: beyond.to_vec(),
    })
}

/// Writes the frame as this JSON, and reads it back.
#[track_caller]
fn check(frame: &Frame, json: &Value) {
    assert_eq!(&frame.to_value(), json);
    assert_eq!(Frame::from_value(json.clone()).as_ref(), Ok(frame));
}

/// The JSON of a frame that is right, with one field replaced.
fn with(content: FrameContent, field: &str, value: Value) -> Value {
    let mut json = frame(content).to_value();
    json[field] = value;
    json
}

#[track_caller]
fn check_refused(json: Value, expected: &str) {
    let error = Frame::from_value(json).expect_err("out of bounds");
    assert_eq!(error.to_string(), expected);
}

fn hang_up() -> FrameContent {
    let reason = HangUpReason::Normal;
    message(7, Some(3), CallMessage::HangUp { reason })
}

fn candidate() -> TrickledCandidate {
    TrickledCandidate {
        candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host".into(),
        sdp_mid: "0".into(),
        username_fragment: "abcd".into(),
    }
}

#[test]
fn the_wire_format_is_one_flat_object() {
    let mut answer = frame(FrameContent::Message {
        number: NUMBER_MAX,
        follows: Some(3),
        oldest: Some(2),
        body: CallMessage::answer("v=0"),
    });
    answer.to_device = Some(DeviceId("9c".into()));
    let json = json!({
        "from": "anna", "device": "6f", "to": "boris", "to_device": "9c", "call": "c1",
        "kind": "message", "number": 9_007_199_254_740_991_u64, "follows": 3, "oldest": 2,
        "body": {"type": "answer", "sdp": "v=0"},
    });
    check(&answer, &json);

    let trickled = frame(message(1, None, CallMessage::Candidate(candidate())));
    let json = json!({
        "from": "anna", "device": "6f", "to": "boris", "call": "c1",
        "kind": "message", "number": 1,
        "body": {
            "type": "candidate",
            "candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host",
            "sdpMid": "0",
            "usernameFragment": "abcd",
        },
    });
    check(&trickled, &json);

    let json = json!({
        "from": "anna", "device": "6f", "to": "boris", "call": "c1",
        "kind": "acknowledge", "up_to": 7, "beyond": [9, 10],
    });
    check(&frame(received(7, &[9, 10])), &json);

    let json = json!({
        "from": "anna", "device": "6f", "to": "boris", "call": "c1",
        "kind": "resume", "up_to": 0, "beyond": [],
    });
    check(&frame(FrameContent::Resume(Received::default())), &json);
}

#[test]
fn what_is_said_has_the_same_name_in_the_log_and_on_the_wire() {
    let sdp = || "v=0".to_owned();
    let ufrag = "abcd".to_owned();
    for body in [
        CallMessage::offer(sdp()),
        CallMessage::Ringing,
        CallMessage::answer(sdp()),
        CallMessage::Candidate(candidate()),
        CallMessage::EndOfCandidates { ufrag },
        CallMessage::HangUp {
            reason: HangUpReason::Busy,
        },
    ] {
        let json = frame(message(1, Some(0), body.clone())).to_value();
        assert_eq!(json["body"]["type"], body.kind());
    }
}

#[test]
fn fields_and_words_of_a_newer_client_are_tolerated() {
    let mut json = frame(hang_up()).to_value();
    json["colour"] = json!({"deep": [1]});
    json["body"]["volume"] = json!(11);
    assert_eq!(Frame::from_value(json), Ok(frame(hang_up())));

    let json = with(
        hang_up(),
        "body",
        json!({"type": "hang-up", "reason": "bored"}),
    );
    let reason = HangUpReason::Other;
    let expected = frame(message(7, Some(3), CallMessage::HangUp { reason }));
    assert_eq!(Frame::from_value(json), Ok(expected));

    for follows in [None, Some(3)] {
        let mut json = frame(message(7, follows, CallMessage::Unknown)).to_value();
        json["body"] = json!({"type": "dance", "sdp": 1});
        let expected = frame(message(7, follows, CallMessage::Unknown));
        assert_eq!(Frame::from_value(json), Ok(expected));
    }
}

#[test]
fn numbers_keep_their_ranges() {
    check_refused(
        with(hang_up(), "number", json!(0)),
        "number of a frame is 0, outside of 1 to 9007199254740991",
    );
    check_refused(
        with(hang_up(), "number", json!(NUMBER_MAX + 1)),
        "number of a frame is 9007199254740992, outside of 1 to 9007199254740991",
    );
    check_refused(
        with(hang_up(), "follows", json!(7)),
        "follows of a frame is 7, outside of 0 to 6",
    );
    check_refused(
        with(hang_up(), "oldest", json!(0)),
        "oldest of a frame is 0, outside of 1 to 7",
    );
    check_refused(
        with(hang_up(), "oldest", json!(8)),
        "oldest of a frame is 8, outside of 1 to 7",
    );
    check_refused(
        with(received(0, &[]), "up_to", json!(NUMBER_MAX + 1)),
        "up_to of a frame is 9007199254740992, outside of 0 to 9007199254740991",
    );
    check_refused(
        with(received(7, &[]), "beyond", json!([7])),
        "beyond of a frame is 7, outside of 8 to 9007199254740991",
    );
    check_refused(
        with(received(7, &[]), "beyond", json!([9, 9])),
        "beyond of a frame is 9, outside of 10 to 9007199254740991",
    );
    let at_their_ends = [
        with(hang_up(), "follows", json!(6)),
        with(hang_up(), "follows", json!(0)),
        with(hang_up(), "oldest", json!(1)),
        with(hang_up(), "oldest", json!(7)),
        with(received(NUMBER_MAX, &[]), "beyond", json!([])),
        with(received(7, &[]), "beyond", json!([8, NUMBER_MAX])),
    ];
    for json in at_their_ends {
        assert!(Frame::from_value(json.clone()).is_ok(), "{json}");
    }
}

#[test]
fn lists_and_texts_are_bounded() {
    let numbers: Vec<u64> = (1..=257).collect();
    check_refused(
        frame(received(0, &numbers)).to_value(),
        "a frame acknowledges 257 messages out of order, over 256",
    );
    assert!(Frame::from_value(frame(received(0, &numbers[..256])).to_value()).is_ok());

    for (field, max) in [
        ("from", 128),
        ("device", 128),
        ("to", 128),
        ("to_device", 128),
        ("call", 128),
    ] {
        let of_length = |length| with(hang_up(), field, json!("x".repeat(length)));
        assert!(Frame::from_value(of_length(max)).is_ok(), "{field}");
        check_refused(
            of_length(max + 1),
            &format!("{field} of a frame has {} bytes, over {max}", max + 1),
        );
        check_refused(of_length(0), &format!("{field} of a frame is empty"));
    }
}

#[test]
fn what_is_said_is_bounded() {
    type Body = fn(String) -> CallMessage;
    let bodies: [(&str, usize, Body); 6] = [
        ("sdp", 32_768, CallMessage::offer),
        ("sdp", 32_768, CallMessage::answer),
        ("candidate", 2048, |text| {
            CallMessage::Candidate(TrickledCandidate {
                candidate: text,
                ..candidate()
            })
        }),
        ("sdpMid", 2048, |text| {
            CallMessage::Candidate(TrickledCandidate {
                sdp_mid: text,
                ..candidate()
            })
        }),
        ("usernameFragment", 2048, |text| {
            CallMessage::Candidate(TrickledCandidate {
                username_fragment: text,
                ..candidate()
            })
        }),
        ("ufrag", 2048, |ufrag| CallMessage::EndOfCandidates {
            ufrag,
        }),
    ];
    for (field, max, make) in bodies {
        let of_length = |length: usize| {
            let body = make("x".repeat(length));
            let follows = body.is_ordered().then_some(0);
            frame(message(1, follows, body))
        };
        assert_eq!(of_length(max).check(), Ok(()), "{field}");
        check_refused(
            of_length(max + 1).to_value(),
            &format!("{field} of a frame has {} bytes, over {max}", max + 1),
        );
    }
}

#[test]
fn exactly_what_keeps_its_order_says_what_it_follows() {
    check_refused(
        frame(message(1, None, CallMessage::Ringing)).to_value(),
        "a frame with a message ringing must say what it follows",
    );
    let end = CallMessage::EndOfCandidates { ufrag: "u".into() };
    check_refused(
        frame(message(1, Some(0), end)).to_value(),
        "a frame with a message end-of-candidates must not say what it follows",
    );
}

#[test]
fn a_complaint_does_not_quote_a_whole_frame() {
    let json = with(hang_up(), "kind", json!("x".repeat(10_000)));
    let Err(FrameError::Malformed { complaint }) = Frame::from_value(json) else {
        panic!("an unknown kind is read");
    };
    assert!(complaint.starts_with("unknown variant"), "{complaint}");
    assert_eq!(complaint.chars().count(), 200);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..4)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

fn any_field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "from",
        "device",
        "to",
        "to_device",
        "call",
        "kind",
        "number",
        "follows",
        "oldest",
        "body",
        "up_to",
        "beyond",
    ])
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(json in any_json()) {
        let _ = Frame::from_value(json);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        if let Ok(json) = serde_json::from_slice(&bytes) {
            let _ = Frame::from_value(json);
        }
    }

    #[test]
    fn a_frame_with_any_field_replaced_is_read_or_refused(
        is_message: bool,
        field in any_field(),
        value in any_json(),
    ) {
        let content = if is_message { hang_up() } else { received(7, &[9]) };
        if let Ok(frame) = Frame::from_value(with(content, field, value)) {
            prop_assert_eq!(frame.check(), Ok(()));
            prop_assert_eq!(Frame::from_value(frame.to_value()), Ok(frame));
        }
    }
}
