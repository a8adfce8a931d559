//! What `--out` leaves on disk: bundles that say what happened, and run again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pcap_file::pcapng::PcapNgReader;
use ringtrue_sim::report::Report;
use ringtrue_sim::report::bundle::{self, BundleFiles};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::trace::{Event, EventKind, Recording};
use ringtrue_sim::variants::Variant;
use ringtrue_sim::world::run::{RunOptions, run};
use serde_json::Value;

use crate::support::{report, ringtrue, root, scenario, scenario_of, stdout};

/// A run whose events were all kept.
#[track_caller]
fn recorded(scenario: &Scenario, seed: u64, mut options: RunOptions) -> (Report, Vec<Event>) {
    let recording = Recording::default();
    options.observers.push(Box::new(recording.clone()));
    let report = run(scenario, Seed::new(seed), options).unwrap_or_else(|error| panic!("{error}"));
    (report, recording.take())
}

/// The bundle of a run, in a directory that goes with the first of these.
#[track_caller]
fn bundled(
    scenario: &Scenario,
    seed: u64,
    options: RunOptions,
) -> (tempfile::TempDir, BundleFiles) {
    let (report, events) = recorded(scenario, seed, options);
    let directory = tempfile::tempdir().expect("a new directory");
    let written = bundle::write(directory.path(), &report, scenario, &events);
    (directory, written.unwrap_or_else(|error| panic!("{error}")))
}

#[track_caller]
fn read(directory: &Path, file: &str) -> String {
    let path = directory.join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs the command, and gives what it said.
#[track_caller]
fn check(arguments: &[&str], code: i32) -> String {
    let output = ringtrue(arguments);
    let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?} said: {said}"
    );
    said
}

#[test]
fn a_bundle_says_all_there_is_to_know() {
    let scenario = scenario("nat/cone-cone.toml");
    let (directory, bundle) = bundled(&scenario, 7, RunOptions::default());
    let files: Vec<String> = bundle
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    insta::assert_snapshot!("the_files_of_a_bundle", files.join("\n"));
    let trace = read(directory.path(), "trace.jsonl");
    let first: Vec<&str> = trace.lines().take(30).collect();
    insta::assert_snapshot!("the_beginning_of_a_trace", first.join("\n"));
    let timeline = read(directory.path(), "timeline.txt");
    assert!(
        timeline.contains("hears the other side's tone"),
        "{timeline}"
    );
    assert!(timeline.contains(" STUN "), "packets are in it");
    assert!(!timeline.contains('\u{1b}'), "colour is not");
}

#[test]
fn the_trace_has_a_line_for_each_event() {
    let scenario = scenario("nat/cone-cone.toml");
    let (report, events) = recorded(&scenario, 7, RunOptions::default());
    let mut lines = Vec::new();
    bundle::jsonl::write(&mut lines, &events).expect("memory takes everything");
    let lines = String::from_utf8(lines).expect("JSON is text");
    let mut kinds = BTreeSet::new();
    let mut before = 0;
    for (number, line) in (1_u64..).zip(lines.lines()) {
        let line: Value = serde_json::from_str(line).expect("every line is JSON");
        let at = line["at_us"].as_u64().expect("a time");
        assert!(before <= at, "events are in order");
        before = at;
        assert_eq!(line["index"].as_u64(), Some(number));
        kinds.extend(line["kind"].as_str().map(str::to_owned));
    }
    assert_eq!(lines.lines().count(), events.len());
    assert!(before <= report.virtual_ms * 1000);
    for kind in [
        "packet-sent",
        "packet-delivered",
        "packet-dropped",
        "entropy",
        "log",
        "app",
        "wire",
    ] {
        assert!(kinds.contains(kind), "{kind} is missing in {kinds:?}");
    }
}

#[test]
fn every_packet_is_in_the_capture() {
    let scenario = scenario("nat/dual-stack.toml");
    let (report, events) = recorded(&scenario, 1, RunOptions::default());
    let mut capture = Vec::new();
    let names = ringtrue_sim::world::run::addresses(&scenario).expect("it was run");
    bundle::pcapng::write(&mut capture, &report, &events, &names).expect("memory takes everything");
    let packets = events.iter().filter(|event| {
        matches!(
            event.kind,
            EventKind::PacketSent(_)
                | EventKind::PacketDelivered(_)
                | EventKind::PacketDropped { .. }
                | EventKind::Retransmission { .. }
        )
    });
    let mut reader = PcapNgReader::new(&capture[..]).expect("a section");
    let mut blocks = 0;
    while let Some(block) = reader.next_block() {
        let block = block.expect("a sound block");
        blocks += usize::from(block.into_enhanced_packet().is_some());
    }
    assert_eq!(blocks, packets.count());
    let handshakes = report.key_log.iter();
    let handshakes = handshakes.filter(|line| line.starts_with("CLIENT_RANDOM "));
    assert!(handshakes.count() >= 1, "{:?}", report.key_log);
}

#[test]
fn the_secrets_of_signaling_over_tls_are_logged_too() {
    let report = report(&scenario("signaling/tls.toml"), 1);
    let secrets = report.key_log.iter();
    let mut traffic = secrets.filter(|line| line.starts_with("CLIENT_TRAFFIC_SECRET_0 "));
    assert!(traffic.next().is_some(), "{:?}", report.key_log);
}

#[test]
fn a_run_is_the_same_with_and_without_a_bundle() {
    let directory = tempfile::tempdir().expect("a new directory");
    let out = directory.path().join("out");
    let out = out.to_str().expect("a path of text");
    let run = [
        "run",
        "scenarios/nat/five-percent-loss.toml",
        "--seed",
        "3",
        "--json",
    ];
    let without: Value = serde_json::from_str(&check(&run, 0)).expect("JSON and nothing else");
    let mut with = run.to_vec();
    with.extend(["--out", out]);
    let with: Value = serde_json::from_str(&check(&with, 0)).expect("JSON and nothing else");
    assert_eq!(with["digest"], without["digest"]);
    let kept: Value = serde_json::from_str(&read(Path::new(out), "report.json")).expect("JSON");
    assert_eq!(kept, with);
}

/// A scenario that is run from its bundle is the same run.
#[track_caller]
fn check_again(scenario: &Scenario, seed: u64, options: RunOptions, endpoint: Option<Variant>) {
    let (report, events) = recorded(scenario, seed, options);
    let directory = tempfile::tempdir().expect("a new directory");
    bundle::write(directory.path(), &report, scenario, &events)
        .unwrap_or_else(|error| panic!("{error}"));
    let again = Scenario::load(&directory.path().join("scenario.toml"));
    let again = again.unwrap_or_else(|error| panic!("{error:?}"));
    let mut options = RunOptions::default();
    if let Some(variant) = endpoint {
        options.endpoint = variant.endpoint();
    }
    let (repeated, _) = recorded(&again, seed, options);
    assert_eq!(repeated.digest, report.digest);
    let fails = again.fails.as_ref();
    assert_eq!(fails.is_some(), !report.passed);
    if let Some(fails) = fails {
        assert_eq!(fails.seed, Seed::new(seed));
        assert!(report.failures.iter().any(|failure| fails.is(failure)));
    }
}

#[test]
fn a_bundle_runs_again() {
    check_again(
        &scenario("mobility/rebinding.toml"),
        2,
        RunOptions::default(),
        None,
    );
    // Beside no fixtures, as what a test builds.
    let text = "about = \"Two talk.\"\n[network.a]\n[peer.alice]\nnetwork = \"a\"\n\
        [peer.bob]\nnetwork = \"a\"\nplays = \"tone-low.opus\"\n[peer.carol]\nnetwork = \"a\"\n\
        plays = \"tone-high.opus\"\n[talk]\nfor = \"1s\"\n[[script]]\nat = \"1s\"\npeer = \"alice\"\n\
        do = \"call\"\ncallee = \"carol\"\n";
    let alone = Scenario::parse_alone(Path::new("two.toml"), text);
    let alone = alone.unwrap_or_else(|error| panic!("{error:?}"));
    check_again(&alone, 3, RunOptions::default(), None);
}

#[test]
fn a_bundle_holds_on_to_a_failure() {
    let path = root().join("fixtures/field/no-buffer.toml");
    let scenario = Scenario::load(&path).unwrap_or_else(|error| panic!("{error:?}"));
    let variant: Variant = "no-buffer".parse().expect("there is such a client");
    let options = RunOptions {
        endpoint: variant.endpoint(),
        ..RunOptions::default()
    };
    check_again(&scenario, 1, options, Some(variant));
}

#[test]
fn several_runs_have_a_directory_each() {
    let directory = tempfile::tempdir().expect("a new directory");
    let out = directory.path().to_str().expect("a path of text");
    let run = [
        "run",
        "scenarios/nat/cone-cone.toml",
        "scenarios/nat/same-lan.toml",
        "--seeds",
        "1..3",
        "--out",
        out,
    ];
    let said = check(&run, 0);
    assert!(
        said.contains(&format!("bundles written to {out}")),
        "{said}"
    );
    let entries = fs::read_dir(directory.path()).expect("a directory");
    let names: BTreeSet<PathBuf> = entries
        .map(|entry| entry.expect("an entry").file_name().into())
        .collect();
    let expected = ["cone-cone-1", "cone-cone-2", "same-lan-1", "same-lan-2"];
    assert_eq!(names, expected.map(PathBuf::from).into());
    // What is there of before is replaced.
    check(&run, 0);
}

#[test]
fn what_somebody_else_keeps_is_not_touched() {
    let directory = tempfile::tempdir().expect("a new directory");
    let notes = directory.path().join("notes.txt");
    fs::write(&notes, "kept").expect("a new file");
    let out = directory.path().to_str().expect("a path of text");
    let cone = "scenarios/nat/cone-cone.toml";
    let same = "scenarios/nat/same-lan.toml";
    for arguments in [
        &["run", cone, "--out", out][..],
        &["run", cone, same, "--out", out],
        &["replay", cone, "--out", out],
    ] {
        let said = check(arguments, 2);
        assert!(said.contains(out) && said.contains("notes.txt"), "{said}");
    }
    assert_eq!(fs::read_to_string(&notes).expect("it is there"), "kept");
    let file = notes.to_str().expect("a path of text");
    let said = check(&["replay", cone, "--out", file], 2);
    assert!(said.contains(file), "{said}");
}

#[test]
fn a_scenario_without_a_text_has_no_bundle() {
    let mut scenario = scenario_of(&crate::support::homes("home", "home"));
    let (report, events) = recorded(&scenario, 1, RunOptions::default());
    scenario.text = None;
    let directory = tempfile::tempdir().expect("a new directory");
    let error = bundle::write(directory.path(), &report, &scenario, &events);
    let error = error.expect_err("it could not be run again").to_string();
    assert!(error.contains("in-a-test"), "{error}");
}
