//! `ringtrue fuzz`: scenarios by chance, until one fails.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, print_line, progress};
use crate::endpoint::RingtrueEndpoint;
use crate::fuzz::campaign::{Campaign, CaseKind, CaseResult, Limit, OnFailure, Shard};
use crate::fuzz::coverage::Coverage;
use crate::report::text::{self, Colour};
use crate::seed::Seed;
use crate::variants::Variant;

/// Make scenarios by chance, run them, and say which fail
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
    /// Only every N-th case, beginning with the K-th
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    shard: Shard,
    /// The client that calls: the one that ships, or a variant that is worse
    #[arg(long, value_name = "VARIANT")]
    client: Option<Variant>,
    /// Go on after a case that failed
    #[arg(long)]
    keep_going: bool,
    /// Cases without faults, behind NATs through which STUN is enough
    #[arg(long)]
    fault_free: bool,
    /// Where to write the files of the cases that failed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a campaign takes is told and goes into nothing else"
)]
pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let started = Instant::now();
    let jobs = arguments.jobs.map_or_else(
        || thread::available_parallelism().map_or(1, NonZero::get),
        NonZero::get,
    );
    let campaign = Campaign {
        seed: arguments.seed,
        limit: arguments
            .time
            .map_or(Limit::Cases(arguments.cases), Limit::For),
        shard: arguments.shard,
        jobs,
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
        endpoint: match arguments.client {
            Some(variant) => variant.endpoint(),
            None => Arc::new(RingtrueEndpoint),
        },
    };
    let bar = progress::bar(arguments.cases / arguments.shard.count, "case");
    let mut coverage = Coverage::default();
    let mut failed: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let colour = Colour::for_stdout();
    let mut error = None;
    campaign.run(|result| {
        bar.inc(1);
        coverage.add(&result.coverage);
        if result.report.passed {
            return;
        }
        let cause = result.report.failures.first().map(|each| each.cause);
        let cause = cause.map_or_else(String::new, |cause| format!("{cause:?}"));
        failed.entry(cause).or_default().push(result.number);
        bar.suspend(|| tell(&result, colour));
        if let Some(directory) = &arguments.out {
            let file = directory.join(format!("case-{}.toml", result.number));
            let text = format!("# seed {}\n{}", result.seed, result.text);
            let written =
                std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&file, text));
            error = written.err().or(error.take());
        }
    })?;
    bar.finish_and_clear();
    if let Some(source) = error {
        return Err(CliError::cannot("write a case")(source));
    }
    let wall = started.elapsed();
    let failures: usize = failed.values().map(Vec::len).sum();
    for (cause, cases) in &failed {
        print_line(&format!(
            "{cause}: {} {cases:?}",
            text::count(cases.len(), "case")
        ));
    }
    let seconds = wall.as_secs_f64();
    print_line(&format!("{coverage:#?}"));
    print_line(&format!(
        "{} cases, {failures} failed, {:.1} cases/s, {:.0} virtual s/s",
        coverage.cases,
        coverage.cases as f64 / seconds,
        coverage.virtual_ms as f64 / 1000.0 / seconds,
    ));
    Ok(if failures == 0 {
        EXIT_EXPECTED
    } else {
        EXIT_UNEXPECTED
    })
}

fn tell(result: &CaseResult, colour: Colour) {
    print_line(&format!("case {} seed {}", result.number, result.seed));
    print_line(&text::failure(&result.report, colour));
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
