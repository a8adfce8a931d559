//! Candidates up to half a minute late, on either side and on both, behind every kind of NAT; and every
//! other message late, doubled, lost and out of order: audio is up two seconds after the last message
//! that it needs.
//!
//! `RINGTRUE_SEEDS=6` runs every delay with every pair of NATs instead of a rota of them.

use std::collections::BTreeSet;
use std::time::Duration;

use ringtrue_sim::check::facts::Facts;
use ringtrue_sim::check::oracle::Reach;
use ringtrue_sim::matrix::{Cell, Conditions, Layers, cells};
use ringtrue_sim::perturbation::{MessageDelay, MessageKind, Perturbation};
use ringtrue_sim::report::{Report, text};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::scenario::model::{Action, CandidateType, Expectation};
use ringtrue_sim::trace::{AppEvent, MessageEvent, MessagePhase};

use crate::support::{check_all, facts_of, homes, scenario_of, seeds};

/// How soon there is audio both ways after the last message that it needs, at a round trip of 80 ms.
const AUDIO_WITHIN: Duration = Duration::from_secs(2);

/// How soon after the answer there is audio by a relay, where all candidates are there: a direct path is
/// waited for until then (`AcceptanceWaits::relayed`).
const RELAYED_WITHIN: Duration = Duration::from_millis(2_500);

/// How soon after the answer all candidates are gathered.
const GATHERED_WITHIN: Duration = Duration::from_secs(1);

const DELAYS: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
];

/// Whose candidates are late.
#[derive(Debug, Clone, Copy)]
enum Late {
    Caller,
    Callee,
    Both,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    cell: Cell,
    late: Late,
    delay: Duration,
    seed: u64,
}

impl Case {
    fn scenario(&self) -> Scenario {
        let mut scenario = self.cell.scenario(Conditions::default());
        let Some([first, second]) = sides(&scenario) else {
            panic!("a cell has a call");
        };
        let late = match self.late {
            Late::Caller => vec![first],
            Late::Callee => vec![second],
            Late::Both => vec![first, second],
        };
        scenario.perturbations = late
            .into_iter()
            .map(|from| Perturbation {
                from,
                kind: MessageKind::Candidate,
                which: None,
                lost: 0,
                delay: MessageDelay::Fixed(self.delay),
                copies: 1,
                copy_delay: Duration::ZERO,
                until: None,
                beside: None,
                line: None,
            })
            .collect();
        // Which path is found first depends on which candidates are there.
        scenario.expect = Expectation::default();
        scenario
    }

    fn judge(&self) -> Option<String> {
        let (report, facts) = facts_of(&self.scenario(), self.seed);
        let what = wrong(&report, &facts)?;
        let Self {
            late, delay, seed, ..
        } = self;
        Some(format!("{late:?} {delay:?} late, seed {seed}: {what}"))
    }
}

/// Caller and callee.
fn sides(scenario: &Scenario) -> Option<[String; 2]> {
    scenario.script.iter().find_map(|step| match &step.action {
        Action::Call { callee } => Some([step.peer.clone(), callee.clone()]),
        _ => None,
    })
}

/// What is wrong with a call whose messages were late, if anything is.
fn wrong(report: &Report, facts: &Facts) -> Option<String> {
    if !report.passed {
        return Some(text::failure(report, text::Colour::Off));
    }
    let Some(needed) = last_needed(facts) else {
        return Some("nothing was late, or nobody answered".to_owned());
    };
    let Some(audio) = facts.audio_on_both_sides() else {
        return Some("there is no audio".to_owned());
    };
    let by_relay = begins_relayed(facts)
        .then(|| last_answered(facts))
        .flatten();
    let by_relay = by_relay.map(|answered| answered + RELAYED_WITHIN);
    let within = by_relay.unwrap_or_default().max(needed + AUDIO_WITHIN);
    (audio > within).then(|| {
        format!(
            "{}: audio at {audio:?}, and all that it needs at {needed:?}",
            report.scenario
        )
    })
}

/// When everything was there that audio can need: the answer on both sides, and what was held back of
/// the call's first offer and answer. What is gathered later is for another path.
fn last_needed(facts: &Facts) -> Option<Duration> {
    let mut answers = facts.app.iter();
    let answered = answers.find(|fact| fact.event == AppEvent::Answered)?.at;
    let is_of_the_first = |at: Duration| at <= answered + GATHERED_WITHIN;
    let held: BTreeSet<_> = facts
        .perturbed
        .iter()
        .filter(|(at, event)| {
            let is_held = matches!(event.phase, MessagePhase::Held { .. });
            is_needed(event) && is_held && is_of_the_first(*at)
        })
        .map(|(_, event)| (&event.from, &event.kind, event.number))
        .collect();
    let released = facts.perturbed.iter().filter(|(_, event)| {
        let message = (&event.from, &event.kind, event.number);
        event.phase == MessagePhase::Released && held.contains(&message)
    });
    released
        .map(|(at, _)| *at)
        .chain(last_answered(facts))
        .max()
}

/// Whether audio can need a message.
fn is_needed(event: &MessageEvent) -> bool {
    matches!(event.kind.as_str(), "offer" | "answer" | "candidate")
}

/// Whether the first path passes a relay, on either side. Which one it is depends on which candidates are
/// there by then.
fn begins_relayed(facts: &Facts) -> bool {
    let relayed = |peer: &str| {
        let mut of_peer = facts.app.iter().filter(|fact| *fact.peer == *peer);
        of_peer.find_map(|fact| match fact.event {
            AppEvent::PathSelected { local, remote } => {
                Some([local, remote].contains(&CandidateType::Relayed))
            }
            _ => None,
        })
    };
    let mut peers = facts.heard.keys();
    peers.any(|peer| relayed(peer) == Some(true))
}

/// When the later of both sides knew that the call is answered.
fn last_answered(facts: &Facts) -> Option<Duration> {
    let answers = facts.app.iter();
    let answers = answers.filter(|fact| fact.event == AppEvent::Answered);
    answers.map(|fact| fact.at).max()
}

#[test]
fn late_candidates_still_reach_audio() {
    let reachable = cells(Layers::One)
        .into_iter()
        .filter(|cell| cell.predict().reach != Reach::Unreachable);
    let mut cases = Vec::new();
    for (index, cell) in reachable.enumerate() {
        for (turn, late) in [Late::Caller, Late::Callee, Late::Both]
            .into_iter()
            .enumerate()
        {
            for round in 0..seeds(1) {
                let round_index = usize::try_from(round).expect("there are few");
                cases.push(Case {
                    cell,
                    late,
                    delay: DELAYS[(index + 2 * turn + round_index) % DELAYS.len()],
                    seed: round + 1,
                });
            }
        }
    }
    assert!(cases.len() >= 3 * 81);
    check_all(&cases, Case::judge);
}

/// A call between two NATs with these tables, and a talk long enough for all copies of a message.
fn perturbed(nats: [&str; 2], tables: &str) -> Scenario {
    let [first, second] = nats;
    scenario_of(&format!(
        "{}\n{tables}\n[talk]\nfor = \"8s\"",
        homes(first, second)
    ))
}

/// A table about messages of this sender.
fn table(from: &str, kind: &str, what: &str) -> String {
    format!("[[message]]\nfrom = \"{from}\"\nkind = \"{kind}\"\n{what}\n")
}

/// Runs such a call for pairs of NATs that talk directly, and by a relay, and with seeds.
#[track_caller]
fn check_calls(tables: &str, wrong: impl Fn(&Report, &Facts) -> Option<String> + Sync) {
    let pairs = [
        ["full-cone", "full-cone"],
        ["port-restricted", "port-restricted"],
        ["symmetric", "address-restricted"],
        ["symmetric", "symmetric"],
    ];
    let cases: Vec<_> = pairs
        .into_iter()
        .flat_map(|pair| (1..=seeds(1)).map(move |seed| (pair, seed)))
        .collect();
    check_all(&cases, |(pair, seed)| {
        let (report, facts) = facts_of(&perturbed(*pair, tables), *seed);
        let what = wrong(&report, &facts)?;
        Some(format!("{pair:?}, seed {seed}: {what}"))
    });
}

/// The same, with what is asked of every call and something more.
#[track_caller]
fn check(tables: &str, also: impl Fn(&Facts) -> Option<String> + Sync) {
    check_calls(tables, |report, facts| {
        wrong(report, facts).or_else(|| also(facts))
    });
}

/// When the last message of this kind was let go.
fn released(facts: &Facts, from: &str, kind: &str) -> Option<Duration> {
    let mut events = facts.perturbed.iter();
    let last = events.rfind(|(_, event)| {
        event.from == from && event.kind == kind && event.phase == MessagePhase::Released
    });
    last.map(|(at, _)| *at)
}

/// When the last message was let go that audio at this time can have needed: the answer keeps its order
/// behind the ringing message, so that one is among them.
fn released_before(facts: &Facts, audio: Duration) -> Option<Duration> {
    let events = facts.perturbed.iter();
    let released = events.filter(|(at, event)| {
        let counts = is_needed(event) || event.kind == "ringing";
        *at < audio && event.phase == MessagePhase::Released && counts
    });
    released.map(|(at, _)| *at).max()
}

#[test]
fn candidates_that_come_after_their_end_are_used() {
    // The end is not late, so it overtakes all candidates of both sides.
    let late = ["alice", "bob"].map(|from| table(from, "candidate", "delay = \"4s\""));
    check(&late.concat(), |facts| {
        let first_audio = facts.audio_on_both_sides()?;
        let first = facts.perturbed.iter();
        let first = first
            .filter(|(_, event)| event.phase == MessagePhase::Released)
            .map(|(at, _)| *at)
            .min()?;
        (first_audio < first).then(|| format!("audio at {first_audio:?} without any candidate"))
    });
}

#[test]
fn an_end_of_candidates_that_comes_late_holds_nothing_up() {
    let late = ["alice", "bob"].map(|from| table(from, "end-of-candidates", "delay = \"15s\""));
    check(&late.concat(), |facts| {
        let (audio, end) = (
            facts.audio_on_both_sides()?,
            released(facts, "bob", "end-of-candidates"),
        );
        end.is_some_and(|end| end < audio)
            .then(|| "audio waited for the end of candidates".to_owned())
    });
}

#[test]
fn what_comes_three_times_is_acted_on_once() {
    let copies = "copies = 3\ncopy_delay = \"700ms\"";
    let thrice = ["alice", "bob"].map(|from| table(from, "any", copies));
    // That nobody was handed anything twice is asked of every run.
    check(&thrice.concat(), |facts| {
        let answers = facts
            .app
            .iter()
            .filter(|fact| fact.event == AppEvent::Answered);
        let answers = answers.count();
        (answers != 2).then(|| format!("the call was answered {answers} times"))
    });
}

#[test]
fn an_offer_that_comes_after_its_candidates_rings() {
    check(
        &table("alice", "offer", "which = 1\ndelay = \"5s\""),
        |facts| {
            let rang = facts.first_ringing()?;
            (rang < Duration::from_secs(5)).then(|| format!("it rang at {rang:?}"))
        },
    );
}

#[test]
fn an_answer_that_comes_after_its_candidates_connects() {
    check(
        &table("bob", "answer", "which = 1\ndelay = \"5s\""),
        |facts| {
            let (audio, answer) = (
                facts.audio_on_both_sides()?,
                released(facts, "bob", "answer")?,
            );
            (audio < answer).then(|| format!("audio at {audio:?} before the answer"))
        },
    );
}

#[test]
fn an_answer_that_is_25_seconds_late_after_a_minute_of_nothing_else_connects() {
    let late = table("bob", "answer", "which = 1\ndelay = \"25.5s\"");
    let script = r#"
        [[script]]
        at = "0s"
        peer = "alice"
        do = "call"
        callee = "bob"
        [[script]]
        after = "ringing + 1m"
        peer = "bob"
        do = "answer"
        "#;
    check(&format!("{late}{script}"), |facts| {
        let answered = released(facts, "bob", "answer")?;
        (answered < Duration::from_secs(85)).then(|| format!("the answer came at {answered:?}"))
    });
}

#[test]
fn what_is_lost_after_the_server_has_acknowledged_it_is_sent_again() {
    let lost = ["alice", "bob"].map(|from| table(from, "any", "drop = 3"));
    check(&lost.concat(), |facts| {
        let lost = facts.perturbed.iter();
        let lost = lost.filter(|(_, event)| event.phase == MessagePhase::Lost);
        let lost = lost.count();
        (lost < 3 * 8).then(|| format!("only {lost} deliveries were lost"))
    });
}

#[test]
fn messages_in_any_order_connect() {
    const DELAY_MAX: Duration = Duration::from_secs(20);
    // The caller offers anew when its signaling is up, so what a call needs is known only when it is there:
    // at most an offer, its answer after a second of ringing, and the candidates beside them.
    let limit = 2 * DELAY_MAX + Duration::from_secs(1) + RELAYED_WITHIN;
    let late = ["alice", "bob"].map(|from| table(from, "any", "delay = \"0s to 20s\""));
    check_calls(&late.concat(), |report, facts| {
        if !report.passed {
            return Some(text::failure(report, text::Colour::Off));
        }
        let audio = facts.audio_on_both_sides()?;
        let needed = released_before(facts, audio)?;
        (audio > needed + RELAYED_WITHIN || audio > limit)
            .then(|| format!("audio at {audio:?}, and nothing came after {needed:?}"))
    });
}
