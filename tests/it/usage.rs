//! What the command says of itself, and of what it is wrongly asked.

use insta::{assert_snapshot, with_settings};

use crate::support::said;

const COMMANDS: [&str; 11] = [
    "run", "fuzz", "replay", "diff", "shrink", "matrix", "meta", "serve", "call", "bench", "schema",
];

#[test]
fn every_command_tells_what_it_can_do() {
    let overview = said(&["--help"], 0);
    for command in COMMANDS {
        assert!(overview.contains(&format!("\n  {command} ")), "{command}");
    }
    with_settings!({snapshot_suffix => "overview"}, {
        assert_snapshot!(overview);
    });
    for command in COMMANDS {
        with_settings!({snapshot_suffix => command}, {
            assert_snapshot!(said(&[command, "--help"], 0));
        });
    }
}

#[test]
fn wrong_usage_is_told() {
    let passing = "scenarios/nat/cone-cone.toml";
    for (name, arguments) in [
        ("no-scenario", &["run"][..]),
        ("no-such-file", &["run", "scenarios/nat/nowhere.toml"]),
        ("no-such-client", &["run", passing, "--client", "perfect"]),
        (
            "no-such-client-of-a-case",
            &["replay", passing, "--client", "perfect"],
        ),
        ("no-such-command", &["juggle"]),
        ("no-seed", &["run", passing, "--seed", "many"]),
        ("no-range", &["run", passing, "--seeds", "5..5"]),
        (
            "too-many-runs",
            &["run", passing, "--seeds", "0..18446744073709551615"],
        ),
        ("seed-string-cut-short", &["replay", "rt1-AAAA"]),
        ("nothing-to-explain", &["diff", passing]),
        (
            "no-tolerance",
            &["diff", passing, "--seed-b", "2", "--tolerance", "soon"],
        ),
        ("round-trip-that-cannot-be", &["matrix", "--rtt", "7"]),
    ] {
        with_settings!({snapshot_suffix => name}, {
            assert_snapshot!(said(arguments, 2));
        });
    }
}
