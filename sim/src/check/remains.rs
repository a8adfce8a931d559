//! What a call leaves behind at relays once it is over.
//!
//! An allocation that nobody releases lives on for ten minutes and counts against its user's quota.

use std::net::SocketAddr;
use std::time::Duration;

use super::facts::{Fact, Facts};
use super::outage::outages;
use crate::report::{Failure, FailureCause};
use crate::scenario::model::Scenario;
use crate::trace::{AppEvent, HostName};

/// How long a request may be on its way on the slowest networks.
const UNDERWAY: Duration = Duration::from_secs(1);

/// An allocation at a TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Its relayed address.
    pub relayed: SocketAddr,
    /// When it was made.
    pub made: Duration,
    /// When it ended; `None` where it lives at the end of the run.
    pub ended: Option<Duration>,
    /// Which peer was told of it; `None` where it was told over TCP, or nobody was reached.
    pub owner: Option<HostName>,
}

/// A failure for each allocation that lives on though the call of its owner is over. Where a fault or a
/// kill fell into its life, the client may have had no way to release it.
#[must_use]
pub fn left_allocated(scenario: &Scenario, facts: &Facts) -> Vec<Failure> {
    let outages = outages(&scenario.faults, facts);
    let struck = |allocation: &Allocation| {
        let mut outages = outages.iter();
        // What was asked for before may be granted after, to who is not there any more.
        outages.any(|outage| {
            outage
                .end
                .is_none_or(|end| end + UNDERWAY >= allocation.made)
        })
    };
    let left = facts.allocations.iter().filter(|allocation| {
        allocation.ended.is_none() && !struck(allocation) && is_over(facts, allocation)
    });
    left.map(|allocation| {
        let owner = allocation.owner.as_deref().unwrap_or("somebody");
        let message = format!(
            "the allocation {} of {owner}, made at {:?}, was not released",
            allocation.relayed, allocation.made
        );
        Failure::new(FailureCause::AllocationsLeft, message)
    })
    .collect()
}

/// Whether whoever may own the allocation has ended its call since, and was not killed.
fn is_over(facts: &Facts, allocation: &Allocation) -> bool {
    let owners: Vec<&HostName> = if let Some(owner) = &allocation.owner {
        vec![owner]
    } else {
        let calls = |event: &AppEvent| {
            matches!(event, AppEvent::Calling { .. } | AppEvent::Incoming { .. })
        };
        let in_calls = facts.app.iter().filter(|fact| calls(&fact.event));
        in_calls.map(|fact| &fact.peer).collect()
    };
    owners.into_iter().all(|owner| {
        let since = |fact: &&Fact| fact.peer == *owner && fact.at >= allocation.made;
        let since: Vec<&Fact> = facts.app.iter().filter(since).collect();
        if since.iter().any(|fact| fact.event == AppEvent::Killed) {
            return false;
        }
        let last = since.iter().rfind(|fact| {
            matches!(
                fact.event,
                AppEvent::Calling { .. } | AppEvent::Incoming { .. } | AppEvent::Ended { .. }
            )
        });
        last.is_some_and(|fact| matches!(fact.event, AppEvent::Ended { .. }))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ringtrue::client::EndReason;

    use super::*;
    use crate::check::facts::FaultFact;
    use crate::trace::FaultPhase;

    const HOMES: &str = "about = \"Two homes talk.\"\n\
        [network.a]\nnat = \"full-cone\"\n[network.b]\nnat = \"full-cone\"\n\
        [peer.alice]\nnetwork = \"a\"\n[peer.bob]\nnetwork = \"b\"\n\
        [[fault]]\nkind = \"blackhole\"\nnetwork = \"a\"\nat = \"5s\"\nfor = \"3s\"\n";

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    struct Run {
        ended: Option<u64>,
        owner: Option<&'static str>,
        struck: bool,
        last: AppEvent,
    }

    fn hung_up() -> AppEvent {
        AppEvent::Ended {
            reason: EndReason::HungUp,
        }
    }

    /// How many allocations are said to be left of a call in which alice has one.
    #[track_caller]
    fn check(run: Run, expected: usize) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/in-a-test.toml");
        let scenario = Scenario::parse(&file, HOMES);
        let scenario = scenario.unwrap_or_else(|invalid| panic!("{invalid:?}"));
        let callee = "bob".to_owned();
        let fact = |at, event| Fact {
            at: seconds(at),
            peer: "alice".into(),
            event,
        };
        let mut facts = Facts {
            app: vec![fact(0, AppEvent::Calling { callee }), fact(10, run.last)],
            allocations: vec![Allocation {
                relayed: ([192, 0, 2, 1], 49152).into(),
                made: seconds(1),
                ended: run.ended.map(seconds),
                owner: run.owner.map(HostName::from),
            }],
            ..Facts::default()
        };
        if run.struck {
            for (at, phase) in [(5, FaultPhase::Begins), (8, FaultPhase::Ends)] {
                facts.faults.push(FaultFact {
                    at: seconds(at),
                    fault: 0,
                    phase,
                });
            }
        }
        assert_eq!(left_allocated(&scenario, &facts).len(), expected);
    }

    #[test]
    fn an_allocation_that_outlives_its_call_is_found() {
        for owner in [Some("alice"), None] {
            let run = |ended| Run {
                ended,
                owner,
                struck: false,
                last: hung_up(),
            };
            check(run(None), 1);
            check(run(Some(11)), 0);
        }
    }

    #[test]
    fn who_was_killed_or_talks_or_had_no_network_is_not_blamed() {
        let run = |struck, last| Run {
            ended: None,
            owner: Some("alice"),
            struck,
            last,
        };
        check(run(false, AppEvent::Killed), 0);
        check(run(false, AppEvent::Answered), 0);
        check(run(true, hung_up()), 0);
    }
}
