//! The codec of one packet (pure).
//!
//! Over WebSocket one frame carries one packet: a text frame starts with the digit of its type, a
//! binary frame is the payload of a binary message and nothing else.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The longest ping interval or ping timeout that an open packet may announce. A longer one would
/// leave the client deaf on a dead path for a day, and far longer ones overflow the clock.
pub const PING_SETTING_MAX: Duration = Duration::from_hours(24);

/// One Engine.IO packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineIoPacket {
    /// The server's first packet.
    Open(OpenPacket),
    /// The session is over.
    Close,
    /// A heartbeat from the server, or the probe of a transport; the text is sent back in the pong.
    Ping(String),
    /// The answer to a ping.
    Pong(String),
    /// A text message: one Socket.IO packet.
    Message(String),
    /// A binary message: one attachment of a Socket.IO packet.
    Binary(Bytes),
    /// The client moves the session to this transport.
    Upgrade,
    /// Nothing; it ends a waiting poll.
    Noop,
}

/// One WebSocket frame's payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
}

/// What the server says when a session opens. Fields unknown to this client are skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenPacket {
    /// The name of the session; any text but an empty one.
    pub sid: String,
    /// The transports that the session could move to, by name.
    #[serde(default)]
    pub upgrades: Vec<String>,
    /// How often the server sends a ping; milliseconds on the wire.
    #[serde(with = "milliseconds")]
    pub ping_interval: Duration,
    /// How long the server waits for each pong; milliseconds on the wire.
    #[serde(with = "milliseconds")]
    pub ping_timeout: Duration,
    /// The largest payload of one polling request, in bytes. Older servers do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_payload: Option<u64>,
}

/// Why a frame is no Engine.IO packet.
#[derive(Debug, Error)]
pub enum EngineIoError {
    /// A text frame without a packet type.
    #[error("an engine.io text frame is empty; it must start with a packet type from 0 to 6")]
    Empty,
    /// A packet type that does not exist.
    #[error("engine.io packet type {found:?} is unknown; it must be from 0 to 6")]
    UnknownType {
        /// The first character of the frame.
        found: char,
    },
    /// A payload where none is allowed.
    #[error("engine.io packet type {kind} carries a payload of {length} bytes; it must have none")]
    UnexpectedPayload {
        /// The packet type.
        kind: char,
        /// The payload's length in bytes.
        length: usize,
    },
    /// An open packet that cannot be read.
    #[error("the engine.io open packet is invalid")]
    Open(#[source] serde_json::Error),
    /// An open packet without a session.
    #[error("the engine.io open packet has an empty sid")]
    EmptySid,
    /// A heartbeat setting that cannot be kept.
    #[error(
        "{field} in the engine.io open packet is {value:?}; it must be from {min:?} to {PING_SETTING_MAX:?}"
    )]
    PingSetting {
        /// The field's name on the wire.
        field: &'static str,
        /// Its value.
        value: Duration,
        /// The least value that it may have.
        min: Duration,
    },
}

impl EngineIoPacket {
    /// What kind of packet it is. A log says no more of it: a session's id and all that is said in a
    /// call are in packets.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Close => "close",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Message(_) => "message",
            Self::Binary(_) => "binary message",
            Self::Upgrade => "upgrade",
            Self::Noop => "noop",
        }
    }

    /// Reads one text frame.
    ///
    /// # Errors
    ///
    /// Every [`EngineIoError`]; text of any kind is answered with one of them, never with a panic.
    pub fn from_text(text: &str) -> Result<Self, EngineIoError> {
        let mut characters = text.chars();
        let kind = characters.next().ok_or(EngineIoError::Empty)?;
        let payload = characters.as_str();
        let bare = |packet: Self| {
            if payload.is_empty() {
                Ok(packet)
            } else {
                let length = payload.len();
                Err(EngineIoError::UnexpectedPayload { kind, length })
            }
        };
        match kind {
            '0' => OpenPacket::parse(payload).map(Self::Open),
            '1' => bare(Self::Close),
            '2' => Ok(Self::Ping(payload.into())),
            '3' => Ok(Self::Pong(payload.into())),
            '4' => Ok(Self::Message(payload.into())),
            '5' => bare(Self::Upgrade),
            '6' => bare(Self::Noop),
            found => Err(EngineIoError::UnknownType { found }),
        }
    }

    /// Reads one binary frame: every binary frame is a binary message.
    #[must_use]
    pub fn from_binary(payload: Bytes) -> Self {
        Self::Binary(payload)
    }

    /// The frame that carries this packet.
    #[must_use]
    pub fn into_frame(self) -> Frame {
        let text = |kind: char, payload: &str| {
            let mut text = String::with_capacity(1 + payload.len());
            text.push(kind);
            text.push_str(payload);
            Frame::Text(text)
        };
        match self {
            Self::Open(open) => text('0', &open.to_json()),
            Self::Close => text('1', ""),
            Self::Ping(payload) => text('2', &payload),
            Self::Pong(payload) => text('3', &payload),
            Self::Message(payload) => text('4', &payload),
            Self::Binary(payload) => Frame::Binary(payload),
            Self::Upgrade => text('5', ""),
            Self::Noop => text('6', ""),
        }
    }
}

impl OpenPacket {
    /// Reads the payload of an open packet.
    ///
    /// # Errors
    ///
    /// [`EngineIoError::Open`], [`EngineIoError::EmptySid`] or [`EngineIoError::PingSetting`].
    pub fn parse(payload: &str) -> Result<Self, EngineIoError> {
        let open: Self = serde_json::from_str(payload).map_err(EngineIoError::Open)?;
        if open.sid.is_empty() {
            return Err(EngineIoError::EmptySid);
        }
        // Python servers round an interval of under a second down to nothing. The timeout alone is the
        // client's patience then.
        for (field, value, min) in [
            ("pingInterval", open.ping_interval, Duration::ZERO),
            ("pingTimeout", open.ping_timeout, Duration::from_millis(1)),
        ] {
            if !(min..=PING_SETTING_MAX).contains(&value) {
                return Err(EngineIoError::PingSetting { field, value, min });
            }
        }
        Ok(open)
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text, numbers and lists of text are always JSON")
    }
}

mod milliseconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open(text: &str) -> Result<OpenPacket, EngineIoError> {
        match EngineIoPacket::from_text(text)? {
            EngineIoPacket::Open(open) => Ok(open),
            other => panic!("not an open packet: {other:?}"),
        }
    }

    #[test]
    fn open_packets_of_node_and_of_socketioxide_are_read() {
        let node = open(
            r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket","webtransport"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#,
        )
        .expect("node's open packet");
        assert_eq!(node.sid.len(), 20);
        assert_eq!(node.max_payload, Some(1_000_000));

        let bare =
            open(r#"0{"sid":"AAAAAAAAAAAAAAAA","pingInterval":300,"pingTimeout":200,"new":[1]}"#)
                .expect("no upgrades, no maxPayload, an unknown field");
        assert_eq!(bare.ping_interval, Duration::from_millis(300));
        assert_eq!(bare.upgrades, Vec::<String>::new());
        assert_eq!(bare.max_payload, None);

        let python = open(r#"0{"sid":"a","pingInterval":0,"pingTimeout":20000}"#);
        let python = python.expect("python-socketio's for an interval of half a second");
        assert_eq!(python.ping_interval, Duration::ZERO);
    }

    #[test]
    fn unusable_open_packets_say_what_is_wrong() {
        let text = |sid: &str, interval: &str, timeout: &str| {
            format!(r#"0{{"sid":"{sid}","pingInterval":{interval},"pingTimeout":{timeout}}}"#)
        };
        let nameless = open(&text("", "1", "1"));
        assert!(matches!(nameless, Err(EngineIoError::EmptySid)));
        for (interval, timeout, wrong) in [
            ("18446744073709551615", "1", "pingInterval"),
            ("1", "18446744073709551615", "pingTimeout"),
            ("1", "0", "pingTimeout"),
        ] {
            assert!(matches!(
                open(&text("a", interval, timeout)),
                Err(EngineIoError::PingSetting { field, .. }) if field == wrong
            ));
        }
        assert!(matches!(open("0"), Err(EngineIoError::Open(_))));
        assert!(matches!(open("0[]"), Err(EngineIoError::Open(_))));
    }

    #[test]
    fn wrong_frames_are_named() {
        assert!(matches!(
            EngineIoPacket::from_text(""),
            Err(EngineIoError::Empty)
        ));
        assert!(matches!(
            EngineIoPacket::from_text("é"),
            Err(EngineIoError::UnknownType { found: 'é' })
        ));
        assert!(matches!(
            EngineIoPacket::from_text("1x"),
            Err(EngineIoError::UnexpectedPayload {
                kind: '1',
                length: 1
            })
        ));
    }

    fn packets() -> impl Strategy<Value = EngineIoPacket> {
        let open = (
            "\\PC{1,20}",
            prop::collection::vec("[a-z]{0,12}", 0..3),
            1_u64..86_400_000,
            1_u64..86_400_000,
            any::<Option<u64>>(),
        )
            .prop_map(
                |(sid, upgrades, interval, timeout, max_payload)| OpenPacket {
                    sid,
                    upgrades,
                    ping_interval: Duration::from_millis(interval),
                    ping_timeout: Duration::from_millis(timeout),
                    max_payload,
                },
            );
        prop_oneof![
            open.prop_map(EngineIoPacket::Open),
            Just(EngineIoPacket::Close),
            any::<String>().prop_map(EngineIoPacket::Ping),
            any::<String>().prop_map(EngineIoPacket::Pong),
            any::<String>().prop_map(EngineIoPacket::Message),
            any::<Vec<u8>>().prop_map(|payload| EngineIoPacket::Binary(payload.into())),
            Just(EngineIoPacket::Upgrade),
            Just(EngineIoPacket::Noop),
        ]
    }

    proptest! {
        #[test]
        fn every_packet_survives_its_frame(packet in packets()) {
            let read = match packet.clone().into_frame() {
                Frame::Text(text) => EngineIoPacket::from_text(&text).expect("own frame"),
                Frame::Binary(payload) => EngineIoPacket::from_binary(payload),
            };
            prop_assert_eq!(read, packet);
        }

        #[test]
        fn no_text_panics(text in prop_oneof![any::<String>(), "[0-7]\\PC*", "0\\{\\PC*\\}"]) {
            let _ = EngineIoPacket::from_text(&text);
        }
    }
}
