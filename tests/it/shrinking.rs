//! Failing scenarios in real runs: made small, written down, handed on, and seen again.

use std::num::NonZero;
use std::path::Path;

use ringtrue_sim::fuzz::cause::Cause;
use ringtrue_sim::fuzz::record;
use ringtrue_sim::fuzz::seed_string::SeedString;
use ringtrue_sim::fuzz::shrink::{Budget, Ended, Failing, Shrunk, shrink};
use ringtrue_sim::report::FailureCause;
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::scenario::model::ClientName;
use ringtrue_sim::seed::Seed;

use crate::support::{project, report, said};

/// A call that connects though much happens on the way. What is expected of it comes after.
const CROWDED: &str = r#"
about = "Much happens to a call"
[network.home]
nat = "home"
uplink = { delay = "37ms", jitter = "uniform 18ms", loss = "1%" }
[network.office]
nat = { preset = "corporate", udp_timeout = "47s" }
[peer.alice]
network = "home"
[peer.bob]
network = "office"
[[script]]
at = "317ms"
peer = "alice"
do = "call"
callee = "bob"
[[script]]
after = "ringing + 1203ms"
peer = "bob"
do = "answer"
[[fault]]
kind = "socket-drop"
after = "ringing + 500ms"
peer = "alice"
how = "rst"
[[fault]]
kind = "blackhole"
after = "audio + 3071ms"
for = "919ms"
network = "home"
[[fault]]
kind = "mapping-flush"
after = "audio + 9s"
network = "home"
[[message]]
from = "alice"
kind = "candidate"
which = 1
delay = "742ms"
[[message]]
from = "bob"
kind = "answer"
delay = "0s to 883ms"
"#;

/// Without UDP and without the relays that it would need, so that there is no audio whatever happens.
const BLOCKED: &str = r#"
[servers]
turn = "down"
[network.kiosk]
nat = "home"
udp = "blocked"
[peer.carol]
network = "kiosk"
plays = "tone-high.opus"
"#;

const SEED: Seed = Seed::new(17);

fn read(text: &str) -> Scenario {
    let scenario = Scenario::parse_alone(Path::new("shrinking.toml"), text);
    scenario.unwrap_or_else(|error| panic!("{error:?}"))
}

fn cause_of(scenario: &Scenario, seed: Seed) -> Option<Cause> {
    Cause::of(scenario, &report(scenario, seed.number()))
}

/// What is left of a failing scenario, which fails for the same cause still.
#[track_caller]
fn shrunk(text: &str) -> (Cause, Shrunk) {
    let cause = cause_of(&read(text), SEED).expect("the scenario fails");
    let failing = Failing {
        text,
        read: &|text| Scenario::parse_alone(Path::new("shrinking.toml"), text),
        seed: SEED,
        cause: &cause,
    };
    let budget = Budget {
        runs_max: 400,
        is_over: &|| false,
    };
    let jobs = NonZero::new(2).expect("two jobs");
    let shrunk = shrink(failing, budget, jobs, &cause_of);
    let shrunk = shrunk.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shrunk.ended, Ended::Least, "{}", shrunk.text);
    assert_eq!(cause_of(&read(&shrunk.text), SEED), Some(cause.clone()));
    (cause, shrunk)
}

#[test]
fn what_does_not_matter_to_a_failure_is_taken_out() {
    let text = format!("{CROWDED}[expect]\noutcome = \"unreachable\"\n");
    let (cause, shrunk) = shrunk(&text);
    assert_eq!(cause.kind(), FailureCause::WrongOutcome);
    insta::assert_snapshot!(shrunk.text);
}

#[test]
fn what_makes_a_call_fail_stays() {
    let text = CROWDED.replace("callee = \"bob\"", "callee = \"carol\"");
    let text = text.replacen("peer = \"bob\"", "peer = \"carol\"", 1);
    let text = text.replace("from = \"bob\"", "from = \"carol\"");
    let (cause, shrunk) = shrunk(&format!("{text}{BLOCKED}"));
    assert_eq!(cause.kind(), FailureCause::WrongOutcome);
    insta::assert_snapshot!(shrunk.text);
}

/// A project with the crowded scenario in it, which fails.
fn failing_project() -> (tempfile::TempDir, String) {
    let directory = project();
    let file = directory.path().join("crowded.toml");
    let text = format!("# Why.\n{CROWDED}[expect]\noutcome = \"unreachable\"\n");
    std::fs::write(&file, text).expect("the file can be written");
    let path = file.to_str().expect("a path of text").to_owned();
    (directory, path)
}

#[test]
fn a_file_that_was_shrunk_fails_again_by_itself_and_by_its_string() {
    let (directory, crowded) = failing_project();
    let small = directory.path().join("small.toml");
    let small = small.to_str().expect("a path of text");
    let shrunk = said(&["shrink", &crowded, "--seed", "17", "--out", small], 0);
    let word = shrunk
        .split_whitespace()
        .find(|word| SeedString::is_meant(word));
    let word = word.expect("a seed string is told");

    let text = std::fs::read_to_string(small).expect("the file was written");
    assert!(
        text.starts_with("# With seed 17 the client `ringtrue` fails here:\n# - wrong-outcome: ")
    );
    let fails = Scenario::load(Path::new(small))
        .expect("a valid scenario")
        .fails;
    let fails = fails.expect("it holds on to the failure");
    assert_eq!(
        (fails.seed, fails.cause),
        (SEED, FailureCause::WrongOutcome)
    );
    assert_eq!(fails.client, ClientName::production());

    assert!(said(&["replay", small], 1).contains("it fails as recorded: wrong-outcome"));
    let by_word = said(&["replay", word], 1);
    assert!(by_word.contains("expected no way through"), "{by_word}");
    assert!(by_word.contains("it fails as recorded"), "{by_word}");
    assert!(
        by_word.contains(&format!("replay {word} --seed 17")),
        "{by_word}"
    );
    let json = said(&["replay", small, "--json"], 1);
    let json: serde_json::Value = serde_json::from_str(&json).expect("one object");
    assert_eq!(json["failures"][0]["cause"], "wrong-outcome");
    assert_eq!(json["again"], "as-recorded");

    let other = text.replace("cause = \"wrong-outcome\"", "cause = \"too-late\"");
    std::fs::write(small, other).expect("the file can be written");
    let otherwise = said(&["replay", small], 3);
    assert!(
        otherwise.contains("it fails, but not as recorded"),
        "{otherwise}"
    );

    let mended = text.replace("[expect]\noutcome = \"unreachable\"\n", "");
    std::fs::write(small, mended).expect("the file can be written");
    let gone = said(&["replay", small], 0);
    assert!(
        gone.contains("the recorded failure is gone: wrong-outcome"),
        "{gone}"
    );
    let nothing = said(&["shrink", small], 1);
    assert!(nothing.contains("nothing to shrink"), "{nothing}");
}

#[test]
fn shrinking_without_a_file_prints_a_scenario_and_nothing_else() {
    let (directory, crowded) = failing_project();
    let text = said(&["shrink", &crowded, "--seed", "17", "--runs", "1"], 0);
    let fails = Scenario::parse(&directory.path().join("printed.toml"), &text);
    let fails = fails.unwrap_or_else(|error| panic!("{error:?}")).fails;
    assert_eq!(fails.map(|fails| fails.seed), Some(SEED));
}

#[test]
fn cases_that_cannot_be_read_are_refused() {
    let (_directory, crowded) = failing_project();
    for (case, reason) in [
        (&["rt2-AAAA"][..], "has the version rt2"),
        (&["rt1-AAAA"], "the end of the seed string is missing"),
        (&["rt1-!"], "'!' at character 5"),
        (&["nowhere.toml"], "there is no such file"),
        (
            &[&crowded, "--client", "perfect"],
            "no client is called \"perfect\"; there are no-buffer, ",
        ),
        (&[&crowded, "--seed", "x"], "invalid value"),
    ] {
        for command in ["replay", "shrink"] {
            let said = said(&[&[command], case].concat(), 2);
            assert!(said.contains(reason), "{command} {case:?}: {said}");
        }
    }
}

#[test]
fn a_failure_is_written_down_with_all_that_it_takes_to_see_it_again() {
    let told = r#"
story = """
One line.
[Another] one."""
[fails]
client = "old"
seed = 1
cause = "panic"
[network.home]"#;
    let text = CROWDED.replacen("[network.home]", told.trim_start(), 1);
    let text = format!("# Why.\n{text}[expect]\npath = \"relayed\"\nwithin = \"1ms\"\n");
    let scenario = read(&text);
    let report = report(&scenario, 17);
    let late = report
        .failures
        .iter()
        .find(|failure| failure.cause == FailureCause::TooLate);
    let cause = Cause::of_failure(&scenario, late.expect("1 ms is too short"));
    let file = Path::new("scenarios/late.toml");
    let client = ClientName::production();
    let written = record::write(&text, &scenario, &report, &cause, &client, file);
    let written = written.unwrap_or_else(|error| panic!("{error}"));
    let again = read(&written);
    assert_eq!(again.story.as_deref(), Some("One line.\n[Another] one."));
    let fails = again.fails.expect("it holds on to the failure");
    assert!(report.failures.iter().any(|failure| fails.is(failure)));
    insta::assert_snapshot!(written);
    let other: Cause = "panic: at once".parse().expect("a cause");
    let refused = record::write(&text, &scenario, &report, &other, &client, file);
    assert!(matches!(refused, Err(record::RecordError::FailsNot { .. })));
}
