//! Whatever happens to a call, and whenever: audio is back both ways soon.
//!
//! Each case draws its own length from 1 to 60 s. `RINGTRUE_SEEDS=50` runs fifty seeds of each instead of
//! the few that the suite has time for.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtrue_sim::check::facts::Facts;
use ringtrue_sim::report::{Failure, FailureCause, text};
use ringtrue_sim::trace::{AppEvent, FaultPhase};

use crate::support::{check_all, facts_of, scenario_of, seeds};

/// How soon audio is back after the network, and after signaling where its reconnect delay has the last
/// word.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const BACK_WITHIN_WITH_DELAY: Duration = Duration::from_secs(15);

const SEEDS: u64 = 3;

/// How far the call has come when it happens.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Ringing,
    Connecting,
    Talking,
}

/// To whom it happens.
#[derive(Debug, Clone, Copy)]
enum Struck {
    Caller,
    Callee,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Switch,
    NatReboot,
    Blackout,
    SuspendKeepingSockets,
    SuspendLosingSockets,
    Kill,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    blow: Blow,
    phase: Phase,
    struck: Struck,
    seed: u64,
}

impl Case {
    /// How long it lasts; nothing for what is over at once.
    fn lasts(self) -> Duration {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        match self.blow {
            Blow::Switch | Blow::NatReboot => Duration::ZERO,
            _ => Duration::from_millis(generator.random_range(1_000..=60_000)),
        }
    }

    fn text(self) -> String {
        let (peer, network) = match self.struck {
            Struck::Caller => ("alice", "alices"),
            Struck::Callee => ("bob", "bobs"),
        };
        let lasts = self.lasts();
        let kind = match self.blow {
            Blow::Switch => {
                format!("kind = \"network-switch\"\npeer = \"{peer}\"\nto = \"mobile\"")
            }
            Blow::NatReboot => {
                format!("kind = \"nat-reboot\"\nnetwork = \"{network}\"\naddress = \"new\"")
            }
            Blow::Blackout => {
                format!("kind = \"blackhole\"\nnetwork = \"{network}\"\ndirection = \"both\"")
            }
            Blow::SuspendKeepingSockets => {
                format!("kind = \"app-suspend\"\npeer = \"{peer}\"\nsockets = \"kept\"")
            }
            Blow::SuspendLosingSockets => {
                format!("kind = \"app-suspend\"\npeer = \"{peer}\"\nsockets = \"killed\"")
            }
            Blow::Kill => format!("kind = \"app-kill\"\npeer = \"{peer}\""),
        };
        let when = match self.phase {
            Phase::Ringing => "after = \"ringing + 300ms\"",
            Phase::Connecting => "after = \"ringing + 1100ms\"",
            Phase::Talking => "after = \"audio + 3s\"",
        };
        let length = if lasts.is_zero() {
            String::new()
        } else {
            format!("for = \"{}ms\"\n", lasts.as_millis())
        };
        // Nobody answers a phone that is not there.
        let answer = match self.phase {
            Phase::Ringing => lasts + BACK_WITHIN_WITH_DELAY,
            Phase::Connecting | Phase::Talking => Duration::from_secs(1),
        };
        let hang_up = lasts + Duration::from_secs(40);
        let end = match self.phase {
            Phase::Ringing => answer + Duration::from_secs(15),
            Phase::Connecting | Phase::Talking => hang_up,
        };
        format!(
            r#"
            about = "{self:?}"
            [network.alices]
            nat = "home"
            [network.bobs]
            nat = "home"
            [network.mobile]
            nat = "mobile"
            [peer.alice]
            network = "alices"
            [peer.bob]
            network = "bobs"
            [[script]]
            at = "0s"
            peer = "alice"
            do = "call"
            callee = "bob"
            [[script]]
            after = "ringing + {answer}ms"
            peer = "bob"
            do = "answer"
            [[script]]
            after = "ringing + {end}ms"
            peer = "{survivor}"
            do = "hang-up"
            [[fault]]
            {kind}
            {when}
            {length}
            [expect]
            back_within = "1h"
            "#,
            answer = answer.as_millis(),
            end = end.as_millis(),
            survivor = match self.struck {
                Struck::Caller => "bob",
                Struck::Callee => "alice",
            },
        )
    }

    /// What is wrong, if anything is.
    fn judge(self) -> Option<String> {
        let (report, facts) = facts_of(&scenario_of(&self.text()), self.seed);
        let told = |what: String| {
            let lasts = self.lasts();
            format!(
                "{self:?} lasting {lasts:?}: {what}\n{}",
                text::failure(&report, text::Colour::Off)
            )
        };
        // A short blackout may fall into a time in which nobody sends anything.
        let is_harmless = |failure: &Failure| failure.cause == FailureCause::FaultWithoutEffect;
        if !report.failures.iter().all(is_harmless) {
            return Some(told("not as expected".into()));
        }
        let healed = facts
            .faults
            .iter()
            .filter(|fact| matches!(fact.phase, FaultPhase::Begins | FaultPhase::Ends))
            .map(|fact| fact.at)
            .max()?;
        let answered = first(&facts, |event| *event == AppEvent::Answered)?;
        let since = healed.max(answered);
        let Some(back) = back_at(&facts, since) else {
            return Some(told(format!("audio is not back after {since:?}")));
        };
        // Signaling that comes back later than the network has waited for its reconnect delay.
        let signaling = last_connected(&facts).max(since);
        let late = back.saturating_sub(signaling) > BACK_WITHIN
            || back.saturating_sub(since) > BACK_WITHIN_WITH_DELAY;
        late.then(|| {
            told(format!(
                "audio is back at {back:?}, the network at {since:?}, signaling at {signaling:?}"
            ))
        })
    }
}

fn first(facts: &Facts, is: impl Fn(&AppEvent) -> bool) -> Option<Duration> {
    let found = facts.app.iter().find(|fact| is(&fact.event));
    found.map(|fact| fact.at)
}

/// When signaling was last connected before the call was over, on either side.
fn last_connected(facts: &Facts) -> Duration {
    let over = first(facts, |event| matches!(event, AppEvent::Ended { .. }));
    let connected = facts.app.iter().filter(|fact| {
        fact.event == AppEvent::SignalingConnected && over.is_none_or(|over| fact.at < over)
    });
    connected.map(|fact| fact.at).max().unwrap_or_default()
}

/// From when on both sides hear each other for two seconds.
fn back_at(facts: &Facts, since: Duration) -> Option<Duration> {
    let window = Duration::from_secs(2);
    let of_peer = |peer: &str| {
        let heard = facts.heard.get(peer)?;
        let mut after = heard.iter().filter(|at| **at >= since);
        after
            .find(|start| {
                let within = |at: &&Duration| (**start..**start + window).contains(*at);
                heard.iter().filter(within).count() >= 90
            })
            .copied()
    };
    Some(of_peer("alice")?.max(of_peer("bob")?))
}

/// Runs a blow in every phase, on either side, on both cores.
#[track_caller]
fn check(blow: Blow) {
    let cases: Vec<Case> = [Phase::Ringing, Phase::Connecting, Phase::Talking]
        .into_iter()
        .flat_map(|phase| [Struck::Caller, Struck::Callee].map(|struck| (phase, struck)))
        .flat_map(|(phase, struck)| {
            (1..=seeds(SEEDS)).map(move |seed| Case {
                blow,
                phase,
                struck,
                seed,
            })
        })
        .collect();
    check_all(&cases, |case| case.judge());
}

#[test]
fn a_phone_that_changes_networks_goes_on() {
    check(Blow::Switch);
}

#[test]
fn a_router_that_restarts_is_survived() {
    check(Blow::NatReboot);
}

#[test]
fn a_blackout_is_survived() {
    check(Blow::Blackout);
}

#[test]
fn an_app_that_was_frozen_goes_on() {
    check(Blow::SuspendKeepingSockets);
}

#[test]
fn an_app_that_was_frozen_and_lost_its_sockets_goes_on() {
    check(Blow::SuspendLosingSockets);
}

#[test]
fn an_app_that_was_killed_takes_up_its_call() {
    check(Blow::Kill);
}
