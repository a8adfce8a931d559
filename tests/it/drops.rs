//! The signaling connection breaks at every frame of a call, in every way, at either side, and at pairs
//! of frames: nothing is lost, nothing is acted on twice, and audio comes up in all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtrue_sim::check::delivery::missing;
use ringtrue_sim::check::facts::Facts;
use ringtrue_sim::fault::MessageName;
use ringtrue_sim::report::{Failure, FailureCause, FrameCount, Report, text};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::trace::AppEvent;

use crate::support::{facts_of, homes, on_both_cores, scenario_of};

const SEED: u64 = 7;
const PEERS: [&str; 2] = ["alice", "bob"];
const WAYS: [&str; 3] = ["fin", "rst", "silence"];

/// One break of one peer's signaling connection.
#[derive(Clone, PartialEq, Eq)]
struct Drop {
    peer: &'static str,
    /// `before alice sends frame 3`.
    on: String,
    how: &'static str,
}

impl Drop {
    fn all(how: &'static str, frames: impl Fn(&str) -> FrameCount) -> Vec<Self> {
        let mut drops = Vec::new();
        for peer in PEERS {
            let count = frames(peer);
            for (way, last) in [("sends", count.sent), ("receives", count.received)] {
                for number in 1..=last {
                    for side in ["before", "after"] {
                        let on = format!("{side} {peer} {way} frame {number}");
                        drops.push(Self { peer, on, how });
                    }
                }
            }
        }
        drops
    }

    fn to_toml(&self) -> String {
        format!(
            "[[fault]]\nkind = \"socket-drop\"\npeer = \"{}\"\non = \"{}\"\nhow = \"{}\"\n",
            self.peer, self.on, self.how
        )
    }
}

fn scenario_with(drops: &[Drop]) -> Scenario {
    let mut file = homes("home", "home");
    for drop in drops {
        write!(file, "\n{}", drop.to_toml()).expect("writing to a text");
    }
    scenario_of(&file)
}

/// How many frames each peer has in the call that nothing disturbs.
fn undisturbed() -> Report {
    let (report, _) = facts_of(&scenario_with(&[]), SEED);
    assert!(
        report.passed,
        "{}",
        text::failure(&report, text::Colour::Off)
    );
    report
}

/// What came of the call that these drops disturb.
enum Outcome {
    /// All is well.
    Whole,
    /// All is well, but the call was over before the second drop.
    StruckOnce,
    Wrong(String),
}

fn outcome_of(drops: &[Drop]) -> Outcome {
    let (mut report, facts) = facts_of(&scenario_with(drops), SEED);
    let mut wrong = Vec::new();
    // After the first drop there may be fewer frames than the second one waits for.
    let never_began = |failure: &Failure| {
        failure.cause == FailureCause::FaultWithoutEffect && failure.message.contains("never began")
    };
    let struck = drops.len()
        - report
            .failures
            .iter()
            .filter(|each| never_began(each))
            .count();
    if struck > 0 {
        report.failures.retain(|failure| !never_began(failure));
        report.passed = report.failures.is_empty();
    }
    if !report.passed {
        wrong.push(text::failure(&report, text::Colour::Off));
    }
    for peer in PEERS {
        let missing = missing_of_the_call(&facts, peer);
        if !missing.is_empty() {
            wrong.push(format!("{peer} was never handed {missing:?}"));
        }
        wrong.extend(repeated_deeds(&facts, peer));
    }
    if !wrong.is_empty() {
        let file: String = drops.iter().map(Drop::to_toml).collect();
        return Outcome::Wrong(format!("{file}{}", wrong.join("\n")));
    }
    if struck < drops.len() {
        Outcome::StruckOnce
    } else {
        Outcome::Whole
    }
}

/// What a peer was not handed of the call, but for what nobody needs any more: a side that looks for another
/// path offers again, and one of the two has hung up before that, or the answer to it, arrived.
fn missing_of_the_call(facts: &Facts, peer: &str) -> BTreeMap<String, u32> {
    let mut missing = missing(facts, peer);
    let mut own = facts.app.iter().filter(|fact| *fact.peer == *peer);
    if !own.any(|fact| matches!(fact.event, AppEvent::Ended { .. })) {
        return missing;
    }
    let offers = facts.sent.values();
    let mut offers: Vec<Duration> = offers
        .filter_map(|sent| sent.get(&MessageName::Offer))
        .flatten()
        .copied()
        .collect();
    offers.sort();
    // The first offer of all is the call.
    let Some(search) = offers.get(1) else {
        return missing;
    };
    let others = facts.sent.iter().filter(|(other, _)| ***other != *peer);
    let late_of = |message: MessageName| {
        let sent = others.clone().filter_map(|(_, sent)| sent.get(&message));
        let late = sent.flatten().filter(|at| *at >= search).count();
        u32::try_from(late).unwrap_or(u32::MAX)
    };
    let (offers, answers) = (late_of(MessageName::Offer), late_of(MessageName::Answer));
    for (kind, excused) in [
        ("offer", offers),
        ("answer", answers),
        ("candidate", late_of(MessageName::Candidate)),
        // Each description has one.
        ("end-of-candidates", offers + answers),
    ] {
        if let Some(lacking) = missing.get_mut(kind) {
            *lacking = lacking.saturating_sub(excused);
        }
    }
    missing.retain(|_, lacking| *lacking > 0);
    missing
}

/// What an application is told of a call, it is told once.
fn repeated_deeds(facts: &Facts, peer: &str) -> Vec<String> {
    let told = |is_meant: fn(&AppEvent) -> bool| {
        let events = facts.app.iter().filter(|fact| *fact.peer == *peer);
        events.filter(|fact| is_meant(&fact.event)).count()
    };
    let deeds = [
        (
            "incoming",
            told(|event| matches!(event, AppEvent::Incoming { .. })),
        ),
        (
            "ringing",
            told(|event| matches!(event, AppEvent::RemoteRinging)),
        ),
        (
            "answered",
            told(|event| matches!(event, AppEvent::Answered)),
        ),
        (
            "audio",
            told(|event| matches!(event, AppEvent::AudioConnected)),
        ),
        (
            "ended",
            told(|event| matches!(event, AppEvent::Ended { .. })),
        ),
    ];
    let deeds = deeds.into_iter();
    deeds
        .filter(|(_, count)| *count > 1)
        .map(|(name, count)| format!("{peer} was told {count} times: {name}"))
        .collect()
}

/// What came of many calls.
#[derive(Default)]
struct Tally {
    /// In how many every drop struck, and all was well.
    whole: usize,
    /// What was wrong with the others, but for those that were over before a drop.
    wrong: Vec<String>,
}

/// Runs a call for each of these.
fn run_all(calls: &[Vec<Drop>]) -> Tally {
    let mut tally = Tally::default();
    for outcome in on_both_cores(calls, |drops| outcome_of(drops)) {
        match outcome {
            Outcome::Whole => tally.whole += 1,
            Outcome::StruckOnce => {}
            Outcome::Wrong(told) => tally.wrong.push(told),
        }
    }
    tally
}

#[track_caller]
fn check_every_frame(how: &'static str) {
    let whole = undisturbed();
    let drops = Drop::all(how, |peer| whole.signaling_frames[peer]);
    assert!(drops.len() > 100, "{} places to cut", drops.len());
    let calls: Vec<_> = drops.into_iter().map(|drop| vec![drop]).collect();
    let tally = run_all(&calls);
    let wrong = tally.wrong.len();
    let shown = tally.wrong[..wrong.min(3)].join("\n\n");
    assert_eq!(wrong, 0, "with seed {SEED}:\n{shown}");
    assert_eq!(tally.whole, calls.len(), "every drop strikes");
}

#[test]
fn a_fin_at_any_frame_costs_nothing() {
    check_every_frame("fin");
}

#[test]
fn a_reset_at_any_frame_costs_nothing() {
    check_every_frame("rst");
}

#[test]
fn silence_from_any_frame_on_costs_nothing() {
    check_every_frame("silence");
}

#[test]
fn five_hundred_pairs_of_drops_cost_nothing() {
    let whole = undisturbed();
    let drops: Vec<Drop> = WAYS
        .iter()
        .flat_map(|how| Drop::all(how, |peer| whole.signaling_frames[peer]))
        .collect();
    let mut generator = ChaCha8Rng::seed_from_u64(SEED);
    let mut pairs: Vec<Vec<Drop>> = Vec::new();
    // A few more, for those whose second drop never comes.
    while pairs.len() < 520 {
        let mut pair: Vec<Drop> = drops.sample(&mut generator, 2).cloned().collect();
        // Two cuts at one place are one.
        if pair[0].on == pair[1].on || pairs.contains(&pair) {
            continue;
        }
        if generator.random() {
            pair.reverse();
        }
        pairs.push(pair);
    }
    let tally = run_all(&pairs);
    assert!(
        tally.whole >= 500,
        "both drops struck in {} calls",
        tally.whole
    );
    let wrong = tally.wrong.len();
    let shown = tally.wrong[..wrong.min(3)].join("\n\n");
    assert_eq!(wrong, 0, "with seed {SEED}:\n{shown}");
}
