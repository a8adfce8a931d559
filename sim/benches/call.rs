//! What a call costs: the whole of it, from two applications that start to hanging up.
//!
//! `cargo bench -p ringtrue-sim`. One run uses one core, so the figures are costs of a core.

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::world::run::{RunOptions, run};

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

fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call");
    group.sample_size(20);
    for talk in ["1s", "60s"] {
        let scenario = cone_cone(talk);
        let mut seed = 0;
        group.bench_function(format!("{talk} of talk"), |bencher| {
            bencher.iter(|| {
                seed += 1;
                let report = run(&scenario, Seed::new(seed), RunOptions::default());
                let report = report.expect("the scenario can be run");
                assert!(report.passed, "seed {seed}: {:?}", report.failures);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
