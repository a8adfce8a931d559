//! `ringtrue meta`: whether runs repeat.
//!
//! Each scenario and seed runs in two processes, the second of which has first done what should not
//! matter. Where the two differ, the first event that differs is named.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Args;

use super::record::Surroundings;
use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, SeedRange, print_line, progress};
use crate::determinism::Plug;
use crate::scenario::{Scenario, load_paths};

/// Run scenarios in two processes each and compare them event by event
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Scenario files, or directories of them
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// The seeds, from A up to but without B
    #[arg(long, value_name = "A..B", default_value = "1..2")]
    seeds: SeedRange,
    /// Leave out a protection, to see that it is needed
    #[arg(long, value_name = "PLUG")]
    unplug: Vec<Plug>,
}

/// The first event in which two runs of one seed differ.
struct Divergence {
    index: usize,
    first: EventLine,
    second: EventLine,
}

/// One line of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EventLine {
    at_nanoseconds: String,
    host: String,
    kind: String,
    chain: String,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let scenarios = load_paths(&arguments.paths)?;
    let seeds = arguments.seeds.0.clone();
    let runs = (scenarios.len() as u64)
        .checked_mul(seeds.end - seeds.start)
        .ok_or_else(|| CliError::Other("--seeds: more runs than can be counted".into()))?;
    let directory =
        tempfile::tempdir().map_err(CliError::cannot("make a directory for records"))?;
    let bar = progress::bar(runs, "run");
    let mut different = 0_u64;
    for scenario in &scenarios {
        for seed in seeds.clone() {
            if let Some(divergence) = compare(arguments, scenario, seed, directory.path())? {
                different += 1;
                bar.suspend(|| print_line(&describe(scenario, seed, &divergence)));
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    print_line(&format!(
        "{runs} runs in two processes each: {} equal, {different} different",
        runs - different
    ));
    Ok(if different == 0 {
        EXIT_EXPECTED
    } else {
        EXIT_UNEXPECTED
    })
}

fn compare(
    arguments: &Arguments,
    scenario: &Scenario,
    seed: u64,
    directory: &Path,
) -> Result<Option<Divergence>, CliError> {
    let records = [Surroundings::Calm, Surroundings::Busy]
        .map(|surroundings| (surroundings, directory.join(format!("{surroundings:?}"))));
    let children = records
        .iter()
        .map(|(surroundings, events)| spawn(arguments, scenario, seed, events, *surroundings))
        .collect::<Result<Vec<Child>, CliError>>()?;
    for child in children {
        let output = child
            .wait_with_output()
            .map_err(CliError::cannot("wait for a second process"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let name = &scenario.name;
            return Err(CliError::Other(format!(
                "{name} with seed {seed} could not be recorded: {said}"
            )));
        }
    }
    first_difference(&records[0].1, &records[1].1)
}

fn spawn(
    arguments: &Arguments,
    scenario: &Scenario,
    seed: u64,
    events: &Path,
    surroundings: Surroundings,
) -> Result<Child, CliError> {
    let program = std::env::current_exe().map_err(CliError::cannot("find this program"))?;
    let mut command = Command::new(program);
    command.arg("record").arg(&scenario.path);
    command.args(["--seed", &seed.to_string()]);
    command.arg("--events").arg(events);
    command.args([
        "--surroundings",
        match surroundings {
            Surroundings::Calm => "calm",
            Surroundings::Busy => "busy",
        },
    ]);
    for plug in &arguments.unplug {
        command.args(["--unplug", plug.name()]);
    }
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(CliError::cannot("start a second process"))
}

fn first_difference(first: &Path, second: &Path) -> Result<Option<Divergence>, CliError> {
    let mut first = lines(first)?;
    let mut second = lines(second)?;
    let mut index = 0;
    loop {
        let pair = (
            first
                .next()
                .transpose()
                .map_err(CliError::cannot("read a record"))?,
            second
                .next()
                .transpose()
                .map_err(CliError::cannot("read a record"))?,
        );
        let (left, right) = match pair {
            (None, None) => return Ok(None),
            (left, right) if left == right => {
                index += 1;
                continue;
            }
            pair => pair,
        };
        return Ok(Some(Divergence {
            index,
            first: EventLine::parse(left.as_deref()),
            second: EventLine::parse(right.as_deref()),
        }));
    }
}

fn lines(path: &Path) -> Result<std::io::Lines<BufReader<File>>, CliError> {
    let file = File::open(path).map_err(CliError::cannot("read a record"))?;
    Ok(BufReader::new(file).lines())
}

impl EventLine {
    /// Reads a line of a record; the absent line of a record that ended is an event of its own.
    fn parse(line: Option<&str>) -> Self {
        let mut fields = line.unwrap_or("\t-\tthe end of the run\t").split('\t');
        let mut next = || fields.next().unwrap_or_default().to_owned();
        Self {
            at_nanoseconds: next(),
            host: next(),
            kind: next(),
            chain: next(),
        }
    }

    fn describe(&self) -> String {
        let at = self.at_nanoseconds.parse::<u64>().map_or_else(
            |_| "-".into(),
            |nanoseconds| format!("{:.6} s", nanoseconds as f64 / 1e9),
        );
        format!("{at} {} {}", self.host, self.kind)
    }
}

fn describe(scenario: &Scenario, seed: u64, divergence: &Divergence) -> String {
    let Divergence {
        index,
        first,
        second,
    } = divergence;
    let against = if first.describe() == second.describe() {
        " (the same kind of event, with other content)".to_owned()
    } else {
        format!(" against {}", second.describe())
    };
    let (name, event) = (&scenario.name, first.describe());
    format!("{name} with seed {seed} differs at event {index}: {event}{against}")
}
