//! What becomes of messages on their way out.

use tokio::time::Instant;

use super::conversation::ConversationId;
use super::{Link, Mailbox, PostError, Transmit};
use crate::signaling::message::{DeviceId, Frame, FrameContent, Received};

/// What is to be written. The frame is made when it is taken, so that it says how things are then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outbound {
    Message {
        conversation: ConversationId,
        number: u64,
        device: Option<DeviceId>,
    },
    Acknowledge {
        conversation: ConversationId,
        device: DeviceId,
    },
    /// To a device whose messages are dropped: whatever it has sent is done with.
    Dismiss {
        conversation: ConversationId,
        device: DeviceId,
        number: u64,
    },
    Resume {
        conversation: ConversationId,
        device: Option<DeviceId>,
    },
    AnsweredElsewhere {
        conversation: ConversationId,
        device: DeviceId,
    },
}

impl Mailbox {
    pub(super) fn check_room(&self, id: &ConversationId) -> Result<(), PostError> {
        let limits = &self.limits;
        match self.conversations.get(id) {
            None if self.conversations.len() >= limits.calls_max => {
                let max = limits.calls_max;
                return Err(PostError::TooManyCalls { max });
            }
            Some(known) if known.outgoing.len() >= limits.messages_per_call_max => {
                return Err(PostError::CallFull {
                    call: id.call.clone(),
                    max: limits.messages_per_call_max,
                });
            }
            _ => {}
        }
        if self.len() >= limits.messages_max {
            let max = limits.messages_max;
            return Err(PostError::Full { max });
        }
        Ok(())
    }

    /// Writes a message to everybody who lacks it, if there is a connection.
    pub(super) fn send(&mut self, now: Instant, id: &ConversationId, number: u64) {
        if self.link == Link::Up
            && let Some(conversation) = self.conversations.get_mut(id)
        {
            for device in conversation.transmit(now, number) {
                self.queue(Outbound::Message {
                    conversation: id.clone(),
                    number,
                    device,
                });
            }
        }
    }

    /// Writes the message again that followed one which was given up: it follows another one now.
    pub(super) fn send_follower(
        &mut self,
        now: Instant,
        id: &ConversationId,
        follower: Option<u64>,
    ) {
        if let Some(number) = follower {
            self.send(now, id, number);
        }
    }

    pub(super) fn queue(&mut self, outbound: Outbound) {
        if self.link == Link::Up && !self.outbox.contains(&outbound) {
            self.outbox.push_back(outbound);
        }
    }

    pub(super) fn repeat(&mut self, now: Instant, id: &ConversationId) {
        let conversation = self.conversations.get(id);
        let due = conversation.map_or_else(Vec::new, |known| known.outgoing.due(now));
        for number in due {
            self.send(now, id, number);
        }
    }

    pub(super) fn make(&mut self, outbound: Outbound) -> Option<Transmit> {
        match outbound {
            Outbound::Message {
                conversation: id,
                number,
                device,
            } => {
                let outgoing = &mut self.conversations.get_mut(&id)?.outgoing;
                let (post, content) = outgoing.write(number, &id.call)?;
                let frame = self.frame(&id, device, content);
                let message = Some(post);
                Some(Transmit { frame, message })
            }
            Outbound::Acknowledge {
                conversation: id,
                device,
            } => {
                let received = self.conversations.get(&id)?.received(&device);
                let content = FrameContent::Acknowledge(received);
                Some(self.passing(&id, Some(device), content))
            }
            Outbound::Dismiss {
                conversation: id,
                device,
                number,
            } => {
                let received = Received {
                    up_to: number,
                    beyond: Vec::new(),
                };
                let content = FrameContent::Acknowledge(received);
                Some(self.passing(&id, Some(device), content))
            }
            Outbound::Resume {
                conversation: id,
                device,
            } => {
                let conversation = self.conversations.get(&id)?;
                let received = device.as_ref().map(|device| conversation.received(device));
                let content = FrameContent::Resume(received.unwrap_or_default());
                Some(self.passing(&id, device, content))
            }
            Outbound::AnsweredElsewhere {
                conversation: id,
                device,
            } => Some(self.passing(&id, Some(device), FrameContent::AnsweredElsewhere)),
        }
    }

    pub(super) fn passing(
        &self,
        id: &ConversationId,
        device: Option<DeviceId>,
        content: FrameContent,
    ) -> Transmit {
        let frame = self.frame(id, device, content);
        Transmit {
            frame,
            message: None,
        }
    }

    pub(super) fn frame(
        &self,
        id: &ConversationId,
        to_device: Option<DeviceId>,
        content: FrameContent,
    ) -> Frame {
        Frame {
            from: self.user.clone(),
            device: self.device.clone(),
            to: id.peer.clone(),
            to_device,
            call: id.call.clone(),
            content,
        }
    }
}
