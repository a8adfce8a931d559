use ::stun::agent::TransactionId;
use ::stun::integrity::MessageIntegrity;
use ::stun::message::{
    BINDING_REQUEST, BINDING_SUCCESS, CLASS_REQUEST, METHOD_ALLOCATE, Message, MessageType,
};

use rand::SeedableRng as _;

use super::*;

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 5000).into()
}

fn message(kind: MessageType, transaction: u8) -> Vec<u8> {
    let mut message = Message::new();
    message
        .build(&[Box::new(TransactionId([transaction; 12])), Box::new(kind)])
        .expect("a header fits");
    message.raw
}

fn packet(remote: u8, payload: Vec<u8>) -> Packet {
    Packet {
        local: address(1),
        remote: address(remote),
        payload,
    }
}

/// Traffic with a server at address 9, and one over TCP at address 8.
fn traffic() -> Traffic {
    let servers = BTreeMap::from([(address(9), Transport::Udp), (address(8), Transport::Tcp)]);
    Traffic::new(
        servers,
        Relays::new(BTreeMap::new()),
        ChaCha12Rng::seed_from_u64(1),
        Duration::from_secs(25),
    )
}

fn allocate_request() -> MessageType {
    MessageType::new(METHOD_ALLOCATE, CLASS_REQUEST)
}

/// Runs until `until`, and tells when packets were due, in milliseconds.
fn due_times(traffic: &mut Traffic, start: Instant, until: Duration) -> Vec<u128> {
    let mut times = Vec::new();
    while let Some(at) = traffic.next_due(start).filter(|at| *at <= start + until) {
        for _ in traffic.due(at) {
            times.push(at.duration_since(start).as_millis());
        }
    }
    times
}

#[test]
fn an_unanswered_gathering_request_is_repeated_with_doubling_waits() {
    let (mut traffic, now) = (traffic(), Instant::now());
    let request = packet(9, message(BINDING_REQUEST, 1));
    assert_eq!(traffic.outbound(now, &request), Outbound::Send);
    let times = due_times(&mut traffic, now, Duration::from_secs(20));
    assert_eq!(times, [500, 1500, 3500]);
}

#[test]
fn the_first_answer_ends_the_repeats_and_the_second_is_consumed() {
    let (mut traffic, now) = (traffic(), Instant::now());
    traffic.outbound(now, &packet(9, message(BINDING_REQUEST, 1)));
    let answer = packet(9, message(BINDING_SUCCESS, 1));
    assert!(matches!(
        traffic.inbound(now, answer.clone()).0,
        Inbound::Deliver(_)
    ));
    assert!(matches!(
        traffic.inbound(now, answer).0,
        Inbound::Consumed(_)
    ));
    assert!(due_times(&mut traffic, now, Duration::from_secs(20)).is_empty());
}

#[test]
fn the_first_server_that_answers_is_enough() {
    let mut traffic = Traffic::new(
        BTreeMap::from([(address(8), Transport::Udp), (address(9), Transport::Udp)]),
        Relays::new(BTreeMap::new()),
        ChaCha12Rng::seed_from_u64(1),
        Duration::from_secs(25),
    );
    let now = Instant::now();
    for (server, transaction) in [(8, 1), (9, 2)] {
        let request = packet(server, message(BINDING_REQUEST, transaction));
        assert_eq!(traffic.outbound(now, &request), Outbound::Send);
    }
    let answer = packet(9, message(BINDING_SUCCESS, 2));
    let (verdict, _) = traffic.inbound(now, answer.clone());
    assert_eq!(verdict, Inbound::Deliver(answer.clone()));
    let ended = traffic.end_redundant(&answer);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].remote, address(8));
    assert!(traffic.end_redundant(&answer).is_empty());
    let late = packet(8, message(BINDING_REQUEST, 3));
    assert!(matches!(traffic.outbound(now, &late), Outbound::Refuse(_)));
}

#[test]
fn checks_from_ever_new_addresses_are_not_taken_for_ever() {
    let mut traffic = traffic();
    traffic.begin_checks("password");
    let mut taken = 0;
    for port in 1..=200 {
        let check = Packet {
            remote: ([10, 0, 0, 2], port).into(),
            ..packet(2, message(BINDING_REQUEST, 1))
        };
        for _ in 0..2 {
            let (verdict, _) = traffic.inbound(Instant::now(), check.clone());
            taken += usize::from(matches!(verdict, Inbound::Deliver(_)));
        }
    }
    assert_eq!(taken, 2 * CHECKED_PAIRS_MAX, "each of the first again");
}

#[test]
fn checks_between_peers_are_paced_and_never_repeated() {
    let (mut traffic, now) = (traffic(), Instant::now());
    for remote in [2, 3] {
        let check = packet(remote, message(BINDING_REQUEST, remote));
        assert_eq!(traffic.outbound(now, &check), Outbound::Later);
    }
    let times = due_times(&mut traffic, now, Duration::from_secs(20));
    assert_eq!(times, [0, 5]);
}

/// The checks of pairs with peers 2 and 3, in the order in which they leave.
fn checks_in_order(traffic: &mut Traffic, now: Instant) -> Vec<SocketAddr> {
    for remote in [2, 3] {
        traffic.outbound(now, &packet(remote, message(BINDING_REQUEST, remote)));
    }
    let mut remotes = Vec::new();
    for at in [now, now + Duration::from_millis(5)] {
        remotes.extend(traffic.due(at).into_iter().map(|check| check.remote));
    }
    remotes
}

#[test]
fn a_pair_that_the_other_side_has_checked_goes_first() {
    let (mut traffic, now) = (traffic(), Instant::now());
    traffic.inbound(now, packet(3, message(BINDING_REQUEST, 7)));
    let remotes = checks_in_order(&mut traffic, now);
    assert_eq!(remotes, [address(3), address(2)]);
}

#[test]
fn a_valid_pair_has_no_need_to_go_first() {
    let (mut traffic, now) = (traffic(), Instant::now());
    traffic.begin_checks("password");
    traffic.outbound(now, &packet(3, message(BINDING_REQUEST, 3)));
    assert_eq!(traffic.due(now).len(), 1);
    let mut answer = Message::new();
    let integrity = MessageIntegrity::new_short_term_integrity("password".to_owned());
    answer
        .build(&[
            Box::new(TransactionId([3; 12])),
            Box::new(BINDING_SUCCESS),
            Box::new(integrity),
        ])
        .expect("a header and one attribute fit");
    traffic.inbound(now, packet(3, answer.raw));
    traffic.inbound(now, packet(3, message(BINDING_REQUEST, 7)));
    let later = now + Duration::from_millis(100);
    let remotes = checks_in_order(&mut traffic, later);
    assert_eq!(remotes, [address(2), address(3)]);
}

#[test]
fn a_pair_that_nobody_answers_is_checked_as_before_once_the_other_side_checks_it() {
    let (mut traffic, start) = (traffic(), Instant::now());
    let check = |traffic: &mut Traffic, milliseconds| {
        let now = start + Duration::from_millis(milliseconds);
        traffic.outbound(now, &packet(3, message(BINDING_REQUEST, 3)))
    };
    assert_eq!(check(&mut traffic, 0), Outbound::Later);
    assert_eq!(check(&mut traffic, 5_000), Outbound::Later);
    assert_eq!(check(&mut traffic, 5_100), Outbound::Never);
    let now = start + Duration::from_millis(5_150);
    traffic.inbound(now, packet(3, message(BINDING_REQUEST, 7)));
    assert_eq!(check(&mut traffic, 5_200), Outbound::Later);
}

#[test]
fn only_answered_pairs_that_fall_idle_are_kept_alive() {
    let (mut traffic, now) = (traffic(), Instant::now());
    traffic.begin_checks("password");
    for remote in [2, 3] {
        traffic.outbound(now, &packet(remote, vec![0x80; 20]));
    }
    let (verdict, schedule_moved) = traffic.inbound(now, packet(2, vec![0x80; 20]));
    assert!(matches!(verdict, Inbound::Deliver(_)));
    assert!(schedule_moved);
    let times = due_times(&mut traffic, now, Duration::from_mins(1));
    assert_eq!(times, [25_000, 50_000]);
}

#[test]
fn a_keepalive_of_the_peer_does_not_reach_the_agent() {
    let mut traffic = traffic();
    traffic.begin_checks("password");
    let (verdict, _) = traffic.inbound(Instant::now(), packet(2, stun::binding_indication()));
    assert!(matches!(verdict, Inbound::Consumed(_)));
}

#[test]
fn early_checks_wait_and_the_newest_are_kept() {
    let mut traffic = traffic();
    for transaction in 0..=u8::try_from(HELD_MAX).expect("fits") {
        let check = packet(2, message(BINDING_REQUEST, transaction));
        assert_eq!(traffic.inbound(Instant::now(), check).0, Inbound::Held);
    }
    let held = traffic.begin_checks("password");
    assert_eq!(held.len(), HELD_MAX);
    assert_eq!(held[0].payload, message(BINDING_REQUEST, 1));
}

#[test]
fn refusing_ends_what_is_open_and_what_comes_later() {
    let (mut traffic, now) = (traffic(), Instant::now());
    traffic.outbound(now, &packet(9, message(BINDING_REQUEST, 1)));
    assert_eq!(traffic.refuse_all(now).len(), 1);
    let later = packet(9, message(BINDING_REQUEST, 2));
    assert!(matches!(traffic.outbound(now, &later), Outbound::Refuse(_)));
    assert_eq!(traffic.next_due(now), None);
}

#[test]
fn a_request_goes_over_tcp_once_and_over_udp_as_often_as_it_is_sent() {
    let (mut traffic, now) = (traffic(), Instant::now());
    for (server, second) in [(8, Outbound::AlreadySent), (9, Outbound::Send)] {
        let request = packet(server, message(allocate_request(), server));
        assert_eq!(traffic.outbound(now, &request), Outbound::Send);
        assert_eq!(traffic.outbound(now, &request), second);
    }
    assert_eq!(traffic.next_due(now), None);
}

#[test]
fn nobody_is_asked_over_tcp_for_an_address_to_be_reached_at() {
    let mut traffic = traffic();
    let request = packet(8, message(BINDING_REQUEST, 1));
    let verdict = traffic.outbound(Instant::now(), &request);
    assert!(matches!(verdict, Outbound::Refuse(_)));
}

#[test]
fn what_one_socket_loses_the_others_keep() {
    let (mut traffic, now) = (traffic(), Instant::now());
    let mut request = packet(8, message(allocate_request(), 1));
    traffic.outbound(now, &request);
    request.local = address(2);
    traffic.outbound(now, &request);
    let refused = traffic.refuse_pair(address(2), address(8));
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].local, address(2));
    assert_eq!(traffic.refuse_server(address(8)).len(), 1);
}
