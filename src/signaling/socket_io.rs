//! Socket.IO v5: the packets inside Engine.IO messages, and the state of one namespace (pure).
//!
//! [`packet`] is the codec, [`reassembly`] joins packets with the binary attachments that follow
//! them, and [`namespace`] is what a client knows of one namespace: what waits to be sent
//! ([`outbox`]), what waits for an acknowledgement ([`acknowledgements`]), and what a reconnect can
//! take up again ([`recovery`]). [`emit`] is what an application hands in, [`received`] what it gets.

pub mod acknowledgements;
pub mod emit;
pub mod namespace;
pub mod outbox;
pub mod packet;
pub mod reassembly;
pub mod received;
pub mod recovery;

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

pub use packet::{Namespace, Refusal, SocketIoBody, SocketIoPacket};

/// The names that the reference clients use for events of their own. Peers close a connection over
/// which one of them comes as an event.
pub const RESERVED_NAMES: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// Why a message is no Socket.IO packet, or is not one that may come now.
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
    /// A binary packet that does not say how many attachments follow it.
    #[error("a socket.io {kind} packet has no count of attachments before a -")]
    AttachmentCount {
        /// The packet type.
        kind: &'static str,
    },
    /// A packet that announces more attachments than are read.
    #[error("a socket.io packet announces {announced} attachments; the limit is {max}")]
    TooManyAttachments {
        /// How many it announces.
        announced: usize,
        /// The limit.
        max: usize,
    },
    /// A text where the attachments of the packet before it must come.
    #[error("a text came where {missing} attachments of a socket.io packet are missing")]
    AttachmentsMissing {
        /// How many are missing.
        missing: usize,
    },
    /// A binary message that belongs to no packet.
    #[error("a binary message of {length} bytes belongs to no socket.io packet")]
    StrayAttachment {
        /// Its length in bytes.
        length: usize,
    },
    /// A placeholder for an attachment that there is not.
    #[error("a placeholder names an attachment that is not among the {count} of its packet")]
    Placeholder {
        /// How many attachments there are.
        count: usize,
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
    /// More events before the reply to CONNECT than are kept.
    #[error("more than {max} events came before the reply to CONNECT")]
    EarlyEvents {
        /// How many are kept.
        max: usize,
    },
}

/// `limit` after `now`, or so late that it never comes where the clock cannot count that far.
pub(super) fn later(now: Instant, limit: Duration) -> Instant {
    const FOREVER: Duration = Duration::from_hours(24 * 365 * 30);
    now.checked_add(limit).unwrap_or_else(|| now + FOREVER)
}
