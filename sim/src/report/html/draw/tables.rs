//! What is on the page as tables: the ladder again, the candidate pairs, and the timeline.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::model::Model;
use super::super::model::ladder::What;
use super::super::model::pairs::{Candidate, Pair};
use super::layout::arrow_text;
use super::markup::{clock, escape, table};
use crate::report::text::count;

/// The ladder for who does not see it.
pub(super) fn ladder(model: &Model<'_>) -> String {
    let name = |place: f64| escape(model.places.name_at(place));
    let rows = model.ladder.items.iter().map(|item| {
        let at = clock(item.at);
        match &item.what {
            What::Arrow(arrow) => {
                let result = match &arrow.dropped {
                    Some(dropped) => escape(&format!("dropped at {}", dropped.place)),
                    None => name(arrow.to),
                };
                vec![at, name(arrow.from), result, escape(&arrow_text(arrow))]
            }
            What::Note { column, text } => {
                vec![at, name(*column as f64), String::new(), escape(text)]
            }
            What::Mark { text } => vec![at, String::new(), String::new(), escape(text)],
        }
    });
    let rows: Vec<Vec<String>> = rows.collect();
    table(
        "Everything on the ladder, in order of time",
        &["Time, s", "From", "To", "What"],
        &rows,
    )
}

/// The candidate pairs of each peer: those that were chosen, and the others folded.
pub(super) fn pairs(model: &Model<'_>) -> String {
    if model.pairs.is_empty() {
        return "<p class=\"none\">No connectivity check was sent.</p>".to_owned();
    }
    let mut pairs: Vec<&Pair> = model.pairs.iter().collect();
    // Stable: by peer, and in order of time.
    pairs.sort_by(|one, other| one.peer.cmp(&other.peer));
    let is_chosen = |pair: &&Pair| ["selected", "nominated"].contains(&pair.state());
    let (chosen, others): (Vec<&Pair>, Vec<&Pair>) = pairs.into_iter().partition(is_chosen);
    if chosen.is_empty() {
        return pair_table("Candidate pairs", &others);
    }
    let mut html = pair_table("Chosen candidate pairs", &chosen);
    if !others.is_empty() {
        let _ = write!(
            html,
            "<details class=\"numbers\"><summary>{} that {} not chosen</summary>\n{}</details>",
            count(others.len(), "pair"),
            if others.len() == 1 { "was" } else { "were" },
            pair_table("Other candidate pairs", &others)
        );
    }
    html
}

fn pair_table(caption: &str, pairs: &[&Pair]) -> String {
    let candidate = |candidate: &Candidate| {
        format!(
            "<b>{}</b> <code>{}</code>",
            escape(&candidate.kind),
            candidate.address
        )
    };
    let rows: Vec<Vec<String>> = pairs
        .iter()
        .map(|pair| {
            let state = pair.state();
            let when = [
                ("answered", pair.first_answer),
                ("nominated", pair.nominated),
                ("audio", pair.selected),
            ];
            let when: Vec<String> = when
                .iter()
                .filter_map(|(what, at)| moment(what, *at))
                .collect();
            vec![
                escape(&pair.peer),
                candidate(&pair.local),
                candidate(&pair.remote),
                pair.checks.to_string(),
                pair.answers.to_string(),
                format!("<span class=\"state {state}\">{}</span>", state_text(state)),
                format!("first check {}{}", clock(pair.first_check), when.concat()),
            ]
        })
        .collect();
    let head = [
        "Peer", "Local", "Remote", "Checks", "Answers", "State", "When, s",
    ];
    table(caption, &head, &rows)
}

fn moment(what: &str, at: Option<Duration>) -> Option<String> {
    Some(format!(", {what} {}", clock(at?)))
}

/// A state with a sign, so that colour is not the only one.
fn state_text(state: &str) -> String {
    let sign = match state {
        "selected" => "●",
        "nominated" => "◉",
        "succeeded" => "○",
        _ => "✕",
    };
    format!("<span aria-hidden=\"true\">{sign}</span> {state}")
}

/// What happened, each row linked to its place on the ladder.
pub(super) fn timeline(model: &Model<'_>) -> String {
    let rows: Vec<Vec<String>> = model
        .milestones
        .iter()
        .map(|milestone| {
            vec![
                format!(
                    "<a href=\"#event-{}\">{}</a>",
                    milestone.index,
                    clock(milestone.at)
                ),
                escape(&milestone.host),
                escape(&milestone.text),
            ]
        })
        .collect();
    table("Timeline", &["Time, s", "Where", "What"], &rows)
}
