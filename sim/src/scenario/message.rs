//! What happens to single signaling messages, as the file has it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::ProblemKind;
use super::problems::Problems;
use super::spanned::Spanned;
use super::value::{Choice, TimeValue, ValueError, deserialize_from_text, pattern};
use crate::perturbation::{BadCandidate, MessageDelay, MessageKind, Perturbation};

/// The most copies of a message, and the most deliveries of one that are lost: more than a mailbox
/// sends in the time for which it keeps a message.
const REPETITIONS_MAX: u32 = 32;

/// What happens to single signaling messages. At least one of `delay`, `copies`, `drop` and `beside` is there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `from`, `kind`, and what becomes of the message: `delay`, `copies`, `drop`, `beside`"
)]
pub(super) struct MessageDocument {
    /// The name of the user who sends it. Required.
    #[schemars(required)]
    from: Option<Spanned<String>>,
    /// The kind of message. Default "any".
    kind: Option<Choice<MessageKind>>,
    /// Which one of this kind and sender, counted from 1. Default: all of them.
    #[schemars(range(min = 1))]
    which: Option<Spanned<u32>>,
    /// The time by which it is late, or a span from which each message draws. Default "0s".
    delay: Option<Spanned<MessageDelayValue>>,
    /// How often it arrives, from 2 to 32 times. Default: once.
    #[schemars(range(min = 2, max = REPETITIONS_MAX))]
    copies: Option<Spanned<u32>>,
    /// The time between the copies. With `copies` only. Default "0s".
    copy_delay: Option<Spanned<TimeValue>>,
    /// How many deliveries of it are lost before the first one that is not, from 1 to 32. Default: none.
    #[schemars(range(min = 1, max = REPETITIONS_MAX))]
    drop: Option<Spanned<u32>>,
    /// From when on messages are left alone that were not met before, from the start of the run. Default: never.
    until: Option<Spanned<TimeValue>>,
    /// What arrives right before it, as if its sender had said that too. With `kind = "candidate"` only. Default: nothing.
    beside: Option<Spanned<Choice<BadCandidate>>>,
}

/// How much later a message arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageDelayValue(MessageDelay);

impl MessageDelayValue {
    const EXPECTED: &str =
        "a time in quotes from \"0s\" to \"1h\", such as \"10s\", or two, such as \"0s to 30s\"";
    const PATTERN: &str = concat!("^ *", pattern!(time), "( to *", pattern!(time), ")? *$");

    fn parse(text: &str) -> Result<Self, ValueError> {
        let time = |text: &str| TimeValue::parse(text.trim()).map(|time| time.0);
        let Some((from, to)) = text.split_once(" to ") else {
            return Ok(Self(MessageDelay::Fixed(time(text)?)));
        };
        let (from, to) = (time(from)?, time(to)?);
        if to <= from {
            return Err(ValueError::Malformed("a span, whose end is later"));
        }
        Ok(Self(MessageDelay::Uniform { from, to }))
    }
}

deserialize_from_text!(MessageDelayValue);

/// The perturbations in the order of the file. Mistakes go to `problems`.
pub(super) fn read(
    documents: &[Spanned<MessageDocument>],
    users: &BTreeSet<String>,
    problems: &mut Problems<'_>,
) -> Vec<Perturbation> {
    documents
        .iter()
        .filter_map(|document| read_one(document, users, problems))
        .collect()
}

fn read_one(
    document: &Spanned<MessageDocument>,
    users: &BTreeSet<String>,
    problems: &mut Problems<'_>,
) -> Option<Perturbation> {
    let MessageDocument {
        from,
        kind,
        which,
        delay,
        copies,
        copy_delay,
        drop,
        until,
        beside,
    } = document.get_ref();
    let Some(from) = from else {
        problems.push_missing(document.span(), "from", "the name of the user who sends it");
        return None;
    };
    if !users.contains(from.get_ref()) {
        let known = users.iter().map(String::as_str);
        problems.push(
            from.span(),
            ProblemKind::unknown("user", from.get_ref(), known),
        );
    }
    if let (Some(copy_delay), None) = (copy_delay, copies) {
        let message = "there are no copies that could be late";
        problems.push(
            copy_delay.span(),
            contradiction(message, "`copy_delay` with `copies`"),
        );
    }
    let which = which
        .as_ref()
        .map(|which| bounded(which, 1..=u32::MAX, "a number from 1", problems));
    let copies = copies.as_ref().map_or(1, |copies| {
        bounded(
            copies,
            2..=REPETITIONS_MAX,
            "a number from 2 to 32",
            problems,
        )
    });
    let lost = drop.as_ref().map_or(0, |drop| {
        bounded(drop, 1..=REPETITIONS_MAX, "a number from 1 to 32", problems)
    });
    let delay = delay.as_ref().map(|delay| delay.get_ref().0);
    let delay = delay.unwrap_or(MessageDelay::NONE);
    if copies == 1 && lost == 0 && delay == MessageDelay::NONE && beside.is_none() {
        let message = "nothing happens to this message";
        let allowed = "a `delay` over \"0s\", `copies`, `drop` or `beside`";
        problems.push(document.span(), contradiction(message, allowed));
    }
    let kind = kind.map_or(MessageKind::Any, |kind| kind.0);
    if let Some(beside) = beside
        && kind != MessageKind::Candidate
    {
        let message = "nothing but a candidate is accompanied by a candidate";
        let allowed = "`beside` with `kind = \"candidate\"`";
        problems.push(beside.span(), contradiction(message, allowed));
    }
    let copy_delay = copy_delay.as_ref().map(|delay| delay.get_ref().0);
    Some(Perturbation {
        from: from.get_ref().clone(),
        kind,
        which,
        lost,
        delay,
        copies,
        copy_delay: copy_delay.unwrap_or(Duration::ZERO),
        until: until.as_ref().map(|until| until.get_ref().0),
        beside: beside.as_ref().map(|beside| beside.get_ref().0),
        line: Some(problems.line_of(&document.span())),
    })
}

/// The number, refused where it is out of its range.
fn bounded(
    number: &Spanned<u32>,
    range: RangeInclusive<u32>,
    allowed: &'static str,
    problems: &mut Problems<'_>,
) -> u32 {
    let value = *number.get_ref();
    let message = if value < *range.start() {
        format!("this is under {}", range.start())
    } else if value > *range.end() {
        format!("this is over {}", range.end())
    } else {
        return value;
    };
    problems.push(number.span(), contradiction(&message, allowed));
    value
}

fn contradiction(message: &str, allowed: &'static str) -> ProblemKind {
    ProblemKind::Contradiction {
        message: message.to_owned(),
        allowed,
    }
}
