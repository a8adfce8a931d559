//! What `--out` leaves on disk: bundles that say what happened, and run again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pcap_file::pcapng::PcapNgReader;
use ringtrue_sim::report::{Report, bundle};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::trace::{Event, EventKind, Recording};
use ringtrue_sim::world::run::{RunOptions, run};
use serde_json::Value;

use crate::support::{homes, report, said, scenario, scenario_of};

/// A run whose events were all kept.
#[track_caller]
fn recorded(scenario: &Scenario, seed: u64) -> (Report, Vec<Event>) {
    let recording = Recording::default();
    let options = RunOptions {
        observers: vec![Box::new(recording.clone())],
        ..RunOptions::default()
    };
    let report = run(scenario, Seed::new(seed), options).unwrap_or_else(|error| panic!("{error}"));
    (report, recording.take())
}

#[track_caller]
fn read(directory: &Path, file: &str) -> String {
    let path = directory.join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_bundle_says_all_there_is_to_know() {
    let scenario = scenario("nat/cone-cone.toml");
    let (report, events) = recorded(&scenario, 7);
    let directory = tempfile::tempdir().expect("a new directory");
    let bundle = bundle::write(directory.path(), &report, &scenario, &events);
    let bundle = bundle.unwrap_or_else(|error| panic!("{error}"));
    let files: Vec<String> = bundle
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    insta::assert_snapshot!("the_files_of_a_bundle", files.join("\n"));
    let trace = read(directory.path(), "trace.jsonl");
    // What is drawn at random first changes with everything.
    let is_lasting = |line: &&str| !line.contains("\"canary\"") && !line.contains("\"entropy\"");
    let first: Vec<&str> = trace.lines().filter(is_lasting).take(20).collect();
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
    let (report, events) = recorded(&scenario, 7);
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
    let (report, events) = recorded(&scenario, 1);
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
    let without: Value = serde_json::from_str(&said(&run, 0)).expect("JSON and nothing else");
    let mut with = run.to_vec();
    with.extend(["--out", out]);
    let with: Value = serde_json::from_str(&said(&with, 0)).expect("JSON and nothing else");
    assert_eq!(with["digest"], without["digest"]);
    let kept: Value = serde_json::from_str(&read(Path::new(out), "report.json")).expect("JSON");
    assert_eq!(kept, with);
}

/// A scenario that is run from its bundle is the same run.
#[track_caller]
fn check_again(scenario: &Scenario, seed: u64) {
    let (first, events) = recorded(scenario, seed);
    let directory = tempfile::tempdir().expect("a new directory");
    bundle::write(directory.path(), &first, scenario, &events)
        .unwrap_or_else(|error| panic!("{error}"));
    let again = Scenario::load(&directory.path().join("scenario.toml"));
    let again = again.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(report(&again, seed).digest, first.digest);
    assert_eq!(again.fails, None);
}

#[test]
fn a_bundle_runs_again() {
    check_again(&scenario("mobility/rebinding.toml"), 2);
    // Beside no fixtures, as what a test builds.
    let text = "about = \"Two talk.\"\n[network.a]\n[peer.alice]\nnetwork = \"a\"\n\
        plays = \"tone-high.opus\"\n[peer.bob]\nnetwork = \"a\"\nplays = \"tone-low.opus\"\n\
        [talk]\nfor = \"1s\"\n";
    let alone = Scenario::parse_alone(Path::new("two.toml"), text);
    check_again(&alone.unwrap_or_else(|error| panic!("{error:?}")), 3);
}

#[test]
fn a_bundle_holds_on_to_a_failure() {
    let directory = tempfile::tempdir().expect("a new directory");
    let out = directory.path().to_str().expect("a path of text");
    let file = "fixtures/field/conversations-3790.toml";
    let run = [
        "run",
        file,
        "--client",
        "no-buffer",
        "--seed",
        "4",
        "--out",
        out,
    ];
    said(&run, 1);
    let kept = directory.path().join("scenario.toml");
    let again = said(&["replay", kept.to_str().expect("a path of text")], 1);
    assert!(again.contains("failed with seed 4"), "{again}");
    assert!(again.contains("it fails as recorded"), "{again}");
}

#[test]
fn a_seed_that_no_file_can_hold_is_in_the_command() {
    let directory = tempfile::tempdir().expect("a new directory");
    let out = directory.path().to_str().expect("a path of text");
    let file = "fixtures/field/conversations-3790.toml";
    let greatest = u64::MAX.to_string();
    let run = [
        "run",
        file,
        "--client",
        "no-buffer",
        "--seed",
        &greatest,
        "--out",
        out,
    ];
    said(&run, 1);
    let kept = read(directory.path(), "scenario.toml");
    let command = format!("ringtrue replay scenario.toml --seed {greatest} --client no-buffer\n");
    assert!(
        kept.contains("fails here") && kept.contains(&command),
        "{kept}"
    );
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
    let text = said(&run, 0);
    assert!(
        text.contains(&format!("bundles written to {out}")),
        "{text}"
    );
    let entries = fs::read_dir(directory.path()).expect("a directory");
    let names: BTreeSet<PathBuf> = entries
        .map(|entry| entry.expect("an entry").file_name().into())
        .collect();
    let expected = ["cone-cone-1", "cone-cone-2", "same-lan-1", "same-lan-2"];
    assert_eq!(names, expected.map(PathBuf::from).into());
    // What is there of before is replaced.
    said(&run, 0);
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
        let text = said(arguments, 2);
        assert!(text.contains(out) && text.contains("notes.txt"), "{text}");
    }
    assert_eq!(fs::read_to_string(&notes).expect("it is there"), "kept");
    let file = notes.to_str().expect("a path of text");
    let text = said(&["replay", cone, "--out", file], 2);
    assert!(text.contains(file), "{text}");
}

#[test]
fn a_scenario_without_a_text_has_no_bundle() {
    let mut scenario = scenario_of(&homes("home", "home"));
    let (report, events) = recorded(&scenario, 1);
    scenario.text = None;
    let directory = tempfile::tempdir().expect("a new directory");
    let error = bundle::write(directory.path(), &report, &scenario, &events);
    let error = error.expect_err("it could not be run again").to_string();
    assert!(error.contains("in-a-test"), "{error}");
}
