//! Whether what came of a run is what the scenario expects.

use std::time::Duration;

use super::call::LastCall;
use super::expectation::{Observed, unmet};
use super::facts::Facts;
use super::kept::first_gap;
use crate::net::link::LinkConfig;
use crate::report::{Failure, FailureCause, Outcome};
use crate::scenario::model::Scenario;
use crate::trace::AppEvent;

/// How long after the answer a run may take to say that there is no way.
const UNREACHABLE_WITHIN: Duration = Duration::from_secs(45);

/// Everything in which a run is not as it should be; empty where all is well.
#[must_use]
pub fn failures(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Vec<Failure> {
    let observed = Observed {
        outcome: call.outcome(),
        cause: call.cause(),
        time_to_audio: call.time_to_audio(),
        selected: call.selected.clone(),
    };
    let mut failures = unmet(&scenario.expect, &observed);
    failures.extend(one_way_audio(call));
    failures.extend(audio_not_kept(scenario, call));
    failures.extend(cut_short(scenario, call));
    failures.extend(late_verdict(call));
    failures.extend(refused_steps(facts));
    failures.extend(error_lines(facts));
    failures
}

/// One side that hears and is not heard is worse than silence: both people think that the call is
/// up.
fn one_way_audio(call: &LastCall) -> Option<Failure> {
    let (hears, deaf): (Vec<_>, Vec<_>) = call
        .peers
        .iter()
        .partition(|peer| call.audio_at.contains_key(*peer));
    let ([hears], [deaf]) = (hears.as_slice(), deaf.as_slice()) else {
        return None;
    };
    let message = format!("{hears} hears {deaf}, who hears nothing");
    Some(Failure::new(FailureCause::OneWayAudio, message))
}

fn audio_not_kept(scenario: &Scenario, call: &LastCall) -> Vec<Failure> {
    let (Some(from), Some(to), Outcome::AudioConnected) =
        (call.audio_at.values().max(), call.over, call.outcome())
    else {
        return Vec::new();
    };
    let gaps = call.heard.iter().filter_map(|(peer, heard)| {
        let loss = path_loss(scenario, call, peer);
        Some((peer, first_gap(heard, *from, to, loss)?))
    });
    gaps.map(|(peer, gap)| {
        let message = format!(
            "in the 2 s from {:.3} s {peer} heard {:.0} % of the audio, not {:.0} %",
            gap.from.as_secs_f64(),
            gap.heard * 100.0,
            gap.needed * 100.0
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

/// The share of packets lost on the way to `hearer`, from the other peer: on the links upwards there
/// and downwards here. The two meet uplinks only where they are on different networks. A relayed packet
/// passes no other lossy link than these, since servers' links lose nothing.
fn path_loss(scenario: &Scenario, call: &LastCall, hearer: &str) -> f64 {
    let network_of = |name: &str| Some(&scenario.peers.get(name)?.network);
    let heard = call.peers.iter().find(|peer| *peer != hearer);
    let (Some(from), Some(to)) = (heard.and_then(|name| network_of(name)), network_of(hearer))
    else {
        return 0.0;
    };
    let (Some(up), Some(down)) = (scenario.networks.get(from), scenario.networks.get(to)) else {
        return 0.0;
    };
    let passed = |link: LinkConfig| 1.0 - link.mean_loss();
    let lans = passed(up.lan.up) * passed(down.lan.down);
    let uplinks = if from == to {
        1.0
    } else {
        passed(up.uplink.up) * passed(down.uplink.down)
    };
    1.0 - lans * uplinks
}

fn late_verdict(call: &LastCall) -> Option<Failure> {
    if call.outcome() != Outcome::Unreachable {
        return None;
    }
    let took = call.over?.saturating_sub(call.answered?);
    (took > UNREACHABLE_WITHIN).then(|| {
        let message =
            format!("the run said that there is no way {took:?} after the answer, not within 45 s");
        Failure::new(FailureCause::TooLate, message)
    })
}

fn refused_steps(facts: &Facts) -> impl Iterator<Item = Failure> {
    facts.app.iter().filter_map(|fact| match &fact.event {
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

    use super::*;

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
            let loss = path_loss(&scenario, &call, hearer);
            assert!((loss - expected).abs() < 1e-9, "{hearer}: {loss}");
        }
    }

    #[test]
    fn the_loss_of_a_path_is_that_of_its_direction() {
        let home = "uplink = { up = { loss = \"10%\" }, down = { loss = \"20%\" } }";
        let office = "uplink = { up = { loss = \"30% in bursts of 4\" } }";
        check_path_loss([home, office], ["home", "office"], [1.0 - 0.8 * 0.7, 0.1]);
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
