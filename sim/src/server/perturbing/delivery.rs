//! Finds the messages of calls among what the signaling server writes (pure).

use serde_json::{Value, json};

use ringtrue::signaling::message::EVENT;

/// Tells a message from every other one, however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    /// The user who sends it.
    pub(super) from: String,
    device: String,
    call: String,
    number: u64,
}

#[cfg(test)]
impl Identity {
    /// A message of a call, by its sender and number alone.
    pub(super) fn of(from: &str, number: u64) -> Self {
        Self {
            from: from.to_owned(),
            device: String::new(),
            call: String::new(),
            number,
        }
    }
}

/// The message in a frame of a WebSocket, and its kind. `None` for a frame with anything else.
pub(super) fn message_in(frame: &[u8]) -> Option<(Identity, String)> {
    let text = std::str::from_utf8(text_of(frame)?).ok()?;
    // Engine.IO calls it a message, and Socket.IO an event, with the number of its acknowledgement.
    let event = text.strip_prefix("42")?;
    let json = event.trim_start_matches(|c: char| c.is_ascii_digit());
    let (name, frame): (String, Value) = serde_json::from_str(json).ok()?;
    if name != EVENT || frame.get("kind")? != "message" {
        return None;
    }
    let field = |name: &str| Some(frame.get(name)?.as_str()?.to_owned());
    let identity = Identity {
        from: field("from")?,
        device: field("device")?,
        call: field("call")?,
        number: frame.get("number")?.as_u64()?,
    };
    let kind = frame.get("body")?.get("type")?.as_str()?.to_owned();
    Some((identity, kind))
}

/// The number that a message is given which its sender never sent: far beyond all that it will send, so
/// that none of its own is taken for a repetition of it.
const UNSENT: u64 = 1 << 40;

/// The first byte of a frame that is a whole text (RFC 6455 section 5.2).
const WHOLE_TEXT: u8 = 0x81;

/// The frame of a candidate, with another candidate in its place, as if its sender had sent that too.
/// `None` for a frame with anything else.
pub(super) fn with_candidate(frame: &[u8], candidate: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text_of(frame)?).ok()?;
    let json = text.strip_prefix("42")?;
    let json = json.trim_start_matches(|c: char| c.is_ascii_digit());
    let (name, mut message): (String, Value) = serde_json::from_str(json).ok()?;
    let number = message.get("number")?.as_u64()?;
    *message.get_mut("number")? = Value::from(UNSENT + number);
    *message.get_mut("body")?.get_mut("candidate")? = Value::from(candidate);
    // Without the number of an acknowledgement, since the server waits for none.
    Some(text_frame(&format!("42{}", json!([name, message]))))
}

/// A frame that is a whole text, from a server, which masks nothing (RFC 6455 section 5.2).
fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![WHOLE_TEXT];
    let length = text.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => frame.push(short),
        (_, Ok(long)) => {
            frame.push(126);
            frame.extend(long.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    frame
}

/// The payload of a frame that is a whole text, from a server, which masks nothing (RFC 6455 section
/// 5.2).
fn text_of(frame: &[u8]) -> Option<&[u8]> {
    if *frame.first()? != WHOLE_TEXT {
        return None;
    }
    let head_bytes = match *frame.get(1)? {
        126 => 4,
        127 => 10,
        0..=125 => 2,
        128.. => return None,
    };
    frame.get(head_bytes..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &str = r#""from":"alice","device":"d1","to":"bob","call":"c1""#;

    #[test]
    fn a_message_is_found_by_sender_and_number() {
        let text = format!(
            r#"4217["call",{{{FIELDS},"kind":"message","number":7,"body":{{"type":"ringing"}}}}]"#
        );
        let (identity, kind) = message_in(&text_frame(&text)).expect("it is a message");
        let expected = Identity {
            from: "alice".into(),
            device: "d1".into(),
            call: "c1".into(),
            number: 7,
        };
        assert_eq!((identity, kind.as_str()), (expected, "ringing"));
    }

    #[test]
    fn a_candidate_is_put_in_the_place_of_another_under_a_number_of_its_own() {
        let body = r#"{"type":"candidate","candidate":"candidate:1 1","usernameFragment":"abcd"}"#;
        let text =
            format!(r#"4217["call",{{{FIELDS},"kind":"message","number":7,"body":{body}}}]"#);
        let bad = with_candidate(&text_frame(&text), "").expect("it is a candidate");
        let (identity, kind) = message_in(&bad).expect("it is a message");
        assert_eq!((identity.number, kind.as_str()), (UNSENT + 7, "candidate"));
        let text = std::str::from_utf8(text_of(&bad).expect("it is a text")).expect("in UTF-8");
        assert!(text.starts_with(r#"42["call""#), "{text}");
        assert!(text.contains(r#""candidate":"","#), "{text}");
        assert!(text.contains(r#""usernameFragment":"abcd""#), "{text}");
    }

    #[test]
    fn what_is_no_message_is_left_alone() {
        let acknowledge = format!(r#"42["call",{{{FIELDS},"kind":"acknowledge","up_to":7}}]"#);
        for text in [
            "2",
            "430[{}]",
            "42[\"other\",{}]",
            "42nonsense",
            &acknowledge,
        ] {
            assert_eq!(message_in(&text_frame(text)), None, "{text}");
        }
        assert_eq!(message_in(&[0x89, 0]), None, "a ping");
        assert_eq!(message_in(&[]), None);
    }
}
