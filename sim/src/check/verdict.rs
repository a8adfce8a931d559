//! Whether what came of a run is what the scenario expects.

use std::collections::BTreeMap;
use std::time::Duration;

use ringtrue::client::EndReason;

use super::call::LastCall;
use super::consent::without_consent;
use super::delivery::doubled;
use super::effect::{without_effect, without_message};
use super::expectation::{Kept, Observed, unmet};
use super::facts::Facts;
use super::kept::{Gap, WINDOW, first_gap, first_gap_outside};
use super::live_sockets::left_behind;
use super::monitors::broken;
use super::outage::{Outage, Span, last_healing, outages};
use super::path_loss::{path_loss, path_losses};
use super::remains::left_allocated;
use super::settling::{self, Terms};
use crate::report::{Failure, FailureCause, Outcome};
use crate::scenario::model::{BACK_WITHIN, Expectation, Scenario};
use crate::scenario::value::format_duration;
use crate::trace::AppEvent;

/// How long after the answer a run may take to say that there is no way.
const UNREACHABLE_WITHIN: Duration = Duration::from_secs(45);

/// Everything in which a run is not as it should be; empty where all is well.
#[must_use]
pub fn failures(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Vec<Failure> {
    let mut failures = match settling::terms(scenario) {
        Some(terms) => unsettled(scenario, call, facts, terms),
        None => unlike_expected(scenario, call, facts),
    };
    failures.extend(error_lines(facts));
    failures.extend(left_behind(facts));
    failures.extend(doubled(facts));
    failures.extend(left_allocated(scenario, facts));
    failures.extend(without_consent(scenario, facts));
    failures.extend(broken(scenario, &facts.monitors));
    failures
}

/// What a scenario that expects its call to settle has to say. Its steps and faults come by chance, so
/// that some of them may find nothing to do: nothing to answer any more, nothing to strike.
fn unsettled(scenario: &Scenario, call: &LastCall, facts: &Facts, terms: Terms) -> Vec<Failure> {
    let losses = path_losses(scenario, &call.peers, facts);
    settling::unsettled(scenario, call, facts, &losses, terms)
}

/// What a scenario says that knows what comes of its call.
fn unlike_expected(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Vec<Failure> {
    let losses = losses(scenario, call, facts);
    let observed = Observed {
        outcome: call.outcome(),
        kept: if losses.is_empty() {
            Kept::ToTheEnd
        } else {
            Kept::Lost
        },
        cause: call.cause(),
        time_to_audio: call.time_to_audio(),
        selected: call.selected.clone(),
    };
    let too_soon = too_soon_over(scenario, call, facts);
    let mut failures = if loss_is_expected(scenario) && losses.is_empty() && !too_soon.is_empty() {
        // Whether audio would have come back is not known, so nothing more can be said.
        Vec::new()
    } else {
        unmet(&scenario.expect, &observed)
    };
    failures.extend(nobody_called(scenario, call));
    failures.extend(one_way_audio(scenario, call, facts));
    if !loss_is_expected(scenario) {
        failures.extend(losses);
        failures.extend(too_soon);
    } else if losses.is_empty() {
        failures.extend(too_soon);
    }
    failures.extend(late_verdict(scenario, call, facts));
    failures.extend(refused_steps(scenario, call, facts));
    failures.extend(without_effect(&scenario.faults, facts));
    failures.extend(without_message(&scenario.perturbations, facts));
    failures
}

/// What came of the run's call, for the report. Audio that was connected and lost is a call that
/// failed.
#[must_use]
pub fn outcome(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Outcome {
    if let Some(terms) = settling::terms(scenario) {
        let unsettled = unsettled(scenario, call, facts, terms);
        return match call.outcome() {
            Outcome::AudioConnected if !unsettled.is_empty() => Outcome::Failed,
            outcome => outcome,
        };
    }
    match call.outcome() {
        Outcome::AudioConnected if !losses(scenario, call, facts).is_empty() => Outcome::Failed,
        outcome => outcome,
    }
}

/// What is left of the failures that the world found once it stood still. Where no audio is expected,
/// or audio that is lost, one side may never learn that the other has hung up: that it waits, and what
/// it holds, is no failure once the script has ended the call.
#[must_use]
pub fn of_ending(scenario: &Scenario, call: &LastCall, failures: Vec<Failure>) -> Vec<Failure> {
    let hung_up = call.ended.values().any(|end| *end == EndReason::HungUp);
    let stalled = failures
        .iter()
        .any(|failure| failure.cause == FailureCause::Stalled);
    if !(stalled && hung_up && silence_is_expected(scenario)) {
        return failures;
    }
    let stays = |failure: &Failure| {
        !matches!(
            failure.cause,
            FailureCause::Stalled | FailureCause::LeftRunning
        )
    };
    failures.into_iter().filter(stays).collect()
}

fn loss_is_expected(scenario: &Scenario) -> bool {
    matches!(scenario.expect, Expectation::AudioLost { .. })
}

fn silence_is_expected(scenario: &Scenario) -> bool {
    matches!(
        scenario.expect,
        Expectation::AudioLost { .. } | Expectation::NoAudio { .. }
    )
}

/// Silence proves nothing where nobody called.
fn nobody_called(scenario: &Scenario, call: &LastCall) -> Option<Failure> {
    (silence_is_expected(scenario) && call.peers.is_empty()).then(|| {
        let message = "nobody called, so there is no call to be silent".to_owned();
        Failure::new(FailureCause::ScriptNotFinished, message)
    })
}

/// The ways in which audio, once connected, was lost.
fn losses(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Vec<Failure> {
    let mut losses = audio_not_kept(scenario, call, facts);
    losses.extend(cut_short(scenario, call));
    losses
}

/// From audio on both sides to the end of the call.
fn talk(call: &LastCall) -> Option<Span> {
    if call.outcome() != Outcome::AudioConnected {
        return None;
    }
    Some(Span {
        from: *call.audio_at.values().max()?,
        to: call.over?,
    })
}

fn back_within(scenario: &Scenario) -> Duration {
    match scenario.expect {
        Expectation::AudioConnected { back_within, .. } => back_within,
        Expectation::Unreachable { .. }
        | Expectation::NoAudio { .. }
        | Expectation::AudioLost { .. }
        | Expectation::Settled { .. } => BACK_WITHIN,
    }
}

/// One side that hears and is not heard is worse than silence: both people think that the call is
/// up. Where no audio is expected, a fault in the way may stop one direction before the other.
fn one_way_audio(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Option<Failure> {
    let (hears, deaf): (Vec<_>, Vec<_>) = call
        .peers
        .iter()
        .partition(|peer| call.audio_at.contains_key(*peer));
    let ([hears], [deaf]) = (hears.as_slice(), deaf.as_slice()) else {
        return None;
    };
    let struck = |outage: &Outage| call.over.is_none_or(|over| outage.begin < over);
    if silence_is_expected(scenario) && outages(&scenario.faults, facts).iter().any(struck) {
        return None;
    }
    let message = format!("{hears} hears {deaf}, who hears nothing");
    Some(Failure::new(FailureCause::OneWayAudio, message))
}

fn audio_not_kept(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Vec<Failure> {
    let Some(talk) = talk(call) else {
        return Vec::new();
    };
    let outages = outages(&scenario.faults, facts);
    let back_within = back_within(scenario);
    let gap_of = |peer: &str, heard: &[Duration]| {
        let loss = path_loss(scenario, &call.peers, peer);
        first_gap_outside(heard, talk, &outages, back_within, loss)
    };
    let gaps: BTreeMap<&String, Gap> = call
        .heard
        .iter()
        .filter_map(|(peer, heard)| Some((peer, gap_of(peer, heard)?)))
        .collect();
    let is_alone = gaps.len() == 1 && call.heard.len() > 1;
    let failure = |(peer, gap): (&String, Gap)| {
        let after = outages.iter().rfind(|outage| outage.begin <= gap.from);
        let heard = format!(
            "in the {} s from {:.3} s {peer} heard {:.0} % of the audio, not {:.0} %",
            gap.length.as_secs_f64(),
            gap.from.as_secs_f64(),
            gap.heard * 100.0,
            gap.needed * 100.0
        );
        let Some(after) = after.filter(|outage| outage.concerns(talk)) else {
            return Failure::new(FailureCause::AudioNotKept, heard);
        };
        let (cause, other) = if is_alone && gap.heard == 0.0 {
            (FailureCause::OneWayAudio, ", while the other side hears")
        } else {
            (FailureCause::AudioNotKept, "")
        };
        let message = format!("{heard}{other}, after {}", after.name);
        Failure::new(cause, message)
    };
    gaps.into_iter().map(failure).collect()
}

/// Faults after which the call was over before audio had to be back, without audio at its end: what
/// would have come of them is not known. Audio that was there at the end was not lost by them.
fn too_soon_over(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Vec<Failure> {
    let Some(talk) = talk(call) else {
        return Vec::new();
    };
    let back_within = back_within(scenario);
    let last_window = talk.to.saturating_sub(WINDOW).max(talk.from);
    let is_silent = |(peer, heard): (&String, &Vec<Duration>)| {
        let loss = path_loss(scenario, &call.peers, peer);
        first_gap(heard, last_window, talk.to, loss).is_some()
    };
    if !call.heard.iter().any(is_silent) {
        return Vec::new();
    }
    outages(&scenario.faults, facts)
        .into_iter()
        .filter(|outage| outage.concerns(talk))
        .filter(|outage| outage.back_by(back_within).saturating_add(WINDOW) > talk.to)
        .map(|outage| {
            let message = format!(
                "the call was over at {:.3} s, too soon to know whether audio is back {} after {} \
                 and stays for {}",
                talk.to.as_secs_f64(),
                format_duration(back_within),
                outage.name,
                format_duration(WINDOW),
            );
            Failure::new(FailureCause::AudioNotKept, message)
        })
        .collect()
}

/// A call that was connected and ended by itself is a dropped call, whoever reports it.
fn cut_short(scenario: &Scenario, call: &LastCall) -> Option<Failure> {
    if call.outcome() != Outcome::AudioConnected {
        return None;
    }
    let connected = *call.audio_at.values().max()?;
    let talked = call.over?.saturating_sub(connected);
    if let Some(talk) = scenario.talk.filter(|talk| talked < *talk) {
        let message = format!("the call was over after {talked:?} of talk, not {talk:?}");
        return Some(Failure::new(FailureCause::AudioNotKept, message));
    }
    let cause = call.cause()?;
    let message = format!("the call was connected, and then ended by itself: {cause}");
    Some(Failure::new(FailureCause::AudioNotKept, message))
}

/// The time runs from the answer, or from the last healing after it.
fn late_verdict(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Option<Failure> {
    if call.outcome() != Outcome::Unreachable {
        return None;
    }
    let (answered, over) = (call.answered?, call.over?);
    let healed = last_healing(&scenario.faults, facts, over).filter(|healed| *healed > answered);
    let (since, event) = match healed {
        Some(healed) => (healed, "last fault"),
        None => (answered, "answer"),
    };
    let took = over.saturating_sub(since);
    (took > UNREACHABLE_WITHIN).then(|| {
        let message = format!(
            "the run said that there is no way {took:?} after the {event}, not within 45 s"
        );
        Failure::new(FailureCause::TooLate, message)
    })
}

/// Where silence is expected, the call may be over before the script wants to end it.
fn refused_steps(
    scenario: &Scenario,
    call: &LastCall,
    facts: &Facts,
) -> impl Iterator<Item = Failure> {
    let over = call.over.filter(|_| silence_is_expected(scenario));
    facts.app.iter().filter_map(move |fact| match &fact.event {
        AppEvent::Refused { .. } if over.is_some_and(|over| fact.at >= over) => None,
        AppEvent::Refused { what } => Some(Failure::new(
            FailureCause::ScriptNotFinished,
            format!("{} at {:?}: {what}", fact.peer, fact.at),
        )),
        _ => None,
    })
}

fn error_lines(facts: &Facts) -> impl Iterator<Item = Failure> {
    facts.errors.iter().map(|line| {
        let message = format!("{} logged at {:?}: {}", line.host, line.at, line.text);
        Failure::new(FailureCause::ErrorLogged, message)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::check::facts::{Fact, FaultFact};
    use crate::trace::FaultPhase;

    const HOMES: &str = "about = \"Two homes talk.\"\n\
        [network.a]\nnat = \"full-cone\"\n[network.b]\nnat = \"full-cone\"\n\
        [peer.alice]\nnetwork = \"a\"\n[peer.bob]\nnetwork = \"b\"\n\
        [[fault]]\nkind = \"blackhole\"\nnetwork = \"a\"\nat = \"5s\"\nfor = \"3s\"\n";

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A call with audio from 1 s on, of which each peer misses what it misses, in seconds.
    struct Call<'a> {
        expect: &'a str,
        misses: [std::ops::Range<u64>; 2],
        over: u64,
        end: Option<EndReason>,
    }

    impl Call<'_> {
        fn judge(&self) -> (Outcome, Vec<FailureCause>) {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/in-a-test.toml");
            let scenario = Scenario::parse(&file, &format!("{HOMES}[expect]\n{}", self.expect));
            let mut scenario = scenario.unwrap_or_else(|invalid| panic!("{invalid:?}"));
            scenario.talk = None;
            let mut facts = Facts::default();
            let fact = |at: u64, peer: &str, event| Fact {
                at: seconds(at),
                peer: Arc::from(peer),
                event,
            };
            let callee = "bob".to_owned();
            facts
                .app
                .push(fact(0, "alice", AppEvent::Calling { callee }));
            facts.app.push(fact(1, "bob", AppEvent::Answered));
            for (peer, misses) in ["alice", "bob"].into_iter().zip(&self.misses) {
                if !misses.contains(&1) {
                    facts.app.push(fact(1, peer, AppEvent::AudioConnected));
                }
                let heard = (1_000..self.over * 1000).step_by(20);
                let heard = heard.filter(|at| !misses.contains(&(at / 1000)));
                let heard = heard.map(Duration::from_millis).collect();
                facts.heard.insert(Arc::from(peer), heard);
            }
            let reason = self.end.clone().unwrap_or(EndReason::HungUp);
            facts
                .app
                .push(fact(self.over, "alice", AppEvent::Ended { reason }));
            let what = "a packet".to_owned();
            let phases = [
                (5, FaultPhase::Begins),
                (5, FaultPhase::Effect { what }),
                (8, FaultPhase::Ends),
            ];
            facts.faults = phases
                .into_iter()
                .filter(|(at, _)| *at < self.over)
                .map(|(at, phase)| FaultFact {
                    at: seconds(at),
                    fault: 0,
                    phase,
                })
                .collect();
            let call = LastCall::of(&scenario, &facts);
            let failures = failures(&scenario, &call, &facts);
            (
                outcome(&scenario, &call, &facts),
                failures.into_iter().map(|failure| failure.cause).collect(),
            )
        }
    }

    /// What is said of a call in which alice and bob miss these seconds of the audio.
    #[track_caller]
    fn check(
        expect: &str,
        misses: [std::ops::Range<u64>; 2],
        outcome: Outcome,
        causes: &[FailureCause],
    ) {
        let call = Call {
            expect,
            misses,
            over: 20,
            end: None,
        };
        assert_eq!(call.judge(), (outcome, causes.to_vec()));
    }

    #[test]
    fn audio_that_is_back_in_time_is_kept() {
        check("", [0..0, 0..0], Outcome::AudioConnected, &[]);
        check("", [5..8, 5..8], Outcome::AudioConnected, &[]);
        check("", [5..13, 5..13], Outcome::AudioConnected, &[]);
    }

    #[test]
    fn audio_that_is_back_late_is_lost() {
        let lost = [FailureCause::AudioNotKept; 2];
        check("", [5..14, 5..14], Outcome::Failed, &lost);
        let sooner = "back_within = \"2s\"";
        check(sooner, [5..12, 5..12], Outcome::Failed, &lost);
        check("", [2..3, 5..8], Outcome::Failed, &lost[..1]);
    }

    #[test]
    fn audio_that_comes_back_one_way_is_a_failure() {
        let one_way = [FailureCause::OneWayAudio];
        check("", [5..8, 5..20], Outcome::Failed, &one_way);
    }

    #[test]
    fn a_call_that_ends_before_audio_is_back_proves_nothing() {
        let call = |expect| Call {
            expect,
            misses: [5..12, 5..12],
            over: 12,
            end: None,
        };
        let unknown = (Outcome::AudioConnected, vec![FailureCause::AudioNotKept]);
        assert_eq!(call("").judge(), unknown);
        assert_eq!(call("outcome = \"audio-lost\"").judge(), unknown);
        let back = Call {
            misses: [5..9, 5..9],
            ..call("")
        };
        assert_eq!(back.judge(), (Outcome::AudioConnected, vec![]));
    }

    #[test]
    fn audio_can_be_expected_to_be_lost() {
        let expect = "outcome = \"audio-lost\"";
        check(expect, [5..20, 5..20], Outcome::Failed, &[]);
        check(expect, [5..8, 5..20], Outcome::Failed, &[]);
        let wrong = [FailureCause::WrongOutcome];
        check(expect, [5..8, 5..8], Outcome::AudioConnected, &wrong);
        let cause = "no packet for 40 s".to_owned();
        let ended = Call {
            expect: "outcome = \"audio-lost\"\ncause = \"no packet\"",
            misses: [5..20, 5..20],
            over: 45,
            end: Some(EndReason::Unreachable { cause }),
        };
        assert_eq!(ended.judge(), (Outcome::Failed, vec![]));
    }

    #[test]
    fn audio_can_be_expected_never_to_be() {
        let expect = "outcome = \"no-audio\"";
        check(expect, [0..20, 0..20], Outcome::Failed, &[]);
        let wrong = [FailureCause::WrongOutcome];
        check(expect, [0..0, 0..0], Outcome::AudioConnected, &wrong);
    }

    #[test]
    fn the_time_for_a_verdict_runs_from_the_last_healing() {
        let late = |over| {
            let cause = "no way".to_owned();
            let call = Call {
                expect: "outcome = \"unreachable\"",
                misses: [0..100, 0..100],
                over,
                end: Some(EndReason::Unreachable { cause }),
            };
            call.judge().1
        };
        assert_eq!(late(53), []);
        assert_eq!(late(54), [FailureCause::TooLate]);
    }

    /// Checks the loss that alice's and bob's audio meets, where their networks have these links.
    #[track_caller]
    fn check_path_loss(links: [&str; 2], networks: [&str; 2], expected: [f64; 2]) {
        let [home, office] = links;
        let [alice, bob] = networks;
        let text = format!(
            "about = \"Two talk.\"\n[network.home]\n{home}\n[network.office]\n{office}\n\
             [peer.alice]\nnetwork = \"{alice}\"\n[peer.bob]\nnetwork = \"{bob}\"\n"
        );
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("verdict.toml");
        let scenario = Scenario::parse(&file, &text).expect("a valid scenario");
        let call = LastCall {
            peers: vec!["alice".into(), "bob".into()],
            ..LastCall::default()
        };
        for (hearer, expected) in ["alice", "bob"].into_iter().zip(expected) {
            let loss = path_loss(&scenario, &call.peers, hearer).share;
            assert!((loss - expected).abs() < 1e-9, "{hearer}: {loss}");
        }
    }

    #[test]
    fn the_loss_of_a_path_is_that_of_its_direction() {
        let home = "uplink = { up = { loss = \"10%\" }, down = { loss = \"20%\" } }";
        let office = "uplink = { up = { loss = \"30% in bursts of 4\" } }";
        check_path_loss([home, office], ["home", "office"], [1.0 - 0.8 * 0.7, 0.1]);
    }

    /// Checks how much of alice's and bob's audio may come late, in milliseconds.
    #[track_caller]
    fn check_late(networks: &str, at: [&str; 2], expected: [u128; 2]) {
        let [alice, bob] = at;
        let text = format!(
            "about = \"Two talk.\"\n{networks}\n\
             [peer.alice]\nnetwork = \"{alice}\"\n[peer.bob]\nnetwork = \"{bob}\"\n"
        );
        let scenario = Scenario::parse_alone(Path::new("late.toml"), &text).expect("it is valid");
        let peers = ["alice".to_owned(), "bob".to_owned()];
        let late = peers.clone().map(|hearer| {
            let loss = path_loss(&scenario, &peers, &hearer);
            loss.late.as_millis()
        });
        assert_eq!(late, expected);
    }

    #[test]
    fn audio_is_late_where_tcp_meets_loss() {
        let (blocked, open) = ("[network.a]\nudp = \"blocked\"\n", "[network.b]\n");
        let losing = "uplink = { up = { loss = \"1%\" } }\n";
        let slow = "uplink = { delay = \"300ms\", loss = \"1%\" }\n";
        let at = ["a", "b"];
        check_late(&format!("{blocked}{open}"), at, [0, 0]);
        check_late(&format!("{blocked}{losing}{open}"), at, [0, 2000]);
        check_late(&format!("{blocked}{slow}{open}"), at, [2440, 2440]);
        check_late(&format!("{blocked}{open}{losing}"), at, [0, 0]);
        let carrier = "[network.a]\nbehind = \"c\"\n\
                       [network.c]\nnat = \"carrier-grade\"\nudp = \"blocked\"\n";
        check_late(&format!("{carrier}{losing}{open}"), at, [0, 2000]);
        let both = format!("{carrier}{losing}[network.b]\nbehind = \"c\"\n");
        check_late(&both, at, [0, 0]);
    }

    #[test]
    fn damage_is_lost_too() {
        let office = "lan = { up = { corruption = \"5%\" } }";
        check_path_loss(["", office], ["home", "office"], [0.05, 0.0]);
    }

    #[test]
    fn on_one_network_no_uplink_is_passed() {
        let home = "lan = { loss = \"10%\" }\nuplink = { loss = \"50%\" }";
        check_path_loss([home, ""], ["home", "home"], [1.0 - 0.9 * 0.9; 2]);
    }
}
