//! What a scenario says of itself: what it asks, where it comes from, and which failure it holds on to.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::error::ProblemKind;
use super::model::{ClientName, Fails};
use super::problems::Problems;
use super::schema;
use super::spanned::Spanned;
use super::value::Choice;
use crate::report::FailureCause;
use crate::seed::Seed;

/// The failure that the scenario holds on to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `client`, `seed`, `cause` and `says`"
)]
pub(super) struct FailsDocument {
    /// The name of the client that fails; `ringtrue` is the one that ships. Required.
    #[schemars(required, regex(pattern = "^[a-z][a-z0-9-]*$"))]
    client: Option<Spanned<String>>,
    /// The seed with which it fails, from 0 to 9223372036854775807. Required.
    #[schemars(required)]
    seed: Option<SeedValue>,
    /// The cause of the failure, as `ringtrue run --json` has it. Required.
    #[schemars(required)]
    cause: Option<Choice<FailureCause>>,
    /// A text that the failure's message contains. Default: any text.
    says: Option<Spanned<String>>,
}

/// A seed, as far as TOML has numbers for it.
#[derive(Debug, Clone, Copy)]
struct SeedValue(Seed);

impl JsonSchema for SeedValue {
    fn schema_name() -> Cow<'static, str> {
        "SeedValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::of_number("a whole number", 0, i64::MAX)
    }
}

impl<'de> Deserialize<'de> for SeedValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(SeedVisitor)
    }
}

struct SeedVisitor;

impl Visitor<'_> for SeedVisitor {
    type Value = SeedValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a whole number from 0 to {}", i64::MAX)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<SeedValue, E> {
        let number = u64::try_from(number).map_err(|_| {
            E::custom(format_args!(
                "this is negative, expected a whole number from 0 to {}",
                i64::MAX
            ))
        })?;
        Ok(SeedValue(Seed::new(number)))
    }
}

pub(super) fn about(about: Option<Spanned<String>>, problems: &mut Problems<'_>) -> String {
    const ALLOWED: &str = "what the scenario asks, in one line of text";
    if about.is_none() {
        problems.push_missing(0..0, "about", ALLOWED);
    }
    line(about, ALLOWED, problems).unwrap_or_default()
}

pub(super) fn story(story: Option<Spanned<String>>, problems: &mut Problems<'_>) -> Option<String> {
    let story = story?;
    let text = story.get_ref().trim();
    if text.is_empty() || text.chars().any(|c| c.is_control() && c != '\n') {
        problems.push(
            story.span(),
            ProblemKind::NotLines {
                allowed: "what happened to whom, in one or more lines of text",
            },
        );
    }
    Some(text.to_owned())
}

pub(super) fn source(
    source: Option<Spanned<String>>,
    problems: &mut Problems<'_>,
) -> Option<String> {
    line(
        source,
        "where it was reported, in one line of text",
        problems,
    )
}

pub(super) fn fails(
    fails: Option<Spanned<FailsDocument>>,
    problems: &mut Problems<'_>,
) -> Option<Fails> {
    let fails = fails?;
    let span = fails.span();
    let FailsDocument {
        client,
        seed,
        cause,
        says,
    } = fails.into_inner();
    if client.is_none() {
        problems.push_missing(span.clone(), "client", CLIENT);
    }
    if seed.is_none() {
        problems.push_missing(span.clone(), "seed", "the seed with which it fails");
    }
    if cause.is_none() {
        problems.push_missing(
            span,
            "cause",
            "the cause of the failure, as reports name it",
        );
    }
    let says = line(says, "a part of the failure's message", problems);
    let client = client_name(client?, problems);
    Some(Fails {
        client,
        seed: seed?.0,
        cause: cause?.0,
        says,
    })
}

const CLIENT: &str = "the name of the client that fails, in lower-case letters, digits and hyphens";

fn client_name(client: Spanned<String>, problems: &mut Problems<'_>) -> ClientName {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let text = client.get_ref();
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.chars().all(allowed) {
        let message = "this cannot name a client".to_owned();
        let kind = ProblemKind::Contradiction {
            message,
            allowed: CLIENT,
        };
        problems.push(client.span(), kind);
    }
    ClientName(client.into_inner())
}

/// The text without the space around it, where it is one line.
fn line(
    text: Option<Spanned<String>>,
    allowed: &'static str,
    problems: &mut Problems<'_>,
) -> Option<String> {
    let text = text?;
    let line = text.get_ref().trim();
    if line.is_empty() || line.chars().any(char::is_control) {
        problems.push(text.span(), ProblemKind::NotALine { allowed });
    }
    Some(line.to_owned())
}
