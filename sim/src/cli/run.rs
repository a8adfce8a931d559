//! `ringtrue run`: scenarios, a line each.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, SeedRange, print_line, progress};
use crate::report::text::{self, Colour, Detail};
use crate::report::{PacketOrEvent, Report};
use crate::scenario::{Scenario, load_paths};
use crate::seed::Seed;
use crate::variants::Variant;
use crate::world::run::{RunOptions, SetupError, check, run};

/// Run scenarios and say what came of them
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Scenario files, or directories of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The seed: with the scenario it is all that a run depends on
    #[arg(long, default_value = "1", conflicts_with = "seeds")]
    seed: Seed,
    /// Run every scenario with each seed from A up to but without B
    #[arg(long, value_name = "A..B")]
    seeds: Option<SeedRange>,
    /// Run a client with a known defect in the place of the one that ships
    #[arg(long, value_name = "VARIANT", value_parser = clients())]
    client: Option<Variant>,
    /// One JSON object a run on standard output, and nothing else
    #[arg(long)]
    json: bool,
    /// Show timelines, with packets
    #[arg(short, long)]
    verbose: bool,
}

/// The most runs of one command: a day's work for one machine.
const RUNS_MAX: usize = 10_000_000;

/// What is shown of each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Json,
    /// The timeline in this detail, then the verdict.
    Timeline(Detail),
    Verdict,
    /// The verdict where it is not as expected.
    FailuresOnly,
}

impl Show {
    /// What is shown of a run that stands alone.
    pub(super) fn of_one(json: bool, verbose: bool) -> Self {
        if json {
            Self::Json
        } else if verbose {
            Self::Timeline(Detail::Packets)
        } else {
            Self::Timeline(Detail::Events)
        }
    }

    /// What the report has to hold for it.
    pub(super) fn detail(self) -> PacketOrEvent {
        match self {
            Self::Timeline(Detail::Packets) => PacketOrEvent::Packet,
            _ => PacketOrEvent::Event,
        }
    }
}

/// How many runs came out how.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let scenarios = load_paths(&arguments.paths)?;
    for scenario in &scenarios {
        check(scenario)?;
    }
    let seeds = match &arguments.seeds {
        Some(SeedRange(range)) => range.start..=range.end - 1,
        None => arguments.seed.number()..=arguments.seed.number(),
    };
    let count = usize::try_from(seeds.end() - seeds.start())
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    if count > RUNS_MAX / scenarios.len() {
        let scenarios = text::count(scenarios.len(), "scenario");
        return Err(CliError::Other(format!(
            "--seeds: {count} seeds for each of {scenarios} are more than {RUNS_MAX} runs"
        )));
    }
    let runs: Vec<(&Scenario, Seed)> = scenarios
        .iter()
        .flat_map(|scenario| seeds.clone().map(move |seed| (scenario, Seed::new(seed))))
        .collect();
    let show = show(arguments, runs.len());
    let colour = Colour::for_stdout();
    let bar = progress::bar(runs.len() as u64, "run");
    let mut tally = Tally::default();
    run_all(&runs, show.detail(), arguments.client, |report| {
        bar.suspend(|| print(show, &report, colour));
        bar.inc(1);
        if report.passed {
            tally.passed += 1;
        } else {
            tally.failed += 1;
        }
    })?;
    bar.finish_and_clear();
    if show != Show::Json {
        let what = match &arguments.seeds {
            None => text::count(scenarios.len(), "scenario"),
            Some(_) => format!(
                "{} of {}",
                text::count(runs.len(), "run"),
                text::count(scenarios.len(), "scenario")
            ),
        };
        print_line(&text::summary(&what, tally.passed, tally.failed, colour));
    }
    Ok(if tally.failed == 0 {
        EXIT_EXPECTED
    } else {
        EXIT_UNEXPECTED
    })
}

/// The names of the clients, each with what is wrong with it.
fn clients() -> impl TypedValueParser<Value = Variant> {
    let names =
        Variant::ALL.map(|variant| PossibleValue::new(variant.as_str()).help(variant.about()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Variant>())
}

/// Runs everything on all cores, the peers with this client or with the one that ships, and hands the reports over in order, as if one came after the other.
pub(super) fn run_all(
    runs: &[(&Scenario, Seed)],
    detail: PacketOrEvent,
    client: Option<Variant>,
    mut done: impl FnMut(Report),
) -> Result<(), CliError> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let (results, finished) = mpsc::channel::<(usize, Result<Report, SetupError>)>();
    thread::scope(|scope| {
        for _ in 0..workers.min(runs.len()) {
            let (results, next) = (results.clone(), &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((scenario, seed)) = runs.get(index) else {
                        return;
                    };
                    let mut options = RunOptions {
                        detail,
                        ..RunOptions::default()
                    };
                    if let Some(variant) = client {
                        options.endpoint = variant.endpoint();
                    }
                    // A receiver that is gone has met an error and wants no more.
                    if results
                        .send((index, run(scenario, *seed, options)))
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(results);
        let mut early = BTreeMap::new();
        let mut shown = 0;
        for (index, result) in finished {
            early.insert(index, result?);
            while let Some(report) = early.remove(&shown) {
                done(report);
                shown += 1;
            }
        }
        Ok(())
    })
}

fn show(arguments: &Arguments, runs: usize) -> Show {
    if arguments.json || arguments.verbose || runs == 1 {
        Show::of_one(arguments.json, arguments.verbose)
    } else if arguments.seeds.is_some() {
        Show::FailuresOnly
    } else {
        Show::Verdict
    }
}

pub(super) fn print(show: Show, report: &Report, colour: Colour) {
    match show {
        Show::Json => {
            let json = serde_json::to_string(report).expect("a report is always JSON");
            return print_line(&json);
        }
        Show::FailuresOnly if report.passed => return,
        Show::Timeline(detail) => {
            print_line(&text::timeline(&report.timeline, detail, colour));
        }
        Show::Verdict | Show::FailuresOnly => {}
    }
    print_line(&text::verdict(report, colour));
    if !report.passed {
        print_line(&text::failure(report, colour));
    }
}
