//! What this side says in one call, until it is acknowledged (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::PostId;
use crate::signaling::message::line::{self, Passing};
use crate::signaling::message::{CallId, CallMessage, DeviceId, FrameContent, Received};

/// The wait before a message is sent again on the same connection; it doubles from time to time.
const REPEAT_AFTER_MIN: Duration = Duration::from_secs(3);

/// The longest such wait.
const REPEAT_AFTER_MAX: Duration = Duration::from_secs(10);

/// Messages by number.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    last_number: u64,
    kept: BTreeMap<u64, Kept>,
}

#[derive(Debug)]
struct Kept {
    post: PostId,
    body: CallMessage,
    acknowledged_by: BTreeSet<DeviceId>,
    progress: Progress,
    /// `None` where a device has it, and the time is over in which others are told by themselves.
    expires_at: Option<Instant>,
    /// On the present connection; `None` where nobody lacks it, or nobody can be reached.
    repeat: Option<Repeat>,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Posted,
    Written,
    /// Some device has it, and its sender was told so.
    Acknowledged,
}

#[derive(Debug, Clone, Copy)]
struct Repeat {
    /// When it was first sent on this connection.
    since: Instant,
    due: Instant,
    wait: Duration,
}

/// Whether a message is kept after a device has acknowledged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retention {
    /// Another device may need it yet.
    Keep,
    /// It was for this device alone.
    Forget,
}

impl Outgoing {
    pub(super) fn last_number(&self) -> u64 {
        self.last_number
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.kept.keys().copied().collect()
    }

    pub(super) fn find(&self, post: PostId) -> Option<u64> {
        let mut kept = self.kept.iter();
        kept.find(|(_, kept)| kept.post == post)
            .map(|(number, _)| *number)
    }

    pub(super) fn is_written(&self, number: u64) -> bool {
        self.has_come_to(number, Progress::Written)
    }

    pub(super) fn is_acknowledged(&self, number: u64) -> bool {
        self.has_come_to(number, Progress::Acknowledged)
    }

    pub(super) fn is_offer(&self, number: u64) -> bool {
        let kept = self.kept.get(&number);
        kept.is_some_and(|kept| matches!(kept.body, CallMessage::Offer { .. }))
    }

    /// Whether no device at all has acknowledged a message.
    pub(super) fn is_lacked_by_all(&self, number: u64) -> bool {
        let kept = self.kept.get(&number);
        kept.is_some_and(|kept| kept.acknowledged_by.is_empty())
    }

    /// Whether a message is kept that this device has not acknowledged.
    pub(super) fn is_lacked_by(&self, device: &DeviceId, number: u64) -> bool {
        let kept = self.kept.get(&number);
        kept.is_some_and(|kept| !kept.acknowledged_by.contains(device))
    }

    pub(super) fn push(&mut self, post: PostId, body: CallMessage, expires_at: Instant) {
        self.last_number += 1;
        let kept = Kept {
            post,
            body,
            acknowledged_by: BTreeSet::new(),
            progress: Progress::Posted,
            expires_at: Some(expires_at),
            repeat: None,
        };
        self.kept.insert(self.last_number, kept);
    }

    /// The message to write, and what came of it so far goes to the log once.
    pub(super) fn write(&mut self, number: u64, call: &CallId) -> Option<(PostId, FrameContent)> {
        let is_ordered = |(_, kept): &(&u64, &Kept)| kept.body.is_ordered();
        let previous = self.kept.range(..number).rfind(is_ordered);
        let previous = previous.map_or(0, |(previous, _)| *previous);
        let oldest = self.kept.first_key_value().map(|(oldest, _)| *oldest);
        let kept = self.kept.get_mut(&number)?;
        if kept.progress == Progress::Posted {
            kept.progress = Progress::Written;
            // Once for each message, whatever is sent again: a log in which repetitions count
            // would show more candidates than there are.
            line::log(Passing::Sent, &kept.body, call);
        }
        let content = FrameContent::Message {
            number,
            follows: kept.body.is_ordered().then_some(previous),
            oldest,
            body: kept.body.clone(),
        };
        Some((kept.post, content))
    }

    /// Starts or continues the timer by which a message is sent again.
    pub(super) fn note_sent(&mut self, now: Instant, number: u64) {
        if let Some(kept) = self.kept.get_mut(&number)
            && kept.expires_at.is_some()
        {
            let before = kept.repeat;
            let wait = before.map_or(REPEAT_AFTER_MIN, |before| {
                (before.wait * 2).min(REPEAT_AFTER_MAX)
            });
            kept.repeat = Some(Repeat {
                since: before.map_or(now, |before| before.since),
                due: now + wait,
                wait,
            });
        }
    }

    /// Starts the timer of a message that somebody lacks and nobody is sent.
    pub(super) fn schedule(&mut self, now: Instant, number: u64) {
        if let Some(kept) = self.kept.get(&number)
            && kept.repeat.is_none()
        {
            self.note_sent(now, number);
        }
    }

    /// Stops the timer of a message that nobody lacks.
    pub(super) fn unschedule(&mut self, number: u64) {
        if let Some(kept) = self.kept.get_mut(&number) {
            kept.repeat = None;
        }
    }

    /// Stops all timers of the present connection.
    pub(super) fn stop_repeating(&mut self) {
        for kept in self.kept.values_mut() {
            kept.repeat = None;
        }
    }

    /// The messages that are to be sent again now.
    pub(super) fn due(&self, now: Instant) -> Vec<u64> {
        let is_due = |kept: &Kept| kept.repeat.is_some_and(|repeat| repeat.due <= now);
        let due = self.kept.iter().filter(|(_, kept)| is_due(kept));
        due.map(|(number, _)| *number).collect()
    }

    /// When the next message is to be sent again.
    pub(super) fn repeat_at(&self) -> Option<Instant> {
        let repeats = self.kept.values().filter_map(|kept| kept.repeat);
        repeats.map(|repeat| repeat.due).min()
    }

    /// Since when a message is on its way that no device has acknowledged.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let waiting = |kept: &&Kept| kept.acknowledged_by.is_empty();
        let repeats = self.kept.values().filter(waiting);
        repeats
            .filter_map(|kept| kept.repeat)
            .map(|repeat| repeat.since)
            .min()
    }

    /// Notes what a device has, and returns the messages that no device had before.
    pub(super) fn acknowledge(
        &mut self,
        device: &DeviceId,
        received: &Received,
        retention: Retention,
    ) -> Vec<PostId> {
        let beyond: BTreeSet<_> = received.beyond.iter().collect();
        let mut news = Vec::new();
        self.kept.retain(|number, kept| {
            if *number > received.up_to && !beyond.contains(number) {
                return true;
            }
            if kept.progress < Progress::Acknowledged {
                kept.progress = Progress::Acknowledged;
                news.push(kept.post);
            }
            kept.acknowledged_by.insert(device.clone());
            retention == Retention::Keep
        });
        news
    }

    /// Forgets what this device has, and keeps the rest for it alone.
    pub(super) fn address_to(&mut self, device: &DeviceId, expires_at: Instant) {
        self.kept
            .retain(|_, kept| !kept.acknowledged_by.contains(device));
        for kept in self.kept.values_mut() {
            kept.acknowledged_by.clear();
            kept.expires_at = Some(expires_at);
            kept.repeat = None;
        }
    }

    /// Forgets a message, and returns the one that followed it, where it kept its order.
    pub(super) fn give_up(&mut self, number: u64) -> Option<u64> {
        let kept = self.kept.remove(&number)?;
        let mut later = self.kept.range(number..);
        let follower = later.find(|(_, later)| later.body.is_ordered());
        let follower = follower.map(|(follower, _)| *follower);
        follower.filter(|_| kept.body.is_ordered())
    }

    /// Forgets everything but hang-ups, and returns what no device has acknowledged.
    pub(super) fn keep_hang_ups(&mut self) -> Vec<PostId> {
        let mut withdrawn = Vec::new();
        self.kept.retain(|_, kept| {
            let stays = matches!(kept.body, CallMessage::HangUp { .. });
            if !stays && kept.progress < Progress::Acknowledged {
                withdrawn.push(kept.post);
            }
            stays
        });
        withdrawn
    }

    /// When the next message expires.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.kept.values().filter_map(|kept| kept.expires_at).min()
    }

    /// A message whose time is over.
    pub(super) fn next_expired(&self, now: Instant) -> Option<u64> {
        let is_over = |kept: &Kept| kept.expires_at.is_some_and(|at| at <= now);
        let mut kept = self.kept.iter();
        kept.find(|(_, kept)| is_over(kept))
            .map(|(number, _)| *number)
    }

    /// The message in question, if no device has it. Otherwise it stays for those that ask for it.
    pub(super) fn expire(&mut self, number: u64) -> Option<PostId> {
        let kept = self.kept.get_mut(&number)?;
        if kept.acknowledged_by.is_empty() {
            return Some(kept.post);
        }
        kept.expires_at = None;
        kept.repeat = None;
        None
    }

    /// Forgets a message.
    pub(super) fn forget(&mut self, number: u64) {
        self.kept.remove(&number);
    }

    fn has_come_to(&self, number: u64, progress: Progress) -> bool {
        let kept = self.kept.get(&number);
        kept.is_some_and(|kept| kept.progress >= progress)
    }
}
