//! Whether the path to the server still carries anything (pure).
//!
//! A path can die without a sign: the server loses its power, a firewall forgets the connection, the
//! phone leaves the network. A server's heartbeat tells three quarters of a minute later, and whoever
//! calls meanwhile waits as long. So silence is doubted much sooner, by a question that a live server
//! answers at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::SignalingConfig;
use crate::signaling::socket_io::later;

/// The least time that an answer may take, however near the server is: enough for TCP to send the
/// question and the answer again after a loss (RFC 6298 section 2.4 lets it wait for a second).
const ANSWER_LIMIT_MIN: Duration = Duration::from_millis(1500);

/// How many round trips an answer may take: room for two losses in a row.
const ROUND_TRIPS: u32 = 8;

/// The inverse of how much a new measurement weighs (RFC 6298 section 2.3).
const SMOOTHING: u32 = 8;

/// The least silence that is doubted. With none at all, each answer would be followed by a question.
const SILENCE_MIN: Duration = Duration::from_millis(100);

/// What a [`PathCheck`] allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathLimits {
    /// How long nothing may arrive before the path is doubted; `None` for as long as nobody asks.
    pub silence: Option<Duration>,
    /// The most time that an answer may take.
    pub answer: Duration,
}

/// The silence, the question and its answer on one connection.
#[derive(Debug)]
pub struct PathCheck {
    limits: PathLimits,
    heard_at: Instant,
    question: Option<Question>,
    /// Smoothed; `None` before the first answer.
    round_trip: Option<Duration>,
}

/// What a [`PathCheck`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathTimer {
    /// Silence has lasted so long that the question is due.
    Silence,
    /// The question is not answered in time.
    Answer,
}

#[derive(Debug, Clone, Copy)]
struct Question {
    asked_at: Instant,
    limit: Duration,
}

impl PathLimits {
    /// The limits of a configuration.
    #[must_use]
    pub fn from_config(config: &SignalingConfig) -> Self {
        Self {
            silence: config.check_after.map(|silence| silence.max(SILENCE_MIN)),
            answer: config.check_limit,
        }
    }
}

impl PathCheck {
    /// The connection was opened, which is the first thing heard over it.
    #[must_use]
    pub fn new(limits: PathLimits, now: Instant) -> Self {
        Self {
            limits,
            heard_at: now,
            question: None,
            round_trip: None,
        }
    }

    /// Something arrived that nobody asked for, or something long goes out, or reading begins again. It ends the
    /// doubt, and tells nothing of how long an answer takes: it may have been on its way before.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.question = None;
    }

    /// An answer arrived, as a question provokes it.
    pub fn handle_answered(&mut self, now: Instant) {
        if let Some(question) = self.question {
            let sample = now.saturating_duration_since(question.asked_at);
            self.round_trip = Some(match self.round_trip {
                None => sample,
                Some(known) => (known * (SMOOTHING - 1) + sample) / SMOOTHING,
            });
        }
        self.handle_heard(now);
    }

    /// The path is doubted. Says whether the question has to be asked now, which it has not where one
    /// is unanswered.
    #[must_use]
    pub fn doubt(&mut self, now: Instant) -> bool {
        if self.question.is_some() {
            return false;
        }
        self.question = Some(Question {
            asked_at: now,
            limit: self.answer_limit(),
        });
        true
    }

    /// The limit that ran out, where the path has to count as dead.
    #[must_use]
    pub fn expired(&self, now: Instant) -> Option<Duration> {
        let question = self.question.filter(|question| question.deadline() <= now);
        question.map(|question| question.limit)
    }

    /// Whether the path has to be doubted for its silence.
    #[must_use]
    pub fn is_silent(&self, now: Instant) -> bool {
        self.poll_timeout()
            .is_some_and(|(at, timer)| timer == PathTimer::Silence && at <= now)
    }

    /// When something is due, and what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, PathTimer)> {
        match (self.question, self.limits.silence) {
            (Some(question), _) => Some((question.deadline(), PathTimer::Answer)),
            (None, Some(silence)) => Some((later(self.heard_at, silence), PathTimer::Silence)),
            (None, None) => None,
        }
    }

    fn answer_limit(&self) -> Duration {
        let usual = self.round_trip.map(|round_trip| {
            let several = round_trip.saturating_mul(ROUND_TRIPS);
            several.max(ANSWER_LIMIT_MIN)
        });
        usual.map_or(self.limits.answer, |usual| usual.min(self.limits.answer))
    }
}

impl Question {
    fn deadline(&self) -> Instant {
        later(self.asked_at, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn check_of(silence: Option<Duration>) -> (PathCheck, Instant) {
        let now = Instant::now();
        let limits = PathLimits {
            silence,
            answer: 3 * SECOND,
        };
        (PathCheck::new(limits, now), now)
    }

    #[test]
    fn silence_is_doubted_and_whatever_is_heard_puts_the_doubt_off() {
        let (mut check, start) = check_of(Some(6 * SECOND));
        let silent_at = |check: &PathCheck| match check.poll_timeout() {
            Some((at, PathTimer::Silence)) => at - start,
            other => panic!("{other:?}"),
        };
        assert_eq!(silent_at(&check), 6 * SECOND);
        check.handle_heard(start + 5 * SECOND);
        assert_eq!(silent_at(&check), 11 * SECOND);
        assert!(!check.is_silent(start + 10 * SECOND));
        assert!(check.is_silent(start + 11 * SECOND));
        assert!(check.doubt(start + 11 * SECOND));
        assert!(!check.is_silent(start + 12 * SECOND), "the question is out");
        check.handle_answered(start + 12 * SECOND);
        assert_eq!(silent_at(&check), 18 * SECOND);
    }

    #[test]
    fn one_question_is_asked_at_a_time_and_its_limit_runs_from_the_first_doubt() {
        let (mut check, start) = check_of(None);
        assert_eq!(check.poll_timeout(), None);
        assert!(check.doubt(start));
        assert!(!check.doubt(start + SECOND));
        let deadline = start + 3 * SECOND;
        assert_eq!(check.poll_timeout(), Some((deadline, PathTimer::Answer)));
        assert_eq!(check.expired(deadline - Duration::from_millis(1)), None);
        assert_eq!(check.expired(deadline), Some(3 * SECOND));
        check.handle_heard(deadline);
        assert_eq!(
            (check.expired(deadline), check.poll_timeout()),
            (None, None)
        );
    }

    #[test]
    fn a_silence_of_nothing_is_not_doubted_without_a_pause() {
        let limits = PathLimits::from_config(&SignalingConfig {
            check_after: Some(Duration::ZERO),
            ..SignalingConfig::default()
        });
        let now = Instant::now();
        let check = PathCheck::new(limits, now);
        assert!(check.poll_timeout().is_some_and(|(at, _)| at > now));
    }

    /// The limit of the question after answers that took these milliseconds.
    #[track_caller]
    fn check_limit(answers: &[u64], expected: u64) {
        let (mut check, mut now) = check_of(None);
        for answer in answers {
            assert!(check.doubt(now));
            now += Duration::from_millis(*answer);
            check.handle_answered(now);
        }
        assert!(check.doubt(now));
        let (at, _) = check.poll_timeout().expect("a question");
        assert_eq!(at - now, Duration::from_millis(expected), "{answers:?}");
    }

    #[test]
    fn the_limit_is_eight_round_trips_within_its_bounds() {
        check_limit(&[], 3000);
        check_limit(&[1], 1500);
        check_limit(&[187], 1500);
        check_limit(&[250], 2000);
        check_limit(&[600], 3000);
        // An outlier counts for an eighth.
        check_limit(&[200, 1000], 8 * (7 * 200 + 1000) / 8);
        check_limit(&[300, 100], 7 * 300 + 100);
    }

    #[test]
    fn what_nobody_asked_for_is_no_measurement() {
        let (mut check, start) = check_of(None);
        assert!(check.doubt(start));
        check.handle_heard(start);
        check.handle_answered(start + SECOND);
        assert!(check.doubt(start + SECOND));
        let at = check.poll_timeout().map(|(at, _)| at);
        assert_eq!(at, Some(start + 4 * SECOND));
    }

    #[test]
    fn a_configured_limit_below_the_least_one_holds() {
        let limits = PathLimits {
            silence: None,
            answer: SECOND,
        };
        let now = Instant::now();
        let mut check = PathCheck::new(limits, now);
        for _ in 0..2 {
            assert!(check.doubt(now));
            assert_eq!(check.poll_timeout().map(|(at, _)| at), Some(now + SECOND));
            check.handle_answered(now);
        }
    }
}
