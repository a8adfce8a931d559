//! What the two people do.

use proptest::prelude::*;

use super::super::case::{StepCase, Time, When};
use super::PEERS;

/// What the two people do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Story {
    /// How long it rings before the callee answers.
    answer_after: Time,
    plot: Plot,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Plot {
    /// One calls, the other answers.
    Plain,
    /// Both call, the second one so much later.
    Glare(Time),
    /// Somebody hangs up at a time of their own.
    HangUp { peer: &'static str, when: When },
}

impl Story {
    /// The steps of the script.
    #[must_use]
    pub(super) fn steps(&self) -> Vec<StepCase> {
        let [first, second] = PEERS;
        let step = |when, peer, action, callee| StepCase {
            when,
            peer,
            action,
            callee,
        };
        let answer = || When::After(format!("ringing + {}", self.answer_after));
        let start = When::At(Time::from_millis(0));
        let mut steps = vec![
            step(start, first, "call", Some(second)),
            step(answer(), second, "answer", None),
        ];
        match &self.plot {
            Plot::Plain => {}
            Plot::Glare(later) => {
                steps.push(step(When::At(*later), second, "call", Some(first)));
                steps.push(step(answer(), first, "answer", None));
            }
            Plot::HangUp { peer, when } => {
                steps.push(step(when.clone(), peer, "hang-up", None));
            }
        }
        steps
    }

    /// Whether both call, so that both may have to answer.
    #[must_use]
    pub(super) fn is_glare(&self) -> bool {
        matches!(self.plot, Plot::Glare(_))
    }

    /// Whether the call goes on until it has settled.
    #[must_use]
    pub(super) fn settles(&self) -> bool {
        !matches!(self.plot, Plot::HangUp { .. })
    }
}

/// Any story. Most calls are one calling and the other answering.
pub(super) fn story() -> impl Strategy<Value = Story> {
    let plot = prop_oneof![
        9 => Just(Plot::Plain),
        2 => (0_u64..400).prop_map(|later| Plot::Glare(Time::from_millis(later))),
        1 => hang_up(),
    ];
    (answer_after(), plot).prop_map(|(answer_after, plot)| Story { answer_after, plot })
}

/// One calls, the other answers.
pub(super) fn plain() -> impl Strategy<Value = Story> {
    answer_after().prop_map(|answer_after| Story {
        answer_after,
        plot: Plot::Plain,
    })
}

fn answer_after() -> impl Strategy<Value = Time> {
    prop_oneof![3 => 200_u64..2_000, 1 => 2_000_u64..8_000].prop_map(Time::from_millis)
}

fn hang_up() -> impl Strategy<Value = Plot> {
    let when = prop_oneof![
        (0_u64..4_000)
            .prop_map(|wait| When::After(format!("ringing + {}", Time::from_millis(wait)))),
        (0_u64..8_000).prop_map(|wait| When::After(format!("audio + {}", Time::from_millis(wait)))),
    ];
    // One that waits for audio that never comes would never be taken, so there is a last moment too.
    (proptest::sample::select(PEERS.to_vec()), when)
        .prop_map(|(peer, when)| Plot::HangUp { peer, when })
}
