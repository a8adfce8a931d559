//! When an answered call looks for another path, and when it gives up (pure).
//!
//! A path dies in many ways: the phone leaves the Wi-Fi, a gateway is started again, the system closes
//! the sockets of an app that it froze, or audio just stops. All of them end in the same cure, a new
//! ICE generation beside the old one (RFC 8445 section 9), which takes over when it works. [`Recovery`]
//! says when to begin one and how long it may take, and leaves the path alone that carries audio.
//!
//! An attempt needs the other side. So none begins while signaling is down, one whose offer has not
//! arrived is not counted against the path, and a call is unreachable only when the other side answers
//! in signaling and still no path is found.

use std::time::Duration;

use tokio::time::Instant;

use super::negotiation::Side;
use crate::config::RecoveryConfig;

/// How much longer a relayed call waits after each search for a direct path that was in vain. What stood
/// in the way may have passed; but most calls that are relayed have to be.
const UPGRADE_GROWTH: u32 = 2;

/// The longest of these waits.
const UPGRADE_WAIT_MAX: Duration = Duration::from_mins(5);

/// Decides for one answered call.
#[derive(Debug)]
pub struct Recovery {
    config: RecoveryConfig,
    side: Side,
    /// When audio was heard last, or the call was answered.
    heard_at: Instant,
    audio: Audio,
    wanted: Option<Trouble>,
    attempt: Option<Attempt>,
    failed_attempts: u32,
    not_before: Instant,
    /// When the path to the signaling server is doubted next, unless audio flows.
    doubt_at: Instant,
    signaling: Signaling,
    /// Since when the other side is known to be reached through signaling.
    reachable_since: Option<Instant>,
    /// Whether the path in use passes a relay and a direct one may be looked for, and since when.
    relayed_since: Option<Instant>,
    /// How many searches for a direct path have been in vain.
    failed_upgrades: u32,
    /// Since when a path is in use over which nothing has come yet.
    mute_since: Option<Instant>,
}

/// Why another path is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No audio arrives.
    Silence,
    /// Signaling was lost and is back while no audio arrives: the network was away, and what was
    /// gathered before is of no use.
    NetworkBack,
    /// ICE or DTLS failed.
    PathFailed,
    /// The other side's consent to be sent to has expired (RFC 7675 section 5.1), and only new
    /// credentials bring it back.
    ConsentLost,
    /// A socket died.
    SocketLost,
    /// This host's addresses are others.
    AddressesChanged,
}

/// How audio travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// From one side to the other.
    Direct,
    /// By a TURN server.
    Relayed,
}

/// Whether the signaling server is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signaling {
    /// It is.
    Up,
    /// It is not.
    Down,
}

/// What the call has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryAction {
    /// Tell the user that audio is interrupted.
    Interrupted,
    /// Doubt the path to the signaling server.
    CheckSignaling,
    /// Drop the generation that was begun and has not taken over.
    Abandon,
    /// Offer a new generation.
    Restart(Trouble),
    /// Offer a new generation that may not use a relay.
    Upgrade,
    /// End the call.
    GiveUp,
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecoveryTimer {
    /// The path that the call began with should be there by now.
    FirstAudio,
    /// Audio counts as silent.
    Silence,
    /// A path that was taken carries nothing.
    Mute,
    /// No audio arrives, and signaling may be as dead as its path.
    DoubtSignaling,
    /// The other side counts as away.
    Unacknowledged,
    /// The attempt has taken too long.
    Attempt,
    /// The next attempt may begin.
    NextAttempt,
    /// A relayed call tries to be direct.
    Upgrade,
    /// The call is given up.
    GiveUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audio {
    /// None was heard yet.
    Awaited,
    Flowing,
    Silent,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    aim: Aim,
    offer: Offer,
    since: Instant,
    /// How long the offer took to the other side. The answer may take as long.
    way: Duration,
}

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Any path that works.
    Restart,
    /// A direct one in place of a relayed one.
    Upgrade,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// It is on its way, or waits for the other side to be back.
    Underway,
    /// The other side made it, and our answer is on its way.
    Answering,
    /// The other side has all that we say.
    Delivered,
}

impl Recovery {
    /// The call is answered now.
    #[must_use]
    pub fn new(config: RecoveryConfig, side: Side, now: Instant, signaling: Signaling) -> Self {
        Self {
            side,
            heard_at: now,
            audio: Audio::Awaited,
            wanted: None,
            attempt: None,
            failed_attempts: 0,
            not_before: now,
            doubt_at: now + config.silent_after,
            signaling,
            // A callee does not know yet whether its answer arrives.
            reachable_since: (signaling == Signaling::Up && side == Side::Caller).then_some(now),
            mute_since: None,
            relayed_since: None,
            failed_upgrades: 0,
            config,
        }
    }

    /// A packet of the other side's audio arrived.
    pub fn handle_audio(&mut self, now: Instant) {
        self.heard_at = now;
        self.audio = Audio::Flowing;
        self.mute_since = None;
        self.failed_attempts = 0;
        if matches!(
            self.wanted,
            Some(Trouble::Silence | Trouble::NetworkBack | Trouble::PathFailed)
        ) {
            self.wanted = None;
        }
    }

    /// Something is wrong with the path. Where the reason makes what was gathered useless, an attempt
    /// under way starts over.
    pub fn handle_trouble(&mut self, now: Instant, trouble: Trouble) -> Option<RecoveryAction> {
        self.wanted = self.wanted.max(Some(trouble));
        let starts_over = matches!(
            trouble,
            Trouble::AddressesChanged
                | Trouble::NetworkBack
                | Trouble::SocketLost
                | Trouble::ConsentLost
        );
        if starts_over {
            self.not_before = now;
            return self.abandon(now, |_| true);
        }
        None
    }

    /// Signaling is up or down. Where it comes back to a silent call, the network has come back; and
    /// what was gathered for an offer that did not get out is of no use, whether audio flows or not.
    pub fn handle_signaling(
        &mut self,
        now: Instant,
        signaling: Signaling,
    ) -> Option<RecoveryAction> {
        let before = std::mem::replace(&mut self.signaling, signaling);
        match (before, signaling) {
            (_, Signaling::Down) => self.reachable_since = None,
            (Signaling::Down, Signaling::Up) if self.is_quiet(now) => {
                return self.handle_trouble(now, Trouble::NetworkBack);
            }
            (Signaling::Down, Signaling::Up) => {
                return self.abandon(now, |attempt| attempt.offer == Offer::Underway);
            }
            _ => {}
        }
        None
    }

    /// The app stood still until now. Nothing could be heard meanwhile, so nothing follows from that.
    pub fn handle_awake(&mut self, now: Instant) {
        let silent_since = now.checked_sub(self.config.silent_after).unwrap_or(now);
        self.heard_at = self.heard_at.max(silent_since);
        self.reachable_since = None;
        self.not_before = now;
        self.doubt_at = now;
        if let Some(attempt) = &mut self.attempt {
            attempt.since = now;
        }
    }

    /// The other side said something, or acknowledged something.
    pub fn handle_peer_heard(&mut self, now: Instant) {
        if self.signaling == Signaling::Up {
            self.reachable_since.get_or_insert(now);
        }
    }

    /// The other side has the offer of the attempt under way.
    pub fn handle_offer_delivered(&mut self, now: Instant) {
        self.handle_peer_heard(now);
        if let Some(attempt) = &mut self.attempt
            && attempt.offer == Offer::Underway
        {
            attempt.offer = Offer::Delivered;
            attempt.way = now.saturating_duration_since(attempt.since);
            attempt.since = now;
        }
    }

    /// The other side has our answer to the offer that it made.
    pub fn handle_answer_delivered(&mut self, now: Instant) {
        self.handle_peer_heard(now);
        if let Some(attempt) = &mut self.attempt
            && attempt.offer == Offer::Answering
        {
            attempt.offer = Offer::Delivered;
            attempt.since = now;
        }
    }

    /// The other side began an attempt, which takes the place of ours.
    pub fn handle_remote_attempt(&mut self, now: Instant, aim: Aim) {
        self.handle_peer_heard(now);
        self.attempt = Some(Attempt {
            aim,
            offer: Offer::Answering,
            since: now,
            way: Duration::ZERO,
        });
    }

    /// What was to begin now would take the place of an offer that the other side has not answered yet, and
    /// waits for another while.
    pub fn handle_postponed(&mut self, now: Instant) {
        self.attempt = None;
        self.not_before = now + self.config.attempt_limit;
    }

    /// The new generation has taken over. What was wrong with the old one matters no more.
    pub fn handle_taken_over(&mut self, now: Instant) {
        self.attempt = None;
        self.wanted = None;
        self.mute_since = Some(now);
    }

    /// The generation that was begun has failed before it took over.
    pub fn handle_attempt_failed(&mut self, now: Instant) {
        if let Some(attempt) = self.attempt.take() {
            self.count_failure(now, attempt.aim);
        }
    }

    /// The path in use is of this kind.
    pub fn handle_path(&mut self, now: Instant, path: Path) {
        self.relayed_since = match path {
            Path::Direct => None,
            Path::Relayed => Some(now),
        };
        self.failed_upgrades = 0;
    }

    /// Says what is due, one thing at a time: call it until it has nothing to say.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<RecoveryAction> {
        loop {
            let (at, timer) = self.poll_timeout()?;
            if at > now {
                return None;
            }
            match timer {
                RecoveryTimer::Unacknowledged => self.reachable_since = None,
                RecoveryTimer::GiveUp => return Some(RecoveryAction::GiveUp),
                RecoveryTimer::FirstAudio => {
                    self.wanted = self.wanted.max(Some(Trouble::Silence));
                }
                RecoveryTimer::Silence => {
                    self.audio = Audio::Silent;
                    self.doubt_at = now;
                    self.wanted = self.wanted.max(Some(Trouble::Silence));
                    return Some(RecoveryAction::Interrupted);
                }
                RecoveryTimer::Mute => {
                    self.mute_since = None;
                    self.wanted = self.wanted.max(Some(Trouble::Silence));
                }
                RecoveryTimer::DoubtSignaling => {
                    self.doubt_at = now + self.config.silent_after;
                    return Some(RecoveryAction::CheckSignaling);
                }
                RecoveryTimer::Attempt => {
                    self.handle_attempt_failed(now);
                    return Some(RecoveryAction::Abandon);
                }
                RecoveryTimer::NextAttempt => {
                    self.begin(now, Aim::Restart);
                    return self.wanted.map(RecoveryAction::Restart);
                }
                RecoveryTimer::Upgrade => {
                    self.begin(now, Aim::Upgrade);
                    return Some(RecoveryAction::Upgrade);
                }
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, RecoveryTimer)> {
        let timers = [
            (self.first_audio_at(), RecoveryTimer::FirstAudio),
            (self.silent_at(), RecoveryTimer::Silence),
            (self.mute_at(), RecoveryTimer::Mute),
            (self.doubt_signaling_at(), RecoveryTimer::DoubtSignaling),
            (self.unacknowledged_at(), RecoveryTimer::Unacknowledged),
            (self.attempt_ends_at(), RecoveryTimer::Attempt),
            (self.next_attempt_at(), RecoveryTimer::NextAttempt),
            (self.upgrade_at(), RecoveryTimer::Upgrade),
            (self.give_up_at(), RecoveryTimer::GiveUp),
        ];
        let timers = timers.into_iter();
        timers.filter_map(|(at, timer)| Some((at?, timer))).min()
    }

    /// When another path is looked for beside the one that the call began with. What was gathered for it
    /// may have been of no use: a name server or the relays may have been away for just that moment. The
    /// caller goes first, so that the two do not cross.
    fn first_audio_at(&self) -> Option<Instant> {
        let is_first = self.wanted.is_none() && self.attempt.is_none() && self.mute_since.is_none();
        let patience = match self.side {
            Side::Caller => self.config.attempt_limit,
            Side::Callee => self.config.attempt_limit + self.config.unacknowledged_after,
        };
        let waits = self.audio == Audio::Awaited && is_first;
        waits.then(|| self.heard_at + patience)
    }

    fn silent_at(&self) -> Option<Instant> {
        let flows = self.audio == Audio::Flowing;
        flows.then(|| self.heard_at + self.config.silent_after)
    }

    /// Twice the usual, since the other side may take the path a round trip later.
    fn mute_at(&self) -> Option<Instant> {
        Some(self.mute_since? + self.config.silent_after * 2)
    }

    fn doubt_signaling_at(&self) -> Option<Instant> {
        let is_needed = self.signaling == Signaling::Up && self.audio != Audio::Flowing;
        is_needed.then_some(self.doubt_at)
    }

    /// When an offer that does not arrive tells that the other side is away.
    fn unacknowledged_at(&self) -> Option<Instant> {
        let attempt = self.attempt.filter(|each| each.offer == Offer::Underway)?;
        self.reachable_since?;
        Some(attempt.since + self.config.unacknowledged_after)
    }

    /// What waits for the other side to be back is not counted against the path, nor what is on its way
    /// for as long as messages are.
    fn attempt_ends_at(&self) -> Option<Instant> {
        let attempt = self.attempt?;
        let limit = self.config.attempt_limit;
        let patience = match attempt.offer {
            Offer::Underway => return None,
            Offer::Answering => limit * 2,
            Offer::Delivered => limit + attempt.way.min(limit * 2),
        };
        Some(attempt.since + patience)
    }

    fn next_attempt_at(&self) -> Option<Instant> {
        // A search for a better path gives way to one for any.
        let is_free = self
            .attempt
            .is_none_or(|attempt| attempt.aim == Aim::Upgrade);
        let may_begin = self.signaling == Signaling::Up && is_free;
        (may_begin && self.wanted.is_some()).then_some(self.not_before)
    }

    fn upgrade_at(&self) -> Option<Instant> {
        let may_begin = self.signaling == Signaling::Up
            && self.attempt.is_none()
            && self.audio == Audio::Flowing;
        let since = self.relayed_since.filter(|_| may_begin)?;
        let growth = UPGRADE_GROWTH.saturating_pow(self.failed_upgrades);
        // The callee waits for the caller to do it. But of two sides that talk through the relay of one, the
        // other may not know that there is one.
        let patience = match self.side {
            Side::Caller => self.config.upgrade_after,
            Side::Callee => self.config.upgrade_after * 2,
        };
        let wait = patience.saturating_mul(growth);
        Some((since + wait.min(UPGRADE_WAIT_MAX)).max(self.not_before))
    }

    /// When the call is given up if nothing more is heard.
    fn give_up_at(&self) -> Option<Instant> {
        if self.audio == Audio::Flowing {
            return None;
        }
        let without_anybody = self.heard_at + self.config.limit;
        let since = self.reachable_since.map(|since| since.max(self.heard_at));
        let without_path = since.map(|since| since + self.config.unreachable_after);
        Some(without_path.map_or(without_anybody, |at| at.min(without_anybody)))
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.audio != Audio::Flowing || now >= self.heard_at + self.config.silent_after
    }

    /// Drops the attempt under way, if it is one of these. It says nothing of a direct path.
    fn abandon(
        &mut self,
        now: Instant,
        is_meant: impl FnOnce(&mut Attempt) -> bool,
    ) -> Option<RecoveryAction> {
        let attempt = self.attempt.take_if(is_meant)?;
        if attempt.aim == Aim::Upgrade {
            self.wait_from(now);
        }
        Some(RecoveryAction::Abandon)
    }

    fn begin(&mut self, now: Instant, aim: Aim) {
        self.attempt = Some(Attempt {
            aim,
            offer: Offer::Underway,
            since: now,
            way: Duration::ZERO,
        });
    }

    fn count_failure(&mut self, now: Instant, aim: Aim) {
        if aim == Aim::Restart {
            self.failed_attempts += 1;
            let delay = self.config.delay * 2_u32.saturating_pow(self.failed_attempts - 1);
            self.not_before = now + delay.min(self.config.delay_max);
            // Whatever the attempt was for is not cured by its failure.
            if self.audio != Audio::Flowing {
                self.wanted = self.wanted.max(Some(Trouble::PathFailed));
            }
        } else {
            self.failed_upgrades += 1;
            self.wait_from(now);
        }
    }

    /// The wait for the next search for a direct path begins, where the present one is relayed.
    fn wait_from(&mut self, now: Instant) {
        if let Some(since) = &mut self.relayed_since {
            *since = now;
        }
    }
}

#[cfg(test)]
mod tests;
