//! The file that holds on to a failure: the scenario, and beside it what fails, with which seed and
//! which client, so that whoever reads it can see it again.

use std::fmt::Write as _;
use std::path::Path;

use thiserror::Error;
use toml::{Table, Value};

use super::canonical::{self, Spacing};
use super::cause::Cause;
use crate::report::{Failure, Report};
use crate::scenario::Scenario;
use crate::scenario::model::ClientName;
use crate::seed::Seed;

/// Why a failure cannot be written down.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The text is no TOML.
    #[error("the scenario is no TOML: {0}")]
    NotToml(#[source] toml::de::Error),
    /// TOML has no numbers that great.
    #[error("the seed {seed} is over {}, the greatest number of TOML", i64::MAX)]
    SeedTooGreat {
        /// The seed.
        seed: Seed,
    },
    /// The report has no such failure.
    #[error("the run with seed {seed} did not fail for the cause {cause:?}")]
    FailsNot {
        /// The seed.
        seed: u64,
        /// The cause.
        cause: String,
    },
}

/// The text of a scenario file that fails, as `report` says, for `cause` when `client` runs it.
///
/// `text` is the scenario's, as it was run, and `file` is where it shall stand. Comments of `text` are
/// left out, and a failure that it held on to is replaced.
///
/// # Errors
///
/// [`RecordError`].
pub fn write(
    text: &str,
    scenario: &Scenario,
    report: &Report,
    cause: &Cause,
    client: &ClientName,
    file: &Path,
) -> Result<String, RecordError> {
    let mut table = text.parse::<Table>().map_err(RecordError::NotToml)?;
    let is_meant = |failure: &&Failure| Cause::of_failure(scenario, failure) == *cause;
    let failure = report.failures.iter().find(is_meant);
    let failure = failure.ok_or_else(|| RecordError::FailsNot {
        seed: report.seed,
        cause: cause.to_string(),
    })?;
    let fails = fails(failure, cause, client, Seed::new(report.seed))?;
    table.remove("fails");
    // Before everything else that has a header, where the eye meets it first.
    let mut whole = Table::new();
    whole.insert("fails".to_owned(), Value::Table(fails));
    whole.extend(table);
    let mut written = header(report, client, file);
    written.push_str(&canonical::write(&whole, Spacing::Airy));
    Ok(written)
}

/// The text of a scenario file that runs as `report` tells, when `client` runs it: the one that
/// [`write`](fn@write) gives of the most telling failure where it failed, and the scenario as it is where it passed.
///
/// # Errors
///
/// [`RecordError::NotToml`].
pub fn of_run(
    text: &str,
    scenario: &Scenario,
    report: &Report,
    client: &ClientName,
    file: &Path,
) -> Result<String, RecordError> {
    if let Some(cause) = Cause::of(scenario, report) {
        match write(text, scenario, report, &cause, client, file) {
            // The command in the comment has the seed.
            Err(RecordError::SeedTooGreat { .. }) => {}
            written => return written,
        }
    }
    let table = text.parse::<Table>().map_err(RecordError::NotToml)?;
    let came = if report.passed { "passes" } else { "fails" };
    let (seed, file) = (report.seed, file.display());
    let with_client = if *client == ClientName::production() {
        String::new()
    } else {
        format!(" --client {client}")
    };
    let body = canonical::write(&table, Spacing::Airy);
    Ok(format!(
        "# With seed {seed} the client `{client}` {came} here.\n\
         # See it again: ringtrue replay {file} --seed {seed}{with_client}\n{body}"
    ))
}

fn fails(
    failure: &Failure,
    cause: &Cause,
    client: &ClientName,
    seed: Seed,
) -> Result<Table, RecordError> {
    let number = i64::try_from(seed.number()).map_err(|_| RecordError::SeedTooGreat { seed })?;
    let mut fails = Table::new();
    let mut insert = |key: &str, value| fails.insert(key.to_owned(), value);
    insert("client", Value::String(client.to_string()));
    insert("seed", Value::Integer(number));
    insert("cause", Value::String(cause.kind().to_string()));
    let says = cause.common_part();
    if !says.is_empty() && failure.message.contains(says) {
        insert("says", Value::String(says.to_owned()));
    }
    Ok(fails)
}

/// The message without lines of the file that was run, which are others in the one that is written.
fn without_places(message: &str) -> String {
    let mut text = message.to_owned();
    for (before, after) in [(" on line ", ""), (" (line ", ")")] {
        while let Some(start) = text.find(before) {
            let rest = &text[start + before.len()..];
            let number = rest.find(|c: char| !c.is_ascii_digit());
            let (number, rest) = rest.split_at(number.unwrap_or(rest.len()));
            let Some(rest) = rest.strip_prefix(after).filter(|_| !number.is_empty()) else {
                break;
            };
            text = format!("{}{rest}", &text[..start]);
        }
    }
    text
}

fn header(report: &Report, client: &ClientName, file: &Path) -> String {
    let mut text = String::new();
    let mut comment = |line: &str| {
        // Nothing else may stand in a comment (TOML 1.0, "Comment").
        let line = line.replace(|c: char| c.is_control(), " ");
        writeln!(text, "# {line}").expect("a String takes every text");
    };
    comment(&format!(
        "With seed {} the client `{client}` fails here:",
        report.seed
    ));
    for failure in &report.failures {
        let message = without_places(&failure.message);
        for (index, line) in message.lines().enumerate() {
            match index {
                0 => comment(&format!("- {}: {line}", failure.cause)),
                _ => comment(&format!("  {line}")),
            }
        }
    }
    comment(&format!("See it again: ringtrue replay {}", file.display()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_another_file_are_not_told() {
        for (message, expected) in [
            (
                "the fault rebinding a on line 12 never began",
                "the fault rebinding a never began",
            ),
            (
                "it was never delivered (line 9), so",
                "it was never delivered, so",
            ),
            ("he waits on line 3 and on line 4", "he waits and"),
            (
                "he waits on line all day (line",
                "he waits on line all day (line",
            ),
            ("", ""),
        ] {
            assert_eq!(without_places(message), expected);
        }
    }
}
