//! Peers with addresses of one family or both, and the servers between them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::stun::attributes::AttrType;
use ::stun::message::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use webrtc_ice::candidate::Candidate;
use webrtc_ice::candidate::candidate_base::CandidateBaseConfig;
use webrtc_ice::candidate::candidate_host::CandidateHostConfig;
use webrtc_util::vnet::net::{Net as VirtualNet, NetConfig};

use super::cable::{Cable, SERVER};
use super::generation::{Generation, Unusable};
use super::loopback::{Side, ice, introduce, run_until, side_on};
use super::sdp::IceCredentials;
use super::*;
use crate::candidates::{CandidateAttribute, CandidateType};
use crate::config::{Credentials, IceConfig, IceServer};
use crate::net::{Net, TrafficClass};

const ALICE_V4: &str = "198.51.100.1";
const ALICE_V6: &str = "2001:db8:a::1";
const BOB_V4: &str = "198.51.100.2";
const BOB_V6: &str = "fd00:b::2";
const SERVER_V4: &str = "203.0.113.9";
const SERVER_V6: &str = "2001:db8:5::9";

/// The configuration with one server of this scheme.
fn ice_with(scheme: &str) -> IceConfig {
    IceConfig {
        servers: vec![IceServer {
            url: format!("{scheme}:{SERVER}"),
            credentials: Some(Credentials {
                username: "user".into(),
                password: "password".into(),
            }),
        }],
        ..IceConfig::default()
    }
}

fn announced(events: &[PeerEvent]) -> Vec<CandidateAttribute> {
    events
        .iter()
        .filter_map(|event| match event {
            PeerEvent::LocalCandidate(candidate) => {
                Some(candidate.candidate.parse().expect("own candidate is valid"))
            }
            _ => None,
        })
        .collect()
}

/// The ends of the selected pair.
fn selected(events: &[PeerEvent]) -> Option<[IpAddr; 2]> {
    events.iter().find_map(|event| match event {
        PeerEvent::Selected {
            local_address,
            remote_address,
            ..
        } => Some([local_address.ip(), remote_address.ip()]),
        _ => None,
    })
}

/// Two hosts talk, and the first one selects this pair.
#[track_caller]
fn check(
    [alice, bob]: [&[&str]; 2],
    expected: [&str; 2],
) -> impl Future<Output = [Vec<CandidateAttribute>; 2]> {
    let expected = expected.map(|each| each.parse::<IpAddr>().expect("an address"));
    let cable = Cable::default();
    let mut offerer = side_on(cable.host(alice), IceRole::Controlling, ice());
    let mut answerer = side_on(cable.host(bob), IceRole::Controlled, ice());
    async move {
        introduce(&offerer, &answerer, |_| {});
        let seen = run_until(&mut offerer, &mut answerer, |events| {
            events.contains(&PeerEvent::DtlsConnected) && selected(events).is_some()
        });
        let [at_offerer, at_answerer] = seen.await;
        assert_eq!(selected(&at_offerer), Some(expected));
        let [near, far] = expected;
        assert_eq!(selected(&at_answerer), Some([far, near]));
        offerer.connection.close().await;
        answerer.connection.close().await;
        [announced(&at_offerer), announced(&at_answerer)]
    }
}

/// Gathers on `host` until `kind` is found.
async fn gathered(host: Arc<dyn Net>, ice: IceConfig, kind: CandidateType) -> CandidateAttribute {
    let Side {
        connection,
        mut events,
    } = side_on(host, IceRole::Controlling, ice);
    connection.start_gathering();
    let gathering = async {
        loop {
            let event = events.recv().await.expect("the connection lives");
            if let Some(found) = announced(&[event]).pop()
                && found.kind == kind
            {
                return found;
            }
        }
    };
    let found = timeout(Duration::from_secs(5), gathering).await;
    connection.close().await;
    found.expect("gathered within 5 s")
}

#[tokio::test(start_paused = true)]
async fn hosts_without_ipv4_talk_and_announce_nothing_else() {
    let announced = check([&[ALICE_V6], &[BOB_V6]], [ALICE_V6, BOB_V6]).await;
    for (candidates, own) in announced.iter().zip([ALICE_V6, BOB_V6]) {
        let addresses: Vec<_> = candidates.iter().map(|each| &each.address).collect();
        assert_eq!(addresses, [own]);
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_with_both_families_prefer_ipv6() {
    let both = check(
        [&[ALICE_V4, ALICE_V6], &[BOB_V4, BOB_V6]],
        [ALICE_V6, BOB_V6],
    );
    for candidates in both.await {
        let priority = |v6: bool| {
            let mut of_family = candidates
                .iter()
                .filter(|each| each.address.contains(':') == v6);
            of_family.next().expect("one of each family").priority
        };
        assert_eq!(candidates.len(), 2);
        assert!(priority(true) > priority(false));
    }
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_candidate_that_comes_a_little_later_is_still_preferred() {
    let cable = Cable::default();
    let mut offerer = side_on(
        cable.host(&[ALICE_V4, ALICE_V6]),
        IceRole::Controlling,
        ice(),
    );
    let mut answerer = side_on(cable.host(&[BOB_V4, BOB_V6]), IceRole::Controlled, ice());
    introduce(&offerer, &answerer, |_| {});
    let mut candidates = Vec::new();
    while candidates.len() < 2 {
        if let Some(PeerEvent::LocalCandidate(candidate)) = answerer.events.recv().await {
            candidates.push(candidate);
        }
    }
    candidates.sort_by_key(|each| each.candidate.contains(BOB_V6));
    for candidate in &candidates {
        offerer
            .connection
            .add_remote_candidate(candidate)
            .expect("of the announced generation");
        // The clock is paused: enough for checks of the first, not for the end of the wait.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seen = run_until(&mut offerer, &mut answerer, |events| {
        selected(events).is_some()
    });
    let [at_offerer, _] = seen.await;
    let expected = [ALICE_V6, BOB_V6].map(|each| each.parse().expect("an address"));
    assert_eq!(selected(&at_offerer), Some(expected));
    offerer.connection.close().await;
    answerer.connection.close().await;
}

#[tokio::test(start_paused = true)]
async fn hosts_meet_in_the_family_that_both_have() {
    let both: &[&str] = &[ALICE_V4, ALICE_V6];
    check([both, &[BOB_V4]], [ALICE_V4, BOB_V4]).await;
    check([both, &[BOB_V6]], [ALICE_V6, BOB_V6]).await;
    check([&[BOB_V4], both], [BOB_V4, ALICE_V4]).await;
    check([&[BOB_V6], both], [BOB_V6, ALICE_V6]).await;
}

#[tokio::test(start_paused = true)]
async fn loopback_is_used_where_nothing_else_is_there_and_link_local_never() {
    check([&["::1"], &["::1"]], ["::1", "::1"]).await;
    let alice: &[&str] = &["fe80::1", ALICE_V6];
    let [candidates, _] = check([alice, &[BOB_V6]], [ALICE_V6, BOB_V6]).await;
    let addresses: Vec<_> = candidates.iter().map(|each| &each.address).collect();
    assert_eq!(addresses, [ALICE_V6]);
}

#[tokio::test(start_paused = true)]
async fn candidates_that_pair_with_nothing_here_are_told_apart() {
    let (events, _reports) = mpsc::unbounded_channel();
    let generation = Generation::new(
        Cable::default().host(&[ALICE_V4]),
        &ice(),
        TrafficClass::BestEffort,
        &IceCredentials::new("ufrag", "p".repeat(22)).expect("valid"),
        events,
    )
    .await
    .expect("an address");
    let add = |address: &str| {
        let text = format!("candidate:1 1 udp 2130706431 {address} 5000 typ host");
        generation.add_remote(&text.parse().expect("a candidate"))
    };
    assert_eq!(add(BOB_V4), Ok(()));
    assert_eq!(add(BOB_V6), Err(Unusable::Family));
    assert_eq!(add("fe80::1"), Err(Unusable::Scope));
    assert_eq!(add("fe80::1%eth0"), Err(Unusable::Scope));
    assert_eq!(add("hidden.local"), Err(Unusable::HostName));
    generation.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_joins_a_host_without_ipv4_and_one_without_ipv6() {
    let cable = Cable::default();
    let server = cable.serve(&[SERVER_V4, SERVER_V6], SERVER_V4).await;
    cable.name_server(&[SERVER_V6, SERVER_V4]);
    let mut offerer = side_on(
        cable.host(&[ALICE_V6]),
        IceRole::Controlling,
        ice_with("turn"),
    );
    let mut answerer = side_on(cable.host(&[BOB_V4]), IceRole::Controlled, ice());
    introduce(&offerer, &answerer, |_| {});
    let [at_offerer, _] = run_until(&mut offerer, &mut answerer, |events| {
        events.contains(&PeerEvent::DtlsConnected) && selected(events).is_some()
    })
    .await;
    let expected = [SERVER_V4, BOB_V4].map(|each| each.parse().expect("an address"));
    assert_eq!(selected(&at_offerer), Some(expected));
    let relayed = announced(&at_offerer)
        .into_iter()
        .find(|each| each.kind == CandidateType::Relayed)
        .expect("selected");
    let (base, _) = relayed.related.expect("a relayed candidate has a base");
    assert_eq!(base, ALICE_V6);
    offerer.connection.close().await;
    answerer.connection.close().await;
    server.close().await.expect("the server runs");
}

#[tokio::test(start_paused = true)]
async fn a_turn_server_that_is_dead_over_ipv6_is_reached_over_ipv4() {
    let cable = Cable::default();
    let server = cable.serve(&[SERVER_V4], SERVER_V4).await;
    cable.name_server(&[SERVER_V6, SERVER_V4]);
    let host = cable.host(&[ALICE_V4, ALICE_V6]);
    let found = gathered(host, ice_with("turn"), CandidateType::Relayed).await;
    assert_eq!(found.address, SERVER_V4);
    assert_eq!(found.related.map(|(base, _)| base), Some(ALICE_V4.into()));
    server.close().await.expect("the server runs");
}

#[tokio::test(start_paused = true)]
async fn a_stun_server_tells_a_host_its_address_of_either_family() {
    let cable = Cable::default();
    let server = cable.serve(&[SERVER_V4, SERVER_V6], SERVER_V4).await;
    cable.name_server(&[SERVER_V6, SERVER_V4]);
    let found = |addresses: &[&str]| {
        gathered(
            cable.host(addresses),
            ice_with("stun"),
            CandidateType::ServerReflexive,
        )
    };
    for (addresses, expected) in [
        (&[ALICE_V4][..], ALICE_V4),
        (&[ALICE_V6], ALICE_V6),
        (&[ALICE_V4, ALICE_V6], ALICE_V4),
    ] {
        let candidate = found(addresses).await;
        assert_eq!(candidate.address, expected);
        // There is no NAT on the cable, so the base is known by its address and port.
        let base = Some((candidate.address.clone(), candidate.port));
        assert_eq!(candidate.related, base);
    }
    server.close().await.expect("the server runs");
}

#[tokio::test(start_paused = true)]
async fn the_other_side_learns_no_address_of_either_family_from_a_relayed_candidate() {
    let cable = Cable::default();
    let server = cable.serve(&[SERVER_V6], SERVER_V4).await;
    cable.name_server(&[SERVER_V6]);
    let ice = IceConfig {
        policy: crate::config::TransportPolicy::RelayOnly,
        ..ice_with("turn")
    };
    let found = gathered(cable.host(&[ALICE_V6]), ice, CandidateType::Relayed).await;
    assert_eq!(found.related, Some(("0.0.0.0".into(), 9)));
    server.close().await.expect("the server runs");
}

/// What RFC 8656 section 7.1 offers with REQUESTED-ADDRESS-FAMILY is never asked for, so no relay
/// carries packets to a peer that has IPv6 alone.
#[tokio::test(start_paused = true)]
async fn webrtc_ice_0_17_2_asks_turn_servers_for_ipv4_alone() {
    const REQUESTED_ADDRESS_FAMILY: AttrType = AttrType(0x0017);
    let cable = Cable::default();
    cable.name_server(&[SERVER_V6]);
    let server = cable
        .host(&[SERVER_V6])
        .bind_datagram(
            SocketAddr::new(SERVER_V6.parse().expect("an address"), 3478),
            TrafficClass::BestEffort,
        )
        .await
        .expect("its own address");
    let Side { connection, .. } = side_on(
        cable.host(&[ALICE_V6]),
        IceRole::Controlling,
        ice_with("turn"),
    );
    connection.start_gathering();
    let mut request = Message::new();
    while request.typ.method != ::stun::message::METHOD_ALLOCATE {
        let mut buffer = vec![0; 1500];
        let (length, _) = server.recv_from(&mut buffer).await.expect("alive");
        request = Message::new();
        request.raw = buffer[..length].to_vec();
        request.decode().expect("a STUN message");
    }
    assert!(!request.contains(REQUESTED_ADDRESS_FAMILY));
    connection.close().await;
}

/// RFC 8445 section 5.1.2.1 wants them all different. So the priorities that a host announces
/// rank its addresses for the other side, and never for the host itself.
#[test]
fn webrtc_ice_0_17_2_gives_every_address_the_same_priority() {
    let priority = |address: &str| {
        let config = CandidateHostConfig {
            base_config: CandidateBaseConfig {
                network: "udp".into(),
                address: address.into(),
                port: 5000,
                component: 1,
                ..CandidateBaseConfig::default()
            },
            ..CandidateHostConfig::default()
        };
        let candidate = config.new_candidate_host().expect("an address");
        candidate.priority()
    };
    assert_eq!(priority(ALICE_V4), priority(ALICE_V6));
}

/// A server can only be named to the agent by an IPv4 address, so it asks none on its IPv6 sockets.
#[tokio::test]
async fn webrtc_util_0_17_2_resolves_no_ipv6_literal() {
    let virtual_net = VirtualNet::new(Some(NetConfig::default()));
    for literal in [format!("{SERVER_V6}:3478"), format!("[{SERVER_V6}]:3478")] {
        assert!(virtual_net.resolve_addr(false, &literal).await.is_err());
    }
}
