//! What becomes of frames that arrive.

use tokio::time::Instant;

use super::conversation::{Bound, Conversation, ConversationId, LeftOut, Stage};
use super::incoming::Heard;
use super::sending::Outbound;
use super::{Link, Mailbox, MailboxEvent, PeerFault};
use crate::signaling::message::{CallMessage, DeviceId, Envelope, HangUpReason, Received};

/// What becomes of the call that a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    GoesOn,
    /// It began with something else than an offer: what it began with was before this client.
    IsStale,
}

impl Mailbox {
    pub(super) fn handle_message(
        &mut self,
        now: Instant,
        id: &ConversationId,
        device: &DeviceId,
        heard: Heard,
    ) -> Result<(), PeerFault> {
        let number = heard.number;
        if self.closed.contains(id) {
            self.dismiss(id, device, number);
            return Ok(());
        }
        let held: usize = self.conversations.values().map(Conversation::held).sum();
        let held_room = self.limits.held_max.saturating_sub(held);
        let devices_max = self.limits.devices_max;
        if !self.conversations.contains_key(id) {
            self.check_new_call(id)?;
        }
        let conversation = self
            .conversations
            .entry(id.clone())
            .or_insert_with(|| Conversation::with_device(now, device.clone()));
        if conversation.stage == Stage::Closing || !conversation.listens_to(device) {
            self.dismiss(id, device, number);
            self.leave_out(id, device);
            return Ok(());
        }
        conversation.meet(id, device, devices_max)?;
        let Some(messages) = conversation.take(now, device, heard, held_room) else {
            let from = id.peer.clone();
            return Err(PeerFault::TooFarAhead { from, number });
        };
        for body in messages {
            if self.hand_up(now, id, device, body) == Call::IsStale {
                self.close(id);
                self.dismiss(id, device, number);
                return Ok(());
            }
        }
        self.reschedule(now, id);
        self.queue(Outbound::Acknowledge {
            conversation: id.clone(),
            device: device.clone(),
        });
        Ok(())
    }

    /// Takes in what a device says it has.
    pub(super) fn handle_received(
        &mut self,
        now: Instant,
        id: &ConversationId,
        device: &DeviceId,
        received: &Received,
    ) -> Result<(), PeerFault> {
        let devices_max = self.limits.devices_max;
        let Some(conversation) = self.conversations.get_mut(id) else {
            return Ok(());
        };
        if !conversation.listens_to(device) {
            self.leave_out(id, device);
            return Ok(());
        }
        conversation.meet(id, device, devices_max)?;
        let news = conversation.acknowledge(device, received).into_iter();
        self.events
            .extend(news.map(|post| MailboxEvent::Acknowledged { post }));
        self.reschedule(now, id);
        self.settle(id);
        Ok(())
    }

    /// Sends everything at once that a device lacks.
    pub(super) fn send_missing(&mut self, id: &ConversationId, device: &DeviceId) {
        let conversation = self.conversations.get(id);
        let known = conversation.filter(|conversation| conversation.listens_to(device));
        let missing = known.map_or_else(Vec::new, |known| known.lacked_by(device));
        for number in missing {
            self.queue(Outbound::Message {
                conversation: id.clone(),
                number,
                device: Some(device.clone()),
            });
        }
    }

    /// Another device of this user takes part in a call that rings here.
    pub(super) fn handle_answered_elsewhere(&mut self, id: &ConversationId, device: &DeviceId) {
        let conversation = self.conversations.get(id);
        let concerns =
            |known: &Conversation| known.stage == Stage::Begun && known.listens_to(device);
        if conversation.is_some_and(concerns) {
            self.events.push_back(MailboxEvent::Received(Envelope {
                from: id.peer.clone(),
                to: self.user.clone(),
                call: id.call.clone(),
                body: CallMessage::HangUp {
                    reason: HangUpReason::AnsweredElsewhere,
                },
            }));
        }
    }

    /// Tells a device that another one of its user takes part in the call, if one does.
    fn leave_out(&mut self, id: &ConversationId, device: &DeviceId) {
        let devices_max = self.limits.devices_max;
        let conversation = self.conversations.get_mut(id);
        let left_out = conversation.map(|known| known.leave_out(device, devices_max));
        if left_out == Some(LeftOut::Yes) {
            self.queue(Outbound::AnsweredElsewhere {
                conversation: id.clone(),
                device: device.clone(),
            });
        }
    }

    fn check_new_call(&self, id: &ConversationId) -> Result<(), PeerFault> {
        let limits = &self.limits;
        let of_peer = self
            .conversations
            .keys()
            .filter(|known| known.peer == id.peer);
        let max = if of_peer.count() >= limits.calls_per_peer_max {
            limits.calls_per_peer_max
        } else if self.conversations.len() >= limits.calls_max {
            limits.calls_max
        } else {
            return Ok(());
        };
        let from = id.peer.clone();
        Err(PeerFault::TooManyCalls { from, max })
    }

    fn hand_up(
        &mut self,
        now: Instant,
        id: &ConversationId,
        device: &DeviceId,
        body: CallMessage,
    ) -> Call {
        let Some(conversation) = self.conversations.get_mut(id) else {
            return Call::IsStale;
        };
        match &body {
            CallMessage::Unknown => {
                tracing::debug!(call = %id.call, from = %id.peer, "unknown message skipped");
                return Call::GoesOn;
            }
            CallMessage::Offer { .. } => {
                conversation.stage = Stage::Begun;
                conversation.note_offer(now, device, self.limits.kept_for);
            }
            body if body.is_ordered() && conversation.stage == Stage::Unbegun => {
                let kind = body.kind();
                tracing::debug!(call = %id.call, from = %id.peer, kind, "stale call dropped");
                return Call::IsStale;
            }
            CallMessage::Answer { .. } => {
                let kept_for = self.limits.kept_for;
                if conversation.bind(now, device, kept_for) == Bound::Now {
                    for other in conversation.left_out() {
                        self.leave_out(id, &other);
                    }
                    self.send_again(now, id);
                }
            }
            _ => {}
        }
        self.events.push_back(MailboxEvent::Received(Envelope {
            from: id.peer.clone(),
            to: self.user.clone(),
            call: id.call.clone(),
            body,
        }));
        Call::GoesOn
    }

    /// Sends everything again that is kept in a call.
    fn send_again(&mut self, now: Instant, id: &ConversationId) {
        let conversation = self.conversations.get(id);
        let numbers = conversation.map_or_else(Vec::new, |known| known.outgoing.numbers());
        for number in numbers {
            self.send(now, id, number);
        }
    }

    fn reschedule(&mut self, now: Instant, id: &ConversationId) {
        if self.link == Link::Up
            && let Some(conversation) = self.conversations.get_mut(id)
        {
            conversation.reschedule(now);
        }
    }

    /// Acknowledges a message that nobody wants, so that its sender stops sending it.
    fn dismiss(&mut self, id: &ConversationId, device: &DeviceId, number: u64) {
        tracing::debug!(call = %id.call, from = %id.peer, number, "stale message dropped");
        self.queue(Outbound::Dismiss {
            conversation: id.clone(),
            device: device.clone(),
            number,
        });
    }
}
