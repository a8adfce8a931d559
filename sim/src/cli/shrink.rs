//! `ringtrue shrink`: the least scenario that still fails in the same way.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::case::{Case, CaseArguments};
use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, print_line, progress};
use crate::fuzz::cause::Cause;
use crate::fuzz::record;
use crate::fuzz::seed_string::SeedString;
use crate::fuzz::shrink::{Budget, Ended, Failing, Shrunk, shrink};
use crate::report::{Report, program, text};
use crate::scenario::{LoadError, Scenario, schema};
use crate::seed::Seed;
use crate::world::run::run;

/// Make a failing scenario as small as it can be while it fails in the same way
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    case: CaseArguments,
    /// How long to go on, such as 60s or 10m
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// The most runs
    #[arg(long, value_name = "COUNT", default_value = "100000")]
    runs: NonZero<usize>,
    /// Where to write the smaller scenario; without it, to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let given = arguments.case.read()?;
    let report = run(&given.scenario, given.seed, given.options())?;
    let Some(cause) = cause_to_keep(&given.scenario, &report) else {
        print_line(&format!(
            "{} passes with seed {}, so there is nothing to shrink",
            report.scenario, given.seed
        ));
        return Ok(EXIT_UNEXPECTED);
    };
    if let Some(directory) = arguments.out.as_deref().and_then(Path::parent) {
        // Before the work, so that it is not in vain.
        let cannot = CliError::cannot(format!("make the directory {}", directory.display()));
        fs::create_dir_all(directory).map_err(cannot)?;
    }
    let shrunk = shrunk(arguments, &given, &cause)?;
    let scenario = given
        .read_as_this(&shrunk.text)
        .expect("the search keeps valid scenarios only");
    let report = run(&scenario, given.seed, given.options())?;
    let out = arguments.out.as_deref();
    let file = out.unwrap_or(Path::new("FILE"));
    let text = record::write(
        &shrunk.text,
        &scenario,
        &report,
        &cause,
        &given.client,
        file,
    )
    .map_err(|error| CliError::Other(error.to_string()))?;
    match out {
        None => print_line(text.trim_end()),
        Some(out) => {
            // Before anything is written: a file that does not play what it did would be of no use.
            Scenario::parse(out, &text).map_err(LoadError::from)?;
            let cannot = CliError::cannot(format!("write {}", out.display()));
            fs::write(out, schema::referring(out, &text)).map_err(cannot)?;
            summarize(&cause, &shrunk, out);
            // With the failure that the file holds on to, so that it can be compared anywhere.
            if let Ok(word) = SeedString::new(&text, given.seed, given.client) {
                print_line(&format!("or, anywhere: {} replay {word}", program()));
            }
        }
    }
    Ok(EXIT_EXPECTED)
}

/// The failure that the file holds on to, where the run has it, and the most telling one otherwise.
fn cause_to_keep(scenario: &Scenario, report: &Report) -> Option<Cause> {
    let fails = scenario.fails.as_ref();
    let recorded = fails.and_then(|fails| report.failures.iter().find(|each| fails.is(each)));
    match recorded {
        Some(failure) => Some(Cause::of_failure(scenario, failure)),
        None => Cause::of(scenario, report),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long the user wants to wait is real time"
)]
fn shrunk(arguments: &Arguments, given: &Case, cause: &Cause) -> Result<Shrunk, CliError> {
    let end = Instant::now().checked_add(arguments.time);
    let bar = progress::counter("run");
    let fails = |scenario: &Scenario, seed: Seed| {
        bar.inc(1);
        // What cannot be run does not fail in the same way.
        let report = run(scenario, seed, given.options()).ok()?;
        let mut causes = report
            .failures
            .iter()
            .map(|failure| Cause::of_failure(scenario, failure));
        causes.find(|each| each == cause)
    };
    let failing = Failing {
        text: &given.text,
        read: &|text| given.read_as_this(text),
        seed: given.seed,
        cause,
    };
    let budget = Budget {
        runs_max: arguments.runs.get(),
        is_over: &|| end.is_some_and(|end| Instant::now() >= end),
    };
    let jobs = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let shrunk = shrink(failing, budget, jobs, &fails);
    bar.finish_and_clear();
    shrunk.map_err(|error| CliError::Other(error.to_string()))
}

fn summarize(cause: &Cause, shrunk: &Shrunk, out: &Path) {
    for edit in &shrunk.edits {
        print_line(&format!("  {edit}"));
    }
    let ended = match shrunk.ended {
        Ended::Least => "",
        Ended::BudgetUsed => ", and more would have been possible",
    };
    let (edits, runs) = (shrunk.edits.len(), shrunk.runs);
    print_line(&format!(
        "{} in {}{ended}; it fails for {cause}",
        text::count(edits, "edit"),
        text::count(runs, "run"),
    ));
    let program = program();
    print_line(&format!("see it again: {program} replay {}", out.display()));
}
