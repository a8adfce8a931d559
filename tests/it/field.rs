//! What went wrong in the field: each report is a scenario in which a client with that defect fails, for the
//! reason that the report gives, and in which the client that ships passes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ringtrue_sim::report::{Report, text};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::variants::Variant;
use ringtrue_sim::world::run::{RunOptions, run};

use crate::support::{check_all, report, ringtrue, root, seeds, stdout};

/// How many reports there are at least that a client fails on.
const REPORTS_MIN: usize = 30;

/// Every report, by the name of its file.
#[track_caller]
fn reports() -> Vec<Scenario> {
    let directory = root().join("fixtures/field");
    let entries = std::fs::read_dir(&directory).expect("the directory is there");
    let files = entries.map(|entry| entry.expect("it can be read").path());
    let is_scenario = |file: &PathBuf| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    };
    let files: BTreeSet<PathBuf> = files.filter(is_scenario).collect();
    files
        .iter()
        .map(|file| Scenario::load(file).unwrap_or_else(|error| panic!("{error:?}")))
        .collect()
}

/// What a run came to, with its file, its seed, its client and the command that repeats it.
fn told(report: &Report) -> String {
    let client = report.client.as_deref().unwrap_or("the client that ships");
    format!(
        "{}, seed {}, {client}:\n{}\n{}",
        report.file.display(),
        report.seed,
        text::failure(report, text::Colour::Off),
        report.replay_command()
    )
}

/// What is wrong with the run of the client that a report names; nothing where it fails as the report
/// says, or where the report names none.
fn wrong_with_the_defect(scenario: &Scenario) -> Option<String> {
    let fails = scenario.fails.as_ref()?;
    let variant: Variant = match fails.client.0.parse() {
        Ok(variant) => variant,
        Err(error) => return Some(format!("{}: {error}", scenario.path.display())),
    };
    let options = RunOptions {
        endpoint: variant.endpoint(),
        ..RunOptions::default()
    };
    let report = match run(scenario, fails.seed, options) {
        Ok(report) => report,
        Err(error) => return Some(format!("{}: {error}", scenario.path.display())),
    };
    let is_as_told = report.failures.iter().any(|failure| fails.is(failure));
    let expected = format!("{} that says {:?}", fails.cause, fails.says);
    (!is_as_told).then(|| format!("expected {expected} of {}", told(&report)))
}

#[test]
fn the_client_of_each_report_fails_as_the_report_says() {
    check_all(&reports(), wrong_with_the_defect);
}

#[test]
fn the_client_that_ships_passes_with_every_report() {
    let cases: Vec<(Scenario, u64)> = reports()
        .into_iter()
        .flat_map(|scenario| (1..=seeds(3)).map(move |seed| (scenario.clone(), seed)))
        .collect();
    check_all(&cases, |(scenario, seed)| {
        let report = report(scenario, *seed);
        (!report.passed).then(|| told(&report))
    });
}

#[test]
fn every_report_says_what_happened_to_whom_and_where_that_is_written() {
    let reports = reports();
    let failing = reports.iter().filter(|report| report.fails.is_some());
    let count = failing.count();
    assert!(count >= REPORTS_MIN, "{count} reports");
    for report in &reports {
        let file = report.path.display();
        assert!(report.story.is_some(), "{file} has no story");
        assert!(report.source.is_some(), "{file} has no source");
        let fails = report.fails.as_ref();
        assert!(
            fails.is_none_or(|fails| fails.says.is_some()),
            "{file} says no symptom"
        );
    }
}

#[test]
fn every_variant_fails_on_a_report() {
    let clients: BTreeSet<String> = reports()
        .into_iter()
        .filter_map(|report| Some(report.fails?.client.0))
        .collect();
    for variant in Variant::ALL {
        assert!(
            clients.contains(variant.as_str()),
            "{variant} fails on none"
        );
    }
}

#[test]
fn the_table_of_reports_is_that_of_the_files() {
    let readme = root().join("fixtures/field/README.md");
    let readme = std::fs::read_to_string(readme).expect("the table is there");
    let written: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| ["))
        .collect();
    let expected: Vec<String> = reports().iter().map(row).collect();
    assert_eq!(written, expected, "it should be:\n{}", expected.join("\n"));
}

/// The line of the table that a report has.
fn row(report: &Scenario) -> String {
    let client = report.fails.as_ref().map_or_else(
        || "none: `tests/it/field_settings.rs`".to_owned(),
        |fails| format!("`{}`", fails.client),
    );
    format!(
        "| [{name}]({name}.toml) | {} | {} | {client} |",
        report.about,
        report.source.as_deref().unwrap_or_default(),
        name = report.name,
    )
}

#[test]
fn the_command_replays_a_report_with_the_client_that_it_names() {
    let output = ringtrue(&["replay", "fixtures/field/react-native-webrtc-1295.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    assert!(said.contains("it fails as recorded: too-late"), "{said}");
    let ours = [
        "replay",
        "fixtures/field/react-native-webrtc-1295.toml",
        "--client",
        "ringtrue",
    ];
    let said = stdout(&ringtrue(&ours));
    assert!(said.contains("the recorded failure is gone"), "{said}");
}

#[test]
fn a_variant_passes_in_the_report_of_another_one_where_it_is_no_worse() {
    // What keeps candidates until the call is answered keeps those that come before the offer.
    let path = root().join("fixtures/field/react-native-webrtc-1295.toml");
    let scenario = Scenario::load(&path).expect("the scenario is valid");
    let options = RunOptions {
        endpoint: Variant::FlushedTooEarly.endpoint(),
        ..RunOptions::default()
    };
    let report = run(&scenario, Seed::new(1), options).unwrap_or_else(|error| panic!("{error}"));
    assert!(report.passed, "{}", told(&report));
}
