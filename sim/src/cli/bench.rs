//! `ringtrue bench`: what calls cost on this machine.

use clap::Args;

use super::{CliError, EXIT_EXPECTED, print_line, progress};
use crate::bench::{Scale, measure};

/// Measure what calls cost on this machine, and compare with the same call on turmoil
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Each thing once or twice, to see that it can be measured
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// 10,000 calls for the memory
    #[arg(long)]
    long: bool,
    /// One JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let scale = match arguments {
        Arguments { quick: true, .. } => Scale::Quick,
        Arguments { long: true, .. } => Scale::Long,
        _ => Scale::Standard,
    };
    let bar = progress::counter("run");
    let figures = measure(scale, || bar.inc(1));
    bar.finish_and_clear();
    let figures = figures.map_err(|error| CliError::Other(error.to_string()))?;
    if arguments.json {
        let json = serde_json::to_string(&figures).expect("figures are always JSON");
        print_line(&json);
    } else {
        print_line(&figures.to_string());
    }
    Ok(EXIT_EXPECTED)
}
