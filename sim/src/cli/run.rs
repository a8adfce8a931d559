//! `ringtrue run`: scenarios, a line each.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::case::endpoint_of;
use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, SeedRange, print_line, progress};
use crate::endpoint::Endpoint;
use crate::report::text::{self, Colour, Detail};
use crate::report::{PacketOrEvent, Report, bundle};
use crate::scenario::model::ClientName;
use crate::scenario::{Scenario, load_paths};
use crate::seed::Seed;
use crate::trace::Recording;
use crate::variants::Variant;
use crate::world::run::{RunOptions, check, run};

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
    /// The client that calls: the one that ships, or a variant with a known defect
    #[arg(long, value_name = "VARIANT", value_parser = clients(), default_value = "ringtrue")]
    client: ClientName,
    /// One JSON object a run on standard output, and nothing else
    #[arg(long)]
    json: bool,
    /// Show timelines, with packets
    #[arg(short, long)]
    verbose: bool,
    /// Write everything there is to know of a run into this directory: trace, capture, report, scenario.
    /// Several runs get a directory each in it, SCENARIO-SEED
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// One run, and where its bundle goes if it has one.
pub(super) struct Run<'a> {
    scenario: &'a Scenario,
    seed: Seed,
    out: Option<PathBuf>,
}

impl<'a> Run<'a> {
    /// A run without a bundle.
    pub(super) fn new(scenario: &'a Scenario, seed: Seed) -> Self {
        Self {
            scenario,
            seed,
            out: None,
        }
    }
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
    let mut runs: Vec<Run<'_>> = scenarios
        .iter()
        .flat_map(|scenario| {
            let seeds = seeds.clone();
            seeds.map(move |seed| Run::new(scenario, Seed::new(seed)))
        })
        .collect();
    if let Some(directory) = &arguments.out {
        place_bundles(directory, &mut runs)?;
    }
    let show = show(arguments, runs.len());
    let colour = Colour::for_stdout();
    let bar = progress::bar(runs.len() as u64, "run");
    let mut tally = Tally::default();
    let endpoint = endpoint_of(&arguments.client)?;
    run_all(&runs, show.detail(), &endpoint, |report| {
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
        if let Some(directory) = &arguments.out {
            let noun = if runs.len() == 1 { "bundle" } else { "bundles" };
            print_line(&written(noun, directory));
        }
    }
    Ok(if tally.failed == 0 {
        EXIT_EXPECTED
    } else {
        EXIT_UNEXPECTED
    })
}

/// The names of the clients, each with what is wrong with it.
fn clients() -> impl TypedValueParser<Value = ClientName> {
    let ships = PossibleValue::new("ringtrue").help("The one that ships");
    let variants =
        Variant::ALL.map(|variant| PossibleValue::new(variant.as_str()).help(variant.about()));
    let names = std::iter::once(ships).chain(variants);
    PossibleValuesParser::new(names).map(ClientName)
}

/// Gives each run a directory of its own, so far as nothing else is there.
fn place_bundles(directory: &Path, runs: &mut [Run<'_>]) -> Result<(), CliError> {
    if let [run] = runs {
        bundle::check_room(directory)?;
        run.out = Some(directory.to_owned());
        return Ok(());
    }
    bundle::check_room_for_many(directory)?;
    let mut taken: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    for run in runs {
        let name = format!("{}-{}", run.scenario.name, run.seed);
        let place = directory.join(name);
        if let Some(other) = taken.insert(place.clone(), &run.scenario.path) {
            return Err(CliError::Other(format!(
                "--out: {} would be the bundle of both {} and {}; run them one after the other",
                place.display(),
                other.display(),
                run.scenario.path.display()
            )));
        }
        run.out = Some(place);
    }
    Ok(())
}

/// Runs a scenario, and writes what came of it where it is to be written.
pub(super) fn run_into(
    directory: Option<&Path>,
    scenario: &Scenario,
    seed: Seed,
    mut options: RunOptions,
) -> Result<Report, CliError> {
    let Some(directory) = directory else {
        return Ok(run(scenario, seed, options)?);
    };
    let recording = Recording::default();
    options.observers.push(Box::new(recording.clone()));
    let mut report = run(scenario, seed, options)?;
    bundle::write(directory, &report, scenario, &recording.take())?;
    report.bundle = Some(directory.to_owned());
    Ok(report)
}

/// Where bundles were written, in one line.
pub(super) fn written(what: &str, directory: &Path) -> String {
    format!("{what} written to {}", directory.display())
}

/// Runs everything on all cores, the peers with this client, and hands the reports over in order, as if one came
/// after the other.
pub(super) fn run_all(
    runs: &[Run<'_>],
    detail: PacketOrEvent,
    endpoint: &Arc<dyn Endpoint>,
    mut done: impl FnMut(Report),
) -> Result<(), CliError> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let (results, finished) = mpsc::channel::<(usize, Result<Report, CliError>)>();
    thread::scope(|scope| {
        for _ in 0..workers.min(runs.len()) {
            let (results, next) = (results.clone(), &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(Run {
                        scenario,
                        seed,
                        out,
                    }) = runs.get(index)
                    else {
                        return;
                    };
                    let options = RunOptions {
                        detail,
                        endpoint: Arc::clone(endpoint),
                        ..RunOptions::default()
                    };
                    let result = run_into(out.as_deref(), scenario, *seed, options);
                    // A receiver that is gone has met an error and wants no more.
                    if results.send((index, result)).is_err() {
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
