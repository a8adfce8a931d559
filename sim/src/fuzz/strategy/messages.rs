//! What happens to single signaling messages on their way.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::case::{MessageCase, Time};
use super::PEERS;
use super::story::Story;
use crate::perturbation::BadCandidate;

/// How many messages of a case are met at most.
const MESSAGES_MAX: usize = 6;

/// What happens to the messages of a case.
pub(super) fn messages(story: &Story) -> impl Strategy<Value = Vec<MessageCase>> + use<> {
    let message = message(story);
    prop_oneof![
        2 => Just(Vec::new()),
        7 => proptest::collection::vec(message, 1..=MESSAGES_MAX),
    ]
}

/// A hang-up that comes twice, which is as good as nothing.
pub(super) fn hang_up_twice() -> MessageCase {
    MessageCase {
        kind: "hang-up",
        which: Some(1),
        copies: Some(2),
        ..MessageCase::untouched()
    }
}

fn message(story: &Story) -> impl Strategy<Value = MessageCase> + use<> {
    let hang_up = if story.settles() { 0 } else { 6 };
    let kind = prop_oneof![
        6 => (Just("candidate"), 1_u32..=8),
        4 => (Just("offer"), 1_u32..=2),
        4 => (Just("answer"), 1_u32..=2),
        1 => (Just("end-of-candidates"), Just(1_u32)),
        1 => (Just("ringing"), Just(1_u32)),
        1 + hang_up => (Just("hang-up"), Just(1_u32)),
        2 => (Just("any"), 1_u32..=20),
    ];
    let one = (select(PEERS.to_vec()), kind, fate()).prop_map(|(from, (kind, which), fate)| {
        // Only the caller offers and only the callee answers, at first.
        let from = match (kind, which) {
            ("offer", 1) => PEERS[0],
            ("answer" | "ringing", 1) => PEERS[1],
            _ => from,
        };
        MessageCase {
            from,
            kind,
            which: Some(which),
            ..fate
        }
    });
    let all_of_a_kind = (
        select(PEERS.to_vec()),
        select(vec!["candidate", "candidate", "any"]),
        delay(),
        1_000_u64..10_000,
    )
        .prop_map(|(from, kind, longest, until)| MessageCase {
            from,
            kind,
            delay: Some(format!("0s to {}", Time::from_millis(longest + 1))),
            until: Some(Time::from_millis(until)),
            ..MessageCase::untouched()
        });
    let accompanied = (
        select(PEERS.to_vec()),
        1_u32..=6,
        select(BadCandidate::ALL.to_vec()),
    )
        .prop_map(|(from, which, beside)| MessageCase {
            from,
            kind: "candidate",
            which: Some(which),
            beside: Some(beside.as_str()),
            ..MessageCase::untouched()
        });
    prop_oneof![
        10 => one,
        2 => all_of_a_kind,
        1 => accompanied,
    ]
}

impl MessageCase {
    fn untouched() -> Self {
        Self {
            from: PEERS[0],
            kind: "any",
            which: None,
            delay: None,
            copies: None,
            copy_delay: None,
            drop: None,
            until: None,
            beside: None,
        }
    }
}

/// What becomes of one message: it is late, comes more than once, or is lost and sent again.
fn fate() -> impl Strategy<Value = MessageCase> {
    let late = delay().prop_map(|delay| MessageCase {
        delay: Some(Time::from_millis(delay).to_string()),
        ..MessageCase::untouched()
    });
    let copied = (2_u32..=4, 0_u64..4_000, proptest::option::of(delay())).prop_map(
        |(copies, copy_delay, delay)| MessageCase {
            copies: Some(copies),
            copy_delay: Some(Time::from_millis(copy_delay)),
            delay: delay.map(|delay| Time::from_millis(delay).to_string()),
            ..MessageCase::untouched()
        },
    );
    let lost = (1_u32..=3).prop_map(|drop| MessageCase {
        drop: Some(drop),
        ..MessageCase::untouched()
    });
    prop_oneof![4 => late, 2 => copied, 2 => lost]
}

/// How late a message is, in milliseconds: mostly a little, at most half a minute.
fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![
        5 => 50_u64..2_000,
        3 => 2_000_u64..10_000,
        1 => 10_000_u64..=30_000,
    ]
}
