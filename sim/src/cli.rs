//! The `ringtrue` command line.
//!
//! Exit codes: 0 where all came as expected, 1 where not, 2 for wrong usage or invalid input, and 3 where
//! something else went wrong than was recorded.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thiserror::Error;

use crate::fuzz::seed_string::UnreadableError;
use crate::report::bundle::BundleError;
use crate::scenario::{LoadError, LoadErrors, Rendering};
use crate::world::run::SetupError;

mod bench;
mod call;
mod case;
mod diff;
mod fuzz;
mod matrix;
mod meta;
mod progress;
mod record;
mod replay;
mod run;
mod schema;
mod serve;
mod shrink;

/// All came as expected.
const EXIT_EXPECTED: u8 = 0;
/// Something did not.
const EXIT_UNEXPECTED: u8 = 1;
/// Wrong usage or invalid input.
const EXIT_INVALID: u8 = 2;
/// What was recorded did not happen again, and something else did.
const EXIT_OTHERWISE: u8 = 3;

/// Runs a real calling client through networks that fail, in virtual time, from one seed.
#[derive(Debug, Parser)]
#[command(name = "ringtrue", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Fuzz(fuzz::Arguments),
    Replay(replay::Arguments),
    Diff(diff::Arguments),
    Shrink(shrink::Arguments),
    Matrix(matrix::Arguments),
    Meta(meta::Arguments),
    Bench(bench::Arguments),
    Schema(schema::Arguments),
    Serve(serve::Arguments),
    Call(call::Arguments),
    #[command(hide = true)]
    Record(record::Arguments),
}

/// Parses the process's arguments and does what they ask.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints them where they belong.
            let code = if error.use_stderr() {
                EXIT_INVALID
            } else {
                EXIT_EXPECTED
            };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::Run(arguments) => run::main(&arguments),
        Command::Fuzz(arguments) => fuzz::main(&arguments),
        Command::Replay(arguments) => replay::main(&arguments),
        Command::Diff(arguments) => diff::main(&arguments),
        Command::Shrink(arguments) => shrink::main(&arguments),
        Command::Matrix(arguments) => matrix::main(&arguments),
        Command::Bench(arguments) => bench::main(&arguments),
        Command::Meta(arguments) => meta::main(&arguments),
        Command::Schema(arguments) => schema::main(&arguments),
        Command::Serve(arguments) => serve::main(&arguments),
        Command::Call(arguments) => call::main(&arguments),
        Command::Record(arguments) => record::main(&arguments),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        print_error(&error);
        EXIT_INVALID
    }))
}

/// Why a command did not do its work at all.
#[derive(Debug, Error)]
enum CliError {
    /// Some of the named scenarios are not scenarios.
    #[error("invalid scenarios")]
    Scenarios(#[from] LoadErrors),
    /// The named scenario is none.
    #[error("invalid scenario")]
    Scenario(#[from] LoadError),
    /// The scenario cannot be run.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// What looks like a seed string is none.
    #[error(transparent)]
    SeedString(#[from] UnreadableError),
    /// A file, a socket or a process could not be had.
    #[error("cannot {action}: {source}")]
    System { action: String, source: io::Error },
    /// The client refused a command.
    #[error(transparent)]
    Client(#[from] ringtrue::client::ClientError),
    /// What came of a run cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Anything else that the user has to know.
    #[error("{0}")]
    Other(String),
}

impl CliError {
    /// For `map_err`: what the program wanted to do.
    fn cannot(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        |source| Self::System { action, source }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "this is where errors leave the program"
)]
fn print_error(error: &CliError) {
    let rendering = Rendering::for_stderr();
    match error {
        CliError::Scenarios(errors) => eprint!("{}", errors.render(rendering)),
        CliError::Scenario(error) => eprint!("{}", error.render(rendering)),
        other => eprintln!("error: {other}"),
    }
}

/// Prints a line of the command's result. A reader that has seen enough, such as `head`, ends the
/// program without a word.
fn print_line(line: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            print_error(&CliError::cannot("write to standard output")(error));
        }
        std::process::exit(i32::from(EXIT_INVALID));
    }
}

/// A range of seeds, `A..B` without B.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SeedRange(std::ops::Range<u64>);

impl std::str::FromStr for SeedRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            part.parse::<u64>()
                .map_err(|_| format!("{part:?} is no seed: allowed is 0 to {}", u64::MAX))
        };
        let Some((from, to)) = text.split_once("..") else {
            let seed = number(text)?;
            return Err(format!(
                "{seed} is no range: write 0..{seed} for so many seeds, or {seed}..{} for this one",
                seed.saturating_add(1)
            ));
        };
        let range = number(from)?..number(to)?;
        if range.is_empty() {
            return Err(format!("{text:?} holds no seed: A..B needs A < B"));
        }
        Ok(Self(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_range_is_half_open() {
        assert_eq!("3..5".parse(), Ok(SeedRange(3..5)));
    }

    #[test]
    fn what_is_no_range_of_seeds_is_refused() {
        for text in ["5..5", "5..3", "", "..", "a..b", "-1..2", "5"] {
            assert!(text.parse::<SeedRange>().is_err(), "{text:?} was accepted");
        }
    }
}
