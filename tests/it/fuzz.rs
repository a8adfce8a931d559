//! Scenarios by chance: 500 of them with the client that ships, what they must not go soft on, and what the
//! clients that are worse make of them.

use std::fs;
use std::path::Path;

use ringtrue_sim::fault::FaultName;
use ringtrue_sim::fuzz::campaign::{Campaign, CaseKind, Limit, OnFailure, Shard};
use ringtrue_sim::fuzz::hunt::Hunt;
use ringtrue_sim::fuzz::summary::Summary;
use ringtrue_sim::scenario::model::ClientName;
use ringtrue_sim::scenario::{Scenario, load_paths};
use ringtrue_sim::seed::Seed;
use ringtrue_sim::testing::{jobs, no_case_fails};
use ringtrue_sim::variants::Variant;

/// The part of the cases in which each kind of fault has to strike before there is audio.
const FAULT_SHARE: f64 = 0.05;

/// The part of the cases in which a candidate has to come before its description.
const CANDIDATE_FIRST_SHARE: f64 = 0.2;

/// How long a case has to last in the mean, in virtual seconds.
const CASE_SECONDS: f64 = 20.0;

#[test]
fn five_hundred_cases_settle_and_none_is_soft() {
    let summary = no_case_fails(500);
    let cases = summary.cases as f64;
    let coverage = &summary.coverage;
    let share = |count: u64| count as f64 / cases;
    let mut soft = Vec::new();
    for kind in FaultName::ALL {
        let count = coverage.faults_before_audio.get(kind.as_str());
        let share = share(count.copied().unwrap_or_default());
        if share < FAULT_SHARE {
            soft.push(format!(
                "{kind} strikes before audio in {share:.3} of the cases"
            ));
        }
    }
    let candidate_first = share(coverage.candidate_before_description);
    if candidate_first < CANDIDATE_FIRST_SHARE {
        soft.push(format!("a candidate comes first in {candidate_first:.3}"));
    }
    let seconds = coverage.virtual_ms as f64 / 1000.0 / cases;
    if seconds < CASE_SECONDS {
        soft.push(format!("a case lasts {seconds:.1} s"));
    }
    assert!(soft.is_empty(), "{soft:#?}");
}

#[test]
fn every_failure_that_was_found_stays_mended() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/found");
    let scenarios = load_paths(&[directory]).expect("they are scenarios");
    for scenario in scenarios {
        let seed = scenario
            .fails
            .as_ref()
            .map_or(Seed::new(1), |fails| fails.seed);
        scenario.run(seed).assert_passed();
    }
}

fn hunt(client: &str, seed: u64, limit: u64, shard: Shard, jobs: usize) -> Hunt {
    let variant: Variant = client.parse().expect("there is such a variant");
    Hunt {
        campaign: Campaign {
            seed: Seed::new(seed),
            limit: Limit::Cases(limit),
            shard,
            jobs,
            on_failure: OnFailure::Stop,
            kind: CaseKind::Faulty,
            endpoint: variant.endpoint(),
        },
        client: ClientName(client.to_owned()),
        out: None,
        shrink_for: std::time::Duration::from_secs(30),
    }
}

fn found(hunt: &Hunt) -> Summary {
    hunt.run(|_| {}).expect("every case has a world")
}

#[test]
fn a_naive_client_is_found_out_soon_and_the_finding_is_small() {
    let hunt = hunt("naive", 7, 100, Shard::ALL, jobs());
    let summary = found(&hunt);
    let first = summary.cases_to_first_failure;
    assert!(first.is_some_and(|cases| cases <= 20), "{first:?}");
    let (cause, finding) = summary.causes.iter().next().expect("it failed");
    assert!(finding.faults_left <= Some(10), "{finding:?}");
    // The string holds the whole run: whoever has it sees the same failure.
    let word = finding.replay.as_ref().expect("it is short");
    let word: ringtrue_sim::fuzz::seed_string::SeedString = word.parse().expect("it is whole");
    let scenario = word.scenario().expect("it is a scenario");
    let report = scenario.run_with(&Variant::Naive.endpoint(), word.seed());
    let again = ringtrue_sim::fuzz::cause::Cause::of(&scenario, &report);
    assert_eq!(again.as_ref(), Some(cause));
    assert!(
        scenario
            .fails
            .is_some_and(|fails| fails.client.0 == "naive")
    );
}

#[test]
fn the_same_seed_makes_the_same_campaign_whatever_the_jobs() {
    let cases = |jobs| {
        let mut hunt = hunt("naive", 5, 40, Shard::ALL, jobs);
        hunt.campaign.on_failure = OnFailure::GoOn;
        hunt.shrink_for = std::time::Duration::ZERO;
        let mut digests = Vec::new();
        let run = hunt
            .campaign
            .run(|result| digests.push(result.report.digest));
        run.expect("every case has a world");
        digests
    };
    assert_eq!(cases(1), cases(4));
}

#[test]
fn the_parts_of_a_campaign_are_the_whole() {
    let numbers = |shard| {
        let mut hunt = hunt("naive", 5, 12, shard, 2);
        hunt.campaign.on_failure = OnFailure::GoOn;
        let mut numbers = Vec::new();
        let run = hunt.campaign.run(|result| numbers.push(result.number));
        run.expect("every case has a world");
        numbers
    };
    let part = |index| numbers(Shard { index, count: 3 });
    let mut parts = [part(1), part(2), part(3)].concat();
    parts.sort_unstable();
    assert_eq!(parts, numbers(Shard::ALL));
}

#[test]
fn what_a_campaign_writes_can_be_read_and_joined() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hunt = hunt("naive", 7, 20, Shard::ALL, 2);
    hunt.out = Some(directory.path().to_owned());
    hunt.shrink_for = std::time::Duration::from_secs(2);
    let summary = found(&hunt);
    let read = Summary::read(directory.path()).expect("it was written");
    assert_eq!(read.causes, summary.causes);
    for finding in summary.causes.values() {
        let file = finding.file.as_ref().expect("it was written");
        let text = fs::read_to_string(file).expect("it is there");
        assert!(text.starts_with("# With seed"), "{text}");
        Scenario::parse_alone(file, &text).expect("it is a scenario");
    }
}
