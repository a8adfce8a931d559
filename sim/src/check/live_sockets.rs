//! Whether a client leaves connections behind: at its own end, and at the signaling server.
//!
//! A client uses one WebSocket, or two connections for long-polling, or these three while a session
//! moves from one to the other. Whatever is more than that was given up and not closed. A socket that
//! is replaced may be there for as long as the news of it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Fact, Facts};
use crate::report::{Failure, FailureCause};
use crate::trace::{AppEvent, Purpose, WirePhase};

/// What takes longer than the way of a packet on the slowest networks is no replacement.
const REPLACED_WITHIN: Duration = Duration::from_secs(1);

/// Of a session by long-polling: one that waits, and one that sends.
const POLLING_MAX: usize = 2;
/// Of one session, while it moves to a WebSocket.
const CONNECTIONS_MAX: usize = 3;

/// A failure for each peer that had more connections than one session uses, and for each device that
/// had more than one live socket at the server.
#[must_use]
pub fn left_behind(facts: &Facts) -> Vec<Failure> {
    let peers = facts.wires.iter().filter_map(|(peer, wires)| {
        let mut open: BTreeMap<u64, Option<Purpose>> = BTreeMap::new();
        // What an application closes is written down before what it has sent in the same step.
        let mut wires: Vec<_> = wires.iter().collect();
        wires.sort_by_key(|fact| fact.at);
        let states = wires.into_iter().filter_map(|fact| {
            let connection = fact.event.connection;
            match fact.event.phase {
                WirePhase::Opened => open.insert(connection, None),
                WirePhase::Asks(purpose) => open.insert(connection, Some(purpose)),
                WirePhase::Closed => open.remove(&connection),
                WirePhase::Upgraded | WirePhase::Frame { .. } => return None,
            };
            Some((fact.at, too_many(&open)))
        });
        let (at, what) = first_that_lasts(states, facts.last)?;
        Some(failure(at, &format!("{peer} had {what} open")))
    });
    let devices = facts.sockets.iter().filter_map(|(device, counts)| {
        let states = counts.iter().map(|(at, count)| {
            let what = (*count > 1).then(|| format!("{count} live sockets"));
            (*at, what)
        });
        let (at, what) = first_that_lasts(states, facts.last)?;
        Some(failure(
            at,
            &format!("{device} had {what} at the signaling server"),
        ))
    });
    unseen(facts)
        .into_iter()
        .chain(peers)
        .chain(devices)
        .collect()
}

/// Where the server says nothing of its sockets, they cannot be counted.
fn unseen(facts: &Facts) -> Option<Failure> {
    let is_connected = |fact: &Fact| fact.event == AppEvent::SignalingConnected;
    let connected = facts.app.iter().find(|fact| is_connected(fact))?;
    facts.sockets.is_empty().then(|| {
        let message = format!(
            "{} was connected, and the signaling server told of no socket",
            connected.peer
        );
        Failure::new(FailureCause::SocketsLeft, message)
    })
}

/// What is too much of these connections.
fn too_many(open: &BTreeMap<u64, Option<Purpose>>) -> Option<String> {
    let count = |purpose| open.values().filter(|each| **each == Some(purpose)).count();
    let (polling, own) = (count(Purpose::Polling), count(Purpose::WebSocket));
    let websockets = own + count(Purpose::Upgrade);
    if websockets > 1 {
        return Some(format!("{websockets} WebSockets"));
    }
    if polling > POLLING_MAX {
        return Some(format!("{polling} connections for long-polling"));
    }
    if own > 0 && polling > 0 {
        return Some(format!(
            "a WebSocket and {polling} connections of another session"
        ));
    }
    (open.len() > CONNECTIONS_MAX).then(|| format!("{} signaling connections", open.len()))
}

/// The first excess that lasts for longer than a replacement takes, and since when. `states` tell
/// what is too much from each moment on.
fn first_that_lasts(
    states: impl Iterator<Item = (Duration, Option<String>)>,
    end: Duration,
) -> Option<(Duration, String)> {
    let mut excess: Option<(Duration, String)> = None;
    for (at, state) in states.chain([(end, None)]) {
        match (&excess, state) {
            (Some((since, _)), _) if at.saturating_sub(*since) > REPLACED_WITHIN => return excess,
            (Some(_), Some(_)) => {}
            (None, Some(what)) => excess = Some((at, what)),
            (_, None) => excess = None,
        }
    }
    None
}

fn failure(since: Duration, what: &str) -> Failure {
    let since = since.as_secs_f64();
    let message = format!("{what} for over {REPLACED_WITHIN:?}, from {since:.3} s on");
    Failure::new(FailureCause::SocketsLeft, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::WireFact;
    use crate::trace::WireEvent;

    const WEBSOCKET: WirePhase = WirePhase::Asks(Purpose::WebSocket);
    const POLLING: WirePhase = WirePhase::Asks(Purpose::Polling);
    const UPGRADE: WirePhase = WirePhase::Asks(Purpose::Upgrade);

    /// What is said of a peer whose connections do this, in milliseconds, in a run of ten seconds.
    #[track_caller]
    fn check(events: &[(u64, u64, WirePhase)], said: &[&str]) {
        let wires = events.iter().map(|(at, connection, phase)| WireFact {
            at: Duration::from_millis(*at),
            event: WireEvent {
                connection: *connection,
                phase: *phase,
            },
        });
        let facts = Facts {
            wires: [("alice".into(), wires.collect())].into(),
            last: Duration::from_secs(10),
            ..Facts::default()
        };
        let failures = left_behind(&facts).into_iter();
        let messages: Vec<String> = failures.map(|failure| failure.message).collect();
        assert_eq!(messages, said);
    }

    #[test]
    fn one_session_is_in_order() {
        check(&[(0, 1, WirePhase::Opened), (0, 1, WEBSOCKET)], &[]);
        check(&[(0, 1, POLLING), (10, 2, POLLING), (500, 3, UPGRADE)], &[]);
        let moved = [
            (0, 1, POLLING),
            (500, 3, UPGRADE),
            (600, 1, WirePhase::Closed),
        ];
        check(&moved, &[]);
    }

    #[test]
    fn a_socket_that_is_replaced_may_linger() {
        let replaced = [
            (0, 1, WEBSOCKET),
            (5000, 2, WEBSOCKET),
            (5900, 1, WirePhase::Closed),
        ];
        check(&replaced, &[]);
        let late = [
            (0, 1, WEBSOCKET),
            (5000, 2, WEBSOCKET),
            (6100, 1, WirePhase::Closed),
        ];
        let said = "alice had 2 WebSockets open for over 1s, from 5.000 s on";
        check(&late, &[said]);
    }

    #[test]
    fn what_was_given_up_and_not_closed_is_found() {
        let ghost = "alice had a WebSocket and 1 connections of another session open for over 1s, \
                     from 2.000 s on";
        check(&[(0, 1, POLLING), (2000, 2, WEBSOCKET)], &[ghost]);
        let many = "alice had 3 connections for long-polling open for over 1s, from 0.020 s on";
        check(
            &[(0, 1, POLLING), (10, 2, POLLING), (20, 3, POLLING)],
            &[many],
        );
    }

    #[test]
    fn dials_that_were_raced_and_left_are_found() {
        let opened: Vec<_> = (1..=4)
            .map(|each| (each, each, WirePhase::Opened))
            .collect();
        let said = "alice had 4 signaling connections open for over 1s, from 0.004 s on";
        check(&opened, &[said]);
        check(&opened[1..], &[]);
    }

    #[test]
    fn sockets_that_nobody_counts_are_found() {
        let connected = Fact {
            at: Duration::ZERO,
            peer: "alice".into(),
            event: AppEvent::SignalingConnected,
        };
        let mut facts = Facts {
            app: vec![connected],
            ..Facts::default()
        };
        assert_eq!(left_behind(&facts).len(), 1);
        let device = "device 6f of alice".to_owned();
        facts.sockets.insert(device, vec![(Duration::ZERO, 1)]);
        assert_eq!(left_behind(&facts), []);
    }

    #[test]
    fn a_device_has_one_live_socket_at_the_server() {
        let said = |counts: &[(u64, u64)]| {
            let counts = counts.iter();
            let counts = counts.map(|(at, count)| (Duration::from_millis(*at), *count));
            let facts = Facts {
                sockets: [("alice's phone".to_owned(), counts.collect())].into(),
                last: Duration::from_secs(10),
                ..Facts::default()
            };
            left_behind(&facts).len()
        };
        assert_eq!(said(&[(0, 1), (5000, 2), (5030, 1)]), 0);
        assert_eq!(said(&[(0, 1), (5000, 2), (6030, 1)]), 1);
        assert_eq!(said(&[(0, 1), (9500, 2)]), 0);
        assert_eq!(said(&[(0, 1), (8500, 2)]), 1);
    }
}
