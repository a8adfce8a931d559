//! When faults kept audio from passing, as the trace shows it, and how soon it was to be back.

use std::time::Duration;

use super::facts::Facts;
use crate::fault::Fault;
use crate::trace::FaultPhase;

/// The time in which a fault may have kept audio from passing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The fault, as a timeline shows it.
    pub name: String,
    /// When it began.
    pub begin: Duration,
    /// When it ended, which is when it began for a fault without an end; `None` where it lasted until
    /// the run was over.
    pub end: Option<Duration>,
}

/// A part of a run, from its first moment to the first one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from: Duration,
    /// The first moment after it.
    pub to: Duration,
}

impl Span {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// The outages of a run in the order of their beginning: of the faults that can interrupt audio, those
/// that struck.
#[must_use]
pub fn outages(faults: &[Fault], facts: &Facts) -> Vec<Outage> {
    let mut outages = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        if !fault.kind.can_interrupt_audio() {
            continue;
        }
        if let Some(begin) = moment(index, &FaultPhase::Begins, facts) {
            let end = match fault.lasts {
                Some(_) => moment(index, &FaultPhase::Ends, facts),
                None => Some(begin),
            };
            let name = fault.kind.to_string();
            outages.push(Outage { name, begin, end });
        }
    }
    outages.sort_by_key(|outage| outage.begin);
    outages
}

/// When the last fault was over that was over by `until`: the end of one that has an end, and the
/// beginning of one that has none, since nothing gets better after it.
#[must_use]
pub fn last_healing(faults: &[Fault], facts: &Facts, until: Duration) -> Option<Duration> {
    let moments = faults.iter().enumerate().filter_map(|(index, fault)| {
        let phase = match fault.lasts {
            Some(_) => FaultPhase::Ends,
            None => FaultPhase::Begins,
        };
        moment(index, &phase, facts)
    });
    moments.filter(|at| *at <= until).max()
}

/// What of a talk is judged: all of it but the outages, each with the time `back_within` after its
/// end. Outages that were over before the talk began excuse nothing in it.
#[must_use]
pub fn judged(talk: Span, outages: &[Outage], back_within: Duration) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut from = talk.from;
    for outage in outages.iter().filter(|outage| outage.concerns(talk)) {
        let to = outage.begin.min(talk.to);
        if from < to {
            spans.push(Span { from, to });
        }
        from = from.max(outage.back_by(back_within));
    }
    if from < talk.to {
        spans.push(Span { from, to: talk.to });
    }
    spans
}

impl Outage {
    /// Whether it falls into a talk: one that was over before audio was connected does not, since
    /// audio came after it.
    #[must_use]
    pub fn concerns(&self, talk: Span) -> bool {
        self.begin < talk.to && self.end.is_none_or(|end| end >= talk.from)
    }

    /// When audio has to be back; never, where the outage has no end.
    #[must_use]
    pub fn back_by(&self, back_within: Duration) -> Duration {
        self.end
            .map_or(Duration::MAX, |end| end.saturating_add(back_within))
    }
}

fn moment(fault: usize, phase: &FaultPhase, facts: &Facts) -> Option<Duration> {
    let mut moments = facts.faults.iter();
    let found = moments.find(|fact| fact.fault == fault && fact.phase == *phase);
    found.map(|fact| fact.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What is judged of a talk from 10 s to 60 s, in seconds, with audio back within 5 s.
    #[track_caller]
    fn check(outages: &[(u64, Option<u64>)], expected: &[(u64, u64)]) {
        let outages: Vec<_> = outages
            .iter()
            .map(|(begin, end)| Outage {
                name: "blackhole home (both)".to_owned(),
                begin: seconds(*begin),
                end: end.map(seconds),
            })
            .collect();
        let talk = Span {
            from: seconds(10),
            to: seconds(60),
        };
        let spans: Vec<_> = judged(talk, &outages, seconds(5))
            .iter()
            .map(|span| (span.from.as_secs(), span.to.as_secs()))
            .collect();
        assert_eq!(spans, expected);
    }

    #[test]
    fn a_talk_without_outages_is_judged_as_a_whole() {
        check(&[], &[(10, 60)]);
    }

    #[test]
    fn an_outage_and_the_time_to_come_back_are_not_judged() {
        check(&[(20, Some(23))], &[(10, 20), (28, 60)]);
        check(&[(20, Some(20))], &[(10, 20), (25, 60)]);
    }

    #[test]
    fn outages_that_overlap_are_one() {
        check(&[(20, Some(40)), (22, Some(23))], &[(10, 20), (45, 60)]);
        check(&[(20, Some(24)), (26, Some(30))], &[(10, 20), (35, 60)]);
    }

    #[test]
    fn an_outage_without_an_end_leaves_nothing_to_judge_after_it() {
        check(&[(20, None)], &[(10, 20)]);
    }

    #[test]
    fn an_outage_before_the_talk_excuses_nothing() {
        check(&[(5, Some(9))], &[(10, 60)]);
        check(&[(5, Some(11))], &[(16, 60)]);
        check(&[(61, Some(62))], &[(10, 60)]);
    }
}
