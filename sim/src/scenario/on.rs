//! What a fault can wait for: `alice sends candidate 3`, `before alice receives frame 17`.

use super::value::{ValueError, deserialize_from_text, refuse_empty_or_negative};
use crate::fault::{Begin, FramePoint, FrameSide, FrameWay, MessageName};

/// Which message or frame of which peer a fault waits for.
#[derive(Debug, Clone)]
pub(super) struct OnValue {
    pub(super) peer: String,
    /// Always one that waits for that peer.
    pub(super) begin: Begin,
}

impl OnValue {
    const EXPECTED: &str = "\"PEER sends offer\", \"answer\" or \"candidate\" and which one, such as \"alice sends candidate 3\", or \"before\" or \"after\" and \"PEER sends frame\" or \"receives frame\" and which one, such as \"before alice receives frame 17\"";
    const PATTERN: &str = "^ *([a-z][a-z0-9-]* +sends +(offer|answer|candidate)( +[1-9][0-9]*)?\
         |(before|after) +[a-z][a-z0-9-]* +(sends|receives) +frame +[1-9][0-9]*) *$";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let words: Vec<&str> = refuse_empty_or_negative(text)?.split_whitespace().collect();
        match words.as_slice() {
            ["before", rest @ ..] => frame(FrameSide::Before, rest),
            ["after", rest @ ..] => frame(FrameSide::After, rest),
            words => message(words),
        }
    }
}

deserialize_from_text!(OnValue);

fn frame(side: FrameSide, words: &[&str]) -> Result<OnValue, ValueError> {
    let malformed = || ValueError::Malformed("a frame of a peer");
    let [peer, way, "frame", number] = words else {
        return Err(malformed());
    };
    let way = match *way {
        "sends" => FrameWay::Sends,
        "receives" => FrameWay::Receives,
        _ => return Err(malformed()),
    };
    let number = number.parse().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(malformed)?;
    let peer = (*peer).to_owned();
    let begin = Begin::OnFrame {
        peer: peer.clone(),
        point: FramePoint { side, way, number },
    };
    Ok(OnValue { peer, begin })
}

fn message(words: &[&str]) -> Result<OnValue, ValueError> {
    let malformed = || ValueError::Malformed("a message that a peer sends");
    let (peer, message, number) = match words {
        [peer, "sends", message] => (peer, message, "1"),
        [peer, "sends", message, number] => (peer, message, *number),
        _ => return Err(malformed()),
    };
    let message = match *message {
        "offer" => MessageName::Offer,
        "answer" => MessageName::Answer,
        "candidate" => MessageName::Candidate,
        _ => return Err(malformed()),
    };
    let number = number.parse().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(malformed)?;
    let peer = (*peer).to_owned();
    let begin = Begin::OnMessage {
        peer: peer.clone(),
        message,
        number,
    };
    Ok(OnValue { peer, begin })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text, and what it is read as.
    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let read = OnValue::parse(text).ok();
        let shown = read.map(|value| (value.peer, value.begin.to_string()));
        let expected = expected.map(|begin| ("alice".to_owned(), begin.to_owned()));
        assert_eq!(shown, expected, "{text:?}");
    }

    #[test]
    fn a_message_is_named_by_sender_kind_and_number() {
        check("alice sends candidate 3", Some("alice sends candidate 3"));
        check("alice sends offer", Some("alice sends offer 1"));
        for text in ["", "alice", "alice sends", "alice sends ringing"] {
            check(text, None);
        }
        check("alice sends offer 0", None);
        check("alice sends offer 1 2", None);
        check("alice receives offer 1", None);
    }

    #[test]
    fn a_frame_is_named_by_side_peer_way_and_number() {
        let sent = "before alice sends frame 17";
        check(sent, Some(sent));
        let received = "after  alice receives frame 1";
        check(received, Some("after alice receives frame 1"));
        for text in [
            "before",
            "before alice sends frame",
            "before alice sends frame 0",
            "before alice drops frame 1",
            "before alice sends offer 1",
            "alice sends frame 1",
            "after alice sends frame 1 2",
        ] {
            check(text, None);
        }
    }
}
