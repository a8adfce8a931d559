//! What happens to single signaling messages, as the file has it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::error::ProblemKind;
use super::problems::Problems;
use super::value::{Choice, TimeValue, ValueError, deserialize_from_text};
use crate::perturbation::{BadCandidate, MessageDelay, MessageKind, Perturbation};

/// The most copies of a message, and the most deliveries of one that are lost: more than a mailbox
/// sends in the time for which it keeps a message.
const REPETITIONS_MAX: u32 = 32;

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `from`, `kind`, and what becomes of the message: `delay`, `copies`, `drop`, `beside`"
)]
pub(super) struct MessageDocument {
    from: Option<Spanned<String>>,
    kind: Option<Choice<MessageKind>>,
    which: Option<Spanned<u32>>,
    delay: Option<Spanned<MessageDelayValue>>,
    copies: Option<Spanned<u32>>,
    copy_delay: Option<Spanned<TimeValue>>,
    drop: Option<Spanned<u32>>,
    until: Option<Spanned<TimeValue>>,
    beside: Option<Spanned<Choice<BadCandidate>>>,
}

/// How much later a message arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageDelayValue(MessageDelay);

impl MessageDelayValue {
    const EXPECTED: &str =
        "a time in quotes from \"0s\" to \"1h\", such as \"10s\", or two, such as \"0s to 30s\"";

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
