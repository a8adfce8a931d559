//! What becomes of each message that the signaling server sends out (pure).

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::delivery::Identity;
use crate::perturbation::{BadCandidate, MessageDelay, MessageKind, Perturbation};
use crate::trace::{MessageEvent, MessagePhase};

/// Decides for one run, over all connections.
///
/// Of what the server sends out, the first delivery of a message decides: from then on, however often
/// it is sent again, its time is set. Repetitions that come before that time wait for it too, as those
/// do that go to another device; what comes after it is left alone.
#[derive(Debug)]
pub(super) struct Perturber {
    rules: Vec<Rule>,
    known: BTreeMap<Identity, Known>,
    /// How many messages of each kind each user has sent.
    counts: BTreeMap<(String, String), u32>,
    /// How many messages each user has sent.
    counts_of_all: BTreeMap<String, u32>,
    next_sequence_number: u64,
}

#[derive(Debug)]
struct Rule {
    perturbation: Perturbation,
    random: ChaCha8Rng,
}

/// A message that was sent out before.
#[derive(Debug, Clone)]
struct Known {
    /// The perturbation that is for it, if one is.
    rule: Option<usize>,
    number: u32,
    lost: u32,
    /// Since the beginning of the run: the server's own clock begins anew when it is started again.
    due: Option<Duration>,
}

/// What becomes of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes its way.
    Pass,
    /// It is lost.
    Lost(MessageEvent),
    /// It arrives at these times, the first of which is the one that a repetition waits for.
    Late(Vec<Instant>, MessageEvent),
}

impl Perturber {
    /// Carries out `perturbations`; `stream` gives the generator of the stream with a label.
    pub(super) fn new(perturbations: &[Perturbation], stream: impl Fn(&str) -> ChaCha8Rng) -> Self {
        let rules = perturbations.iter().enumerate();
        Self {
            rules: rules
                .map(|(index, perturbation)| Rule {
                    perturbation: perturbation.clone(),
                    random: stream(&format!("message {index}")),
                })
                .collect(),
            known: BTreeMap::new(),
            counts: BTreeMap::new(),
            counts_of_all: BTreeMap::new(),
            next_sequence_number: 0,
        }
    }

    /// By which deliveries at the same time are ordered.
    pub(super) fn next_sequence_number(&mut self) -> u64 {
        self.next_sequence_number += 1;
        self.next_sequence_number
    }

    /// What goes right before a message that this perturbation is for.
    pub(super) fn beside(&self, perturbation: usize) -> Option<BadCandidate> {
        self.rules[perturbation].perturbation.beside
    }

    /// The server sends a message out, `elapsed` after the run began.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        elapsed: Duration,
        identity: &Identity,
        kind: &str,
    ) -> Verdict {
        let mut known = match self.known.get(identity) {
            Some(known) => known.clone(),
            None => self.meet(elapsed, identity, kind),
        };
        let verdict = self.decide(now, elapsed, &mut known, identity, kind);
        self.known.insert(identity.clone(), known);
        verdict
    }

    fn meet(&mut self, elapsed: Duration, identity: &Identity, kind: &str) -> Known {
        let from = &identity.from;
        let number = self.counts.entry((from.clone(), kind.to_owned()));
        let number = *number.and_modify(|count| *count += 1).or_insert(1);
        let of_all = self.counts_of_all.entry(from.clone());
        let of_all = *of_all.and_modify(|count| *count += 1).or_insert(1);
        let rule = self.rules.iter().position(|rule| {
            let rule = &rule.perturbation;
            let number = match rule.kind {
                MessageKind::Any => of_all,
                rule if rule.as_str() == kind => number,
                _ => return false,
            };
            rule.from == *from
                && rule.which.is_none_or(|which| which == number)
                && rule.until.is_none_or(|until| elapsed < until)
        });
        Known {
            rule,
            number,
            lost: 0,
            due: None,
        }
    }

    fn decide(
        &mut self,
        now: Instant,
        elapsed: Duration,
        known: &mut Known,
        identity: &Identity,
        kind: &str,
    ) -> Verdict {
        let Some(index) = known.rule else {
            return Verdict::Pass;
        };
        let event = |phase| MessageEvent {
            perturbation: index,
            from: identity.from.clone(),
            kind: kind.to_owned(),
            number: known.number,
            phase,
        };
        let Rule {
            perturbation: rule,
            random,
        } = &mut self.rules[index];
        if let Some(due) = known.due {
            let lasting = due.saturating_sub(elapsed);
            if lasting.is_zero() {
                return Verdict::Pass;
            }
            return Verdict::Late(vec![now + lasting], event(MessagePhase::Held { lasting }));
        }
        if known.lost < rule.lost {
            let event = event(MessagePhase::Lost);
            known.lost += 1;
            return Verdict::Lost(event);
        }
        let delay = match rule.delay {
            MessageDelay::Fixed(delay) => delay,
            MessageDelay::Uniform { from, to } => {
                let span = to.saturating_sub(from).as_millis();
                let span = u64::try_from(span).unwrap_or(u64::MAX);
                from + Duration::from_millis(random.random_range(0..=span))
            }
        };
        let due = now + delay;
        let times = (0..rule.copies).map(|copy| due + rule.copy_delay * copy);
        let verdict = Verdict::Late(
            times.collect(),
            event(MessagePhase::Held { lasting: delay }),
        );
        known.due = Some(elapsed + delay);
        verdict
    }
}

#[cfg(test)]
mod tests;
