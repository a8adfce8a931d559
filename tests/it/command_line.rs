//! The `ringtrue` command as a user meets it.

use serde_json::Value;

use crate::support::{ringtrue, stdout};

#[track_caller]
fn check(arguments: &[&str], code: i32) -> String {
    let output = ringtrue(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?} said: {said}"
    );
    stdout(&output) + &said
}

#[test]
fn json_is_one_object_a_line_and_nothing_else() {
    let output = ringtrue(&[
        "run",
        "scenarios/nat/cone-cone.toml",
        "scenarios/nat/same-lan.toml",
        "--json",
    ]);
    let lines: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    let keys: Vec<&str> = lines[0]
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let mut expected = vec![
        "scenario",
        "seed",
        "passed",
        "outcome",
        "audio_connected_ms",
        "selected",
        "digest",
        "virtual_ms",
        "wall_ms",
        "failures",
    ];
    expected.sort_unstable();
    let mut keys = keys;
    keys.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(lines[0]["outcome"], "audio_connected");
}

#[test]
fn a_run_that_is_not_as_expected_exits_with_1_and_says_how_to_repeat_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixtures = directory.path().join("fixtures");
    std::fs::create_dir(&fixtures).expect("a directory");
    for tone in ["tone-low.opus", "tone-high.opus"] {
        let from = crate::support::root().join("fixtures").join(tone);
        std::fs::copy(from, fixtures.join(tone)).expect("the fixture is there");
    }
    let file = directory.path().join("impossible.toml");
    let text = "about = \"a call without UDP that expects audio\"\n\
        [network.a]\nudp = \"blocked\"\n[peer.alice]\nnetwork = \"a\"\n[network.b]\n[peer.bob]\nnetwork = \"b\"\n";
    std::fs::write(&file, text).expect("the file can be written");
    let path = file.to_str().expect("a path of text");
    let said = check(&["run", path, "--seed", "5"], 1);
    assert!(said.contains("expected audio both ways"), "{said}");
    assert!(said.contains("--seed 5"), "{said}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["run"][..],
        &["run", "scenarios/nat/nowhere.toml"],
        &["run", "scenarios", "--seed", "many"],
        &["meta", "scenarios", "--seeds", "5..5"],
        &["juggle"],
    ] {
        check(arguments, 2);
    }
}

#[test]
fn two_processes_give_the_digest_of_one() {
    let digest = || {
        let output = ringtrue(&["run", "scenarios/nat/cone-cone.toml", "--json"]);
        let report: Value = serde_json::from_str(stdout(&output).trim()).expect("JSON");
        report["digest"].as_str().expect("a text").to_owned()
    };
    assert_eq!(digest(), digest());
}

#[test]
fn meta_finds_no_difference_while_every_protection_is_on() {
    check(
        &["meta", "scenarios/nat/cone-cone.toml", "--seeds", "1..3"],
        0,
    );
}

#[test]
fn meta_fails_without_each_protection_and_names_the_event() {
    for plug in ["entropy", "clock", "select-seed", "fastrand", "threads"] {
        let said = check(
            &["meta", "scenarios/nat/same-lan.toml", "--unplug", plug],
            1,
        );
        assert!(said.contains("differs at event"), "without {plug}: {said}");
    }
}

#[test]
fn many_seeds_are_summed_up() {
    let said = check(
        &["run", "scenarios/nat/same-lan.toml", "--seeds", "1..4"],
        0,
    );
    assert_eq!(said.trim(), "3 runs of 1 scenario: 3 passed, 0 failed");
}
