//! The page of a run: what it holds, how large it is, and that it says nothing that nobody wrote.

use std::collections::BTreeSet;

use ringtrue_sim::report::Report;
use ringtrue_sim::report::html::render;
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::trace::Recording;
use ringtrue_sim::variants::Variant;
use ringtrue_sim::world::run::{RunOptions, run};

use super::support::{report, scenario, scenario_of};

/// A page of this size opens at once.
const BYTES_MAX: usize = 3_000_000;

/// What comes between two values in a page.
fn between<'a>(page: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = page.split(before).skip(1);
    parts.filter_map(move |part| part.split_once(after).map(|(value, _)| value))
}

#[track_caller]
fn page_of(scenario: &Scenario, seed: u64, client: Option<Variant>) -> (Report, String) {
    let recording = Recording::default();
    let mut options = RunOptions {
        observers: vec![Box::new(recording.clone())],
        ..RunOptions::default()
    };
    if let Some(client) = client {
        options.endpoint = client.endpoint();
    }
    let report = run(scenario, Seed::new(seed), options).unwrap_or_else(|error| panic!("{error}"));
    let page = render(&report, scenario, &recording.take());
    (report, page)
}

/// Asserts what holds for every page.
#[track_caller]
fn check(page: &str) {
    assert!(page.len() < BYTES_MAX, "{} bytes", page.len());
    let ids: Vec<&str> = between(page, " id=\"", "\"").collect();
    let known: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), known.len(), "an id is there twice");
    for link in between(page, "href=\"#", "\"") {
        assert!(known.contains(link), "nothing has the id {link}");
    }
    for fetched in [" src=", "<link", "url(", "@import", "fetch(", "<img"] {
        assert!(!page.contains(fetched), "the page has {fetched}");
    }
}

#[test]
fn pages_are_small_whole_and_need_no_network() {
    for path in [
        "nat/symmetric-symmetric.toml",
        "nat/udp-blocked.toml",
        "mobility/network-switch.toml",
        "mobility/app-kill.toml",
        "servers/udp-blocked-no-turn.toml",
        "calls/two-devices.toml",
        "candidates/ten-seconds-late.toml",
        "signaling/tls.toml",
        "signaling/captive-portal.toml",
    ] {
        let (report, page) = page_of(&scenario(path), 1, None);
        assert!(report.passed, "{path}");
        check(&page);
    }
}

#[test]
fn a_minute_of_talk_with_loss_is_a_small_page_and_says_what_it_sums_up() {
    let scenario = scenario_of(
        r#"
        about = "A minute over a lossy link."
        [network.home]
        nat = "home"
        uplink = { delay = "20ms", loss = "3%" }
        [network.office]
        nat = "symmetric"
        [peer.alice]
        network = "home"
        [peer.bob]
        network = "office"
        [talk]
        for = "60s"
        "#,
    );
    let (_, page) = page_of(&scenario, 1, None);
    check(&page);
    assert!(page.contains("packets of media are summarised"));
}

#[test]
fn no_text_of_a_scenario_is_markup() {
    let scenario = scenario_of(
        r#"
        about = "<script>alert(1)</script> & \"{{style}}\""
        [network.home]
        nat = "home"
        [peer.alice]
        network = "home"
        [peer.bob]
        network = "home"
        "#,
    );
    let (_, page) = page_of(&scenario, 1, None);
    check(&page);
    assert!(!page.contains("<script>alert"));
    let written = "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;{{style}}&quot;";
    assert!(page.contains(written));
}

#[test]
fn a_run_has_one_page_but_for_the_time_that_it_took() {
    let scenario = scenario("nat/cone-cone.toml");
    let without_real_time = |page: String| {
        let (before, rest) = page
            .split_once("<data id=\"real-time\"")
            .expect("it is there");
        let (_, after) = rest.split_once("</data>").expect("it ends");
        format!("{before}{after}")
    };
    let (_, one) = page_of(&scenario, 7, None);
    let (_, other) = page_of(&scenario, 7, None);
    assert!(without_real_time(one) == without_real_time(other));
}

#[test]
fn who_keeps_the_events_changes_nothing() {
    let scenario = scenario("nat/cone-cone.toml");
    let (kept, _) = page_of(&scenario, 7, None);
    assert_eq!(kept.digest, report(&scenario, 7).digest);
}

#[test]
fn a_failure_says_what_was_expected_and_how_to_see_it_again() {
    let file = super::support::root().join("fixtures/field/janus-738.toml");
    let scenario = Scenario::load(&file).unwrap_or_else(|error| panic!("{error:?}"));
    let (report, page) = page_of(&scenario, 1, Some(Variant::Naive));
    assert!(!report.passed);
    check(&page);
    assert!(page.contains("expected audio both ways, and the call failed"));
    assert!(page.contains("--seed 1 --client naive"));
    let words: Vec<&str> = between(&page, "<code id=\"seed-string\">", "<").collect();
    let [word] = words.as_slice() else {
        panic!("{words:?}");
    };
    assert!(word.starts_with("rt1-"), "{word}");
}
