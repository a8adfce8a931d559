//! `ringtrue run`: scenarios, a line each.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, print_line, progress};
use crate::report::text::{self, Colour, Detail};
use crate::report::{PacketOrEvent, Report};
use crate::scenario::{Scenario, load_paths};
use crate::seed::Seed;
use crate::world::run::{RunOptions, SetupError, run};

/// Run scenarios and say what came of them
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Scenario files, or directories of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The seed: with the scenario it is all that a run depends on
    #[arg(long, default_value = "1")]
    seed: Seed,
    /// One JSON object a scenario on standard output, and nothing else
    #[arg(long)]
    json: bool,
    /// Show packets in the timeline too
    #[arg(short, long)]
    verbose: bool,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let scenarios = load_paths(&arguments.paths)?;
    let colour = Colour::for_stdout();
    let bar = progress::bar(scenarios.len() as u64, "scenario");
    let mut reports = Vec::new();
    for scenario in &scenarios {
        let report = run_one(arguments, scenario)?;
        bar.suspend(|| print(arguments, &report, scenarios.len(), colour));
        bar.inc(1);
        reports.push(report);
    }
    bar.finish_and_clear();
    if !arguments.json {
        print_line(&text::summary(&reports, colour));
    }
    Ok(if reports.iter().all(|report| report.passed) {
        EXIT_EXPECTED
    } else {
        EXIT_UNEXPECTED
    })
}

fn run_one(arguments: &Arguments, scenario: &Scenario) -> Result<Report, SetupError> {
    let options = RunOptions {
        detail: if arguments.verbose {
            PacketOrEvent::Packet
        } else {
            PacketOrEvent::Event
        },
        ..RunOptions::default()
    };
    run(scenario, arguments.seed, options)
}

/// One scenario is shown with its timeline, many with a line each.
fn print(arguments: &Arguments, report: &Report, scenarios: usize, colour: Colour) {
    if arguments.json {
        let json = serde_json::to_string(report).expect("a report is always JSON");
        print_line(&json);
        return;
    }
    let detail = if arguments.verbose {
        Detail::Packets
    } else {
        Detail::Events
    };
    if scenarios == 1 || arguments.verbose {
        print_line(&text::timeline(&report.timeline, detail, colour));
    }
    print_line(&text::verdict(report, colour));
    if !report.passed {
        print_line(&text::failure(report, colour));
    }
}
