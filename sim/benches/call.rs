//! What a call costs: the whole of it, from two applications that start to hanging up.
//!
//! `cargo bench -p ringtrue-sim`. One run uses one core, so the figures are costs of a core. Seeds
//! differ from sample to sample; the least of them is the one that other work on the machine
//! disturbed least.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures the time that runs take, and prints it"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::world::run::{RunOptions, run};

/// How many calls of each length are measured.
const SAMPLES: u64 = 21;

fn main() {
    println!("a complete call between two full-cone homes, {SAMPLES} samples each");
    for talk in ["1s", "60s"] {
        let scenario = cone_cone(talk);
        let mut costs: Vec<Duration> = (1..=SAMPLES).map(|seed| cost(&scenario, seed)).collect();
        costs.sort();
        let (least, median) = (costs[0], costs[costs.len() / 2]);
        println!("{talk:>4} of talk: least {least:.1?}, median {median:.1?}");
    }
}

fn cost(scenario: &Scenario, seed: u64) -> Duration {
    let started = Instant::now();
    let report = run(scenario, Seed::new(seed), RunOptions::default());
    let report = report.expect("the scenario can be run");
    let cost = started.elapsed();
    assert!(report.passed, "seed {seed}: {:?}", report.failures);
    cost
}

fn cone_cone(talk: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/nat/in-a-bench.toml");
    let text = format!(
        r#"
        about = "two homes behind full cones, a talk of {talk}"
        [network.a]
        nat = "full-cone"
        [network.b]
        nat = "full-cone"
        [peer.alice]
        network = "a"
        [peer.bob]
        network = "b"
        [talk]
        for = "{talk}"
        "#
    );
    Scenario::parse(&path, &text).expect("the scenario is valid")
}
