//! What scenarios are made of, at random.
//!
//! The strategies are proptest's, so that they can be used in anybody's property tests. Each case turns
//! whole kinds of faults on or off ("swarm testing"): what always happens together hides what happens
//! alone. Small comes first: no fault is simpler than one, a short time than a long one, no NAT than a
//! symmetric one.

mod faults;
mod messages;
mod networks;
mod story;

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::networks::Place;
use self::story::Story;
use super::case::{Case, ExpectCase, PeerCase, StepCase};

/// The two sides of every call, the caller first.
pub const PEERS: [&str; 2] = ["alice", "bob"];

/// Calls between two peers to whom anything may happen.
///
/// All faults end, all messages arrive in the end, and the scenario expects that the call settles.
pub fn scenarios() -> impl Strategy<Value = Case> {
    (
        [networks::place(), networks::place()],
        networks::servers(),
        story::story(),
    )
        .prop_flat_map(|(places, servers, story)| {
            (
                Just(places),
                Just(servers),
                Just(story.clone()),
                faults::faults(&story),
                messages::messages(&story),
            )
        })
        .prop_map(|(places, servers, story, faults, messages)| {
            let faults = faults::compatible(faults, &places, servers.as_ref(), &story);
            assemble(&places, servers, &story, faults, messages)
        })
}

/// Calls to whom nothing happens, behind NATs through which STUN is enough.
pub fn fault_free() -> impl Strategy<Value = Case> {
    (
        [networks::easy_place(), networks::easy_place()],
        story::plain(),
    )
        .prop_map(|(places, story)| assemble(&places, None, &story, Vec::new(), Vec::new()))
}

fn assemble(
    places: &[Place; 2],
    servers: Option<super::case::ServersCase>,
    story: &Story,
    faults: Vec<super::case::FaultCase>,
    mut messages: Vec<super::case::MessageCase>,
) -> Case {
    let mut networks = BTreeMap::new();
    let mut peers = BTreeMap::new();
    for (peer, place) in PEERS.into_iter().zip(places) {
        let home = place.add_to(&mut networks, peer);
        let moves = faults
            .iter()
            .any(|fault| fault.kind == "network-switch" && fault.peer == Some(peer));
        if moves {
            place.add_other_to(&mut networks, peer);
        }
        peers.insert(peer.to_owned(), PeerCase { network: home });
    }
    // Messages are perturbed in WebSockets, which some proxies let nobody have. And over long-polling the
    // client cannot tell a poll that waits from one whose connection died without a sign, but for the server's
    // heartbeat: where connections may die so, all goes by WebSocket alone.
    let may_die_silently = faults
        .iter()
        .any(|fault| networks.keys().any(|name| fault.silences(name)));
    if may_die_silently && messages.is_empty() {
        messages.push(messages::hang_up_twice());
    }
    if !messages.is_empty() {
        for network in networks.values_mut() {
            network.proxy = None;
        }
    }
    let steps: Vec<StepCase> = story.steps();
    Case {
        about: "Made by chance.".to_owned(),
        networks,
        peers,
        servers,
        steps,
        faults,
        messages,
        expect: ExpectCase { outcome: "settled" },
    }
}
