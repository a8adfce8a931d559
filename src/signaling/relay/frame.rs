//! What the relay reads of a frame (pure). Everything else passes as it came.

use std::io;

use serde_json::{Map, Value};
use thiserror::Error;

use super::config::RelayConfig;
use crate::signaling::message::PeerName;

/// A frame as it came: an object with fields that only the two clients need to know.
pub(super) type Frame = Map<String, Value>;

/// Why a frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It is something else than one JSON object.
    #[error("a frame must be one object")]
    NoObject,
    /// A field is missing or no text.
    #[error("a frame must have the text {field}")]
    Missing {
        /// The name of the field.
        field: &'static str,
    },
    /// A name or an id is empty or too long.
    #[error("{field} has {bytes} bytes, and 1 to {max} are allowed")]
    Length {
        /// The name of the field.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// The kind is none that the relay knows.
    #[error(
        "kind is {kind:?}, and \"message\", \"acknowledge\", \"resume\" and \"answered-elsewhere\" are \
         allowed"
    )]
    Kind {
        /// What it is, cut after 32 characters.
        kind: String,
    },
    /// The whole frame is too long.
    #[error("the frame has {bytes} bytes, and {max} are allowed")]
    TooLong {
        /// How long it is, as JSON.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is kept until a device has acknowledged it.
    Message,
    /// It speaks of the moment, and goes to who is connected now.
    Passing,
}

/// What the relay reads of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) to: PeerName,
    /// The one device that it is for; every device of the receiver where it is missing.
    pub(super) to_device: Option<String>,
    pub(super) call: String,
    pub(super) kind: Kind,
    /// The sender's own number, by which a repetition is told.
    pub(super) number: Option<u64>,
    /// How long the frame is as JSON.
    pub(super) bytes: usize,
}

impl Header {
    pub(super) fn read(frame: &Frame, config: &RelayConfig) -> Result<Self, FrameError> {
        let bytes = json_length(frame);
        if bytes > config.frame_bytes_max {
            let max = config.frame_bytes_max;
            return Err(FrameError::TooLong { bytes, max });
        }
        let max = config.name_bytes_max;
        Ok(Self {
            to: name(frame, "to", max)?,
            to_device: match frame.get("to_device") {
                None | Some(Value::Null) => None,
                Some(_) => Some(name(frame, "to_device", max)?),
            },
            call: name(frame, "call", max)?,
            kind: Kind::read(frame)?,
            number: frame.get("number").and_then(Value::as_u64),
            bytes,
        })
    }
}

impl Kind {
    fn read(frame: &Frame) -> Result<Self, FrameError> {
        let Some(Value::String(kind)) = frame.get("kind") else {
            return Err(FrameError::Missing { field: "kind" });
        };
        match kind.as_str() {
            "message" => Ok(Self::Message),
            "acknowledge" | "resume" | "answered-elsewhere" => Ok(Self::Passing),
            other => {
                let kind = other.chars().take(32).collect();
                Err(FrameError::Kind { kind })
            }
        }
    }
}

fn name(frame: &Frame, field: &'static str, max: usize) -> Result<String, FrameError> {
    let Some(Value::String(name)) = frame.get(field) else {
        return Err(FrameError::Missing { field });
    };
    let bytes = name.len();
    if bytes == 0 || bytes > max {
        return Err(FrameError::Length { field, bytes, max });
    }
    Ok(name.clone())
}

/// How long a frame is as JSON, without writing it down.
fn json_length(frame: &Frame) -> usize {
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, frame)
        .expect("counting does not fail, nor do plain values");
    counter.0
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(frame: &Value) -> Result<Header, FrameError> {
        let config = RelayConfig {
            frame_bytes_max: 200,
            name_bytes_max: 8,
            ..RelayConfig::default()
        };
        Header::read(frame.as_object().expect("an object"), &config)
    }

    #[test]
    fn a_message_is_read() {
        let frame = json!({
            "to": "boris", "to_device": "d1", "call": "c1", "kind": "message", "number": 7,
            "follows": 3, "body": { "type": "ringing" },
        });
        let expected = Header {
            to: "boris".into(),
            to_device: Some("d1".into()),
            call: "c1".into(),
            kind: Kind::Message,
            number: Some(7),
            bytes: frame.to_string().len(),
        };
        assert_eq!(read(&frame), Ok(expected));
    }

    #[test]
    fn acknowledge_and_resume_are_of_the_moment() {
        for kind in ["acknowledge", "resume", "answered-elsewhere"] {
            let frame = json!({ "to": "boris", "call": "c1", "kind": kind, "up_to": 7 });
            assert_eq!(read(&frame).map(|header| header.kind), Ok(Kind::Passing));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let kind = |kind: &str| FrameError::Kind { kind: kind.into() };
        let length = |field, bytes| FrameError::Length {
            field,
            bytes,
            max: 8,
        };
        let missing = |field| FrameError::Missing { field };
        for (frame, error) in [
            (json!({ "call": "c1" }), missing("to")),
            (json!({ "to": 5, "call": "c1" }), missing("to")),
            (json!({ "to": "boris" }), missing("call")),
            (json!({ "to": "", "call": "c1" }), length("to", 0)),
            (
                json!({ "to": "boris", "call": "123456789" }),
                length("call", 9),
            ),
            (
                json!({ "to": "boris", "call": "c1", "to_device": 1 }),
                missing("to_device"),
            ),
            (json!({ "to": "boris", "call": "c1" }), missing("kind")),
            (
                json!({ "to": "boris", "call": "c1", "kind": 1 }),
                missing("kind"),
            ),
            (
                json!({ "to": "boris", "call": "c1", "kind": "x" }),
                kind("x"),
            ),
        ] {
            assert_eq!(read(&frame), Err(error), "{frame}");
        }
    }

    #[test]
    fn the_whole_frame_has_a_length() {
        let frame = |text: usize| {
            json!({
                "to": "boris", "call": "c1", "kind": "message", "body": "x".repeat(text),
            })
        };
        let room = 200 - frame(0).to_string().len();
        assert!(read(&frame(room)).is_ok());
        let too_long = FrameError::TooLong {
            bytes: 201,
            max: 200,
        };
        assert_eq!(read(&frame(room + 1)), Err(too_long));
    }

    proptest! {
        #[test]
        fn any_object_is_read_or_refused(
            fields in proptest::collection::btree_map(
                prop_oneof!["to", "to_device", "call", "kind", "number", "[a-z]{0,4}"],
                prop_oneof![
                    Just(Value::Null),
                    any::<bool>().prop_map(Value::from),
                    any::<i64>().prop_map(Value::from),
                    any::<String>().prop_map(Value::from),
                    prop_oneof!["message", "resume"].prop_map(Value::from),
                    Just(json!([1, { "to": "x" }])),
                ],
                0..8,
            ),
        ) {
            let frame: Frame = fields.into_iter().collect();
            let _ = read(&Value::Object(frame));
        }
    }
}
