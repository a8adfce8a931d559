//! What was expected against what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::scenario::model::{CallPath, CandidateType, Expectation};
use crate::scenario::value::format_duration;

use crate::report::{Failure, FailureCause, Outcome};

/// What a run shows of its call, as far as a scenario can expect anything of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What came of the call until audio was connected or was not.
    pub outcome: Outcome,
    /// Whether audio, once connected, was there as long as it had to be.
    pub kept: Kept,
    /// The cause that the run names where the outcome is not audio.
    pub cause: Option<String>,
    /// The time from the answer until both sides were audio-connected.
    pub time_to_audio: Option<Duration>,
    /// The local side of each peer's selected pair.
    pub selected: BTreeMap<String, CandidateType>,
}

/// What became of audio once it was connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was there to the end of the call, but for the outages that faults are allowed.
    ToTheEnd,
    /// It was lost.
    Lost,
}

/// Everything in which `observed` is not what `expected` asks; empty where all came as expected.
#[must_use]
pub fn unmet(expected: &Expectation, observed: &Observed) -> Vec<Failure> {
    match (expected, observed.outcome) {
        (
            Expectation::AudioConnected {
                within,
                path,
                selected,
                // Audio that is not back is not kept, which the caller reports.
                back_within: _,
            },
            Outcome::AudioConnected,
        ) => {
            let mut failures = Vec::new();
            failures.extend(within.and_then(|within| too_late(within, observed)));
            failures.extend(path.and_then(|path| wrong_path(path, observed)));
            failures.extend(wrong_candidates(selected, observed));
            failures
        }
        (Expectation::Unreachable { cause }, Outcome::Unreachable)
        | (Expectation::NoAudio { cause }, Outcome::Unreachable | Outcome::Failed) => {
            wrong_cause(cause.as_deref(), observed)
                .into_iter()
                .collect()
        }
        (Expectation::AudioLost { cause }, Outcome::AudioConnected)
            if observed.kept == Kept::Lost =>
        {
            wrong_cause(cause.as_deref(), observed)
                .into_iter()
                .collect()
        }
        (expected, _) => {
            let named = observed.cause.as_deref();
            let named = named.map_or_else(String::new, |cause| format!(": {cause}"));
            let message = format!(
                "expected {}, and the call {}{named}",
                wanted(expected),
                happened(observed),
            );
            vec![Failure::new(FailureCause::WrongOutcome, message)]
        }
    }
}

fn too_late(within: Duration, observed: &Observed) -> Option<Failure> {
    let seen = match observed.time_to_audio {
        Some(seen) if seen <= within => return None,
        Some(seen) => format!("it came after {}", format_duration(seen)),
        None => "nobody answered".to_owned(),
    };
    let within = format_duration(within);
    let message = format!("expected audio within {within} of the answer, and {seen}");
    Some(Failure::new(FailureCause::TooLate, message))
}

fn wrong_path(path: CallPath, observed: &Observed) -> Option<Failure> {
    let seen = CallPath::of(&observed.selected);
    (seen != path).then(|| {
        let message = format!("expected {path} audio, and it is {seen}");
        Failure::new(FailureCause::WrongPath, message)
    })
}

fn wrong_candidates(
    expected: &BTreeMap<String, CandidateType>,
    observed: &Observed,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (peer, kind) in expected {
        let seen = observed.selected.get(peer);
        if seen.is_some_and(|seen| meets(*kind, *seen)) {
            continue;
        }
        let seen = seen.map_or_else(|| "none".to_owned(), ToString::to_string);
        let message = format!("expected {peer} to select a {kind} candidate, and it is {seen}");
        failures.push(Failure::new(FailureCause::WrongCandidate, message));
    }
    failures
}

/// Whether `seen` is what `expected` means. `srflx` and `prflx` meet each other: both name an address
/// that a NAT made, and which one is learned first is a race.
fn meets(expected: CandidateType, seen: CandidateType) -> bool {
    let learned = |kind| {
        matches!(
            kind,
            CandidateType::ServerReflexive | CandidateType::PeerReflexive
        )
    };
    expected == seen || (learned(expected) && learned(seen))
}

fn wrong_cause(expected: Option<&str>, observed: &Observed) -> Option<Failure> {
    let expected = expected?;
    let seen = observed.cause.as_deref().unwrap_or("");
    (!seen.contains(expected)).then(|| {
        let message = format!("expected a cause with {expected:?}, and the run names {seen:?}");
        Failure::new(FailureCause::WrongCause, message)
    })
}

fn wanted(expected: &Expectation) -> &'static str {
    match expected {
        Expectation::AudioConnected { .. } => "audio both ways",
        Expectation::Unreachable { .. } => "no way through",
        Expectation::NoAudio { .. } => "no audio both ways",
        Expectation::AudioLost { .. } => "audio both ways that is lost",
        Expectation::Settled { .. } => "what the networks allow",
    }
}

fn happened(observed: &Observed) -> &'static str {
    match (observed.outcome, observed.kept) {
        (Outcome::AudioConnected, Kept::ToTheEnd) => "has audio both ways",
        (Outcome::AudioConnected, Kept::Lost) => "had audio both ways and lost it",
        (Outcome::Unreachable, _) => "found no way through",
        (Outcome::Failed, _) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(alice: CandidateType, milliseconds: u64) -> Observed {
        Observed {
            outcome: Outcome::AudioConnected,
            kept: Kept::ToTheEnd,
            cause: None,
            time_to_audio: Some(Duration::from_millis(milliseconds)),
            selected: BTreeMap::from([
                ("alice".to_owned(), alice),
                ("bob".to_owned(), CandidateType::Host),
            ]),
        }
    }

    fn unreachable(cause: &str) -> Observed {
        Observed {
            outcome: Outcome::Unreachable,
            kept: Kept::ToTheEnd,
            cause: Some(cause.to_owned()),
            time_to_audio: None,
            selected: BTreeMap::new(),
        }
    }

    fn expected(within_ms: u64, path: CallPath, alice: CandidateType) -> Expectation {
        Expectation::AudioConnected {
            within: Some(Duration::from_millis(within_ms)),
            path: Some(path),
            selected: BTreeMap::from([("alice".to_owned(), alice)]),
            back_within: Duration::from_secs(5),
        }
    }

    fn causes(expected: &Expectation, observed: &Observed) -> Vec<FailureCause> {
        let failures = unmet(expected, observed);
        failures.into_iter().map(|failure| failure.cause).collect()
    }

    #[test]
    fn what_comes_as_expected_is_no_failure() {
        let expected = expected(500, CallPath::Direct, CandidateType::ServerReflexive);
        assert_eq!(
            causes(&expected, &connected(CandidateType::ServerReflexive, 500)),
            []
        );
        assert_eq!(
            causes(&expected, &connected(CandidateType::PeerReflexive, 1)),
            []
        );
        let cause = Some("UDP".to_owned());
        let expected = Expectation::Unreachable { cause };
        assert_eq!(causes(&expected, &unreachable("UDP is blocked")), []);
    }

    #[test]
    fn every_difference_is_named() {
        let expected = expected(500, CallPath::Direct, CandidateType::Host);
        assert_eq!(
            causes(&expected, &connected(CandidateType::Relayed, 501)),
            [
                FailureCause::TooLate,
                FailureCause::WrongPath,
                FailureCause::WrongCandidate
            ],
        );
        assert_eq!(
            causes(&expected, &unreachable("UDP is blocked")),
            [FailureCause::WrongOutcome],
        );
    }

    #[test]
    fn another_cause_than_the_expected_one_is_a_failure() {
        let cause = Some("TURN".to_owned());
        let failures = unmet(
            &Expectation::Unreachable { cause },
            &unreachable("UDP is blocked"),
        );
        assert_eq!(failures.len(), 1);
        assert_eq!(
            failures[0].message,
            "expected a cause with \"TURN\", and the run names \"UDP is blocked\"",
        );
    }

    #[test]
    fn an_unexpected_outcome_is_told_with_its_cause() {
        let failures = unmet(&Expectation::default(), &unreachable("UDP is blocked"));
        assert_eq!(
            failures[0].message,
            "expected audio both ways, and the call found no way through: UDP is blocked",
        );
    }

    fn lost(cause: Option<&str>) -> Observed {
        Observed {
            kept: Kept::Lost,
            cause: cause.map(str::to_owned),
            ..connected(CandidateType::Host, 1)
        }
    }

    #[test]
    fn no_audio_is_met_by_whatever_else_comes_of_the_call() {
        let expected = Expectation::NoAudio { cause: None };
        assert_eq!(causes(&expected, &unreachable("UDP is blocked")), []);
        let failed = Observed {
            outcome: Outcome::Failed,
            ..unreachable("")
        };
        assert_eq!(causes(&expected, &failed), []);
        let wrong = [FailureCause::WrongOutcome];
        assert_eq!(causes(&expected, &connected(CandidateType::Host, 1)), wrong);
        assert_eq!(causes(&expected, &lost(None)), wrong);
        let cause = Some("TURN".to_owned());
        let expected = Expectation::NoAudio { cause };
        assert_eq!(
            causes(&expected, &unreachable("UDP is blocked")),
            [FailureCause::WrongCause],
        );
    }

    #[test]
    fn audio_lost_is_met_only_by_audio_that_was_there() {
        let expected = Expectation::AudioLost { cause: None };
        assert_eq!(causes(&expected, &lost(None)), []);
        let wrong = [FailureCause::WrongOutcome];
        assert_eq!(causes(&expected, &unreachable("UDP is blocked")), wrong);
        assert_eq!(causes(&expected, &connected(CandidateType::Host, 1)), wrong);
        let cause = Some("no packet".to_owned());
        let expected = Expectation::AudioLost { cause };
        assert_eq!(causes(&expected, &lost(Some("no packet for 40 s"))), []);
        assert_eq!(causes(&expected, &lost(None)), [FailureCause::WrongCause]);
    }
}
