//! What an application hands in to be sent, and what comes of it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use thiserror::Error;

use super::RESERVED_NAMES;
use super::packet::{check_placeholders, event_payload};
use super::reassembly::ATTACHMENTS_MAX;

/// One event to send. It is checked while it is made, so that sending cannot fail for what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Emit {
    name: String,
    arguments: Vec<Value>,
    attachments: Vec<Bytes>,
    delivery: Delivery,
    time_to_live: Option<Duration>,
    acknowledge_within: Option<Duration>,
}

/// What happens to an event that cannot be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// It waits, in the order of emits, for as long as its time to live says.
    #[default]
    Buffered,
    /// It is dropped: the next one of its kind makes it worthless.
    Volatile,
}

/// Tells one emit of a socket from another. They count from 0 in the order of emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EmitId(pub(super) u64);

/// Why an event cannot be sent at all.
#[derive(Debug, Error)]
pub enum EmitError {
    /// A name that the protocol keeps for itself.
    #[error("event name {name:?} is reserved; none of {RESERVED_NAMES:?} can be emitted")]
    Reserved {
        /// The name.
        name: String,
    },
    /// More attachments than peers read.
    #[error("an event has {count} attachments; the limit is {ATTACHMENTS_MAX}")]
    TooManyAttachments {
        /// How many it has.
        count: usize,
    },
    /// A placeholder for an attachment that there is not.
    #[error("a placeholder of event {name:?} names none of its {count} attachments")]
    Placeholder {
        /// The event's name.
        name: String,
        /// How many attachments there are.
        count: usize,
    },
}

/// What the peer answered to an event.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Acknowledgement {
    /// The arguments of the answer.
    pub arguments: Vec<Value>,
    /// Their binary attachments.
    pub attachments: Vec<Bytes>,
}

/// What came of an emit with acknowledgement.
pub type Outcome = Result<Acknowledgement, AcknowledgementError>;

/// Why there is no answer to an event. Unless it was [dropped](Self::Dropped) by a socket without
/// retries, the peer may have received it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AcknowledgementError {
    /// No answer came in time. An event that was still waiting then is never written.
    #[error("no acknowledgement came within {within:?}")]
    TimedOut {
        /// The time that it had.
        within: Duration,
    },
    /// The connection was lost, or left, after the event was written.
    #[error("the socket was disconnected before the acknowledgement came")]
    Disconnected,
    /// The event was not written.
    #[error("the event was dropped: {0}")]
    Dropped(DropReason),
    /// The socket was closed by dropping its last handle.
    #[error("the socket is closed")]
    Closed,
}

/// Why an event was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DropReason {
    /// It is volatile, and the namespace is not joined.
    #[error("the namespace is not joined")]
    NotConnected,
    /// It is volatile, and the transport still writes what came before.
    #[error("the transport is not writable")]
    NotWritable,
    /// Too many events wait.
    #[error("{messages_max} events wait already")]
    TooManyMessages {
        /// The bound.
        messages_max: usize,
    },
    /// Too many bytes wait.
    #[error("an event of {bytes} bytes does not fit: {waiting} of {bytes_max} bytes wait already")]
    TooManyBytes {
        /// The event's own size in bytes.
        bytes: usize,
        /// How many bytes wait.
        waiting: usize,
        /// The bound in bytes.
        bytes_max: usize,
    },
    /// It waited for longer than its time to live.
    #[error("it waited for its time to live, {time_to_live:?}")]
    Expired {
        /// The time to live.
        time_to_live: Duration,
    },
    /// It was written as often as the socket's retries allow, and never acknowledged.
    #[error("it was written {tries} times and not acknowledged")]
    Unacknowledged {
        /// How often it was written.
        tries: u32,
    },
}

impl Acknowledgement {
    /// An answer without attachments.
    #[must_use]
    pub fn new(arguments: Vec<Value>) -> Self {
        Self {
            arguments,
            attachments: Vec::new(),
        }
    }
}

impl Emit {
    /// An event with its arguments.
    ///
    /// # Errors
    ///
    /// [`EmitError::Reserved`].
    pub fn new(name: impl Into<String>, arguments: Vec<Value>) -> Result<Self, EmitError> {
        let name = name.into();
        if RESERVED_NAMES.contains(&name.as_str()) {
            return Err(EmitError::Reserved { name });
        }
        Ok(Self {
            name,
            arguments,
            attachments: Vec::new(),
            delivery: Delivery::Buffered,
            time_to_live: None,
            acknowledge_within: None,
        })
    }

    /// Adds the binary attachments that the arguments refer to by
    /// [placeholders](super::packet::placeholder).
    ///
    /// # Errors
    ///
    /// [`EmitError::TooManyAttachments`] or [`EmitError::Placeholder`].
    pub fn with_attachments(mut self, attachments: Vec<Bytes>) -> Result<Self, EmitError> {
        let count = attachments.len();
        if count > ATTACHMENTS_MAX {
            return Err(EmitError::TooManyAttachments { count });
        }
        if check_placeholders(&self.arguments, count).is_err() {
            let name = self.name;
            return Err(EmitError::Placeholder { name, count });
        }
        self.attachments = attachments;
        Ok(self)
    }

    /// Drops the event where it cannot be written at once.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.delivery = Delivery::Volatile;
        self
    }

    /// Drops the event, and says so, where it was not written for this long.
    #[must_use]
    pub fn with_time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = Some(time_to_live);
        self
    }

    /// How long the answer may take, in place of the socket's own setting.
    #[must_use]
    pub fn acknowledge_within(mut self, limit: Duration) -> Self {
        self.acknowledge_within = Some(limit);
        self
    }

    /// Adds, as the last argument, what a receiver can tell repetitions by: a socket with retries
    /// writes the event more than once.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.arguments.push(Value::String(key.into()));
        self
    }

    /// The event's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What happens where it cannot be written at once.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    pub(super) fn limit(&self) -> Option<Duration> {
        self.acknowledge_within
    }

    pub(super) fn into_outgoing(self) -> Outgoing {
        Outgoing {
            payload: event_payload(&self.name, &self.arguments),
            name: self.name,
            attachments: self.attachments,
            time_to_live: self.time_to_live,
        }
    }
}

/// An event as it waits: its JSON is made once, however often it is written.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) name: String,
    pub(super) payload: String,
    pub(super) attachments: Vec<Bytes>,
    pub(super) time_to_live: Option<Duration>,
}

impl Outgoing {
    /// What it takes of the bound on bytes.
    pub(super) fn bytes(&self) -> usize {
        self.payload.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::socket_io::packet::placeholder;
    use serde_json::json;

    #[test]
    fn what_peers_would_refuse_cannot_be_made() {
        for name in RESERVED_NAMES {
            assert!(matches!(
                Emit::new(name, vec![]),
                Err(EmitError::Reserved { .. })
            ));
        }
        let emit = || Emit::new("voice", vec![placeholder(1)]).expect("not reserved");
        let attachments = |count| vec![Bytes::from_static(b"opus"); count];
        assert!(emit().with_attachments(attachments(2)).is_ok());
        assert!(matches!(
            emit().with_attachments(attachments(1)),
            Err(EmitError::Placeholder { count: 1, .. })
        ));
        assert!(matches!(
            emit().with_attachments(attachments(11)),
            Err(EmitError::TooManyAttachments { count: 11 })
        ));
    }

    #[test]
    fn the_idempotency_key_is_the_last_argument() {
        let emit = Emit::new("order", vec![json!(1)]).expect("not reserved");
        let outgoing = emit.with_idempotency_key("k").into_outgoing();
        assert_eq!(outgoing.payload, r#"["order",1,"k"]"#);
    }
}
