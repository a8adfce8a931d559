//! The messages that the server has not acknowledged (pure).

use std::collections::VecDeque;

use serde_json::Value;
use thiserror::Error;
use tokio::sync::oneshot;

use super::message::{EVENT, Envelope, NumberedEnvelope};
use super::socket_io::SocketIoBody;

/// Messages in the order of sending, from the oldest unacknowledged one.
///
/// A connection takes them with [`next_packet`](Self::next_packet); after a drop
/// [`rewind`](Self::rewind) offers all of them to the next connection again, in the same order.
#[derive(Debug)]
pub struct SendBuffer {
    messages_max: usize,
    messages: VecDeque<Message>,
    next_id: u64,
    /// Counts on through reconnects, so that a late acknowledgement meets no other message.
    next_acknowledgement: u64,
}

/// Where the outcome of one message goes. Its receiver's end withdraws the message by being dropped.
pub type Outcome = oneshot::Sender<Result<(), SendError>>;

/// Why a message was not delivered to the server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// Too many messages wait for the connection already.
    #[error("the send buffer is full: {max} messages wait for the signaling server")]
    BufferFull {
        /// The configured bound.
        max: usize,
    },
    /// The server does not take the message.
    #[error("the signaling server refuses the message: {message}")]
    Refused {
        /// The server's words.
        message: String,
    },
    /// The client was closed, or the server wants it gone.
    #[error("the signaling client is closed")]
    Closed,
}

#[derive(Debug)]
struct Message {
    numbered: NumberedEnvelope,
    /// The acknowledgement id on the present connection, once taken there.
    acknowledgement: Option<u64>,
    /// Whether any connection has taken it, this one or one before.
    taken_before: bool,
    outcome: Outcome,
}

impl SendBuffer {
    /// Holds up to `messages_max` messages, numbered from `first_id`.
    #[must_use]
    pub fn new(messages_max: usize, first_id: u64) -> Self {
        Self {
            messages_max,
            messages: VecDeque::new(),
            next_id: first_id,
            next_acknowledgement: 0,
        }
    }

    /// How many messages are not acknowledged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether everything is acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes a message in, or answers [`SendError::BufferFull`] to `outcome`.
    pub fn push(&mut self, envelope: Envelope, outcome: Outcome) {
        if self.messages.len() >= self.messages_max {
            self.forget_withdrawn();
        }
        if self.messages.len() >= self.messages_max {
            let max = self.messages_max;
            let _ = outcome.send(Err(SendError::BufferFull { max }));
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.messages.push_back(Message {
            numbered: NumberedEnvelope { id, envelope },
            acknowledgement: None,
            taken_before: false,
            outcome,
        });
    }

    /// The oldest message that the present connection has not taken, as the packet to write.
    pub fn next_packet(&mut self) -> Option<SocketIoBody> {
        self.forget_withdrawn();
        let message = self
            .messages
            .iter_mut()
            .find(|message| message.acknowledgement.is_none())?;
        let id = self.next_acknowledgement;
        self.next_acknowledgement += 1;
        message.acknowledgement = Some(id);
        if !std::mem::replace(&mut message.taken_before, true) {
            let envelope = &message.numbered.envelope;
            // Once for each message, whatever is sent again: a log in which repetitions count
            // would show more candidates than there are.
            tracing::debug!(kind = envelope.body.kind(), call = %envelope.call, "signaling message sent");
        }
        let argument = serde_json::to_value(&message.numbered).unwrap_or_else(|error| {
            unreachable!("an envelope is a struct of texts, which is always JSON: {error}")
        });
        Some(SocketIoBody::Event {
            name: EVENT.into(),
            arguments: vec![argument],
            acknowledge: Some(id),
        })
    }

    /// Completes the message that was written with this acknowledgement id. Unknown ids, and those
    /// of earlier connections, are skipped.
    pub fn acknowledge(&mut self, id: u64, arguments: &[Value]) {
        let is_meant = |message: &Message| message.acknowledgement == Some(id);
        if let Some(index) = self.messages.iter().position(is_meant)
            && let Some(message) = self.messages.remove(index)
        {
            let _ = message.outcome.send(verdict(arguments));
        }
    }

    /// The connection is gone: offers every message to the next one.
    pub fn rewind(&mut self) {
        for message in &mut self.messages {
            message.acknowledgement = None;
        }
    }

    /// Completes every message with [`SendError::Closed`].
    pub fn fail_all(&mut self) {
        for message in self.messages.drain(..) {
            let _ = message.outcome.send(Err(SendError::Closed));
        }
    }

    fn forget_withdrawn(&mut self) {
        self.messages.retain(|message| !message.outcome.is_closed());
    }
}

/// The server answers `{"error": "…"}` where it does not take a message.
fn verdict(arguments: &[Value]) -> Result<(), SendError> {
    let error = arguments.first().and_then(|answer| answer.get("error"));
    match error {
        None => Ok(()),
        Some(error) => Err(SendError::Refused {
            message: error.as_str().unwrap_or("no reason given").into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::message::{CallId, CallMessage};
    use serde_json::json;

    fn push(buffer: &mut SendBuffer) -> oneshot::Receiver<Result<(), SendError>> {
        let (outcome, receiver) = oneshot::channel();
        let envelope = Envelope {
            from: "anna".into(),
            to: "boris".into(),
            call: CallId("c1".into()),
            body: CallMessage::Ringing,
        };
        buffer.push(envelope, outcome);
        receiver
    }

    /// The message ids and the acknowledgement ids that a connection takes.
    fn take(buffer: &mut SendBuffer) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| buffer.next_packet())
            .map(|packet| match packet {
                SocketIoBody::Event {
                    arguments,
                    acknowledge: Some(acknowledge),
                    ..
                } => (arguments[0]["id"].as_u64().expect("numbered"), acknowledge),
                other => panic!("not an event to acknowledge: {other:?}"),
            })
            .collect()
    }

    #[test]
    fn unacknowledged_messages_are_offered_again_in_order() {
        let mut buffer = SendBuffer::new(8, 100);
        let mut outcomes: Vec<_> = (0..3).map(|_| push(&mut buffer)).collect();
        assert_eq!(take(&mut buffer), [(100, 0), (101, 1), (102, 2)]);
        assert_eq!(take(&mut buffer), []);
        buffer.acknowledge(1, &[]);
        assert_eq!(outcomes[1].try_recv(), Ok(Ok(())));
        buffer.rewind();
        outcomes.push(push(&mut buffer));
        assert_eq!(take(&mut buffer), [(100, 3), (102, 4), (103, 5)]);
        // An acknowledgement for the connection before.
        buffer.acknowledge(0, &[]);
        assert_eq!(buffer.len(), 3);
        buffer.acknowledge(3, &[json!({"error": "no"})]);
        let message = "no".into();
        assert_eq!(
            outcomes[0].try_recv(),
            Ok(Err(SendError::Refused { message }))
        );
        buffer.fail_all();
        assert_eq!(outcomes[2].try_recv(), Ok(Err(SendError::Closed)));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_full_buffer_refuses_and_a_withdrawn_message_makes_room() {
        let mut buffer = SendBuffer::new(2, 0);
        let first = push(&mut buffer);
        let _second = push(&mut buffer);
        let mut third = push(&mut buffer);
        assert_eq!(third.try_recv(), Ok(Err(SendError::BufferFull { max: 2 })));
        drop(first);
        let _fourth = push(&mut buffer);
        let ids: Vec<_> = take(&mut buffer).iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [1, 2]);
    }
}
