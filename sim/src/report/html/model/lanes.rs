//! What state each part of each peer was in, from when to when.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::columns::{Columns, machine};
use super::content::{Topic, Weight};
use super::journeys::Journey;
use crate::trace::{AppEvent, Event, EventKind, FaultPhase, WirePhase};

/// The lanes of one peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PeerLanes {
    pub(crate) peer: String,
    pub(crate) lanes: Vec<Lane>,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) spans: Vec<Span>,
}

/// A state from when to when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Span {
    #[serde(serialize_with = "super::seconds")]
    pub(crate) from: Duration,
    #[serde(serialize_with = "super::seconds")]
    pub(crate) to: Duration,
    pub(crate) state: String,
    pub(crate) mood: Mood,
}

/// How good a state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mood {
    Idle,
    Working,
    Good,
    Bad,
}

/// The lanes in the order in which they are shown.
const NAMES: [&str; 6] = ["app", "signaling", "call", "ICE", "DTLS", "audio"];
const APP: usize = 0;
const SIGNALING: usize = 1;
const CALL: usize = 2;
const ICE: usize = 3;
const DTLS: usize = 4;
const AUDIO: usize = 5;

/// The changes of one peer's lanes; an empty state ends the one before.
type Changes = [Vec<(Duration, String, Mood)>; NAMES.len()];

/// The states of a peer's connections, by call and leg.
type Legs = BTreeMap<String, String>;

/// The lanes of all peers, up to the end of the run.
pub(crate) fn of(
    events: &[Event],
    journeys: &[Journey<'_>],
    columns: &Columns,
    peers: &[String],
) -> Vec<PeerLanes> {
    let end = events.last().map_or(Duration::ZERO, |event| event.at);
    let mut changes: BTreeMap<&str, Changes> = BTreeMap::new();
    let mut legs: BTreeMap<&str, Legs> = BTreeMap::new();
    for peer in peers {
        changes.insert(peer, Changes::default());
    }
    for event in events {
        if let EventKind::Fault(fault) = &event.kind {
            // Who stands still or has no network says nothing of it.
            let peer = fault.name.strip_prefix("app-suspend ");
            let peer = peer.and_then(|rest| rest.split(' ').next());
            let change = match fault.phase {
                FaultPhase::Begins => ("suspended", Mood::Bad),
                FaultPhase::Ends => ("running", Mood::Good),
                FaultPhase::Effect { .. } => continue,
            };
            if let Some(changes) = peer.and_then(|peer| changes.get_mut(peer)) {
                push(&mut changes[APP], event.at, change.0, change.1);
            }
            continue;
        }
        if let Some(changes) = changes.get_mut(machine(&event.host)) {
            note(
                changes,
                legs.entry(machine(&event.host)).or_default(),
                event,
            );
        }
    }
    for (at, peer, state, mood) in of_packets(journeys, columns) {
        if let Some(changes) = changes.get_mut(peer) {
            push(&mut changes[DTLS], at, state, mood);
        }
    }
    let lanes = changes.into_iter().map(|(peer, mut changes)| {
        for lane in &mut changes {
            lane.sort_by_key(|(at, ..)| *at);
        }
        PeerLanes {
            peer: peer.to_owned(),
            lanes: NAMES
                .iter()
                .zip(changes)
                .map(|(name, changes)| Lane {
                    name,
                    spans: spans(changes, end),
                })
                .collect(),
        }
    });
    lanes.collect()
}

/// What an event changes.
fn note(changes: &mut Changes, legs: &mut Legs, event: &Event) {
    let at = event.at;
    let mut now = |lane: usize, state: &str, mood| push(&mut changes[lane], at, state, mood);
    match &event.kind {
        EventKind::App(app) => match app {
            AppEvent::Started => {
                now(APP, "running", Mood::Good);
                now(SIGNALING, "connecting", Mood::Working);
            }
            AppEvent::Killed => {
                legs.clear();
                now(APP, "killed", Mood::Bad);
                for lane in [SIGNALING, CALL, ICE, DTLS, AUDIO] {
                    now(lane, "", Mood::Idle);
                }
            }
            AppEvent::SignalingConnected => now(SIGNALING, "connected", Mood::Good),
            AppEvent::SignalingLost { .. } => now(SIGNALING, "lost", Mood::Bad),
            AppEvent::Calling { .. } => now(CALL, "calling", Mood::Working),
            AppEvent::Incoming { .. } => now(CALL, "incoming", Mood::Working),
            AppEvent::Answered => now(AUDIO, "silent", Mood::Working),
            AppEvent::AudioConnected | AppEvent::AudioReported => {
                now(AUDIO, "heard", Mood::Good);
            }
            AppEvent::AudioInterrupted => now(AUDIO, "interrupted", Mood::Bad),
            AppEvent::Ended { .. } => {
                legs.clear();
                for lane in [ICE, DTLS, AUDIO] {
                    now(lane, "", Mood::Idle);
                }
            }
            _ => {}
        },
        EventKind::Wire(wire) if wire.phase == WirePhase::Opened => {
            let last = changes[SIGNALING].last();
            if last.is_some_and(|(_, state, _)| state == "lost") {
                push(&mut changes[SIGNALING], at, "connecting", Mood::Working);
            }
        }
        EventKind::Log { target, text, .. } if target.starts_with("ringtrue::call") => {
            if let Some(state) = field(text, "call call=", " to=", " input=") {
                now(CALL, state, call_mood(state));
            } else if let Some(fields) = text.strip_prefix("ICE state ")
                && let Some((leg, state)) = fields.rsplit_once(" state=")
            {
                legs.insert(leg.to_owned(), state.to_lowercase());
                let (state, mood) = of_legs(legs);
                now(ICE, state, mood);
            }
        }
        _ => {}
    }
}

/// What stands between two marks in a line that begins so.
fn field<'a>(text: &'a str, begin: &str, from: &str, to: &str) -> Option<&'a str> {
    let (_, rest) = text.strip_prefix(begin)?.split_once(from)?;
    Some(rest.split_once(to)?.0)
}

fn call_mood(state: &str) -> Mood {
    match state {
        "talking" => Mood::Good,
        "interrupted" => Mood::Bad,
        "ended" => Mood::Idle,
        _ => Mood::Working,
    }
}

/// The state of a call's connections together: it goes on over one while others are tried.
fn of_legs(legs: &Legs) -> (&'static str, Mood) {
    let any = |state: &str| legs.values().any(|leg| leg == state);
    match (any("connected") || any("completed"), any("checking")) {
        (true, true) => ("connected, trying another path", Mood::Good),
        (true, false) => ("connected", Mood::Good),
        (false, true) => ("checking", Mood::Working),
        (false, false) if any("disconnected") => ("disconnected", Mood::Bad),
        (false, false) if any("failed") => ("failed", Mood::Bad),
        (false, false) => ("", Mood::Idle),
    }
}

/// What packets show of DTLS: handshakes, and audio that needs one to be over.
fn of_packets<'a>(
    journeys: &[Journey<'a>],
    columns: &Columns,
) -> Vec<(Duration, &'a str, &'static str, Mood)> {
    let mut shaking: BTreeMap<&str, bool> = BTreeMap::new();
    let mut changes = Vec::new();
    for journey in journeys {
        let Some(sent) = journey.sent.filter(|sent| columns.is_peer(sent.host)) else {
            continue;
        };
        let peer = machine(sent.host);
        let label = &journey.content.label;
        if journey.content.topic == Topic::Dtls && label.contains("Hello") {
            if shaking.insert(peer, true) != Some(true) {
                changes.push((sent.at, peer, "handshake", Mood::Working));
            }
        } else if journey.content.weight == Weight::Audio
            && shaking.insert(peer, false) == Some(true)
        {
            changes.push((sent.at, peer, "up", Mood::Good));
        }
    }
    changes
}

fn push(lane: &mut Vec<(Duration, String, Mood)>, at: Duration, state: &str, mood: Mood) {
    lane.push((at, state.to_owned(), mood));
}

/// What is between the changes.
fn spans(changes: Vec<(Duration, String, Mood)>, end: Duration) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (at, state, mood) in changes {
        if let Some(before) = spans.last_mut() {
            if before.state == state {
                continue;
            }
            before.to = at;
        }
        spans.push(Span {
            from: at,
            to: end,
            state,
            mood,
        });
    }
    spans.retain(|span| !span.state.is_empty() && span.from < span.to);
    spans
}

#[cfg(test)]
mod tests {
    use super::super::tests::{columns, event, line};
    use super::*;

    const CALL_TARGET: &str = "ringtrue::call::session";

    #[track_caller]
    fn check(events: &[Event], lane: usize, expected: &[(u64, u64, &str)]) {
        let peers = ["alice".to_owned(), "bob".to_owned()];
        let lanes = of(events, &[], &columns(events), &peers);
        let seen: Vec<(u64, u64, &str)> = lanes[0].lanes[lane]
            .spans
            .iter()
            .map(|span| {
                let milliseconds = |at: Duration| u64::try_from(at.as_millis()).expect("short");
                (
                    milliseconds(span.from),
                    milliseconds(span.to),
                    span.state.as_str(),
                )
            })
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_state_lasts_until_the_next_one() {
        let events = [
            event(0, "alice", EventKind::App(AppEvent::Started)),
            event(160, "alice", EventKind::App(AppEvent::SignalingConnected)),
            event(900, "alice", EventKind::App(AppEvent::Killed)),
            event(1000, "bob", EventKind::App(AppEvent::Started)),
        ];
        check(
            &events,
            SIGNALING,
            &[(0, 160, "connecting"), (160, 900, "connected")],
        );
        check(&events, APP, &[(0, 900, "running"), (900, 1000, "killed")]);
        check(&events, CALL, &[]);
    }

    #[test]
    fn a_second_connection_does_not_hide_that_the_first_one_is_there() {
        let state = |at, leg, state| {
            let text = format!("ICE state call=c1 leg=LegId({leg}) state={state}");
            line(at, "alice", CALL_TARGET, &text)
        };
        let events = [
            state(10, 0, "Checking"),
            state(20, 0, "Connected"),
            state(30, 1, "Checking"),
            state(40, 1, "Failed"),
            state(50, 0, "Closed"),
            event(60, "bob", EventKind::Timer),
        ];
        check(
            &events,
            ICE,
            &[
                (10, 20, "checking"),
                (20, 30, "connected"),
                (30, 40, "connected, trying another path"),
                (40, 50, "connected"),
                (50, 60, "failed"),
            ],
        );
    }

    #[test]
    fn a_call_goes_by_the_states_of_its_table() {
        let text = "call call=c1 from=calling to=remote ringing input=RemoteRinging";
        let events = [
            event(
                0,
                "alice",
                EventKind::App(AppEvent::Calling {
                    callee: "bob".into(),
                }),
            ),
            line(260, "alice", CALL_TARGET, text),
            event(300, "bob", EventKind::Timer),
        ];
        check(
            &events,
            CALL,
            &[(0, 260, "calling"), (260, 300, "remote ringing")],
        );
    }
}
