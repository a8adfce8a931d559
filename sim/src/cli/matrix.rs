//! `ringtrue matrix`: every kind of NAT against every other.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, print_line, progress, run};
use crate::endpoint::{Endpoint, RingtrueEndpoint};
use crate::matrix::{Behaviour, CellResult, Conditions, Layers, Verdict, cells};
use crate::net::loss::Probability;
use crate::probe::{Agreement, ProbeError, classify_nat};
use crate::report::PacketOrEvent;
use crate::report::matrix::{difference, legend, summary, table, timings};
use crate::report::text::{self, Colour};
use crate::scenario::Scenario;
use crate::scenario::value::parse_percentage;
use crate::seed::Seed;

/// Call from behind every kind of NAT to behind every other, and compare with what an oracle says
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many NATs are on the way out of each home
    #[arg(long, default_value = "1", value_parser = layers)]
    layers: Layers,
    /// The round trip between the peers, in milliseconds
    #[arg(long, value_name = "MS", default_value = "80")]
    rtt: u64,
    /// The share of packets that each uplink loses in each direction, in percent
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = percent)]
    loss: Probability,
    /// The seed of every call
    #[arg(long, default_value = "1")]
    seed: Seed,
    /// One JSON object a cell on standard output, and nothing else
    #[arg(long)]
    json: bool,
    /// Show where the time from the answer to audio goes, for direct and for relayed calls
    #[arg(long, conflicts_with = "json")]
    timings: bool,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let invalid = |error: crate::matrix::MatrixError| CliError::Other(error.to_string());
    let round_trip = Duration::from_millis(arguments.rtt);
    let conditions = Conditions::new(round_trip, arguments.loss).map_err(invalid)?;
    let cells = cells(arguments.layers);
    let scenarios: Vec<Scenario> = cells.iter().map(|cell| cell.scenario(conditions)).collect();
    let misclassified = misclassified(arguments.seed).map_err(|error| {
        CliError::Other(format!("a NAT of the matrix cannot be probed: {error}"))
    })?;

    let runs: Vec<run::Run<'_>> = scenarios
        .iter()
        .map(|scenario| run::Run::new(scenario, arguments.seed))
        .collect();
    let bar = progress::bar(runs.len() as u64, "call");
    let mut results: Vec<CellResult> = Vec::new();
    let mut failures = Vec::new();
    let colour = Colour::for_stdout();
    let endpoint: Arc<dyn Endpoint> = Arc::new(RingtrueEndpoint);
    run::run_all(&runs, PacketOrEvent::Event, &endpoint, |report| {
        let result = cells[results.len()].result(&report);
        if result.verdict == Verdict::Differs {
            failures.push(difference(&result));
            failures.extend(report.failures.iter().map(|each| each.message.clone()));
        }
        if arguments.json {
            bar.suspend(|| print_line(&result.to_json()));
        }
        results.push(result);
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    if !arguments.json {
        print_line(&legend());
        print_line(&table(&results, colour));
        for failure in &failures {
            print_line(failure);
        }
        for (behaviour, seen) in &misclassified {
            print_line(&format!("the NAT {behaviour} is classified as {seen}"));
        }
        let behaviours = Behaviour::all().len();
        print_line(&format!(
            "{}: {} classified as configured by a STUN probe (RFC 5780)",
            text::count(behaviours, "NAT"),
            behaviours - misclassified.len()
        ));
        if arguments.timings {
            print_line(&timings(&results));
        }
        print_line(&summary(&results, colour));
    }
    Ok(if failures.is_empty() && misclassified.is_empty() {
        EXIT_EXPECTED
    } else {
        EXIT_UNEXPECTED
    })
}

/// The NATs of the matrix that a probe in the world takes for others, and for which.
fn misclassified(seed: Seed) -> Result<Vec<(Behaviour, String)>, ProbeError> {
    let mut wrong = Vec::new();
    for behaviour in Behaviour::all() {
        let config = behaviour.config();
        let classification = classify_nat(&config, seed)?;
        if classification.agreement_with(&config) == Agreement::Differs {
            wrong.push((behaviour, classification.to_string()));
        }
    }
    Ok(wrong)
}

fn layers(text: &str) -> Result<Layers, String> {
    match text {
        "1" => Ok(Layers::One),
        "2" => Ok(Layers::Two),
        _ => Err("allowed is 1 or 2".to_owned()),
    }
}

/// A percentage, with or without its sign.
fn percent(text: &str) -> Result<Probability, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    parse_percentage(&format!("{number}%")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_a_percentage() {
        let parts = |text| percent(text).map(Probability::parts_per_million);
        assert_eq!(parts("5%"), Ok(50_000));
        assert_eq!(parts("0.5"), Ok(5_000));
        assert_eq!(parts("100%"), Ok(1_000_000));
        for text in ["-1%", "101%", "", "%", "NaN", "five"] {
            parts(text).expect_err(text);
        }
    }
}
