//! `ringtrue replay`: a failure that was handed on, seen again.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::case::CaseArguments;
use super::{CliError, EXIT_EXPECTED, EXIT_OTHERWISE, EXIT_UNEXPECTED, print_line, run};
use crate::report::text::Colour;
use crate::report::{Report, bundle};
use crate::scenario::model::Fails;
use crate::world::run::RunOptions;

/// Run a scenario that holds on to a failure, or a seed string, and say whether it still fails so
///
/// Exit codes: 0 where it passes, 1 where it fails as recorded (or fails, where nothing is recorded), 3 where
/// it fails otherwise.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    case: CaseArguments,
    /// One JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,
    /// Show the timeline with packets
    #[arg(short, long)]
    verbose: bool,
    /// Write everything there is to know of the run into this directory: trace, capture, report, scenario
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let case = arguments.case.read()?;
    let show = run::Show::of_one(arguments.json, arguments.verbose);
    let options = RunOptions {
        detail: show.detail(),
        ..case.options()
    };
    let out = arguments.out.as_deref();
    if let Some(directory) = out {
        bundle::check_room(directory)?;
    }
    let report = run::run_into(out, &case.scenario, case.seed, options)?;
    let fails = case.scenario.fails.as_ref();
    let again = fails.map(|fails| (fails, Again::of(fails, &report)));
    if arguments.json {
        let again = again.map(|(_, again)| again);
        let report = &report;
        let json = serde_json::to_string(&Json { report, again });
        print_line(&json.expect("a report is always JSON"));
    } else {
        run::print(show, &report, Colour::for_stdout());
        if let Some(directory) = out {
            print_line(&run::written("bundle", directory));
        }
        if let Some((fails, again)) = again {
            print_line(&compared(fails, again));
        }
    }
    Ok(match again {
        _ if report.passed => EXIT_EXPECTED,
        Some((_, Again::Otherwise)) => EXIT_OTHERWISE,
        _ => EXIT_UNEXPECTED,
    })
}

/// What became of a failure that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Again {
    /// It is there again.
    AsRecorded,
    /// Another one is there in its place.
    Otherwise,
    /// It is gone, and the run is as expected.
    Gone,
}

/// What `--json` prints: the report, and what became of the failure that was recorded, if one was.
#[derive(Debug, Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<Again>,
}

impl Again {
    fn of(fails: &Fails, report: &Report) -> Self {
        if report.failures.iter().any(|failure| fails.is(failure)) {
            Self::AsRecorded
        } else if report.passed {
            Self::Gone
        } else {
            Self::Otherwise
        }
    }
}

/// Whether a run failed as it was recorded, in one line.
fn compared(fails: &Fails, again: Again) -> String {
    let says = fails.says.as_ref();
    let says = says.map_or_else(String::new, |says| format!(" that says {says:?}"));
    let what = match again {
        Again::AsRecorded => "it fails as recorded",
        Again::Otherwise => "it fails, but not as recorded",
        Again::Gone => "the recorded failure is gone",
    };
    format!("{what}: {}{says}", fails.cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Failure, FailureCause};
    use crate::scenario::Scenario;
    use crate::seed::Seed;
    use crate::world::run::run as run_scenario;

    #[track_caller]
    fn check(failures: &[(FailureCause, &str)], expected: &str) {
        let text = "about = \"Two talk.\"\n[network.a]\n[peer.alice]\nnetwork = \"a\"\n\
            [peer.bob]\nnetwork = \"a\"\n[fails]\nclient = \"ringtrue\"\nseed = 3\n\
            cause = \"too-late\"\nsays = \"came after\"\n";
        let scenario = Scenario::parse_alone("two.toml".as_ref(), text).expect("a scenario");
        let report = run_scenario(&scenario, Seed::new(3), RunOptions::default());
        let mut report = report.expect("the scenario can be run");
        let failures = failures
            .iter()
            .map(|(cause, message)| Failure::new(*cause, (*message).to_owned()));
        report.failures = failures.collect();
        report.passed = report.failures.is_empty();
        let fails = scenario.fails.expect("it is in the text");
        assert_eq!(compared(&fails, Again::of(&fails, &report)), expected);
    }

    #[test]
    fn a_failure_is_recognized_by_cause_and_message() {
        let recorded = "too-late that says \"came after\"";
        check(
            &[
                (FailureCause::WrongPath, "it is direct"),
                (FailureCause::TooLate, "it came after 9s"),
            ],
            &format!("it fails as recorded: {recorded}"),
        );
        check(&[], &format!("the recorded failure is gone: {recorded}"));
        for other in [
            (FailureCause::TooLate, "nobody answered"),
            (FailureCause::WrongPath, "it came after 9s"),
        ] {
            check(
                &[other],
                &format!("it fails, but not as recorded: {recorded}"),
            );
        }
    }
}
