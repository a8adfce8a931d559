//! Whether every fault and perturbation of a scenario struck and showed: one without an effect tests
//! nothing.

use super::facts::Facts;
use crate::fault::Fault;
use crate::perturbation::Perturbation;
use crate::report::{Failure, FailureCause};
use crate::trace::FaultPhase;

/// A failure for each fault that never began, or that began and changed nothing.
#[must_use]
pub fn without_effect(faults: &[Fault], facts: &Facts) -> Vec<Failure> {
    let of_fault = |index: usize| facts.faults.iter().filter(move |fact| fact.fault == index);
    let mut failures = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        let begun = of_fault(index).find(|fact| fact.phase == FaultPhase::Begins);
        let has_effect = |phase: &FaultPhase| matches!(phase, FaultPhase::Effect { .. });
        let what = match begun {
            Some(_) if of_fault(index).any(|fact| has_effect(&fact.phase)) => continue,
            Some(fact) => format!(
                "began at {:.3} s and had no effect, which would be that {}",
                fact.at.as_secs_f64(),
                fault.kind.effect()
            ),
            None => format!("never began ({})", fault.begin),
        };
        let line = fault.line.map(|line| format!(" on line {line}"));
        let line = line.unwrap_or_default();
        let message = format!("the fault {}{line} {what}", fault.kind);
        failures.push(Failure::new(FailureCause::FaultWithoutEffect, message));
    }
    failures
}

/// A failure for each perturbation that met no message.
#[must_use]
pub fn without_message(perturbations: &[Perturbation], facts: &Facts) -> Vec<Failure> {
    let has_met = |index: usize| {
        let mut events = facts.perturbed.iter();
        events.any(|(_, event)| event.perturbation == index)
    };
    let without = perturbations.iter().enumerate();
    without
        .filter(|(index, _)| !has_met(*index))
        .map(|(_, perturbation)| {
            let line = perturbation.line.map(|line| format!(" (line {line})"));
            let line = line.unwrap_or_default();
            let message =
                format!("{perturbation} was never delivered{line}, so it was not perturbed");
            Failure::new(FailureCause::FaultWithoutEffect, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::facts::FaultFact;
    use crate::fault::{Begin, Breakage, FaultKind};
    use crate::perturbation::{MessageDelay, MessageKind};
    use crate::trace::{MessageEvent, MessagePhase};

    /// What is said of a socket drop on line 12 of which the trace shows `phases`.
    fn said(phases: &[FaultPhase]) -> Vec<String> {
        let fault = Fault {
            kind: FaultKind::SocketDrop {
                peer: "alice".to_owned(),
                how: Breakage::Rst,
            },
            begin: Begin::AfterAudio(Duration::from_secs(1)),
            lasts: None,
            line: Some(12),
        };
        let faults = phases.iter().map(|phase| FaultFact {
            at: Duration::from_millis(3_500),
            fault: 0,
            phase: phase.clone(),
        });
        let facts = Facts {
            faults: faults.collect(),
            ..Facts::default()
        };
        let failures = without_effect(&[fault], &facts);
        let is_effect = |failure: &Failure| failure.cause == FailureCause::FaultWithoutEffect;
        assert!(failures.iter().all(is_effect));
        failures
            .into_iter()
            .map(|failure| failure.message)
            .collect()
    }

    #[test]
    fn a_fault_that_shows_is_no_failure() {
        let what = "1 connection cut".to_owned();
        let phases = [FaultPhase::Begins, FaultPhase::Effect { what }];
        assert_eq!(said(&phases), [""; 0]);
    }

    #[test]
    fn a_fault_without_an_effect_is_a_failure() {
        assert_eq!(
            said(&[FaultPhase::Begins]),
            [
                "the fault socket-drop alice (rst) on line 12 began at 3.500 s and had no effect, \
                 which would be that the peer's signaling connection is cut"
            ],
        );
    }

    #[test]
    fn a_fault_that_never_began_is_a_failure() {
        assert_eq!(
            said(&[]),
            ["the fault socket-drop alice (rst) on line 12 never began (audio + 1s)"],
        );
    }

    #[test]
    fn a_perturbation_that_meets_no_message_is_a_failure() {
        let perturbation = Perturbation {
            from: "alice".to_owned(),
            kind: MessageKind::Answer,
            which: Some(2),
            lost: 1,
            delay: MessageDelay::NONE,
            copies: 1,
            copy_delay: Duration::ZERO,
            until: None,
            beside: None,
            line: Some(9),
        };
        let met = MessageEvent {
            perturbation: 0,
            from: "alice".to_owned(),
            kind: "answer".to_owned(),
            number: 2,
            phase: MessagePhase::Lost,
        };
        let facts = Facts {
            perturbed: vec![(Duration::ZERO, met)],
            ..Facts::default()
        };
        let both = [perturbation.clone(), perturbation];
        let failures = without_message(&both, &facts);
        let said: Vec<_> = failures.iter().map(|each| each.message.as_str()).collect();
        assert_eq!(
            said,
            ["alice's answer 2 was never delivered (line 9), so it was not perturbed"]
        );
    }
}
