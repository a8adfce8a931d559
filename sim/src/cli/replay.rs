//! `ringtrue replay`: a failure that was handed on, seen again.

use std::path::PathBuf;

use clap::Args;

use super::case::CaseArguments;
use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, print_line, run};
use crate::report::text::Colour;
use crate::report::{Report, bundle};
use crate::scenario::model::Fails;
use crate::world::run::RunOptions;

/// Run a scenario that holds on to a failure, or a seed string, and say whether it still fails so
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
    run::print(show, &report, Colour::for_stdout());
    if let Some(directory) = out.filter(|_| !arguments.json) {
        print_line(&run::written("bundle", directory));
    }
    if let Some(fails) = case.scenario.fails.as_ref().filter(|_| !arguments.json) {
        print_line(&compared(fails, &report));
    }
    Ok(if report.passed {
        EXIT_EXPECTED
    } else {
        EXIT_UNEXPECTED
    })
}

/// Whether a run failed as it was recorded, in one line.
fn compared(fails: &Fails, report: &Report) -> String {
    let says = fails.says.as_ref();
    let says = says.map_or_else(String::new, |says| format!(" that says {says:?}"));
    let recorded = format!("{}{says}", fails.cause);
    if report.failures.iter().any(|failure| fails.is(failure)) {
        format!("it fails as recorded: {recorded}")
    } else if report.passed {
        format!("the recorded failure is gone: {recorded}")
    } else {
        format!("it fails, but not as recorded: {recorded}")
    }
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
        assert_eq!(compared(&fails, &report), expected);
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
