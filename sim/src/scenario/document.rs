//! The scenario file as it is written: every key that there is, and nothing else.
//!
//! Whatever is optional in the file is an `Option` here, so that one place
//! ([`validate`](super::validate)) holds the defaults.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use super::error::ProblemKind;
use super::link::LinkDocument;
use super::model::{CallPath, CandidateType, Nat, ServerState};
use super::place;
use super::problems::Problems;
use super::value::{Choice, DelayValue, TimeValue, TriggerValue};
use crate::net::firewall::Passage;

/// Names and what they stand for, each with its place in the file.
pub(super) type Named<T> = BTreeMap<Spanned<String>, Spanned<T>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a scenario")]
pub(super) struct Document {
    pub(super) about: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) network: Named<NetworkDocument>,
    #[serde(default)]
    pub(super) peer: Named<PeerDocument>,
    #[serde(default)]
    pub(super) servers: ServersDocument,
    pub(super) script: Option<Vec<Spanned<StepDocument>>>,
    #[serde(default)]
    pub(super) expect: ExpectDocument,
    pub(super) talk: Option<Spanned<TalkDocument>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `nat`, `udp`, `lan` and `uplink`"
)]
pub(super) struct NetworkDocument {
    pub(super) nat: Option<Choice<Nat>>,
    pub(super) udp: Option<Choice<Passage>>,
    pub(super) lan: Option<Spanned<LinkDocument>>,
    pub(super) uplink: Option<Spanned<LinkDocument>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with `network` and `plays`")]
pub(super) struct PeerDocument {
    pub(super) network: Option<Spanned<String>>,
    pub(super) plays: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `delay`, `turn` and `stun`"
)]
pub(super) struct ServersDocument {
    pub(super) delay: Option<DelayValue>,
    pub(super) turn: Option<Choice<ServerState>>,
    pub(super) stun: Option<Choice<ServerState>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `at` or `after`, `peer` and `do`"
)]
pub(super) struct StepDocument {
    pub(super) at: Option<Spanned<TimeValue>>,
    pub(super) after: Option<Spanned<TriggerValue>>,
    pub(super) peer: Option<Spanned<String>>,
    #[serde(rename = "do")]
    pub(super) action: Option<Spanned<Choice<ActionName>>>,
    pub(super) callee: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ActionName {
    Call,
    Answer,
    HangUp,
    Kill,
    Start,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `outcome`, `cause`, `path`, `selected` and `within`"
)]
pub(super) struct ExpectDocument {
    pub(super) outcome: Option<Choice<OutcomeName>>,
    pub(super) cause: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<Choice<CallPath>>>,
    #[serde(default)]
    pub(super) selected: Named<Choice<CandidateType>>,
    pub(super) within: Option<Spanned<TimeValue>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OutcomeName {
    #[default]
    AudioConnected,
    Unreachable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with `for`")]
pub(super) struct TalkDocument {
    #[serde(rename = "for")]
    pub(super) length: Option<TimeValue>,
}

/// Reads the document, or reports everything in `table` that is not part of one.
///
/// Serde stops at the first error, so what it complained of is taken out and the rest is read
/// again: a file with three mistakes is corrected in one go.
pub(super) fn read(table: &Spanned<DeTable<'_>>, problems: &mut Problems<'_>) -> Option<Document> {
    let mut rest = table.clone();
    loop {
        let error = match Document::deserialize(toml::de::Deserializer::from(rest.clone())) {
            Ok(document) => return problems.is_empty().then_some(document),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_default();
        problems.push(span.clone(), ProblemKind::from_toml(error.message()));
        if problems.are_many() || !place::remove(rest.get_mut(), &span) {
            return None;
        }
    }
}
