//! Runs a scenario and writes its page:
//! `cargo run --example report_page -- SCENARIO SEED PAGE [CLIENT]`, for instance
//! `cargo run --example report_page -- scenarios/mobility/blackhole-one-way.toml 1 report.html`.
//!
//! Whoever watches a run keeps its events by a [`Recording`], and [`render`] makes one file of them.

use std::error::Error;
use std::path::Path;

use ringtrue_sim::report::html::render;
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::trace::Recording;
use ringtrue_sim::variants::Variant;
use ringtrue_sim::world::run::{RunOptions, run};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (scenario, seed, page, client) = match arguments.as_slice() {
        [scenario, seed, page] => (scenario, seed, page, None),
        [scenario, seed, page, client] => (scenario, seed, page, Some(client)),
        _ => return Err("expected SCENARIO SEED PAGE [CLIENT]".into()),
    };
    let scenario = Scenario::load(Path::new(scenario))?;
    let recording = Recording::default();
    let mut options = RunOptions {
        observers: vec![Box::new(recording.clone())],
        ..RunOptions::default()
    };
    if let Some(client) = client {
        options.endpoint = client.parse::<Variant>()?.endpoint();
    }
    let report = run(&scenario, seed.parse::<Seed>()?, options)?;
    std::fs::write(page, render(&report, &scenario, &recording.take()))?;
    Ok(())
}
