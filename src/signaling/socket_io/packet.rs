//! The codec of one packet.
//!
//! A packet is written as its type digit, the count of binary attachments and `-` where it has any,
//! the namespace unless it is `/`, an acknowledgement id and a JSON payload: `2/calls,17["call",{…}]`.
//! Attachments follow as binary messages of their own; in the payload
//! `{"_placeholder":true,"num":0}` stands for the first of them.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{RESERVED_NAMES, SocketIoError};
use crate::signaling::engine_io::EngineIoPacket;

/// One Socket.IO packet.
#[derive(Debug, Clone, PartialEq)]
pub struct SocketIoPacket {
    /// The namespace it belongs to.
    pub namespace: Namespace,
    /// What it says.
    pub body: SocketIoBody,
    /// The binary attachments of an event or an acknowledgement, which its arguments refer to by
    /// [placeholders](placeholder).
    pub attachments: Vec<Bytes>,
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

impl SocketIoBody {
    /// What kind of packet it is, as the protocol names it. A log says no more of it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let kind = match self {
            Self::Connect { .. } => Kind::Connect,
            Self::Disconnect => Kind::Disconnect,
            Self::Event { .. } => Kind::Event,
            Self::Acknowledgement { .. } => Kind::Acknowledgement,
            Self::ConnectError(_) => Kind::ConnectError,
        };
        kind.name()
    }
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

/// What stands in the arguments for the attachment with this index.
#[must_use]
pub fn placeholder(index: usize) -> Value {
    json!({"_placeholder": true, "num": index})
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

impl std::fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl SocketIoPacket {
    /// A packet of a namespace, without attachments.
    #[must_use]
    pub fn new(namespace: Namespace, body: SocketIoBody) -> Self {
        Self {
            namespace,
            body,
            attachments: Vec::new(),
        }
    }

    /// A packet of the root namespace, without attachments.
    #[must_use]
    pub fn root(body: SocketIoBody) -> Self {
        Self::new(Namespace::root(), body)
    }

    /// Reads a packet that is complete in one text. What has attachments is read by a
    /// [`Reassembler`](super::reassembly::Reassembler).
    ///
    /// # Errors
    ///
    /// Every [`SocketIoError`]; text of any kind is answered with one of them, never with a panic.
    pub fn parse(text: &str) -> Result<Self, SocketIoError> {
        match Self::parse_announced(text)? {
            (packet, 0) => Ok(packet),
            (_, missing) => Err(SocketIoError::AttachmentsMissing { missing }),
        }
    }

    /// Reads the text of a packet, and how many attachments shall follow it.
    pub(super) fn parse_announced(text: &str) -> Result<(Self, usize), SocketIoError> {
        let mut characters = text.chars();
        let kind = characters.next().ok_or(SocketIoError::Empty)?;
        let kind = Kind::from_digit(kind)?;
        let (announced, rest) = split_count(kind, characters.as_str())?;
        let (namespace, rest) = split_namespace(rest)?;
        let (id, payload) = split_id(rest)?;
        let body = match kind {
            Kind::Connect => SocketIoBody::Connect {
                payload: optional_object(payload)?,
            },
            Kind::Disconnect if payload.is_empty() => SocketIoBody::Disconnect,
            Kind::Disconnect => return Err(kind.payload_error("empty")),
            Kind::Event | Kind::BinaryEvent => {
                let (name, arguments) = event(kind, array(kind, payload)?)?;
                SocketIoBody::Event {
                    name,
                    arguments,
                    acknowledge: id,
                }
            }
            Kind::Acknowledgement | Kind::BinaryAcknowledgement => SocketIoBody::Acknowledgement {
                id: id.ok_or(SocketIoError::MissingAcknowledgementId)?,
                arguments: array(kind, payload)?,
            },
            Kind::ConnectError => SocketIoBody::ConnectError(refusal(payload)?),
        };
        Ok((Self::new(namespace, body), announced))
    }

    /// The text of the Engine.IO message that carries this packet, without its attachments.
    #[must_use]
    pub fn encode(&self) -> String {
        let count = self.attachments.len();
        let (kind, id, payload) = match &self.body {
            SocketIoBody::Connect { payload } => {
                let payload = payload.as_ref().map(|object| json_text(&object));
                (Kind::Connect, None, payload.unwrap_or_default())
            }
            SocketIoBody::Disconnect => (Kind::Disconnect, None, String::new()),
            SocketIoBody::Event {
                name,
                arguments,
                acknowledge,
            } => {
                return event_text(
                    &self.namespace,
                    *acknowledge,
                    &event_payload(name, arguments),
                    count,
                );
            }
            SocketIoBody::Acknowledgement { id, arguments } => {
                let kind = match count {
                    0 => Kind::Acknowledgement,
                    _ => Kind::BinaryAcknowledgement,
                };
                (kind, Some(*id), json_text(arguments))
            }
            SocketIoBody::ConnectError(refusal) => {
                (Kind::ConnectError, None, refusal.to_json().to_string())
            }
        };
        text(kind, count, &self.namespace, id, &payload)
    }

    /// The Engine.IO messages that carry this packet: its text, then its attachments.
    pub fn into_messages(self) -> impl Iterator<Item = EngineIoPacket> {
        let text = EngineIoPacket::Message(self.encode());
        std::iter::once(text).chain(self.attachments.into_iter().map(EngineIoPacket::Binary))
    }
}

/// The JSON of an event: its name and its arguments.
pub(super) fn event_payload(name: &str, arguments: &[Value]) -> String {
    let mut payload = String::from("[");
    payload.push_str(&json_text(name));
    for argument in arguments {
        payload.push(',');
        payload.push_str(&json_text(argument));
    }
    payload.push(']');
    payload
}

/// The text of an event whose JSON is ready: what is written again differs in its id only.
pub(super) fn event_text(
    namespace: &Namespace,
    acknowledge: Option<u64>,
    payload: &str,
    attachments: usize,
) -> String {
    let kind = match attachments {
        0 => Kind::Event,
        _ => Kind::BinaryEvent,
    };
    text(kind, attachments, namespace, acknowledge, payload)
}

/// Checks that every placeholder in the arguments names one of `count` attachments.
pub(super) fn check_placeholders(arguments: &[Value], count: usize) -> Result<(), SocketIoError> {
    if arguments.iter().all(|value| has_attachments(value, count)) {
        Ok(())
    } else {
        Err(SocketIoError::Placeholder { count })
    }
}

/// The nesting of a value that was read is limited by the JSON reader, so this ends.
fn has_attachments(value: &Value, count: usize) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| has_attachments(item, count)),
        Value::Object(object) if object.get("_placeholder") == Some(&Value::Bool(true)) => object
            .get("num")
            .and_then(Value::as_u64)
            .and_then(|index| usize::try_from(index).ok())
            .is_some_and(|index| index < count),
        Value::Object(object) => object.values().all(|item| has_attachments(item, count)),
        _ => true,
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
    BinaryEvent,
    BinaryAcknowledgement,
}

impl Kind {
    const ALL: [(char, Self, &'static str); 7] = [
        ('0', Self::Connect, "CONNECT"),
        ('1', Self::Disconnect, "DISCONNECT"),
        ('2', Self::Event, "EVENT"),
        ('3', Self::Acknowledgement, "ACK"),
        ('4', Self::ConnectError, "CONNECT_ERROR"),
        ('5', Self::BinaryEvent, "BINARY_EVENT"),
        ('6', Self::BinaryAcknowledgement, "BINARY_ACK"),
    ];

    fn from_digit(found: char) -> Result<Self, SocketIoError> {
        let entry = Self::ALL.iter().find(|(digit, ..)| *digit == found);
        let (_, kind, _) = entry.ok_or(SocketIoError::UnknownType { found })?;
        Ok(*kind)
    }

    fn entry(self) -> (char, &'static str) {
        let [(digit, _, name), ..] = Self::ALL[self as usize..] else {
            unreachable!("the table has an entry for each kind, in their order");
        };
        (digit, name)
    }

    fn name(self) -> &'static str {
        self.entry().1
    }

    fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAcknowledgement)
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

fn text(
    kind: Kind,
    attachments: usize,
    namespace: &Namespace,
    id: Option<u64>,
    payload: &str,
) -> String {
    let mut text = String::from(kind.entry().0);
    if kind.is_binary() {
        text.push_str(&attachments.to_string());
        text.push('-');
    }
    if *namespace != Namespace::root() {
        text.push_str(namespace.as_str());
        text.push(',');
    }
    if let Some(id) = id {
        text.push_str(&id.to_string());
    }
    text.push_str(payload);
    text
}

fn json_text(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("a JSON value, a text or a list of them is always JSON")
}

/// How many attachments a binary packet announces. A count that no machine holds is as wrong as
/// none.
fn split_count(kind: Kind, text: &str) -> Result<(usize, &str), SocketIoError> {
    if !kind.is_binary() {
        return Ok((0, text));
    }
    let wrong = || SocketIoError::AttachmentCount { kind: kind.name() };
    let (digits, rest) = text.split_once('-').ok_or_else(wrong)?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    Ok((digits.parse().map_err(|_| wrong())?, rest))
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

/// The reference parser also takes a number for a name; it is read as its text.
fn event(kind: Kind, mut items: Vec<Value>) -> Result<(String, Vec<Value>), SocketIoError> {
    let name = match items.first_mut().map(Value::take) {
        Some(Value::String(name)) if !RESERVED_NAMES.contains(&name.as_str()) => name,
        Some(Value::String(_)) => return Err(kind.payload_error("an event, not a reserved name")),
        Some(Value::Number(name)) => name.to_string(),
        _ => return Err(kind.payload_error("an array that starts with the event's name")),
    };
    items.remove(0);
    Ok((name, items))
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
mod tests;
