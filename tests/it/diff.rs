//! `ringtrue diff`: where two runs part.

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{project, ringtrue, root, stdout};

const DIRECT: &str = "scenarios/nat/cone-cone.toml";
const RESTART: &str = "fixtures/field/janus-738.toml";
const REBOOT: &str = "fixtures/field/ex-webrtc-pr-92.toml";

/// What `ringtrue diff` prints.
#[track_caller]
fn told(arguments: &[&str], code: i32) -> String {
    let output = ringtrue(&[&["diff"], arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    stdout(&output)
}

#[test]
fn a_run_is_the_same_as_itself() {
    let said = told(&[DIRECT, DIRECT], 0);
    assert!(said.contains("the traces are the same"), "{said}");
    assert!(said.contains("what happens is the same"), "{said}");
    assert!(!said.contains("part"), "{said}");
}

#[test]
fn two_clients_part_where_the_one_does_what_the_other_does_not() {
    assert_snapshot!(told(&[RESTART, "--client-b", "ringtrue"], 1));
}

#[test]
fn two_seeds_part_at_once_and_may_show_the_same() {
    let said = told(&[DIRECT, "--seed-b", "2"], 1);
    assert!(said.contains("the traces part after 0 events"), "{said}");
    assert!(
        said.contains("what happens is the same, within 200ms"),
        "{said}"
    );
}

#[test]
fn without_a_seed_that_passes_a_failing_run_is_compared_with_itself_without_its_fault() {
    assert_snapshot!(told(&[REBOOT, "--nearby", "2"], 1));
}

/// On a line that loses a tenth of its packets the time to audio is a matter of luck.
#[test]
fn a_seed_that_fails_is_compared_with_the_one_that_passes_and_is_like_it_for_longest() {
    let directory = project();
    let file = directory.path().join("luck.toml");
    let text = "about = \"Two homes talk over bad lines.\"\n\
        [network.a]\nnat = \"port-restricted\"\nuplink = { delay = \"20ms\", loss = \"10%\" }\n\
        [network.b]\nnat = \"symmetric\"\nuplink = { delay = \"20ms\", loss = \"10%\" }\n\
        [peer.alice]\nnetwork = \"a\"\n[peer.bob]\nnetwork = \"b\"\n[expect]\nwithin = \"2700ms\"\n";
    std::fs::write(&file, text).expect("the file can be written");
    let file = file.to_str().expect("a path of text");
    assert_snapshot!(told(&[file, "--seed", "1", "--nearby", "5"], 1));
}

#[test]
fn json_is_one_object_with_both_reports() {
    let said = told(&[RESTART, "--client-b", "ringtrue", "--json"], 1);
    let json: Value = serde_json::from_str(said.trim()).expect("it is JSON");
    let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
    let expected = [
        "a",
        "b",
        "chosen",
        "counts",
        "parts",
        "same_events",
        "same_milestones",
    ];
    assert_eq!(keys, expected);
    assert_eq!(json["a"]["passed"], false);
    assert_eq!(json["b"]["passed"], true);
    assert_eq!(json["chosen"], Value::Null);
    assert!(json["same_milestones"].as_u64() > Some(0), "{json}");
    assert!(json["parts"]["at_us"].as_u64() > Some(0), "{json}");
}

#[test]
fn a_seed_string_is_compared_with_a_file() {
    let path = root().join(DIRECT);
    let text = std::fs::read_to_string(path).expect("it can be read");
    let client = ringtrue_sim::scenario::model::ClientName::production();
    let seed = ringtrue_sim::seed::Seed::new(1);
    let word = ringtrue_sim::fuzz::seed_string::SeedString::new(&text, seed, client);
    let word = word.expect("it fits into a string").to_string();
    let said = told(&[DIRECT, &word], 0);
    assert!(said.contains("the traces are the same"), "{said}");
}
