//! Whether the other side still agrees to be sent media (RFC 7675), and how often it is asked (pure).
//!
//! The agent takes whatever comes from the other side for a sign of life, and goes on sending for ever
//! where it hears and is not heard. Consent is the answer to a check and nothing else.
//!
//! The agent checks each pair for as long as it looks for a path, as often in the end as in the beginning.
//! Most pairs never work, and where none does, that is 160 checks a second for most of a minute. So a pair
//! that stays unanswered is checked less often after a while.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha12Rng;
use tokio::time::Instant;

/// How long a valid answer counts (RFC 7675 section 5.1).
const CONSENT_LIFETIME: Duration = Duration::from_secs(30);

/// Between two checks: 5 s, made longer or shorter by a fifth at random, and never less than 4 s (RFC
/// 7675 section 5.1). The agent offers a check every 0.4 s at most, which the longest wait leaves room
/// for.
const CHECK_WAIT_MILLISECONDS: RangeInclusive<u64> = 4_000..=5_600;

/// For how long a pair is checked as often as the agent likes: many times the round trips that it takes for
/// both sides to open their NATs, losses included.
const FREQUENT_FOR: Duration = Duration::from_secs(5);

/// Between two checks of a pair that nobody has answered in that time: the least timeout after which RFC
/// 8445 section 14.3 repeats a check.
const UNANSWERED_WAIT: Duration = Duration::from_millis(500);

/// How many checks may be unanswered at once: more than are sent before consent expires.
const UNANSWERED_MAX: usize = 64;

/// Where something goes: this side's socket, where its packets go first, and where in the end.
pub(super) type Path = (SocketAddr, SocketAddr, SocketAddr);

/// Whether something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    Granted,
    /// It would be one check too many.
    NotYet,
    /// The other side has not agreed for too long.
    Expired,
    /// The same, for the first time.
    JustExpired,
}

/// The other side's consent, by path.
#[derive(Debug)]
pub(super) struct Consents {
    random: ChaCha12Rng,
    paths: BTreeMap<Path, Consent>,
}

#[derive(Debug, Default)]
struct Consent {
    /// Their transactions, and when they were sent.
    unanswered: VecDeque<([u8; 12], Instant)>,
    /// When the last check was sent that was answered. An answer can wait for long in the socket of an
    /// application that stands still, so when it is read says nothing.
    agreed_at: Option<Instant>,
    /// Checks of a path in use are for consent, and slow; those before it are for finding a path.
    in_use: bool,
    /// When it was first checked, or when the other side has checked it last.
    news_at: Option<Instant>,
    check_at: Option<Instant>,
    expired: bool,
}

impl Consents {
    /// `random` spreads the checks.
    pub(super) fn new(random: ChaCha12Rng) -> Self {
        Self {
            random,
            paths: BTreeMap::new(),
        }
    }

    /// A check is about to be sent.
    pub(super) fn check(&mut self, now: Instant, path: Path, transaction: [u8; 12]) -> Permit {
        let spread = Duration::from_millis(self.random.random_range(CHECK_WAIT_MILLISECONDS));
        let consent = self.paths.entry(path).or_default();
        let permit = consent.permit(now);
        if permit != Permit::Granted {
            return permit;
        }
        consent.news_at.get_or_insert(now);
        if let Some(wait) = consent.wait(now, spread) {
            if consent.check_at.is_some_and(|at| at > now) {
                return Permit::NotYet;
            }
            consent.check_at = Some(now + wait);
        }
        if consent.unanswered.len() == UNANSWERED_MAX {
            consent.unanswered.pop_front();
        }
        consent.unanswered.push_back((transaction, now));
        Permit::Granted
    }

    /// The other side has checked a path: packets pass at least one way. That is news each time. Of all pairs
    /// that are unanswered, one that works in one direction is the likeliest to work in both.
    pub(super) fn checked(&mut self, now: Instant, path: Path) {
        if let Some(consent) = self.paths.get_mut(&path) {
            consent.news_at = Some(now);
        }
    }

    /// Media or DTLS is about to be sent.
    pub(super) fn media(&mut self, now: Instant, path: Path) -> Permit {
        let Some(consent) = self.paths.get_mut(&path) else {
            return Permit::Granted;
        };
        if !consent.in_use {
            consent.in_use = true;
            // The check that found the path is the first one.
            consent.agreed_at.get_or_insert(now);
            consent.check_at = Some(now + Duration::from_millis(*CHECK_WAIT_MILLISECONDS.start()));
        }
        consent.permit(now)
    }

    /// Whether a check of `path` has been answered by one who knows the other side's password.
    pub(super) fn is_answered(&self, path: Path) -> bool {
        let consent = self.paths.get(&path);
        consent.is_some_and(|consent| consent.agreed_at.is_some())
    }

    /// A check was answered by one who knows the other side's password.
    pub(super) fn answered(&mut self, path: Path, transaction: [u8; 12]) {
        if let Some(consent) = self.paths.get_mut(&path)
            && let Some(at) = consent
                .unanswered
                .iter()
                .position(|(each, _)| *each == transaction)
            && let Some((_, sent_at)) = consent.unanswered.remove(at)
        {
            // Answers may overtake each other.
            consent.agreed_at = consent.agreed_at.max(Some(sent_at));
        }
    }
}

impl Consent {
    /// How long the next check has to wait; `None` where the agent may ask as often as it likes. A path in
    /// use is asked in intervals that are `spread` by chance.
    fn wait(&self, now: Instant, spread: Duration) -> Option<Duration> {
        if self.in_use {
            return Some(spread);
        }
        let is_old = |since| now.saturating_duration_since(since) >= FREQUENT_FOR;
        let is_unpromising = self.agreed_at.is_none() && self.news_at.is_some_and(is_old);
        is_unpromising.then_some(UNANSWERED_WAIT)
    }

    /// What has expired stays so: only a restart, with other credentials, brings it back.
    fn permit(&mut self, now: Instant) -> Permit {
        if self.expired {
            return Permit::Expired;
        }
        let is_old = |at: Instant| now.saturating_duration_since(at) >= CONSENT_LIFETIME;
        if self.in_use && self.agreed_at.is_some_and(is_old) {
            self.expired = true;
            return Permit::JustExpired;
        }
        Permit::Granted
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const PATH_PORT: u16 = 5000;

    fn path() -> Path {
        let address = |last: u8| SocketAddr::from(([10, 0, 0, last], PATH_PORT));
        (address(1), address(2), address(2))
    }

    /// A path in use, over which a check of the transaction 0 was answered at the start.
    fn in_use(start: Instant) -> Consents {
        let mut consents = Consents::new(ChaCha12Rng::seed_from_u64(1));
        assert_eq!(consents.check(start, path(), [0; 12]), Permit::Granted);
        consents.answered(path(), [0; 12]);
        assert_eq!(consents.media(start, path()), Permit::Granted);
        consents
    }

    /// What comes of media in each second until `until`, beside checks that are offered five times a
    /// second and answered where `answers` says so. The checks that left, in milliseconds.
    fn run(
        consents: &mut Consents,
        start: Instant,
        seconds: u64,
        answers: impl Fn(u64) -> bool,
    ) -> (Vec<Permit>, Vec<u64>) {
        let (mut media, mut checks) = (Vec::new(), Vec::new());
        for at in (0..seconds * 1000).step_by(200) {
            let now = start + Duration::from_millis(at);
            let mut transaction = [1; 12];
            transaction[..8].copy_from_slice(&at.to_be_bytes());
            if consents.check(now, path(), transaction) == Permit::Granted {
                checks.push(at);
                if answers(at) {
                    consents.answered(path(), transaction);
                }
            }
            if at % 1000 == 0 {
                media.push(consents.media(now, path()));
            }
        }
        (media, checks)
    }

    #[test]
    fn consent_that_is_renewed_lasts_and_its_checks_are_spread() {
        let start = Instant::now();
        let (media, checks) = run(&mut in_use(start), start, 600, |_| true);
        assert!(media.iter().all(|permit| *permit == Permit::Granted));
        let waits: Vec<u64> = checks.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            waits.iter().all(|wait| (4000..=6000).contains(wait)),
            "{waits:?}"
        );
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }

    #[test]
    fn nothing_is_sent_after_30_s_without_an_answer() {
        let start = Instant::now();
        let (media, checks) = run(&mut in_use(start), start, 60, |_| false);
        let sent = media
            .iter()
            .take_while(|permit| **permit == Permit::Granted);
        assert_eq!(sent.count(), 30);
        assert!(media[31..].iter().all(|permit| *permit == Permit::Expired));
        assert!(checks.iter().all(|at| *at < 30_000), "{checks:?}");
    }

    #[test]
    fn an_answer_that_nobody_waits_for_is_no_consent() {
        let start = Instant::now();
        let mut consents = in_use(start);
        consents.answered(path(), [9; 12]);
        let over = start + CONSENT_LIFETIME;
        assert_eq!(consents.media(over, path()), Permit::JustExpired);
    }

    #[test]
    fn consent_lasts_from_when_it_was_asked_for() {
        let start = Instant::now();
        let mut consents = in_use(start);
        let asked = start + Duration::from_secs(10);
        assert_eq!(consents.check(asked, path(), [1; 12]), Permit::Granted);
        // The answer was there soon, and the application stood still for 29 s before it read it.
        consents.answered(path(), [1; 12]);
        let before = asked + CONSENT_LIFETIME - Duration::from_millis(1);
        assert_eq!(consents.media(before, path()), Permit::Granted);
        let over = asked + CONSENT_LIFETIME;
        assert_eq!(consents.media(over, path()), Permit::JustExpired);
    }

    #[test]
    fn consent_that_has_expired_does_not_come_back() {
        let start = Instant::now();
        let mut consents = in_use(start);
        let check_at = start + Duration::from_secs(20);
        assert_eq!(consents.check(check_at, path(), [1; 12]), Permit::Granted);
        let over = start + CONSENT_LIFETIME;
        assert_eq!(consents.media(over, path()), Permit::JustExpired);
        consents.answered(path(), [1; 12]);
        assert_eq!(consents.media(over, path()), Permit::Expired);
        assert_eq!(consents.check(over, path(), [2; 12]), Permit::Expired);
    }

    /// How many checks leave in each of these seconds, of a path that nobody answers and on which the other
    /// side checks in the second `checked`.
    fn unanswered(seconds: u64, checked: u64) -> Vec<usize> {
        let start = Instant::now();
        let mut consents = Consents::new(ChaCha12Rng::seed_from_u64(1));
        let count = |second| {
            let offered = (0..1000).step_by(100).filter(|milliseconds| {
                let now = start + Duration::from_millis(second * 1000 + milliseconds);
                if second == checked {
                    consents.checked(now, path());
                }
                consents.check(now, path(), [1; 12]) == Permit::Granted
            });
            offered.count()
        };
        (0..seconds).map(count).collect()
    }

    #[test]
    fn a_pair_that_nobody_answers_is_checked_less_often_after_a_while() {
        assert_eq!(unanswered(7, 100), [10, 10, 10, 10, 10, 2, 2]);
    }

    #[test]
    fn a_pair_that_was_answered_is_checked_as_often_as_the_agent_likes() {
        let start = Instant::now();
        let mut consents = Consents::new(ChaCha12Rng::seed_from_u64(1));
        assert_eq!(consents.check(start, path(), [0; 12]), Permit::Granted);
        consents.answered(path(), [0; 12]);
        // Its nomination may be late, and must not wait.
        let late = start + FREQUENT_FOR * 2;
        for transaction in 1..9 {
            let permit = consents.check(late, path(), [transaction; 12]);
            assert_eq!(permit, Permit::Granted);
        }
    }

    #[test]
    fn the_other_sides_check_makes_a_pair_new() {
        assert_eq!(unanswered(9, 7), [10, 10, 10, 10, 10, 2, 2, 10, 10]);
    }

    #[test]
    fn checks_before_a_path_is_in_use_are_not_slowed() {
        let start = Instant::now();
        let mut consents = Consents::new(ChaCha12Rng::seed_from_u64(1));
        for transaction in 0..9 {
            let permit = consents.check(start, path(), [transaction; 12]);
            assert_eq!(permit, Permit::Granted);
        }
    }
}
