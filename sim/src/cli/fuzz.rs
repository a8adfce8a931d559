//! `ringtrue fuzz`: scenarios by chance, and what is left of those that fail.

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;

use super::case::endpoint_of;
use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, print_line, progress};
use crate::fuzz::campaign::{Campaign, CaseKind, Limit, OnFailure, Shard};
use crate::fuzz::comparison::{HEAD, results};
use crate::fuzz::coverage::Coverage;
use crate::fuzz::hunt::{Hunt, Progress};
use crate::fuzz::summary::{Finding, Summary};
use crate::report::program;
use crate::report::text::{self, Colour};
use crate::scenario::model::ClientName;
use crate::seed::Seed;

/// Make scenarios by chance, run them, and hand back what fails, made small
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many cases
    #[arg(long, default_value = "500", conflicts_with = "time")]
    cases: u64,
    /// For how long, such as 10m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// The seed from which all cases follow
    #[arg(long, default_value = "1")]
    seed: Seed,
    /// How many cases run at the same time; all cores by default
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// The client that calls: the one that ships, or a variant that is worse
    #[arg(long, value_name = "VARIANT", default_value = "ringtrue")]
    client: String,
    /// Only every N-th case, beginning with the K-th
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    shard: Shard,
    /// Go on after a case that failed
    #[arg(long)]
    keep_going: bool,
    /// How long the first case of each cause is made smaller; 0s leaves it as it is
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    shrink: Duration,
    /// Cases in which nothing goes wrong, behind NATs through which STUN is enough
    #[arg(long)]
    fault_free: bool,
    /// Where to write the summary, and a file for each cause
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Join the summaries of the parts of a campaign that were written to these directories
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["cases", "time", "shard", "out"])]
    merge: Vec<PathBuf>,
    /// Run the same cases with the client that ships and with this one, and compare what came of them
    #[arg(long, value_name = "VARIANT", conflicts_with_all = ["time", "shard", "out", "merge", "fault_free"])]
    compare: Option<String>,
    /// One JSON object at the end, and nothing else on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    if let Some(other) = &arguments.compare {
        return compare(arguments, other);
    }
    let summary = if arguments.merge.is_empty() {
        hunt(arguments)?
    } else {
        merged(&arguments.merge)?
    };
    if arguments.json {
        let json = serde_json::to_string(&summary).expect("a summary is always JSON");
        print_line(&json);
    } else {
        if !arguments.merge.is_empty() {
            for (cause, finding) in &summary.causes {
                print_line(&found(&cause.to_string(), finding));
            }
        }
        print_line(&told(&summary));
    }
    Ok(if summary.failed == 0 {
        EXIT_EXPECTED
    } else {
        EXIT_UNEXPECTED
    })
}

fn hunt(arguments: &Arguments) -> Result<Summary, CliError> {
    let client = ClientName(arguments.client.clone());
    let campaign = Campaign {
        seed: arguments.seed,
        limit: arguments
            .time
            .map_or(Limit::Cases(arguments.cases), Limit::For),
        shard: arguments.shard,
        jobs: jobs(arguments),
        on_failure: if arguments.keep_going {
            OnFailure::GoOn
        } else {
            OnFailure::Stop
        },
        kind: if arguments.fault_free {
            CaseKind::FaultFree
        } else {
            CaseKind::Faulty
        },
        endpoint: endpoint_of(&client)?,
    };
    let bar = match arguments.time {
        Some(_) => progress::counter("case"),
        None => progress::bar(arguments.cases / arguments.shard.count, "case"),
    };
    let hunt = Hunt {
        campaign,
        client,
        out: arguments.out.clone(),
        shrink_for: arguments.shrink,
    };
    let colour = Colour::for_stdout();
    let summary = hunt.run(|progress| match progress {
        Progress::Case(summary) => show(&bar, summary),
        Progress::Found {
            cause,
            finding,
            report,
        } if !arguments.json => bar.suspend(|| {
            // The case as it was made is in no file; what is left of it is.
            print_line(text::failure_alone(report, colour).trim_end());
            print_line(&found(&cause.to_string(), finding));
        }),
        Progress::Found { .. } => {}
    });
    bar.finish_and_clear();
    summary.map_err(|error| CliError::Other(error.to_string()))
}

fn compare(arguments: &Arguments, other: &str) -> Result<u8, CliError> {
    let mut all = Vec::new();
    for client in [ClientName::production(), ClientName(other.to_owned())] {
        let endpoint = endpoint_of(&client)?;
        let jobs = jobs(arguments);
        let name = client.to_string();
        all.push(results(
            &name,
            endpoint,
            arguments.seed,
            arguments.cases,
            jobs,
        )?);
    }
    if arguments.json {
        let json = serde_json::to_string(&all).expect("results are always JSON");
        print_line(&json);
    } else {
        print_line(HEAD);
        for results in &all {
            print_line(&results.to_string());
        }
    }
    Ok(EXIT_EXPECTED)
}

fn jobs(arguments: &Arguments) -> usize {
    let all_cores = || thread::available_parallelism().map_or(1, NonZero::get);
    arguments.jobs.map_or_else(all_cores, NonZero::get)
}

fn merged(directories: &[PathBuf]) -> Result<Summary, CliError> {
    let mut whole = Summary::default();
    for directory in directories {
        let part = Summary::read(directory).map_err(|error| CliError::Other(error.to_string()))?;
        whole.merge(part);
    }
    Ok(whole)
}

fn show(bar: &ProgressBar, summary: &Summary) {
    bar.inc(1);
    let Coverage {
        nat_pairs,
        transitions,
        faults,
        selected,
        ..
    } = &summary.coverage;
    bar.set_message(format!(
        "cases · {} failed · {} NAT pairs, {} transitions, {} kinds of faults, {} pairs of candidates",
        summary.failed,
        nat_pairs.len(),
        transitions.len(),
        faults.len(),
        selected.len(),
    ));
}

/// A cause, how often it was met, and how to see it again.
fn found(cause: &str, finding: &Finding) -> String {
    let count = usize::try_from(finding.cases).unwrap_or(usize::MAX);
    let mut lines = vec![format!("{}: {cause}", text::count(count, "case"))];
    if let Some(left) = finding.faults_left {
        let faults = match left {
            1 => "1 fault or perturbation".to_owned(),
            _ => format!("{left} faults and perturbations"),
        };
        lines.push(format!(
            "  the first, case {}, is left with {faults}",
            finding.first
        ));
    }
    if let Some(file) = &finding.file {
        let program = program();
        lines.push(format!(
            "  see it again: {program} replay {}",
            file.display()
        ));
    }
    if let Some(word) = &finding.replay {
        let again = if finding.file.is_some() {
            "or, anywhere"
        } else {
            "see it again"
        };
        let program = program();
        lines.push(format!("  {again}: {program} replay {word}"));
    }
    lines.join("\n")
}

fn told(summary: &Summary) -> String {
    let Summary {
        cases,
        failed,
        coverage,
        wall_s,
        cases_per_s,
        ..
    } = summary;
    let virtual_s = coverage.virtual_ms as f64 / 1000.0;
    let share = |count: u64| 100.0 * count as f64 / (*cases).max(1) as f64;
    let lines = [
        format!(
            "{}, {failed} failed; {wall_s:.0} s, {cases_per_s:.1} cases/s, {:.0} virtual s in a second",
            text::count(usize::try_from(*cases).unwrap_or(usize::MAX), "case"),
            virtual_s / wall_s.max(f64::EPSILON)
        ),
        format!(
            "covered: {} NAT pairs, {} transitions of the call, {} kinds of faults, {} pairs of candidates",
            coverage.nat_pairs.len(),
            coverage.transitions.len(),
            coverage.faults.len(),
            coverage.selected.len(),
        ),
        format!(
            "a case lasted {:.1} s, and in {:.0} % of them a candidate came before its description",
            virtual_s / (*cases).max(1) as f64,
            share(coverage.candidate_before_description),
        ),
    ];
    lines.join("\n")
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(index, count)| {
            let shard = Self {
                index: index.parse().ok()?,
                count: count.parse().ok()?,
            };
            (1..=shard.count).contains(&shard.index).then_some(shard)
        });
        parsed.ok_or_else(|| format!("{text:?} is no part: allowed is K/N with K from 1 to N"))
    }
}
