//! The page of a run in a real browser.

use std::process::Command;

use ringtrue_sim::report::html::render;
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::trace::Recording;
use ringtrue_sim::world::run::{RunOptions, run};

use super::process::{beside, interpreter};

#[test]
fn the_page_of_a_run_works_in_a_browser() {
    // It has everything that a filter can hide: a fault, drops, relays, audio.
    let file = beside("../../scenarios/mobility/blackhole-one-way.toml");
    let scenario = Scenario::load(&file).unwrap_or_else(|error| panic!("{error:?}"));
    let recording = Recording::default();
    let options = RunOptions {
        observers: vec![Box::new(recording.clone())],
        ..RunOptions::default()
    };
    let report = run(&scenario, Seed::new(1), options).unwrap_or_else(|error| panic!("{error}"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let page = directory.path().join("report.html");
    let html = render(&report, &scenario, &recording.take());
    std::fs::write(&page, html).expect("the directory is ours");

    let checked = Command::new(interpreter("RINGTRUE_INTEROP_NODE"))
        .arg("page.test.mjs")
        .current_dir(beside("browser"))
        .env("RINGTRUE_PAGE", &page)
        .output()
        .expect("Node.js starts");
    assert!(
        checked.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
}
