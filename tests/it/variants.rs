//! Clients that are worse than the one that ships: each connects where nothing goes wrong. In which scenario
//! each fails is what `field` is about.

use ringtrue_sim::report::{FailureCause, Outcome, Report, text};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::variants::Variant;
use ringtrue_sim::world::run::{RunOptions, run};

use crate::support::{check, check_all, homes, ringtrue, root, scenario_of, seeds, stdout};

/// The NATs between any two of which there is a direct path.
const CONES: [&str; 3] = ["full-cone", "address-restricted", "port-restricted"];

/// The one-way delays of an access line: of fibre, of the default, of a satellite.
const DELAYS: [&str; 4] = ["2ms", "15ms", "60ms", "270ms"];

fn run_with(variant: Variant, scenario: &Scenario, seed: u64) -> Report {
    let options = RunOptions {
        endpoint: variant.endpoint(),
        ..RunOptions::default()
    };
    run(scenario, Seed::new(seed), options).unwrap_or_else(|error| panic!("{error}"))
}

/// How long the callee lets it ring.
const RINGS: [&str; 3] = ["300ms", "1s", "10s"];

/// A case in which nothing goes wrong, by its number: every pair of NATs, with every delay, rung for
/// shorter and longer.
fn faultless(number: u64) -> Scenario {
    let pick = |from: &[&'static str], round: u64| {
        let choices = from.len() as u64;
        let index = (number / round) % choices;
        from[usize::try_from(index).expect("an index of a short list")]
    };
    let (alices, bobs) = (pick(&CONES, 1), pick(&CONES, 3));
    let (here, there, ring) = (pick(&DELAYS, 1), pick(&DELAYS, 5), pick(&RINGS, 2));
    let text = homes(alices, bobs)
        .replace(
            "[network.a]",
            &format!("[network.a]\nuplink = {{ delay = \"{here}\" }}"),
        )
        .replace(
            "[network.b]",
            &format!("[network.b]\nuplink = {{ delay = \"{there}\" }}"),
        );
    let rest = format!(
        r#"
        [[script]]
        at = "1s"
        peer = "alice"
        do = "call"
        callee = "bob"
        [[script]]
        after = "ringing + {ring}"
        peer = "bob"
        do = "answer"
        [talk]
        for = "1s"
        [expect]
        path = "direct"
        "#
    );
    scenario_of(&(text + &rest))
}

#[test]
fn every_variant_connects_where_nothing_goes_wrong() {
    // RINGTRUE_SEEDS=200 runs as many of each.
    let cases: Vec<(Variant, u64)> = Variant::ALL
        .into_iter()
        .flat_map(|variant| (1..=seeds(20)).map(move |number| (variant, number)))
        .collect();
    check_all(&cases, |(variant, number)| {
        let report = run_with(*variant, &faultless(*number), *number);
        let failure = || text::failure(&report, text::Colour::Off);
        // Who loses candidates loses them here too, and there are others.
        let mut failures = report.failures.iter();
        let connects = report.outcome == Outcome::AudioConnected
            && failures.all(|failure| failure.cause == FailureCause::CandidateLost);
        (!connects).then(|| format!("{variant}, case {number}: {}", failure()))
    });
}

/// Each with a scenario, and what a run of it says.
const NAIVE_DEFECTS: [(&str, &str, &str); 7] = [
    (
        "no buffer",
        "fixtures/field/react-native-webrtc-1295.toml",
        "found no way through",
    ),
    (
        "bad candidates",
        "fixtures/field/app-candidate-errors.toml",
        "Answer: there is no call",
    ),
    (
        "nothing again",
        "fixtures/field/owt-server-pr-189.toml",
        "found no way through",
    ),
    (
        "websocket only",
        "fixtures/field/app-transports.toml",
        "the call failed",
    ),
    (
        "stun only",
        "scenarios/nat/symmetric-symmetric.toml",
        "found no way through",
    ),
    (
        "no restart",
        "scenarios/mobility/network-switch.toml",
        "alice heard 0 % of the audio",
    ),
    (
        "short limits",
        "scenarios/candidates/answer-after-a-minute.toml",
        "Answer: there is no call",
    ),
];

#[test]
fn every_defect_of_the_naive_client_shows() {
    for (defect, file, symptom) in NAIVE_DEFECTS {
        let scenario = Scenario::load(&root().join(file)).expect("the scenario is valid");
        let report = run_with(Variant::Naive, &scenario, 1);
        let failure = text::failure(&report, text::Colour::Off);
        assert!(
            !report.passed && failure.contains(symptom),
            "{defect}: {failure}"
        );
    }
}

#[test]
fn each_bad_candidate_beside_a_good_one_costs_nothing() {
    for bad in ["empty-candidate", "unparsable-candidate", "mdns-candidate"] {
        for from in ["alice", "bob"] {
            let message = format!(
                "[[message]]\nfrom = \"{from}\"\nkind = \"candidate\"\nbeside = \"{bad}\"\n"
            );
            let text = homes("port-restricted", "port-restricted") + &message;
            let report = check(&scenario_of(&(text + "[expect]\npath = \"direct\"\n")), 1);
            let shown = report.timeline.iter().any(|entry| entry.text.contains(bad));
            assert!(shown, "{bad} of {from} is not in the timeline");
        }
    }
}

#[test]
fn the_command_runs_a_variant_and_says_how_to_see_it_again() {
    let file = "fixtures/field/react-native-webrtc-1295.toml";
    let output = ringtrue(&["run", file, "--client", "no-buffer"]);
    assert_eq!(output.status.code(), Some(1));
    let replay = format!("cargo run -- run {file} --seed 1 --client no-buffer");
    assert!(stdout(&output).contains(&replay), "{}", stdout(&output));
}

#[test]
fn a_client_that_nobody_knows_is_wrong_usage() {
    let output = ringtrue(&["run", "scenarios", "--client", "perfect"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    for variant in Variant::ALL {
        assert!(said.contains(variant.as_str()), "{said}");
    }
}
