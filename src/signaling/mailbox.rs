//! What a call must not lose: messages kept until the other side's device has them (pure).
//!
//! A [`Mailbox`] numbers every message of a call, and keeps it until the device that it is for
//! acknowledges it, however often the connection to the server, or the server itself, is replaced on
//! the way. What it keeps is sent again on every new connection, whenever the other device asks, and
//! by a growing timer. The other device's mailbox hands each message up once: those that keep their
//! order in the order of sending, candidates and their end as soon as they arrive.
//!
//! A user can be at several devices. What a caller says goes to all of them, and is kept, whoever
//! has acknowledged it, until one of them answers: that one then gets what it lacks, and nobody else
//! is heard any more, but that it is told so. Until then the offer is repeated to all, since nobody knows
//! which there are. A callee knows its caller's device from the first offer.

mod closed;
mod conversation;
mod error;
mod incoming;
mod outgoing;
mod receiving;
mod sending;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use self::closed::ClosedCalls;
use self::conversation::{Conversation, ConversationId, Stage};
pub use self::error::{PeerFault, PostError};
use self::incoming::Heard;
use self::sending::Outbound;
use super::message::{CallId, CallMessage, DeviceId, Envelope, Frame, FrameContent, PeerName};

/// How long a message waits for its acknowledgement before the path is doubted, and how much time
/// there is at least between two such doubts.
const CHECK_AFTER: Duration = Duration::from_secs(3);

/// How long a call is remembered of which only candidates came: its offer is not on its way any
/// longer.
const UNBEGUN_LIMIT: Duration = Duration::from_mins(1);

/// How many closed calls are remembered: several times as many as can have messages on their way.
const CLOSED_CALLS_MAX: usize = 1024;

/// The messages of one client, on their way out and in.
#[derive(Debug)]
pub struct Mailbox {
    user: PeerName,
    device: DeviceId,
    limits: MailboxLimits,
    link: Link,
    conversations: BTreeMap<ConversationId, Conversation>,
    closed: ClosedCalls,
    /// What is to be written to the present connection; empty without one.
    outbox: VecDeque<Outbound>,
    events: VecDeque<MailboxEvent>,
    next_post: u64,
    doubted_at: Option<Instant>,
}

/// How much a [`Mailbox`] keeps, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxLimits {
    /// The most messages that are kept in all. Default 256.
    pub messages_max: usize,
    /// The most messages that are kept of one call. Default 192: a generation of candidates takes some 40, and one with
    /// every address that a host can have some 130.
    pub messages_per_call_max: usize,
    /// The most calls that are not closed. Default 256.
    pub calls_max: usize,
    /// The most calls of one user that are begun by that user and not closed. Default 32.
    pub calls_per_peer_max: usize,
    /// The most devices of one user that are told apart in one call. Default 8.
    pub devices_max: usize,
    /// The most messages that wait in all for one that goes before them. Default 64. What comes
    /// beyond it is not acknowledged, so its sender sends it again.
    pub held_max: usize,
    /// How long a message is kept without an acknowledgement. Default 90 s: a minute without a
    /// network, and the longest wait for the server after it.
    pub kept_for: Duration,
}

/// A message that was posted, by which its fate is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostId(u64);

/// One frame to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The frame.
    pub frame: Frame,
    /// The message in it, which the server shall answer for. Acknowledgements and the like have none.
    pub message: Option<PostId>,
}

/// What a [`Mailbox`] reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxEvent {
    /// A message of another device. Each is reported once.
    Received(Envelope),
    /// A device of the receiver has the message.
    Acknowledged {
        /// The message.
        post: PostId,
    },
    /// The server refuses the message.
    Refused {
        /// The message.
        post: PostId,
        /// The server's words.
        message: String,
    },
    /// The message was not acknowledged in time, and is kept no longer. It follows
    /// [`Acknowledged`](Self::Acknowledged) where one device had it, and another one answered.
    Expired {
        /// The message.
        post: PostId,
    },
    /// The message was taken back, or its call was closed before anybody acknowledged it.
    Withdrawn {
        /// The message.
        post: PostId,
    },
    /// A message has not been acknowledged for so long that the path to the server is in doubt.
    PathDoubted,
}

/// What a [`Mailbox`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MailboxTimer {
    /// A message is kept no longer.
    Expire,
    /// A message is sent again.
    Repeat,
    /// The path is in doubt.
    DoubtPath,
    /// A call of which only candidates came is forgotten.
    Forget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Up,
    Down,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self {
            messages_max: 256,
            messages_per_call_max: 192,
            calls_max: 256,
            calls_per_peer_max: 32,
            devices_max: 8,
            held_max: 64,
            kept_for: Duration::from_secs(90),
        }
    }
}

impl Mailbox {
    /// An empty mailbox of this user's device, without a connection.
    #[must_use]
    pub fn new(user: PeerName, device: DeviceId, limits: MailboxLimits) -> Self {
        Self {
            user,
            device,
            limits,
            link: Link::Down,
            conversations: BTreeMap::new(),
            closed: ClosedCalls::new(CLOSED_CALLS_MAX),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            next_post: 0,
            doubted_at: None,
        }
    }

    /// Takes a message in, to be kept until its receiver acknowledges it. Its sender is this client,
    /// whatever it says.
    ///
    /// # Errors
    ///
    /// Every [`PostError`].
    pub fn post(&mut self, now: Instant, envelope: Envelope) -> Result<PostId, PostError> {
        let Envelope { to, call, body, .. } = envelope;
        let id = ConversationId { peer: to, call };
        let known = self.conversations.get(&id);
        let is_closing = known.is_some_and(|known| known.stage == Stage::Closing);
        if is_closing || self.closed.contains(&id) {
            return Err(PostError::CallClosed { call: id.call });
        }
        let number = known.map_or(0, |known| known.outgoing.last_number()) + 1;
        let follows = body.is_ordered().then_some(0);
        let content = FrameContent::Message {
            number,
            follows,
            oldest: None,
            body: body.clone(),
        };
        self.frame(&id, None, content).check()?;
        // What ends a call must go out however much of it waits.
        if !matches!(body, CallMessage::HangUp { .. }) {
            self.check_room(&id)?;
        }
        let post = PostId(self.next_post);
        self.next_post += 1;
        let expires_at = now + self.limits.kept_for;
        let conversation = self
            .conversations
            .entry(id.clone())
            .or_insert_with(|| Conversation::open(now));
        conversation.stage = Stage::Begun;
        if matches!(body, CallMessage::Offer { .. }) {
            conversation.note_own_offer();
        }
        conversation.outgoing.push(post, body, expires_at);
        self.send(now, &id, number);
        Ok(post)
    }

    /// Takes a message back that no connection has taken yet. Any other goes its way.
    pub fn withdraw(&mut self, post: PostId) {
        if let Some((id, number)) = self.find(post)
            && let Some(conversation) = self.conversations.get_mut(&id)
            && !conversation.outgoing.is_written(number)
        {
            conversation.outgoing.give_up(number);
            self.events.push_back(MailboxEvent::Withdrawn { post });
            self.settle(&id);
        }
    }

    /// Takes in what the server delivers.
    ///
    /// # Errors
    ///
    /// [`PeerFault`]: the frame is dropped.
    pub fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), PeerFault> {
        frame.check()?;
        let Frame {
            from,
            device,
            to,
            to_device,
            call,
            content,
        } = frame;
        let is_ours = to == self.user && to_device.is_none_or(|device| device == self.device);
        if !is_ours || (from == self.user && device == self.device) {
            return Err(PeerFault::Misdirected { from });
        }
        let id = ConversationId { peer: from, call };
        match content {
            FrameContent::Message {
                number,
                follows,
                oldest,
                body,
            } => {
                let heard = Heard {
                    number,
                    follows,
                    oldest,
                    body,
                };
                self.handle_message(now, &id, &device, heard)
            }
            FrameContent::Acknowledge(received) => {
                self.handle_received(now, &id, &device, &received)
            }
            FrameContent::Resume(received) => {
                self.handle_received(now, &id, &device, &received)?;
                self.send_missing(&id, &device);
                Ok(())
            }
            FrameContent::AnsweredElsewhere => {
                self.handle_answered_elsewhere(&id, &device);
                Ok(())
            }
        }
    }

    /// There is a new connection: tells every other side what has arrived, and sends everything again
    /// that is not acknowledged.
    pub fn handle_connected(&mut self, now: Instant) {
        self.handle_disconnected();
        self.link = Link::Up;
        for (id, conversation) in &mut self.conversations {
            if conversation.stage != Stage::Closing {
                for device in conversation.other_sides() {
                    let conversation = id.clone();
                    self.outbox.push_back(Outbound::Resume {
                        conversation,
                        device,
                    });
                }
            }
            for device in conversation.left_out() {
                let conversation = id.clone();
                self.outbox.push_back(Outbound::AnsweredElsewhere {
                    conversation,
                    device,
                });
            }
            for number in conversation.outgoing.numbers() {
                for device in conversation.transmit(now, number) {
                    let conversation = id.clone();
                    self.outbox.push_back(Outbound::Message {
                        conversation,
                        number,
                        device,
                    });
                }
            }
        }
    }

    /// The connection is gone, and with it what was not written.
    pub fn handle_disconnected(&mut self) {
        self.link = Link::Down;
        self.outbox.clear();
        for conversation in self.conversations.values_mut() {
            conversation.outgoing.stop_repeating();
        }
    }

    /// The server refuses a message for good. One that a device has already is not affected.
    pub fn handle_refused(&mut self, now: Instant, post: PostId, message: String) {
        if let Some((id, number)) = self.find(post)
            && let Some(conversation) = self.conversations.get_mut(&id)
            && !conversation.outgoing.is_acknowledged(number)
        {
            let follower = conversation.outgoing.give_up(number);
            self.events
                .push_back(MailboxEvent::Refused { post, message });
            self.send_follower(now, &id, follower);
            self.settle(&id);
        }
    }

    /// The call is over on this side: what others still say in it is dropped, and of what this side
    /// said only a hang-up is still sent until it is acknowledged.
    pub fn close_call(&mut self, call: &CallId) {
        let ids = self.conversations.keys().filter(|id| id.call == *call);
        for id in ids.cloned().collect::<Vec<_>>() {
            self.close(&id);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let ids: Vec<_> = self.conversations.keys().cloned().collect();
        for id in &ids {
            self.expire(now, id);
            self.repeat(now, id);
        }
        if self.doubt_at().is_some_and(|at| at <= now) {
            self.doubted_at = Some(now);
            self.events.push_back(MailboxEvent::PathDoubted);
        }
        self.conversations
            .retain(|_, conversation| forget_at(conversation).is_none_or(|at| at > now));
    }

    /// The next frame to write to the present connection.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some(outbound) = self.outbox.pop_front() {
            let transmit = self.make(outbound);
            if transmit.is_some() {
                return transmit;
            }
        }
        None
    }

    /// What has happened, in order.
    pub fn poll_event(&mut self) -> Option<MailboxEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, MailboxTimer)> {
        let conversations = self.conversations.values();
        let timers = conversations.flat_map(|conversation| {
            [
                (conversation.outgoing.expires_at(), MailboxTimer::Expire),
                (conversation.outgoing.repeat_at(), MailboxTimer::Repeat),
                (forget_at(conversation), MailboxTimer::Forget),
            ]
        });
        timers
            .chain([(self.doubt_at(), MailboxTimer::DoubtPath)])
            .filter_map(|(at, timer)| Some((at?, timer)))
            .min()
    }

    /// How many messages are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        let conversations = self.conversations.values();
        conversations
            .map(|conversation| conversation.outgoing.len())
            .sum()
    }

    /// Whether no message is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many calls are not closed, or have a hang-up that is not acknowledged.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.conversations.len()
    }

    fn close(&mut self, id: &ConversationId) {
        if let Some(conversation) = self.conversations.get_mut(id) {
            let withdrawn = conversation.close().into_iter();
            self.events
                .extend(withdrawn.map(|post| MailboxEvent::Withdrawn { post }));
            self.settle(id);
        }
    }

    /// Remembers a call as closed once nothing of it is left to be sent.
    fn settle(&mut self, id: &ConversationId) {
        if let Some(conversation) = self.conversations.get_mut(id)
            && conversation.is_over()
        {
            self.conversations.remove(id);
            self.closed.insert(id.clone());
        }
    }

    fn expire(&mut self, now: Instant, id: &ConversationId) {
        while let Some(conversation) = self.conversations.get_mut(id)
            && let Some(number) = conversation.outgoing.next_expired(now)
        {
            if let Some(post) = conversation.expire(number) {
                let follower = conversation.outgoing.give_up(number);
                self.events.push_back(MailboxEvent::Expired { post });
                self.send_follower(now, id, follower);
            }
            self.settle(id);
        }
    }

    /// When the path is to be doubted.
    fn doubt_at(&self) -> Option<Instant> {
        let conversations = self.conversations.values();
        let waiting_since = conversations.filter_map(|known| known.outgoing.waiting_since());
        let earliest = self.doubted_at.map(|at| at + CHECK_AFTER);
        waiting_since
            .min()
            .map(|since| (since + CHECK_AFTER).max(earliest.unwrap_or(since)))
    }

    fn find(&self, post: PostId) -> Option<(ConversationId, u64)> {
        self.conversations.iter().find_map(|(id, conversation)| {
            let number = conversation.outgoing.find(post)?;
            Some((id.clone(), number))
        })
    }
}

/// When a call is forgotten of which only candidates came.
fn forget_at(conversation: &Conversation) -> Option<Instant> {
    let is_unbegun = conversation.stage == Stage::Unbegun;
    is_unbegun.then(|| conversation.heard_at() + UNBEGUN_LIMIT)
}

#[cfg(test)]
mod tests;
