//! What a namespace hands to the application.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// An event from the server.
#[derive(Debug, PartialEq)]
pub struct ReceivedEvent {
    /// Its name.
    pub name: String,
    /// Its arguments, without the name, and without the offset of connection state recovery.
    pub arguments: Vec<Value>,
    /// The binary attachments that the arguments refer to by
    /// [placeholders](super::packet::placeholder).
    pub attachments: Vec<Bytes>,
    /// What answers it, where the server asks for an answer.
    pub ticket: Option<AcknowledgementTicket>,
}

/// The right to answer one event, once: it is used up by the answer.
#[derive(Debug, PartialEq, Eq)]
pub struct AcknowledgementTicket {
    /// The session that the event came in: the server knows the id in no other.
    pub(super) session: Session,
    pub(super) id: u64,
}

/// One stay in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// The server's name for it. A recovered session keeps its name.
    pub(super) sid: Arc<str>,
    /// How many the namespace was joined before.
    pub(super) number: u64,
}

/// Whether the server took up the session before this one (connection state recovery).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// It knows this socket: rooms and data are kept, and missed events were sent again.
    Yes,
    /// It is a new session to the server.
    No,
}
