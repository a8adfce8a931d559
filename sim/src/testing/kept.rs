//! The bundles of runs that failed in a test.

use std::env;
use std::path::PathBuf;

use crate::report::{Report, bundle};
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::trace::{Observer, Recording};
use crate::world::run::{RunOptions, run};

/// Runs once more what failed as `report` says, and writes everything that is known of it. The report says
/// where; it is as it was where nothing can be written, since what failed matters more.
pub(super) fn with_bundle(
    mut report: Report,
    scenario: &Scenario,
    seed: Seed,
    options: impl FnOnce(Vec<Box<dyn Observer>>) -> RunOptions,
) -> Report {
    let recording = Recording::default();
    let again = run(scenario, seed, options(vec![Box::new(recording.clone())]));
    let place = place(&report);
    let written = again.map_err(|error| error.to_string()).and_then(|again| {
        let events = recording.take();
        bundle::write(&place, &again, scenario, &events).map_err(|error| error.to_string())
    });
    match written {
        Ok(files) => report.bundle = Some(files.directory),
        Err(error) => tracing::warn!(%error, "the bundle of a failed run is not written"),
    }
    report
}

/// Tests run at the same time and may have scenarios of one name, so that the digest tells them apart.
fn place(report: &Report) -> PathBuf {
    let directory =
        env::var_os("RINGTRUE_OUT").map_or_else(|| env::temp_dir().join("ringtrue"), PathBuf::from);
    let run = report.digest.get(..8).unwrap_or_default();
    directory.join(format!("{}-{}-{run}", report.scenario, report.seed))
}
