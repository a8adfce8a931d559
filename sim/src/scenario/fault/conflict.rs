//! Faults that cannot be as they are because of others, or of the script.
//!
//! Two moments can be compared where they are counted from the same event. Where they are not, the
//! order is known only in the run, and nothing is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Placed, contradiction};
use crate::fault::{Begin, Fault, FaultKind, FaultName, FaultTarget};
use crate::scenario::model::{Action, Peer, ScriptStep, Trigger};
use crate::scenario::problems::Problems;
use crate::scenario::value::format_duration;

/// Refuses faults that contradict each other, the script, or the place where a peer is. `faults` are
/// in the order of the model.
pub(in crate::scenario) fn check(
    faults: &[Placed],
    script: &[ScriptStep],
    peers: &BTreeMap<String, Peer>,
    problems: &mut Problems<'_>,
) {
    for (position, later) in faults.iter().enumerate() {
        let mut earlier = faults[..position].iter();
        let refusal = earlier
            .find_map(|earlier| contradicts(&earlier.fault, &later.fault))
            .or_else(|| contradicts_script(&later.fault, script));
        if let Some((message, allowed)) = refusal {
            problems.push(later.span.clone(), contradiction(message, allowed));
        }
    }
    for (name, peer) in peers {
        check_moves(faults, name, &peer.network, problems);
    }
}

type Refusal = (String, &'static str);

/// From when until when something lasts, counted from the event `since`. What happens at a moment
/// ends where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extent {
    since: Begin,
    from: Duration,
    to: Duration,
}

impl Extent {
    fn of(fault: &Fault) -> Self {
        let (since, from) = event_of(&fault.begin);
        let to = match fault.ends_at(from) {
            Some(end) => end,
            None if stays(&fault.kind) => Duration::MAX,
            None => from,
        };
        Self { since, from, to }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.since == other.since
            && (self.from == other.from || (self.from < other.to && other.from < self.to))
    }

    fn contains(&self, begin: &Begin) -> bool {
        let (since, at) = event_of(begin);
        self.since == since && (self.from..self.to).contains(&at)
    }
}

/// The event that a moment is counted from, as the moment of the event itself, and the time between.
fn event_of(begin: &Begin) -> (Begin, Duration) {
    match begin {
        Begin::At(at) => (Begin::At(Duration::ZERO), *at),
        Begin::AfterRinging(wait) => (Begin::AfterRinging(Duration::ZERO), *wait),
        Begin::AfterAudio(wait) => (Begin::AfterAudio(Duration::ZERO), *wait),
        event @ (Begin::OnMessage { .. } | Begin::OnFrame { .. }) => {
            (event.clone(), Duration::ZERO)
        }
    }
}

/// Whether a fault without an end leaves no room for another of its kind. A link can change again, and
/// a server restart again.
fn stays(kind: &FaultKind) -> bool {
    matches!(kind.name(), FaultName::TurnOut | FaultName::AppKill)
}

fn contradicts(earlier: &Fault, later: &Fault) -> Option<Refusal> {
    let (first, second) = (Extent::of(earlier), Extent::of(later));
    let killed = matches!(earlier.kind, FaultKind::AppKill { .. });
    if killed && needs_the_app(&later.kind) && same_target(earlier, later) {
        return first.contains(&later.begin).then(|| {
            let kill = &earlier.kind;
            let message = format!("this peer's app is dead by then: {kill} {}", earlier.begin);
            (message, ALIVE)
        });
    }
    (cannot_be_at_once(earlier, later) && first.overlaps(&second)).then(|| {
        let kind = &earlier.kind;
        let until = earlier.lasts.map_or_else(String::new, |lasts| {
            format!(" for {}", format_duration(lasts))
        });
        let message = format!("this overlaps {kind}, {}{until}", earlier.begin);
        (message, "one of the two after the end of the other")
    })
}

const ALIVE: &str = "faults of an app that is running";

fn cannot_be_at_once(one: &Fault, other: &Fault) -> bool {
    let names = [one.kind.name(), other.kind.name()];
    let are = |first, second| names == [first, second] || names == [second, first];
    let is_incompatible = names[0] == names[1]
        || are(FaultName::AppSuspend, FaultName::AppKill)
        || are(FaultName::FlightMode, FaultName::NetworkSwitch)
        || are(FaultName::ServerPause, FaultName::SignalingRestart)
        || are(FaultName::ServerPause, FaultName::TurnOut);
    is_incompatible && same_target(one, other)
}

fn same_target(one: &Fault, other: &Fault) -> bool {
    one.kind.target() == other.kind.target()
}

/// Whether the fault happens to a running app, and not to the device below it.
fn needs_the_app(kind: &FaultKind) -> bool {
    matches!(
        kind.name(),
        FaultName::SocketDrop | FaultName::NameFailure | FaultName::AppSuspend | FaultName::AppKill
    )
}

fn contradicts_script(fault: &Fault, script: &[ScriptStep]) -> Option<Refusal> {
    let FaultTarget::Peer(peer) = fault.kind.target() else {
        return None;
    };
    let steps = || script.iter().filter(|step| step.peer == peer);
    if needs_the_app(&fault.kind)
        && let Some(killed) = dead_by_script(steps(), &fault.begin)
    {
        let at = format_duration(killed);
        let message = format!("this peer's app is dead by then: the script kills it at {at}");
        return Some((message, ALIVE));
    }
    let extent = Extent::of(fault);
    let meanwhile =
        |step: &&ScriptStep| Begin::of(step.trigger).is_some_and(|begin| extent.contains(&begin));
    let changes_life = |step: &&ScriptStep| matches!(step.action, Action::Kill | Action::Start);
    match fault.kind.name() {
        FaultName::AppKill => steps().find(meanwhile).map(|step| {
            let message = format!(
                "the script says `{}` while this peer's app is dead",
                step.action
            );
            (message, "steps of a peer whose app is running")
        }),
        FaultName::AppSuspend => steps().filter(changes_life).find(meanwhile).map(|step| {
            let message = format!(
                "the script says `{}` while this peer's app stands still",
                step.action
            );
            (message, "`kill` and `start` of an app that goes on")
        }),
        _ => None,
    }
}

/// When the script killed a peer that is still dead at `begin`, as far as the order is known.
fn dead_by_script<'a>(
    steps: impl Iterator<Item = &'a ScriptStep>,
    begin: &Begin,
) -> Option<Duration> {
    let Begin::At(moment) = begin else {
        return None;
    };
    let mut dead_since = None;
    for step in steps {
        match (&step.action, step.trigger) {
            (Action::Kill, Trigger::At(at)) if at <= *moment => dead_since = Some(at),
            (Action::Start, Trigger::At(at)) if at <= *moment => dead_since = None,
            // It may be started again at any time.
            (Action::Start, Trigger::AfterRinging(_) | Trigger::AfterAudio(_)) => return None,
            _ => {}
        }
    }
    dead_since
}

/// Refuses moves to where the peer is already, as far as the order of its moves is known.
fn check_moves(faults: &[Placed], peer: &str, start: &str, problems: &mut Problems<'_>) {
    let moves: Vec<(&Placed, &str)> = faults
        .iter()
        .filter_map(|placed| match &placed.fault.kind {
            FaultKind::NetworkSwitch { peer: who, to } if who == peer => {
                Some((placed, to.as_str()))
            }
            _ => None,
        })
        .collect();
    let mut events = moves
        .iter()
        .map(|(placed, _)| event_of(&placed.fault.begin).0);
    let first_event = events.next();
    let order_is_known = events.all(|event| Some(&event) == first_event.as_ref());
    if !order_is_known {
        return;
    }
    let mut here = start;
    for (placed, to) in moves {
        if to == here {
            let message = format!("`{peer}` is on this network already");
            let kind = contradiction(message, "another network than the one where the peer is");
            problems.push(placed.destination.clone(), kind);
        }
        here = to;
    }
}
