//! Finds the messages of calls among what the signaling server writes (pure).

use serde_json::Value;

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

/// The payload of a frame that is a whole text, from a server, which masks nothing (RFC 6455 section
/// 5.2).
fn text_of(frame: &[u8]) -> Option<&[u8]> {
    const WHOLE_TEXT: u8 = 0x81;
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

    fn frame(text: &str) -> Vec<u8> {
        let mut frame = vec![0x81];
        match text.len() {
            short @ 0..126 => frame.push(u8::try_from(short).expect("it is short")),
            long => {
                frame.push(126);
                let long = u16::try_from(long).expect("it is not that long");
                frame.extend(long.to_be_bytes());
            }
        }
        frame.extend(text.as_bytes());
        frame
    }

    const FIELDS: &str = r#""from":"alice","device":"d1","to":"bob","call":"c1""#;

    #[test]
    fn a_message_is_found_by_sender_and_number() {
        let text = format!(
            r#"4217["call",{{{FIELDS},"kind":"message","number":7,"body":{{"type":"ringing"}}}}]"#
        );
        let (identity, kind) = message_in(&frame(&text)).expect("it is a message");
        let expected = Identity {
            from: "alice".into(),
            device: "d1".into(),
            call: "c1".into(),
            number: 7,
        };
        assert_eq!((identity, kind.as_str()), (expected, "ringing"));
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
            assert_eq!(message_in(&frame(text)), None, "{text}");
        }
        assert_eq!(message_in(&[0x89, 0]), None, "a ping");
        assert_eq!(message_in(&[]), None);
    }
}
