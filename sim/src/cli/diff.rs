//! `ringtrue diff`: where two runs part, and what led there.

use std::num::NonZero;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::case::{Case, CaseArguments};
use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, print_line};
use crate::report::difference::{Comparison, Count, Milestone, Row, same_events, text as told};
use crate::report::text::{self, Colour};
use crate::report::{PacketOrEvent, Report};
use crate::seed::Seed;
use crate::trace::{Event, Recording};
use crate::world::run::{RunOptions, run};

mod nearest;

/// Run two cases, or a failing one and the nearest that passes, and show where they part
///
/// Without B, and without --seed-b and --client-b, A has to fail. It is compared with the next seed that
/// passes and has most in common with it; where no seed near by passes, with itself without one of its
/// faults or perturbations, without all of them, or by the client that ships.
///
/// The exit code is 0 where both runs are the same, event by event, and 1 where they part.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A scenario file, or a seed string (rt1-…)
    #[arg(value_name = "A")]
    first: String,
    /// What to compare it with: another one, or with --seed-b or --client-b the same if left out
    #[arg(value_name = "B")]
    second: Option<String>,
    /// Another seed than the one that each case says; 1 where it says none
    #[arg(long)]
    seed: Option<Seed>,
    /// Another client than the one that each case says; the one that ships where it says none
    #[arg(long, value_name = "VARIANT")]
    client: Option<String>,
    /// The seed of B, where it is another one
    #[arg(long, value_name = "SEED")]
    seed_b: Option<Seed>,
    /// The client of B, where it is another one
    #[arg(long, value_name = "VARIANT")]
    client_b: Option<String>,
    /// How far apart the same thing may be in both runs
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = humantime::parse_duration)]
    tolerance: Duration,
    /// Without B: how many of the next seeds are tried for one that passes
    #[arg(long, value_name = "COUNT", default_value = "20")]
    nearby: NonZero<u32>,
    /// One JSON object on standard output, and nothing else; B is null in it where nothing near by passes
    #[arg(long)]
    json: bool,
}

/// A run with everything that happened in it.
#[derive(Debug)]
struct Ran {
    report: Report,
    events: Vec<Event>,
}

/// What a run is compared with, and why.
#[derive(Debug)]
struct Other {
    ran: Ran,
    /// What it is, where it was chosen; `None` where it was asked for.
    chosen: Option<String>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Json<'a> {
    a: &'a Report,
    b: &'a Report,
    /// What B is and why, where it was chosen.
    chosen: Option<&'a str>,
    /// How many events both have before they part; `null` where they are the same run.
    same_events: Option<usize>,
    /// How many milestones both have before they part.
    same_milestones: usize,
    /// The first milestone that one has alone.
    parts: Option<JsonMilestone<'a>>,
    counts: Vec<JsonCount<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonMilestone<'a> {
    /// `a` or `b`.
    of: &'static str,
    at_us: u64,
    host: &'a str,
    text: &'a str,
}

#[derive(Debug, Serialize)]
struct JsonCount<'a> {
    what: &'a str,
    a: u64,
    b: u64,
}

impl<'a> JsonMilestone<'a> {
    fn new(of: &'static str, milestone: &'a Milestone) -> Self {
        Self {
            of,
            at_us: u64::try_from(milestone.at.as_micros()).unwrap_or(u64::MAX),
            host: &milestone.host,
            text: &milestone.text,
        }
    }
}

impl<'a> JsonCount<'a> {
    fn new(count: &'a Count) -> Self {
        Self {
            what: &count.what,
            a: count.first,
            b: count.second,
        }
    }
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let first = arguments.first()?;
    let ran = recorded(&first)?;
    let other = match arguments.second()? {
        Some(second) => Some(Other {
            ran: recorded(&second)?,
            chosen: None,
        }),
        None => arguments.nearest(&first, &ran)?,
    };
    let Some(other) = other else {
        if arguments.json {
            print_line(&json!({ "a": ran.report, "b": null }).to_string());
            return Ok(EXIT_UNEXPECTED);
        }
        print_line(&format!(
            "nothing near {} with seed {} passes: none of the next {}, nor the same without its faults or \
             by the client that ships",
            ran.report.scenario,
            first.seed,
            text::count(arguments.nearby.get() as usize, "seed")
        ));
        return Ok(EXIT_UNEXPECTED);
    };
    let same = same_events(&ran.events, &other.ran.events);
    let comparison = Comparison::of(&ran.events, &other.ran.events, arguments.tolerance);
    if arguments.json {
        print_json(&ran, &other, same, &comparison);
    } else {
        print(arguments.tolerance, &ran, &other, same, &comparison);
    }
    Ok(match same {
        None => EXIT_EXPECTED,
        Some(_) => EXIT_UNEXPECTED,
    })
}

impl Arguments {
    fn first(&self) -> Result<Case, CliError> {
        CaseArguments::new(self.first.clone(), self.seed, self.client.clone()).read()
    }

    /// What A is to be compared with, where that is said.
    fn second(&self) -> Result<Option<Case>, CliError> {
        if self.second.is_none() && self.seed_b.is_none() && self.client_b.is_none() {
            return Ok(None);
        }
        let case = self.second.clone().unwrap_or_else(|| self.first.clone());
        let client = self.client_b.clone().or_else(|| self.client.clone());
        CaseArguments::new(case, self.seed_b.or(self.seed), client)
            .read()
            .map(Some)
    }

    fn nearest(&self, first: &Case, ran: &Ran) -> Result<Option<Other>, CliError> {
        if ran.report.passed {
            return Err(CliError::Other(format!(
                "{} passes with seed {}: say B, --seed-b or --client-b, or a seed with which it fails",
                ran.report.scenario, first.seed
            )));
        }
        nearest::passing(first, ran, self.nearby, self.tolerance)
    }
}

fn recorded(case: &Case) -> Result<Ran, CliError> {
    let recording = Recording::default();
    let options = RunOptions {
        observers: vec![Box::new(recording.clone())],
        detail: PacketOrEvent::Event,
        ..case.options()
    };
    let report = run(&case.scenario, case.seed, options)?;
    Ok(Ran {
        report,
        events: recording.take(),
    })
}

fn print(tolerance: Duration, first: &Ran, other: &Other, same: Option<usize>, seen: &Comparison) {
    let colour = Colour::for_stdout();
    let second = &other.ran;
    for (mark, ran) in [('A', first), ('B', second)] {
        print_line(&format!("{mark}: {}", named(&ran.report)));
    }
    if let Some(chosen) = &other.chosen {
        print_line(&format!("   {chosen}"));
    }
    print_line(&format!(
        "\n{}",
        told::trace(&first.events, &second.events, same, colour)
    ));
    print_line(&told::comparison(seen, tolerance, colour));
    print_line("how each ended:");
    for (mark, ran) in [('A', first), ('B', second)] {
        let verdict = if ran.report.passed {
            "passed"
        } else {
            "failed"
        };
        print_line(&format!(
            "  {mark} {verdict}: {}",
            text::came_to(&ran.report)
        ));
        for failure in text::failures(&ran.report.failures) {
            print_line(&format!("    {failure}"));
        }
    }
}

/// Which run it is.
fn named(report: &Report) -> String {
    let client = report.client.as_ref();
    let client = client.map_or_else(
        || "the client that ships".to_owned(),
        |client| format!("client {client}"),
    );
    format!("{}, seed {}, {client}", report.scenario, report.seed)
}

fn print_json(first: &Ran, other: &Other, same: Option<usize>, seen: &Comparison) {
    let parts = seen.first_difference().map(|row| match &seen.rows[row] {
        Row::First(one) | Row::Both(one, _) => JsonMilestone::new("a", one),
        Row::Second(one) => JsonMilestone::new("b", one),
    });
    let json = Json {
        a: &first.report,
        b: &other.ran.report,
        chosen: other.chosen.as_deref(),
        same_events: same,
        same_milestones: seen.same(),
        parts,
        counts: seen.counts.iter().map(JsonCount::new).collect(),
    };
    let json = serde_json::to_string(&json).expect("a difference is always JSON");
    print_line(&json);
}
