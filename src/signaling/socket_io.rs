//! Socket.IO v5: the packets inside Engine.IO messages (pure).
//!
//! A packet is written as its type digit, the namespace unless it is `/`, an acknowledgement id and
//! a JSON payload: `2/calls,17["call",{…}]`.

use serde_json::{Map, Value};
use thiserror::Error;

/// One Socket.IO packet.
#[derive(Debug, Clone, PartialEq)]
pub struct SocketIoPacket {
    /// The namespace it belongs to.
    pub namespace: Namespace,
    /// What it says.
    pub body: SocketIoBody,
}

/// What a Socket.IO packet says.
#[derive(Debug, Clone, PartialEq)]
pub enum SocketIoBody {
    /// Asks to join the namespace, with what authenticates the client; from the server, that it
    /// joined, with its `sid`.
    Connect {
        /// The object sent along, if any.
        payload: Option<Map<String, Value>>,
    },
    /// Leaves the namespace.
    Disconnect,
    /// An event.
    Event {
        /// The event's name.
        name: String,
        /// Its arguments, without the name.
        arguments: Vec<Value>,
        /// The id to acknowledge it with, if the sender wants that.
        acknowledge: Option<u64>,
    },
    /// Acknowledges an event.
    Acknowledgement {
        /// The id that the event carried.
        id: u64,
        /// What the receiver answers.
        arguments: Vec<Value>,
    },
    /// The namespace cannot be joined.
    ConnectError(Refusal),
}

/// Why a namespace cannot be joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The reason in words; empty if the server gave none.
    pub message: String,
    /// What the server added to it.
    pub data: Option<Value>,
}

/// The name of a namespace: `/`, or `/` and text without a comma.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace(String);

/// Why a message is no Socket.IO packet.
#[derive(Debug, Error)]
pub enum SocketIoError {
    /// A message without a packet type.
    #[error("a socket.io packet is empty; it must start with a packet type from 0 to 6")]
    Empty,
    /// A packet type that does not exist.
    #[error("socket.io packet type {found:?} is unknown; it must be from 0 to 6")]
    UnknownType {
        /// The first character of the message.
        found: char,
    },
    /// A packet with binary attachments, which this client does not read.
    #[error("socket.io packet type {kind} has binary attachments; only text packets are supported")]
    BinaryPacket {
        /// `BINARY_EVENT` or `BINARY_ACK`.
        kind: &'static str,
    },
    /// A namespace that cannot be written.
    #[error("namespace {found:?} is invalid; it must start with / and have no comma")]
    Namespace {
        /// The name.
        found: String,
    },
    /// An acknowledgement id that no counter reaches.
    #[error(
        "acknowledgement id {found:?} is out of range; it must be from 0 to {}",
        u64::MAX
    )]
    AcknowledgementId {
        /// The digits.
        found: String,
    },
    /// An acknowledgement of nothing.
    #[error("a socket.io acknowledgement has no id")]
    MissingAcknowledgementId,
    /// A payload that is no JSON.
    #[error("the payload of a socket.io {kind} packet is no JSON")]
    Json {
        /// The packet type.
        kind: &'static str,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
    /// A payload of the wrong shape.
    #[error("the payload of a socket.io {kind} packet is wrong; it must be {expected}")]
    Payload {
        /// The packet type.
        kind: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

impl Namespace {
    /// The namespace that every server has: `/`.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`SocketIoError::Namespace`]: a name with a comma would end too soon on the wire.
    pub fn new(name: &str) -> Result<Self, SocketIoError> {
        if name.starts_with('/') && !name.contains(',') {
            Ok(Self(name.into()))
        } else {
            let found = name.into();
            Err(SocketIoError::Namespace { found })
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SocketIoPacket {
    /// A packet of the root namespace.
    #[must_use]
    pub fn root(body: SocketIoBody) -> Self {
        Self {
            namespace: Namespace::root(),
            body,
        }
    }

    /// Reads the text of one Engine.IO message.
    ///
    /// # Errors
    ///
    /// Every [`SocketIoError`]; text of any kind is answered with one of them, never with a panic.
    pub fn parse(text: &str) -> Result<Self, SocketIoError> {
        let mut characters = text.chars();
        let kind = characters.next().ok_or(SocketIoError::Empty)?;
        let kind = Kind::from_digit(kind)?;
        let (namespace, rest) = split_namespace(characters.as_str())?;
        let (id, payload) = split_id(rest)?;
        let body = match kind {
            Kind::Connect => SocketIoBody::Connect {
                payload: optional_object(payload)?,
            },
            Kind::Disconnect if payload.is_empty() => SocketIoBody::Disconnect,
            Kind::Disconnect => return Err(kind.payload_error("empty")),
            Kind::Event => {
                let (name, arguments) = event(array(kind, payload)?)?;
                SocketIoBody::Event {
                    name,
                    arguments,
                    acknowledge: id,
                }
            }
            Kind::Acknowledgement => SocketIoBody::Acknowledgement {
                id: id.ok_or(SocketIoError::MissingAcknowledgementId)?,
                arguments: array(kind, payload)?,
            },
            Kind::ConnectError => SocketIoBody::ConnectError(refusal(payload)?),
        };
        Ok(Self { namespace, body })
    }

    /// The text of the Engine.IO message that carries this packet.
    #[must_use]
    pub fn encode(&self) -> String {
        let (digit, id, payload) = match &self.body {
            SocketIoBody::Connect { payload } => ('0', None, payload.clone().map(Value::Object)),
            SocketIoBody::Disconnect => ('1', None, None),
            SocketIoBody::Event {
                name,
                arguments,
                acknowledge,
            } => {
                let mut payload = vec![Value::String(name.clone())];
                payload.extend(arguments.iter().cloned());
                ('2', *acknowledge, Some(Value::Array(payload)))
            }
            SocketIoBody::Acknowledgement { id, arguments } => {
                ('3', Some(*id), Some(Value::Array(arguments.clone())))
            }
            SocketIoBody::ConnectError(refusal) => ('4', None, Some(refusal.to_json())),
        };
        let mut text = String::from(digit);
        if self.namespace != Namespace::root() {
            text.push_str(self.namespace.as_str());
            text.push(',');
        }
        if let Some(id) = id {
            text.push_str(&id.to_string());
        }
        if let Some(payload) = payload {
            text.push_str(&payload.to_string());
        }
        text
    }
}

impl Refusal {
    fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("message".into(), Value::String(self.message.clone()));
        if let Some(data) = &self.data {
            object.insert("data".into(), data.clone());
        }
        Value::Object(object)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    Disconnect,
    Event,
    Acknowledgement,
    ConnectError,
}

impl Kind {
    fn from_digit(digit: char) -> Result<Self, SocketIoError> {
        match digit {
            '0' => Ok(Self::Connect),
            '1' => Ok(Self::Disconnect),
            '2' => Ok(Self::Event),
            '3' => Ok(Self::Acknowledgement),
            '4' => Ok(Self::ConnectError),
            '5' => Err(SocketIoError::BinaryPacket {
                kind: "BINARY_EVENT",
            }),
            '6' => Err(SocketIoError::BinaryPacket { kind: "BINARY_ACK" }),
            found => Err(SocketIoError::UnknownType { found }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Disconnect => "DISCONNECT",
            Self::Event => "EVENT",
            Self::Acknowledgement => "ACK",
            Self::ConnectError => "CONNECT_ERROR",
        }
    }

    fn payload_error(self, expected: &'static str) -> SocketIoError {
        let kind = self.name();
        SocketIoError::Payload { kind, expected }
    }

    fn json(self, payload: &str) -> Result<Value, SocketIoError> {
        let kind = self.name();
        serde_json::from_str(payload).map_err(|source| SocketIoError::Json { kind, source })
    }
}

/// A namespace runs up to a comma, or to the end where nothing follows it.
fn split_namespace(text: &str) -> Result<(Namespace, &str), SocketIoError> {
    if !text.starts_with('/') {
        return Ok((Namespace::root(), text));
    }
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    Ok((Namespace::new(name)?, rest))
}

fn split_id(text: &str) -> Result<(Option<u64>, &str), SocketIoError> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    let id = digits.parse().map_err(|_| {
        let found = digits.into();
        SocketIoError::AcknowledgementId { found }
    })?;
    Ok((Some(id), rest))
}

fn optional_object(payload: &str) -> Result<Option<Map<String, Value>>, SocketIoError> {
    if payload.is_empty() {
        return Ok(None);
    }
    match Kind::Connect.json(payload)? {
        Value::Object(object) => Ok(Some(object)),
        _ => Err(Kind::Connect.payload_error("an object or nothing")),
    }
}

fn array(kind: Kind, payload: &str) -> Result<Vec<Value>, SocketIoError> {
    match kind.json(payload)? {
        Value::Array(items) => Ok(items),
        _ => Err(kind.payload_error("an array")),
    }
}

fn event(mut items: Vec<Value>) -> Result<(String, Vec<Value>), SocketIoError> {
    match items.first_mut().map(Value::take) {
        Some(Value::String(name)) => {
            items.remove(0);
            Ok((name, items))
        }
        _ => Err(Kind::Event.payload_error("an array that starts with the event's name")),
    }
}

/// Servers of protocol 5 send an object; older middleware sends the bare reason.
fn refusal(payload: &str) -> Result<Refusal, SocketIoError> {
    match Kind::ConnectError.json(payload)? {
        Value::String(message) => Ok(Refusal {
            message,
            data: None,
        }),
        Value::Object(mut object) => Ok(Refusal {
            message: match object.remove("message") {
                Some(Value::String(message)) => message,
                _ => String::new(),
            },
            data: object.remove("data"),
        }),
        _ => Err(Kind::ConnectError.payload_error("an object or a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(text: &str) -> SocketIoPacket {
        SocketIoPacket::parse(text).expect(text)
    }

    #[test]
    fn the_examples_of_the_protocol_are_read() {
        assert_eq!(
            parse(r#"0{"sid":"oSO0OpakMV_3jnilAAAA"}"#).body,
            SocketIoBody::Connect {
                payload: json!({"sid": "oSO0OpakMV_3jnilAAAA"}).as_object().cloned(),
            }
        );
        let admin = parse("0/admin,");
        assert_eq!(admin.namespace.as_str(), "/admin");
        assert_eq!(admin.body, SocketIoBody::Connect { payload: None });
        assert_eq!(parse("0/admin"), admin);
        assert_eq!(parse("1").body, SocketIoBody::Disconnect);
        assert_eq!(
            parse(r#"2/admin,456["project:delete",123]"#).body,
            SocketIoBody::Event {
                name: "project:delete".into(),
                arguments: vec![json!(123)],
                acknowledge: Some(456),
            }
        );
        assert_eq!(
            parse("3/admin,456[]").body,
            SocketIoBody::Acknowledgement {
                id: 456,
                arguments: vec![],
            }
        );
        assert_eq!(
            parse(r#"4/admin,{"message":"Not authorized","data":7}"#).body,
            SocketIoBody::ConnectError(Refusal {
                message: "Not authorized".into(),
                data: Some(json!(7)),
            })
        );
        assert_eq!(
            parse(r#"4"old""#).body,
            SocketIoBody::ConnectError(Refusal {
                message: "old".into(),
                data: None,
            })
        );
    }

    #[test]
    fn binary_packets_are_refused_by_name() {
        for (text, name) in [
            (r#"51-["a",{"_placeholder":true,"num":0}]"#, "BINARY_EVENT"),
            ("50-[\"a\"]", "BINARY_EVENT"),
            (r#"61-1[{"_placeholder":true,"num":0}]"#, "BINARY_ACK"),
        ] {
            match SocketIoPacket::parse(text) {
                Err(SocketIoError::BinaryPacket { kind }) => assert_eq!(kind, name),
                other => panic!("{text} gave {other:?}"),
            }
        }
    }

    #[test]
    fn malformed_packets_are_errors() {
        for text in [
            "",
            "7",
            "9[]",
            "é",
            "2",
            "2{}",
            "2[]",
            "2[1]",
            "2[\"a\"",
            "2/a",
            "1{}",
            "3[]",
            "31",
            "0[]",
            "0\"a\"",
            "4",
            "41",
            "4[]",
            "299999999999999999999[\"a\"]",
            "2-1[\"a\"]",
        ] {
            assert!(SocketIoPacket::parse(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn a_namespace_with_a_comma_is_refused() {
        assert!(Namespace::new("/a,b").is_err());
        assert!(Namespace::new("a").is_err());
        assert!(Namespace::new("/").is_ok_and(|name| name == Namespace::root()));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn packets() -> impl Strategy<Value = SocketIoPacket> {
        let arguments = || prop::collection::vec(values(), 0..4);
        let object = prop::collection::btree_map(any::<String>(), values(), 0..4)
            .prop_map(|map| map.into_iter().collect::<Map<_, _>>());
        let body = prop_oneof![
            prop::option::of(object).prop_map(|payload| SocketIoBody::Connect { payload }),
            Just(SocketIoBody::Disconnect),
            (any::<String>(), arguments(), any::<Option<u64>>()).prop_map(
                |(name, arguments, acknowledge)| SocketIoBody::Event {
                    name,
                    arguments,
                    acknowledge,
                }
            ),
            (any::<u64>(), arguments())
                .prop_map(|(id, arguments)| SocketIoBody::Acknowledgement { id, arguments }),
            (any::<String>(), prop::option::of(values()))
                .prop_map(|(message, data)| SocketIoBody::ConnectError(Refusal { message, data })),
        ];
        let namespace = "/[^,]{0,12}".prop_map(|name| Namespace::new(&name).expect("no comma"));
        (namespace, body).prop_map(|(namespace, body)| SocketIoPacket { namespace, body })
    }

    proptest! {
        #[test]
        fn every_packet_survives_its_text(packet in packets()) {
            prop_assert_eq!(SocketIoPacket::parse(&packet.encode()).expect("own text"), packet);
        }

        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            let _ = SocketIoPacket::parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn no_near_packet_panics(text in "[0-7](/[a-zé,]{0,4})?[0-9]{0,24}[\\[{\"]?\\PC{0,12}") {
            let _ = SocketIoPacket::parse(&text);
        }
    }
}
