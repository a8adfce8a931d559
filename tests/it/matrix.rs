//! `ringtrue matrix`: every kind of NAT against every other.

use std::process::Output;
use std::sync::LazyLock;

use serde_json::Value;

use crate::support::{ringtrue, stdout};

/// What no call may exceed at a round trip of 80 ms without loss, by how it came out.
const AUDIO_WITHIN_MS: [(&str, u64); 2] = [("direct", 1_500), ("relayed", 2_500)];

static JSON: LazyLock<Output> = LazyLock::new(|| ringtrue(&["matrix", "--json"]));

fn cells() -> Vec<Value> {
    stdout(&JSON)
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect()
}

#[test]
fn the_matrix_agrees_with_the_oracle_in_every_cell() {
    let cells = cells();
    let pairs = cells.iter().filter(|cell| cell["udp"] == "open").count();
    assert_eq!(pairs, 81);
    for cell in &cells {
        assert_eq!(cell["predicted"], cell["actual"], "{cell}");
        let reaches = cell["actual"] != "unreachable";
        let audio = cell["audio_connected_ms"].as_u64();
        assert_eq!(audio.is_some(), reaches, "{cell}");
    }
    assert_eq!(JSON.status.code(), Some(0));
}

#[test]
fn every_call_has_audio_soon() {
    let cells = cells();
    for (reach, within) in AUDIO_WITHIN_MS {
        let reached: Vec<_> = cells
            .iter()
            .filter(|cell| cell["actual"] == reach)
            .collect();
        assert!(!reached.is_empty(), "no call is {reach}");
        for cell in reached {
            let time = cell["audio_connected_ms"].as_u64();
            assert!(time.is_some_and(|time| time <= within), "{cell}");
        }
    }
}

#[test]
fn a_cell_has_the_promised_keys_and_no_others() {
    let text = stdout(&JSON);
    let first = text.lines().next().expect("there is a cell");
    insta::assert_snapshot!(first);
}

#[test]
fn the_matrix_is_a_table() {
    insta::assert_snapshot!(stdout(&ringtrue(&["matrix", "--seed", "1", "--timings"])));
}

#[test]
fn what_no_matrix_can_be_made_of_is_refused() {
    for arguments in [
        &["matrix", "--rtt", "7"][..],
        &["matrix", "--loss", "101%"],
        &["matrix", "--layers", "3"],
    ] {
        assert_eq!(
            ringtrue(arguments).status.code(),
            Some(2),
            "{arguments:?} was accepted"
        );
    }
}

#[test]
fn the_matrix_agrees_with_the_oracle_behind_carriers_and_far_away() {
    for arguments in [["--layers", "2"], ["--rtt", "300"]] {
        let mut command = vec!["matrix", "--seed", "1"];
        command.extend(arguments);
        let output = ringtrue(&command);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    }
}

#[test]
fn with_losses_every_call_takes_the_path_that_the_oracle_names() {
    for seed in ["1", "2", "3"] {
        let output = ringtrue(&["matrix", "--loss", "5", "--json", "--seed", seed]);
        let cells = stdout(&output);
        let cells = cells
            .lines()
            .map(|line| serde_json::from_str(line).expect("every line is JSON"));
        let wrong: Vec<Value> = cells
            .filter(|cell: &Value| cell["predicted"] != cell["actual"])
            .collect();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}
