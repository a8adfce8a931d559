//! `ringtrue matrix`: every kind of NAT against every other.

use std::process::Output;
use std::sync::LazyLock;

use serde_json::Value;

use crate::support::{ringtrue, stdout};

/// What the matrix is asked to hold to at a round trip of 80 ms without loss.
const AUDIO_WITHIN_MS: u64 = 5_000;

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
        assert!(audio.is_none_or(|time| time <= AUDIO_WITHIN_MS), "{cell}");
    }
    assert_eq!(JSON.status.code(), Some(0));
}

#[test]
fn a_cell_has_the_promised_keys_and_no_others() {
    let text = stdout(&JSON);
    let first = text.lines().next().expect("there is a cell");
    insta::assert_snapshot!(first);
}

#[test]
fn the_matrix_is_a_table() {
    insta::assert_snapshot!(stdout(&ringtrue(&["matrix", "--seed", "1"])));
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
fn the_matrix_agrees_with_the_oracle_behind_carriers_and_with_losses() {
    for arguments in [["--layers", "2"], ["--loss", "5"]] {
        let mut command = vec!["matrix", "--seed", "1"];
        command.extend(arguments);
        let output = ringtrue(&command);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    }
}
