//! Whether signaling messages were handed to somebody who was not sent them, or twice.
//!
//! A message may travel any number of times, but a client acts on it once. Who has what is told by
//! counts for each kind: nobody may be handed more than all others have sent.

use std::collections::BTreeMap;

use super::facts::{Facts, MessageCounts};
use crate::report::{Failure, FailureCause};
use crate::trace::{AppEvent, MessagePhase};

/// A failure for each peer and kind of message of which it was handed more than there were. A client
/// that is started again knows nothing of the one before it, and may be handed the same again.
#[must_use]
pub fn doubled(facts: &Facts) -> Vec<Failure> {
    let started_again = |peer: &str| {
        let starts = facts
            .app
            .iter()
            .filter(|fact| *fact.peer == *peer && matches!(fact.event, AppEvent::Started));
        starts.count() > 1
    };
    let mut failures = Vec::new();
    for (peer, counts) in &facts.messages {
        if started_again(peer) {
            continue;
        }
        for (kind, received) in &counts.received {
            let others = facts.messages.iter().filter(|(other, _)| *other != peer);
            let sent = sent_by(others.map(|(_, counts)| counts), kind);
            let sent = sent + accompanying(facts, peer, kind);
            if *received > sent {
                let message = format!("{peer} was handed {received} messages {kind} of {sent}");
                failures.push(Failure::new(FailureCause::MessageDoubled, message));
            }
        }
    }
    failures
}

/// Of each kind, how many messages `peer` was handed fewer than all others have sent. In a call
/// of two that ended in order there is none.
#[must_use]
pub fn missing(facts: &Facts, peer: &str) -> BTreeMap<String, u32> {
    let received = facts.messages.get(peer).map(|counts| &counts.received);
    let others = || {
        let others = facts.messages.iter();
        others.filter(|(other, _)| ***other != *peer)
    };
    let kinds = others().flat_map(|(_, counts)| counts.sent.keys());
    kinds
        .filter_map(|kind| {
            let sent = sent_by(others().map(|(_, counts)| counts), kind);
            let handed_up = received.and_then(|received| received.get(kind));
            let lacking = sent.saturating_sub(handed_up.copied().unwrap_or_default());
            (lacking > 0).then(|| (kind.clone(), lacking))
        })
        .collect()
}

/// How many messages of a kind a perturbation has put beside those that others sent to `peer`.
fn accompanying(facts: &Facts, peer: &str, kind: &str) -> u32 {
    let events = facts.perturbed.iter().map(|(_, event)| event);
    let beside = events.filter(|event| {
        matches!(event.phase, MessagePhase::Accompanied { .. })
            && event.from != *peer
            && event.kind == *kind
    });
    u32::try_from(beside.count()).unwrap_or(u32::MAX)
}

fn sent_by<'a>(counts: impl Iterator<Item = &'a MessageCounts>, kind: &str) -> u32 {
    counts.filter_map(|counts| counts.sent.get(kind)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sent: &[(&str, u32)], received: &[(&str, u32)]) -> MessageCounts {
        let map = |counts: &[(&str, u32)]| {
            let counts = counts.iter();
            counts
                .map(|(kind, count)| ((*kind).to_owned(), *count))
                .collect()
        };
        MessageCounts {
            sent: map(sent),
            received: map(received),
        }
    }

    fn facts(alice: MessageCounts, bob: MessageCounts) -> Facts {
        Facts {
            messages: [("alice".into(), alice), ("bob".into(), bob)].into(),
            ..Facts::default()
        }
    }

    #[test]
    fn what_was_sent_once_may_be_handed_up_once() {
        let once = facts(counts(&[("offer", 1)], &[]), counts(&[], &[("offer", 1)]));
        assert_eq!(doubled(&once).len(), 0);
        let twice = facts(counts(&[("offer", 1)], &[]), counts(&[], &[("offer", 2)]));
        let said: Vec<_> = doubled(&twice)
            .into_iter()
            .map(|each| each.message)
            .collect();
        assert_eq!(said, ["bob was handed 2 messages offer of 1"]);
        let from_nowhere = facts(counts(&[], &[]), counts(&[], &[("hang-up", 1)]));
        assert_eq!(doubled(&from_nowhere).len(), 1);
    }

    #[test]
    fn a_client_that_was_started_again_may_be_told_again() {
        let mut twice = facts(counts(&[("offer", 1)], &[]), counts(&[], &[("offer", 2)]));
        let started = |second| super::super::facts::Fact {
            at: std::time::Duration::from_secs(second),
            peer: "bob".into(),
            event: AppEvent::Started,
        };
        twice.app = vec![started(0)];
        assert_eq!(doubled(&twice).len(), 1);
        twice.app.push(started(9));
        assert_eq!(doubled(&twice).len(), 0);
    }

    #[test]
    fn what_did_not_arrive_is_missing() {
        let sent = counts(&[("candidate", 4), ("offer", 1)], &[]);
        let facts = facts(sent, counts(&[], &[("candidate", 3), ("offer", 1)]));
        assert_eq!(missing(&facts, "bob"), [("candidate".to_owned(), 1)].into());
        assert_eq!(missing(&facts, "alice"), BTreeMap::new());
    }
}
