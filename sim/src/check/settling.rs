//! What a call comes to once everything that goes wrong is over.
//!
//! A scenario that is made by chance cannot say when audio has to be there. It can say that whatever
//! happened, the call comes to what its networks allow soon after the last fault was healed and the
//! last late message has arrived, and stays so.

use std::collections::BTreeMap;
use std::time::Duration;

use ringtrue::client::EndReason;

use super::call::LastCall;
use super::facts::Facts;
use super::kept::{Gap, PathLoss, first_gap};
use super::oracle::{Prediction, Reach, of_scenario};
use super::path_loss::{path_losses, places};
use crate::fault::Begin;
use crate::report::{Failure, FailureCause, Outcome};
use crate::scenario::model::{Action, CallPath, CandidateType, Expectation, Scenario, Trigger};
use crate::scenario::value::format_duration;
use crate::trace::{AppEvent, FaultPhase, MessagePhase};

/// How long a client may take to say that there is no way: longer than the 39.5 s for which ICE must
/// not give up (RFC 8863 section 4).
const UNREACHABLE_WITHIN: Duration = Duration::from_secs(45);

/// How long a client looks for a path that nobody finds before it gives the call up: longer than the 39.5 s
/// of RFC 8863 section 4.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long a client may wait until it asks a signaling server again that was away: `reconnection_delay_max`
/// and the most that chance adds, and the time to connect.
const RECONNECTED_WITHIN: Duration = Duration::from_secs(12);

/// How far apart the moments are from which audio is looked for.
const RESOLUTION: Duration = Duration::from_millis(100);

/// The terms of [`Expectation::Settled`](crate::scenario::model::Expectation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How soon the call has to settle.
    pub within: Duration,
    /// How long it has to stay.
    pub kept_for: Duration,
}

/// The terms of a scenario that expects its call to settle.
#[must_use]
pub fn terms(scenario: &Scenario) -> Option<Terms> {
    match scenario.expect {
        Expectation::Settled { within, kept_for } => Some(Terms { within, kept_for }),
        _ => None,
    }
}

/// What is lost on the way to each peer that hears.
pub type Losses = BTreeMap<String, PathLoss>;

/// When nothing goes wrong any more and the call is answered: the end of the last fault, the arrival of
/// the last late message, the last step of the script. What waits for something that has not happened
/// does not count. Where the call is hung up because it has settled, what befalls the hang-up does not
/// count either.
#[must_use]
pub fn healed_at(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Duration {
    let hung_up = facts.app.iter().find(|fact| {
        let reason = EndReason::HungUp;
        fact.event == AppEvent::Ended { reason }
    });
    let over = match hung_up {
        Some(fact) if !script_hung_up(scenario, facts) => fact.at,
        _ => Duration::MAX,
    };
    let faults = scenario.faults.iter().enumerate();
    let faults = faults.filter_map(|(index, fault)| {
        let mut of_fault = facts.faults.iter().filter(|fact| fact.fault == index);
        let begun = of_fault.find(|fact| fact.phase == FaultPhase::Begins);
        let begins = begun
            .map(|fact| fact.at)
            .or_else(|| due(&fault.begin, facts))
            .filter(|begins| *begins < over)?;
        Some(fault.ends_at(begins).unwrap_or(begins))
    });
    let messages = late_messages(scenario, facts, over);
    let perturbed = facts.perturbed.iter().filter(|(at, _)| *at < over);
    let lost = perturbed.filter(|(_, event)| event.phase == MessagePhase::Lost);
    let lost = lost.map(|(at, _)| *at);
    let spans = scenario.perturbations.iter().filter_map(|each| each.until);
    let portals = scenario.networks.values();
    let portals = portals.filter_map(|network| Some(network.portal?.until));
    let steps = scenario.script.iter();
    let steps = steps.filter_map(|step| step_due(step.trigger, facts));
    faults
        .chain(messages)
        .chain(lost)
        .chain(spans)
        .chain(portals)
        .chain(steps)
        .chain(call.answered)
        .max()
        .unwrap_or_default()
}

/// When each message that was perturbed before `over`, and not just lost, has come for the last time.
///
/// Copies are counted from the first delivery. Each of them is told of by itself, and copies of copies would
/// push the last one beyond the end of the run.
#[must_use]
pub fn late_messages(scenario: &Scenario, facts: &Facts, over: Duration) -> Vec<Duration> {
    let mut deliveries: BTreeMap<_, (Duration, Duration)> = BTreeMap::new();
    for (at, event) in facts.perturbed.iter().filter(|(at, _)| *at < over) {
        let due = match event.phase {
            MessagePhase::Lost => continue,
            MessagePhase::Held { lasting } => *at + lasting,
            MessagePhase::Released | MessagePhase::Accompanied { .. } => *at,
        };
        let message = (event.perturbation, &event.from, &event.kind, event.number);
        let (_, last) = deliveries.entry(message).or_insert((due, due));
        // A connection that is stuck lets go of it later than planned.
        *last = due.max(*last);
    }
    let times = deliveries
        .into_iter()
        .filter_map(|(message, (first, last))| {
            let perturbation = scenario.perturbations.get(message.0)?;
            let copies = perturbation.copy_delay * perturbation.copies.saturating_sub(1);
            Some(last.max(first + copies))
        });
    times.collect()
}

/// When a call has settled, or has had its time for it: the moment from which nobody has to wait for
/// it any longer. `None` where `now` is too early to say.
#[must_use]
pub fn settled_by(
    scenario: &Scenario,
    call: &LastCall,
    facts: &Facts,
    terms: Terms,
    now: Duration,
) -> Option<Duration> {
    let losses = &path_losses(scenario, &call.peers, facts);
    let healed = healed_at(scenario, call, facts);
    if now < healed + terms.kept_for {
        return None;
    }
    let audio = audio_from(call, losses, healed, terms, now);
    let prediction = prediction(scenario, call, facts);
    if let Some(audio) = audio
        && wrong_path(prediction.as_ref(), call, facts).is_none()
    {
        return Some(audio + terms.kept_for);
    }
    let latest = match prediction.map(|prediction| prediction.reach) {
        Some(Reach::Unreachable) => signaling_back(facts, healed) + UNREACHABLE_WITHIN,
        _ => healed + terms.within,
    };
    let latest = latest + terms.kept_for;
    (now >= latest).then_some(latest)
}

/// Everything in which a run did not settle as it has to.
#[must_use]
pub fn unsettled(
    scenario: &Scenario,
    call: &LastCall,
    facts: &Facts,
    losses: &Losses,
    terms: Terms,
) -> Vec<Failure> {
    if call.peers.is_empty() {
        let message = "nobody called, so there is no call to settle".to_owned();
        return vec![Failure::new(FailureCause::ScriptNotFinished, message)];
    }
    let healed = healed_at(scenario, call, facts);
    if script_hung_up(scenario, facts) {
        return still_in_a_call(facts, healed, terms).into_iter().collect();
    }
    let prediction = prediction(scenario, call, facts);
    let reach = prediction.as_ref().map(|prediction| prediction.reach);
    if reach == Some(Reach::Unreachable) {
        let since = signaling_back(facts, healed);
        return reached_or_late(call, since).into_iter().collect();
    }
    let Some(audio) = audio_from(call, losses, healed, terms, facts.last) else {
        return no_audio(call, losses, healed, terms, facts)
            .into_iter()
            .collect();
    };
    let mut failures = Vec::new();
    if let Some(ended) = ended_by_itself(call, audio + terms.kept_for) {
        failures.push(ended);
    }
    failures.extend(wrong_path(prediction.as_ref(), call, facts));
    failures
}

/// What the oracle says of the networks on which the peers are in the end.
#[must_use]
pub fn prediction(scenario: &Scenario, call: &LastCall, facts: &Facts) -> Option<Prediction> {
    of_scenario::predict(scenario, &call.peers, &places(scenario, facts))
}

/// Whether somebody has hung up who did not wait for the call to settle.
fn script_hung_up(scenario: &Scenario, facts: &Facts) -> bool {
    let mut steps = scenario.script.iter();
    steps.any(|step| step.action == Action::HangUp && step_due(step.trigger, facts).is_some())
}

/// When a step of the script is taken that does not wait for the call to settle; `None` while what it
/// waits for has not happened.
fn step_due(trigger: Trigger, facts: &Facts) -> Option<Duration> {
    match trigger {
        Trigger::At(at) => Some(at),
        Trigger::AfterRinging(wait) => Some(facts.first_ringing()? + wait),
        Trigger::AfterAudio(wait) => Some(facts.audio_on_both_sides()? + wait),
        Trigger::AfterSettling(_) => None,
    }
}

fn due(begin: &Begin, facts: &Facts) -> Option<Duration> {
    match begin {
        Begin::At(at) => Some(*at),
        Begin::AfterRinging(wait) => Some(facts.first_ringing()? + *wait),
        Begin::AfterAudio(wait) => Some(facts.audio_on_both_sides()? + *wait),
        Begin::OnMessage { .. } | Begin::OnFrame { .. } => None,
    }
}

/// The first moment, `healed` or later, from which audio is there both ways for as long as it has to.
fn audio_from(
    call: &LastCall,
    losses: &Losses,
    healed: Duration,
    terms: Terms,
    now: Duration,
) -> Option<Duration> {
    if call.outcome() != Outcome::AudioConnected {
        return None;
    }
    let mut from = healed;
    while from <= healed + terms.within && from + terms.kept_for <= now {
        if !hear_at_once(call, losses, from) {
            from += RESOLUTION;
            continue;
        }
        match gaps(call, losses, from, from + terms.kept_for).next() {
            None => return Some(from),
            Some((_, gap)) => from = gap.from + RESOLUTION,
        }
    }
    None
}

/// Whether audio is there at `from` already, where it may be late: what is missing of a window has to be
/// missing at its end.
fn hear_at_once(call: &LastCall, losses: &Losses, from: Duration) -> bool {
    let mut late = call.peers.iter().filter(|peer| {
        let loss = losses.get(*peer);
        loss.is_some_and(|loss| !loss.late.is_zero())
    });
    late.all(|peer| {
        let heard = call.heard.get(peer).map_or(&[][..], Vec::as_slice);
        let next = heard.get(heard.partition_point(|at| *at < from));
        next.is_some_and(|at| *at < from + RESOLUTION)
    })
}

/// The first gap of each peer that has one.
fn gaps<'a>(
    call: &'a LastCall,
    losses: &'a Losses,
    from: Duration,
    to: Duration,
) -> impl Iterator<Item = (&'a str, Gap)> {
    call.peers.iter().filter_map(move |peer| {
        let heard = call.heard.get(peer).map_or(&[][..], Vec::as_slice);
        let begin = heard.partition_point(|at| *at < from);
        let end = heard.partition_point(|at| *at < to);
        let loss = losses.get(peer).copied().unwrap_or(PathLoss::NONE);
        let gap = first_gap(&heard[begin..end], from, to, loss)?;
        Some((peer.as_str(), gap))
    })
}

/// Whether a client has given the call up, having looked for a path for as long as it may, before the
/// call had been left in peace for as long as it may need.
fn gave_up_before(call: &LastCall, healed: Duration, terms: Terms) -> bool {
    let gave_up = call.ended.values().any(|reason| {
        matches!(reason, EndReason::Unreachable { .. }) || *reason == EndReason::Unanswered
    });
    let heard = call.heard.values().filter_map(|times| times.last());
    let last_audio = heard.min().copied().or(call.answered).unwrap_or_default();
    call.over.is_some_and(|over| {
        gave_up && over < healed + terms.within && over >= last_audio + PATIENCE
    })
}

fn no_audio(
    call: &LastCall,
    losses: &Losses,
    healed: Duration,
    terms: Terms,
    facts: &Facts,
) -> Option<Failure> {
    if gave_up_before(call, healed, terms) {
        return None;
    }
    let latest = healed + terms.within;
    let until = format!(
        "within {} of the last healing at {:.3} s",
        format_duration(terms.within),
        healed.as_secs_f64()
    );
    if let Some(ended) = ended_by_itself(call, latest + terms.kept_for) {
        return Some(ended);
    }
    if call.answered.is_none() {
        let message = format!("the call was not answered {until}");
        return Some(Failure::new(FailureCause::WrongOutcome, message));
    }
    let to = (latest + terms.kept_for).min(facts.last);
    let from = to.saturating_sub(terms.kept_for);
    let deaf: Vec<(&str, Gap)> = gaps(call, losses, from, to).collect();
    let are_silent = |(_, gap): &(&str, Gap)| gap.heard == 0.0;
    Some(match deaf.as_slice() {
        [(peer, gap)] if gap.heard == 0.0 => {
            let message = format!("{peer} alone hears nothing {until}");
            Failure::new(FailureCause::OneWayAudio, message)
        }
        deaf if call.outcome() == Outcome::AudioConnected && !deaf.iter().any(are_silent) => {
            let message = format!("audio comes with gaps and is not kept {until}");
            Failure::new(FailureCause::AudioNotKept, message)
        }
        _ if call.outcome() == Outcome::AudioConnected => {
            let message = format!("audio was lost and is not back {until}");
            Failure::new(FailureCause::AudioNotKept, message)
        }
        _ => {
            let message = format!("no audio both ways {until}");
            Failure::new(FailureCause::WrongOutcome, message)
        }
    })
}

/// A call that nobody hung up and that is over all the same before `until`.
fn ended_by_itself(call: &LastCall, until: Duration) -> Option<Failure> {
    let over = call.over.filter(|over| *over < until)?;
    let reason = call
        .ended
        .iter()
        .find(|(_, reason)| !matches!(reason, EndReason::HungUp | EndReason::Remote(_)));
    let reason = reason.or_else(|| call.ended.iter().next());
    let reason = reason.map_or_else(
        || "an app was killed".to_owned(),
        |(peer, reason)| format!("{peer}: {reason}"),
    );
    let message = format!(
        "the call ended by itself at {:.3} s: {reason}",
        over.as_secs_f64()
    );
    Some(Failure::new(FailureCause::WrongOutcome, message))
}

/// When both sides were back at the signaling server after the last healing, and every connection went on
/// that had been stuck: nobody can know that there is no way before the other side is asked.
fn signaling_back(facts: &Facts, healed: Duration) -> Duration {
    let is_news = |at: &Duration| (healed..=healed + RECONNECTED_WITHIN).contains(at);
    let connected = facts.app.iter();
    let connected = connected.filter(|fact| fact.event == AppEvent::SignalingConnected);
    let times = connected.map(|fact| fact.at);
    let times = times.chain(facts.unstuck.iter().copied());
    times.filter(is_news).max().unwrap_or(healed)
}

fn reached_or_late(call: &LastCall, healed: Duration) -> Option<Failure> {
    if call.outcome() == Outcome::AudioConnected {
        // While the networks were others there may have been a way.
        return None;
    }
    let latest = healed + UNREACHABLE_WITHIN;
    match (call.outcome(), call.over) {
        (Outcome::Unreachable, Some(over)) if over <= latest => None,
        (Outcome::Unreachable, over) => {
            let took = over.unwrap_or_default().saturating_sub(healed);
            let message = format!(
                "the run said that there is no way {took:?} after the last healing, not within 45 s"
            );
            Some(Failure::new(FailureCause::TooLate, message))
        }
        _ => {
            let message = "the networks allow no audio, and the run does not say so".to_owned();
            Some(Failure::new(FailureCause::WrongOutcome, message))
        }
    }
}

/// Once somebody has hung up, all have to know of it.
fn still_in_a_call(facts: &Facts, healed: Duration, terms: Terms) -> Option<Failure> {
    let mut since: BTreeMap<&str, Duration> = BTreeMap::new();
    let latest = healed + terms.within;
    for fact in &facts.app {
        match fact.event {
            AppEvent::Calling { .. }
            | AppEvent::Incoming { .. }
            | AppEvent::Pushed { .. }
            | AppEvent::Resumed => {
                since.insert(&fact.peer, fact.at);
            }
            AppEvent::Ended { .. } | AppEvent::Killed if fact.at <= latest => {
                since.remove(&*fact.peer);
            }
            _ => {}
        }
    }
    let (peer, _) = since.into_iter().next()?;
    let message = format!(
        "{peer} is still in the call {} after the last healing at {:.3} s, though it was hung up",
        format_duration(terms.within),
        healed.as_secs_f64()
    );
    Some(Failure::new(FailureCause::WrongOutcome, message))
}

/// Audio that takes another path than the networks allow.
fn wrong_path(prediction: Option<&Prediction>, call: &LastCall, facts: &Facts) -> Option<Failure> {
    let prediction = prediction?;
    let path = path_at_the_end(call, facts)?;
    let allowed = match prediction.reach {
        Reach::Direct => CallPath::Direct,
        Reach::Relayed | Reach::Unreachable => CallPath::Relayed,
    };
    (path != allowed).then(|| {
        let message = format!(
            "the networks allow {allowed} audio, and it is {path}: {}",
            prediction.reason
        );
        Failure::new(FailureCause::WrongPath, message)
    })
}

/// The path that audio takes in the end. Each side may have selected a pair of its own, so that both ends
/// of both count.
fn path_at_the_end(call: &LastCall, facts: &Facts) -> Option<CallPath> {
    let mut relayed = false;
    for peer in &call.peers {
        let of_peer = facts.app.iter().rev();
        let ends = of_peer
            .filter(|fact| *fact.peer == **peer)
            .find_map(|fact| match fact.event {
                AppEvent::PathSelected { local, remote } => Some([local, remote]),
                _ => None,
            });
        relayed |= ends?.contains(&CandidateType::Relayed);
    }
    Some(if relayed {
        CallPath::Relayed
    } else {
        CallPath::Direct
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::perturbation::BadCandidate;
    use crate::trace::MessageEvent;

    const LATE_CANDIDATE: &str = r#"
        about = "A candidate comes late, and four times."
        [network.a]
        [network.b]
        [peer.alice]
        network = "a"
        [peer.bob]
        network = "b"
        [[message]]
        from = "alice"
        kind = "candidate"
        which = 6
        delay = "24s"
        copies = 4
        copy_delay = "4s"
    "#;

    /// When messages have come for the last time, where these phases show of those with these numbers. All in
    /// seconds.
    #[track_caller]
    fn check(phases: &[(u64, u32, MessagePhase)], came: &[u64]) {
        let scenario = Scenario::parse_alone(Path::new("late.toml"), LATE_CANDIDATE)
            .expect("it is a scenario");
        let perturbed = phases.iter().map(|(at, number, phase)| {
            let event = MessageEvent {
                perturbation: 0,
                from: "alice".to_owned(),
                kind: "candidate".to_owned(),
                number: *number,
                phase: *phase,
            };
            (Duration::from_secs(*at), event)
        });
        let facts = Facts {
            perturbed: perturbed.collect(),
            ..Facts::default()
        };
        let late = late_messages(&scenario, &facts, Duration::from_secs(100));
        let expected: Vec<_> = came.iter().copied().map(Duration::from_secs).collect();
        assert_eq!(late, expected);
    }

    const RELEASED: MessagePhase = MessagePhase::Released;
    const HELD: MessagePhase = MessagePhase::Held {
        lasting: Duration::from_secs(24),
    };

    #[test]
    fn a_message_has_come_when_its_last_copy_has() {
        check(&[(20, 6, HELD)], &[56]);
        check(
            &[(20, 6, HELD), (44, 6, RELEASED), (48, 6, RELEASED)],
            &[56],
        );
        check(&[(44, 6, RELEASED), (56, 6, RELEASED)], &[56]);
        let by = BadCandidate::ALL[0];
        check(&[(44, 6, MessagePhase::Accompanied { by })], &[56]);
    }

    #[test]
    fn a_copy_that_is_stuck_counts_when_it_comes() {
        check(&[(44, 6, RELEASED), (80, 6, RELEASED)], &[80]);
    }

    #[test]
    fn each_message_has_copies_of_its_own() {
        check(&[(20, 6, HELD), (30, 7, HELD)], &[56, 66]);
    }

    #[test]
    fn what_is_lost_or_comes_after_the_end_does_not_count() {
        let lost = MessagePhase::Lost;
        check(&[(20, 6, lost), (23, 6, RELEASED)], &[35]);
        check(&[(20, 6, lost), (100, 6, HELD)], &[]);
    }
}
