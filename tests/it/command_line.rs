//! The `ringtrue` command as a user meets it.

use serde_json::Value;

use crate::support::{project, ringtrue, root, said, stdout};

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
    let directory = project();
    let file = directory.path().join("impossible.toml");
    let text = "about = \"a call without UDP or relays that expects audio\"\n\
        [network.a]\nudp = \"blocked\"\n[peer.alice]\nnetwork = \"a\"\n[network.b]\n[peer.bob]\nnetwork = \"b\"\n[servers]\nturn = \"down\"\n";
    std::fs::write(&file, text).expect("the file can be written");
    let path = file.to_str().expect("a path of text");
    let text = said(&["run", path, "--seed", "5"], 1);
    assert!(text.contains("expected audio both ways"), "{text}");
    assert!(text.contains("--seed 5"), "{text}");
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
        said(arguments, 2);
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
    said(
        &["meta", "scenarios/nat/cone-cone.toml", "--seeds", "1..3"],
        0,
    );
}

#[test]
fn meta_fails_without_each_protection_and_names_the_event() {
    for plug in ["entropy", "clock", "select-seed", "fastrand", "threads"] {
        let text = said(
            &["meta", "scenarios/nat/same-lan.toml", "--unplug", plug],
            1,
        );
        assert!(text.contains("differs at event"), "without {plug}: {text}");
    }
}

#[test]
fn many_seeds_are_summed_up() {
    let text = said(
        &["run", "scenarios/nat/same-lan.toml", "--seeds", "1..4"],
        0,
    );
    assert_eq!(text.trim(), "3 runs of 1 scenario: 3 passed, 0 failed");
}

#[test]
fn more_runs_than_can_be_counted_are_refused() {
    let range = format!("0..{}", u64::MAX);
    for command in ["run", "meta"] {
        said(&[command, "scenarios", "--seeds", &range], 2);
    }
}

#[test]
fn the_last_seed_of_all_can_be_run() {
    let seed = u64::MAX.to_string();
    said(&["run", "scenarios/nat/same-lan.toml", "--seed", &seed], 0);
}

#[test]
fn a_full_disk_is_an_error_and_not_a_record() {
    let arguments = [
        "record",
        "scenarios/nat/same-lan.toml",
        "--seed",
        "1",
        "--events",
        "/dev/full",
    ];
    let text = said(&arguments, 2);
    assert!(text.contains("/dev/full"), "{text}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure_to_talk_about() {
    let command = format!(
        "{} run scenarios/ --json | head -1",
        env!("CARGO_BIN_EXE_ringtrue")
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &command])
        .current_dir(root())
        .output()
        .expect("the shell starts");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(stdout(&output).lines().count(), 1);
}

#[test]
fn an_unplayable_fixture_stops_everything_before_the_first_run() {
    let directory = project();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("fixtures/bad.opus"), "no Ogg").expect("the file can be written");
    let scenario = |plays: &str| {
        format!(
            "about = \"x\"\n[network.a]\n[peer.alice]\nnetwork = \"a\"\n\
             [peer.bob]\nnetwork = \"a\"\nplays = \"{plays}\"\n"
        )
    };
    std::fs::write(path("1.toml"), scenario("tone-high.opus")).expect("the file can be written");
    std::fs::write(path("2.toml"), scenario("bad.opus")).expect("the file can be written");
    let text = said(
        &["run", directory.path().to_str().expect("a path of text")],
        2,
    );
    assert!(text.contains("2.toml:7"), "{text}");
    assert!(!text.contains('✓'), "{text}");
}
