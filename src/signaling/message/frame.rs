//! What travels between two devices: messages, and what has come of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::{CallId, CallMessage, DeviceId, PeerName};
use crate::redaction;

/// The largest number of a message: JSON readers that keep numbers as floats are exact only up to
/// there (RFC 8259 section 6).
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// The longest name of a user, in bytes.
const NAME_LENGTH_MAX: usize = 128;

/// The longest id of a call or a device, in bytes: four times what this client draws.
const ID_LENGTH_MAX: usize = 128;

/// The longest session description, in bytes: some fifteen times that of an audio call, and half of
/// what a server lets pass in one frame.
const DESCRIPTION_LENGTH_MAX: usize = 1 << 15;

/// The longest of a candidate's texts, in bytes: some ten times a usual one.
const CANDIDATE_LENGTH_MAX: usize = 2048;

/// The most numbers that one frame acknowledges out of order.
const BEYOND_COUNT_MAX: usize = 256;

/// The most characters of a reader's complaint that an error keeps: it may quote the frame.
const COMPLAINT_LENGTH_MAX: usize = 200;

/// One frame between two devices, with who sends it, who shall receive it, and the call it belongs
/// to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The user who sends it. The server overwrites it with the name that the connection is
    /// authenticated for, so that nobody speaks in another's name.
    pub from: PeerName,
    /// The sender's device. The server overwrites it likewise.
    pub device: DeviceId,
    /// The user who shall receive it.
    pub to: PeerName,
    /// The only device that shall receive it. Without it every device of the user does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_device: Option<DeviceId>,
    /// The call it belongs to.
    pub call: CallId,
    /// What it carries.
    #[serde(flatten)]
    pub content: FrameContent,
}

/// What a [`Frame`] carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FrameContent {
    /// Something said in the call, which is sent again until it is acknowledged.
    Message {
        /// Counts what one device says to one user in one call, from 1 to [`NUMBER_MAX`].
        number: u64,
        /// For a message that keeps its order, the number of the one before it that does, or 0 for
        /// the first. It can change when a message is sent again, because the one before it was
        /// given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follows: Option<u64>,
        /// The lowest number that its sender still keeps: none below it is sent again, so that a
        /// receiver need not wait for those that were given up. At most `number`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        oldest: Option<u64>,
        /// What is said.
        body: CallMessage,
    },
    /// Which messages of the receiver's device have arrived.
    Acknowledge(Received),
    /// The same from a device whose connection is new: it asks for all other messages at once.
    Resume(Received),
    /// Another device of the receiver's user takes part in the call, and this one does not.
    AnsweredElsewhere,
}

/// Which messages of one device have arrived at another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// All messages with numbers up to this one.
    pub up_to: u64,
    /// And these, ascending.
    #[serde(default)]
    pub beyond: Vec<u64>,
}

/// Why a frame cannot be used. Whoever sent it speaks another language, or means harm.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It is not an object of the required fields.
    #[error("a frame that cannot be read: {}", redaction::text(complaint))]
    Malformed {
        /// The first 200 characters of what the reader says.
        complaint: String,
    },
    /// A text is empty that must name something.
    #[error("{field} of a frame is empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// A text is too long.
    #[error("{field} of a frame has {length} bytes, over {max}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// A number is out of its range.
    #[error("{field} of a frame is {value}, outside of {min} to {max}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The least it may be.
        min: u64,
        /// The most it may be.
        max: u64,
    },
    /// The list of acknowledged numbers is too long.
    #[error("a frame acknowledges {count} messages out of order, over {max}")]
    TooManyNumbers {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A message that keeps its order does not say what it follows, or one that does not says so.
    #[error("a frame with a message {kind} {fault} what it follows")]
    Order {
        /// The kind of the message.
        kind: &'static str,
        /// What is wrong.
        fault: &'static str,
    },
}

impl Frame {
    /// Reads a frame. Fields that this version does not know are skipped.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: the sender's fault.
    pub fn from_value(value: Value) -> Result<Self, FrameError> {
        let frame: Self = serde_json::from_value(value).map_err(|error| FrameError::Malformed {
            complaint: error
                .to_string()
                .chars()
                .take(COMPLAINT_LENGTH_MAX)
                .collect(),
        })?;
        frame.check()?;
        Ok(frame)
    }

    /// The frame as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|error| {
            unreachable!("a frame is a struct of texts and numbers, which is always JSON: {error}")
        })
    }

    /// Whether every text and number is within its bounds.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: the fault of whoever made the frame.
    pub fn check(&self) -> Result<(), FrameError> {
        check_id("from", &self.from, NAME_LENGTH_MAX)?;
        check_id("device", &self.device.0, ID_LENGTH_MAX)?;
        check_id("to", &self.to, NAME_LENGTH_MAX)?;
        if let Some(device) = &self.to_device {
            check_id("to_device", &device.0, ID_LENGTH_MAX)?;
        }
        check_id("call", &self.call.0, ID_LENGTH_MAX)?;
        match &self.content {
            FrameContent::Message {
                number,
                follows,
                oldest,
                body,
            } => {
                check_number("number", *number, 1, NUMBER_MAX)?;
                if let Some(follows) = follows {
                    check_number("follows", *follows, 0, number - 1)?;
                }
                if let Some(oldest) = oldest {
                    check_number("oldest", *oldest, 1, *number)?;
                }
                check_order(body, follows.is_some())?;
                check_body(body)
            }
            FrameContent::Acknowledge(received) | FrameContent::Resume(received) => {
                check_received(received)
            }
            FrameContent::AnsweredElsewhere => Ok(()),
        }
    }
}

fn check_id(field: &'static str, text: &str, max: usize) -> Result<(), FrameError> {
    if text.is_empty() {
        return Err(FrameError::Empty { field });
    }
    check_length(field, text, max)
}

fn check_length(field: &'static str, text: &str, max: usize) -> Result<(), FrameError> {
    let length = text.len();
    if length > max {
        return Err(FrameError::TooLong { field, length, max });
    }
    Ok(())
}

fn check_number(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), FrameError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(FrameError::OutOfRange {
        field,
        value,
        min,
        max,
    })
}

fn check_order(body: &CallMessage, says_what_it_follows: bool) -> Result<(), FrameError> {
    let kind = body.kind();
    match (body, says_what_it_follows) {
        // Only its sender knows whether it keeps its order.
        (CallMessage::Unknown, _) => Ok(()),
        (body, true) if !body.is_ordered() => Err(FrameError::Order {
            kind,
            fault: "must not say",
        }),
        (body, false) if body.is_ordered() => Err(FrameError::Order {
            kind,
            fault: "must say",
        }),
        _ => Ok(()),
    }
}

fn check_body(body: &CallMessage) -> Result<(), FrameError> {
    match body {
        CallMessage::Offer { sdp, replaces, .. } => {
            check_length("sdp", sdp, DESCRIPTION_LENGTH_MAX)?;
            match replaces {
                Some(call) => check_id("replaces", &call.0, ID_LENGTH_MAX),
                None => Ok(()),
            }
        }
        CallMessage::Answer { sdp, offer } => {
            check_length("sdp", sdp, DESCRIPTION_LENGTH_MAX)?;
            let offer = offer.as_deref().unwrap_or_default();
            check_length("offer", offer, CANDIDATE_LENGTH_MAX)
        }
        CallMessage::Candidate(candidate) => {
            check_length("candidate", &candidate.candidate, CANDIDATE_LENGTH_MAX)?;
            check_length("sdpMid", &candidate.sdp_mid, CANDIDATE_LENGTH_MAX)?;
            let ufrag = &candidate.username_fragment;
            check_length("usernameFragment", ufrag, CANDIDATE_LENGTH_MAX)
        }
        CallMessage::EndOfCandidates { ufrag } => {
            check_length("ufrag", ufrag, CANDIDATE_LENGTH_MAX)
        }
        CallMessage::Ringing | CallMessage::HangUp { .. } | CallMessage::Unknown => Ok(()),
    }
}

fn check_received(received: &Received) -> Result<(), FrameError> {
    check_number("up_to", received.up_to, 0, NUMBER_MAX)?;
    let count = received.beyond.len();
    if count > BEYOND_COUNT_MAX {
        let max = BEYOND_COUNT_MAX;
        return Err(FrameError::TooManyNumbers { count, max });
    }
    let mut last = received.up_to;
    for number in &received.beyond {
        check_number("beyond", *number, last + 1, NUMBER_MAX)?;
        last = *number;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
