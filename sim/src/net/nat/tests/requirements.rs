//! RFC 4787 section 12: each requirement with a NAT that keeps it and one that does not.

use super::*;
use crate::net::nat::fragment::{
    Fragment, FragmentVerdict, MOST_HELD_FRAGMENTS, MOST_PACKETS_IN_PARTS, MoreFragments,
};
use crate::net::nat::icmp::{IcmpError, IcmpErrorKind, IcmpVerdict};
use crate::net::nat::size::{Fit, Fragmentation, SizedPacket};

const SECOND_EXTERNAL: &str = "203.0.113.2";
const NOW: Duration = Duration::ZERO;

fn conforming() -> NatConfig {
    NatConfig::default()
}

/// Whether a STUN server and a stranger see one external endpoint.
#[track_caller]
fn check_one_mapping_for_all(mapping: Mapping, expected: bool) {
    let mut bench = Bench::with_behavior(mapping, Filtering::default());
    let seen_by_server = bench.mapped(NOW, ALICE, SERVER);
    let seen_by_stranger = bench.mapped(NOW, ALICE, STRANGER);
    assert_eq!(seen_by_server == seen_by_stranger, expected);
}

#[test]
fn req_1_conforming_a_mapping_serves_every_destination() {
    check_one_mapping_for_all(Mapping::EndpointIndependent, true);
}

#[test]
fn req_1_violating_each_destination_has_a_mapping_of_its_own() {
    check_one_mapping_for_all(Mapping::AddressDependent, false);
    check_one_mapping_for_all(Mapping::AddressAndPortDependent, false);
}

/// How many external addresses one host has that sends from 16 ports.
#[track_caller]
fn check_addresses_of_a_host(pooling: AddressPooling, expected: usize) {
    let pool = [EXTERNAL, SECOND_EXTERNAL];
    let mut bench = Bench::with_pool(
        &pool,
        NatConfig {
            pooling,
            ..conforming()
        },
    );
    let addresses: BTreeSet<_> = (5000..5016)
        .map(|port| bench.mapped(NOW, &format!("192.168.1.2:{port}"), SERVER))
        .map(|external| external.ip())
        .collect();
    assert_eq!(addresses.len(), expected);
}

#[test]
fn req_2_conforming_a_host_has_one_external_address() {
    check_addresses_of_a_host(AddressPooling::Paired, 1);
}

#[test]
fn req_2_violating_a_host_has_several_external_addresses() {
    check_addresses_of_a_host(AddressPooling::Arbitrary, 2);
}

#[test]
fn req_3_conforming_no_two_hosts_share_an_external_port() {
    let mut bench = Bench::new(conforming());
    let alice = bench.mapped(NOW, ALICE, SERVER);
    let bob = bench.mapped(NOW, BOB, SERVER);
    assert_ne!(alice, bob);
    for (external, inside) in [(alice, ALICE), (bob, BOB)] {
        let reply = forwarded(bench.receive(NOW, SERVER, external));
        assert_eq!(reply.destination, endpoint(inside));
    }
}

#[test]
fn req_3_violating_an_overloaded_port_takes_the_answers_from_its_first_owner() {
    let mut bench = Bench::new(NatConfig {
        port_allocation: PortAllocation::Overloading,
        ..conforming()
    });
    let alice = bench.mapped(NOW, ALICE, SERVER);
    let bob = bench.mapped(NOW, BOB, SERVER);
    assert_eq!(alice, bob);
    let reply = forwarded(bench.receive(NOW, SERVER, alice));
    assert_eq!(reply.destination, endpoint(BOB), "the last one wins");
}

/// Whether privileged ports stay privileged where the range has such ports, even one that is taken.
#[track_caller]
fn check_well_known_port(well_known_ports: WellKnownPorts, expected: bool) {
    let mut bench = Bench::new(NatConfig {
        port_allocation: PortAllocation::Sequential,
        port_range: 1020..=2000,
        parity: PortParity::Ignored,
        well_known_ports,
        ..conforming()
    });
    let mut port = |source| bench.mapped(NOW, source, SERVER).port();
    let ephemeral = port("192.168.1.2:5000");
    let well_known = port("192.168.1.2:123");
    assert_eq!((ephemeral >= 1024, well_known < 1024), (expected, true));
}

#[test]
fn req_3_a_conforming_ports_stay_on_their_side_of_1024() {
    check_well_known_port(WellKnownPorts::Preserved, true);
}

#[test]
fn req_3_a_violating_an_ephemeral_port_becomes_a_well_known_one() {
    check_well_known_port(WellKnownPorts::Ignored, false);
}

#[track_caller]
fn check_parity(parity: PortParity, expected: bool) {
    let mut bench = Bench::new(NatConfig {
        port_allocation: PortAllocation::Sequential,
        parity,
        ..conforming()
    });
    let is_kept = (5000..5004_u16).rev().all(|port| {
        let source = format!("192.168.1.2:{port}");
        bench.mapped(NOW, &source, SERVER).port() % 2 == port % 2
    });
    assert_eq!(is_kept, expected);
}

#[test]
fn req_4_conforming_even_ports_stay_even() {
    check_parity(PortParity::Preserved, true);
}

#[test]
fn req_4_violating_even_ports_become_odd() {
    check_parity(PortParity::Ignored, false);
}

/// Whether the server still gets in to Alice just before two minutes have passed.
#[track_caller]
fn check_two_minutes(udp_timer: UdpTimer, server: &str, expected: bool) {
    let mut bench = Bench::new(NatConfig {
        udp_timer,
        ..conforming()
    });
    let mapped = bench.mapped(NOW, ALICE, server);
    let almost = minutes(2).saturating_sub(Duration::from_millis(1));
    let verdict = bench.receive(almost, server, mapped);
    assert_eq!(matches!(verdict, Verdict::Forward(_)), expected);
}

#[test]
fn req_5_conforming_a_mapping_lives_two_minutes() {
    check_two_minutes(UdpTimer::default(), SERVER, true);
    let idle = minutes(2);
    let udp_timer = UdpTimer {
        idle,
        ..UdpTimer::default()
    };
    check_two_minutes(udp_timer, SERVER, true);
}

#[test]
fn req_5_violating_a_mapping_dies_within_two_minutes() {
    let idle = Duration::from_secs(30);
    let udp_timer = UdpTimer {
        idle,
        ..UdpTimer::default()
    };
    check_two_minutes(udp_timer, SERVER, false);
}

#[test]
fn req_5_a_conforming_a_session_with_a_well_known_port_may_be_shorter() {
    let udp_timer = UdpTimer {
        well_known_idle: Some(Duration::from_secs(10)),
        ..UdpTimer::default()
    };
    check_two_minutes(udp_timer, "192.0.2.1:53", false);
    check_two_minutes(udp_timer, SERVER, true);
}

/// Whether a mapping that only its inside host uses is alive after two idle times.
#[track_caller]
fn check_outbound_refresh(refresh: Refresh, expected: bool) {
    let udp_timer = UdpTimer {
        refresh,
        ..UdpTimer::default()
    };
    let mut bench = Bench::new(NatConfig {
        udp_timer,
        ..conforming()
    });
    let mapped = bench.mapped(NOW, ALICE, SERVER);
    bench.mapped(minutes(4), ALICE, SERVER);
    let verdict = bench.receive(minutes(6), SERVER, mapped);
    assert_eq!(matches!(verdict, Verdict::Forward(_)), expected);
}

#[test]
fn req_6_conforming_outbound_packets_refresh() {
    check_outbound_refresh(Refresh::Both, true);
    check_outbound_refresh(Refresh::Outbound, true);
}

#[test]
fn req_6_violating_only_inbound_packets_refresh() {
    check_outbound_refresh(Refresh::Inbound, false);
}

/// Alice speaks with a node outside whose address is one of her own network.
fn conflicting(address_conflict: AddressConflict) -> (Verdict, Bench) {
    let mut bench = Bench::new(NatConfig {
        address_conflict,
        ..conforming()
    });
    (bench.send(NOW, ALICE, "192.168.1.77:4000"), bench)
}

#[test]
fn req_7_conforming_an_outside_node_with_an_inside_address_is_reached() {
    let (verdict, mut bench) = conflicting(AddressConflict::Translated);
    let outside = forwarded(verdict);
    assert_eq!(outside.source.ip(), address(EXTERNAL));
    let reply = forwarded(bench.nat.inbound(NOW, outside.reversed(), None));
    assert_eq!(
        reply,
        Flow::udp(endpoint("192.168.1.77:4000"), endpoint(ALICE))
    );
}

#[test]
fn req_7_violating_an_outside_node_with_an_inside_address_is_out_of_reach() {
    let (verdict, mut bench) = conflicting(AddressConflict::Refused);
    assert_eq!(verdict, Verdict::Drop(DropCause::NatAddressConflict));
    let mapped = bench.mapped(NOW, ALICE, SERVER);
    assert_eq!(
        bench.receive(NOW, "192.168.1.77:4000", mapped),
        Verdict::Drop(DropCause::NatFiltered),
        "it was never spoken to"
    );
}

/// Whether a stranger, and the server from another port, come in.
#[track_caller]
fn check_filter(filtering: Filtering, expected: [bool; 2]) {
    let mut bench = Bench::with_behavior(Mapping::EndpointIndependent, filtering);
    let mapped = bench.mapped(NOW, ALICE, SERVER);
    let passes = [STRANGER, SERVER_ALTERNATE].map(|source| {
        let verdict = bench.receive(NOW, source, mapped);
        matches!(verdict, Verdict::Forward(_))
    });
    assert_eq!(passes, expected);
}

#[test]
fn req_8_conforming_the_filter_does_not_look_at_the_port() {
    check_filter(Filtering::EndpointIndependent, [true, true]);
    check_filter(Filtering::AddressDependent, [false, true]);
}

#[test]
fn req_8_violating_the_filter_looks_at_the_port() {
    check_filter(Filtering::AddressAndPortDependent, [false, false]);
}

/// What Alice gets from Bob, who sends to her external address after she sent to his.
fn hairpinned(hairpin: Hairpin) -> (Verdict, SocketAddr) {
    let mut bench = Bench::new(NatConfig {
        hairpin,
        ..conforming()
    });
    let alice = bench.mapped(NOW, ALICE, SERVER).to_string();
    let bob = bench.mapped(NOW, BOB, SERVER);
    bench.send(NOW, ALICE, &bob.to_string());
    (bench.send(NOW, BOB, &alice), bob)
}

#[test]
fn req_9_conforming_a_hairpinned_packet_comes_from_the_external_address() {
    let (verdict, bob) = hairpinned(Hairpin::Translated);
    assert_eq!(forwarded(verdict), Flow::udp(bob, endpoint(ALICE)));
}

#[test]
fn req_9_violating_a_hairpinned_packet_comes_from_the_inside_address() {
    let (verdict, _) = hairpinned(Hairpin::InternalSource);
    let expected = Flow::udp(endpoint(BOB), endpoint(ALICE));
    assert_eq!(forwarded(verdict), expected);
}

#[test]
fn req_9_violating_no_packet_is_hairpinned() {
    let (verdict, _) = hairpinned(Hairpin::Refused);
    assert_eq!(verdict, Verdict::Drop(DropCause::NatHairpinRefused));
}

/// A payload that holds Alice's address twice, as it is outside, and how often it was rewritten.
fn payload_outside(application_gateway: ApplicationGateway) -> (Vec<u8>, usize) {
    let mut bench = Bench::new(NatConfig {
        application_gateway,
        ..conforming()
    });
    let inside = Flow::udp(endpoint(ALICE), endpoint(SERVER));
    let outside = forwarded(bench.nat.outbound(NOW, inside, None, &mut bench.rng));
    let mut payload = vec![9, 192, 168, 1, 2, 192, 168, 1, 2, 192, 168];
    let count = bench.nat.rewrite_payload(inside, outside, &mut payload);
    (payload, count)
}

#[test]
fn req_10_conforming_payloads_are_left_alone() {
    let (payload, count) = payload_outside(ApplicationGateway::Off);
    assert_eq!(payload, [9, 192, 168, 1, 2, 192, 168, 1, 2, 192, 168]);
    assert_eq!(count, 0);
}

#[test]
fn req_10_violating_addresses_in_payloads_are_rewritten() {
    let (payload, count) = payload_outside(ApplicationGateway::Generic);
    assert_eq!(payload, [9, 203, 0, 113, 1, 203, 0, 113, 1, 192, 168]);
    assert_eq!(count, 2);
}

/// Whether Bob's mapping serves two destinations, while Alice has the port that he would like.
#[track_caller]
fn check_collision(consistency: Consistency, expected: bool) {
    let mut bench = Bench::new(NatConfig {
        consistency,
        ..conforming()
    });
    let alice = [SERVER, STRANGER].map(|remote| bench.mapped(NOW, ALICE, remote));
    assert_eq!(alice[0], alice[1]);
    let bob = [SERVER, STRANGER].map(|remote| bench.mapped(NOW, BOB, remote));
    assert_eq!(bob[0] == bob[1], expected);
    let again = [SERVER, STRANGER].map(|remote| bench.mapped(NOW, BOB, remote));
    assert_eq!(again, bob, "what is there stays");
}

#[test]
fn req_11_conforming_a_collision_changes_no_behaviour() {
    check_collision(Consistency::Deterministic, true);
}

#[test]
fn req_11_violating_a_collision_makes_the_nat_symmetric() {
    check_collision(Consistency::SymmetricOnCollision, false);
}

/// A router on the way reports that Alice's packet to the server cannot be delivered.
fn reported(icmp_errors: IcmpErrors) -> (IcmpVerdict, Verdict) {
    let mut bench = Bench::new(NatConfig {
        icmp_errors,
        ..conforming()
    });
    let mapped = bench.mapped(NOW, ALICE, SERVER);
    let error = IcmpError {
        kind: IcmpErrorKind::Unreachable,
        source: address("198.51.100.254"),
        destination: mapped.ip(),
        quoted: Flow::udp(mapped, endpoint(SERVER)),
    };
    let verdict = bench.nat.inbound_icmp(NOW, error);
    (verdict, bench.receive(NOW, SERVER, mapped))
}

#[test]
fn req_12_conforming_an_icmp_error_reaches_the_host_and_ends_nothing() {
    let (verdict, reply) = reported(IcmpErrors::Translated);
    let expected = IcmpError {
        kind: IcmpErrorKind::Unreachable,
        source: address("198.51.100.254"),
        destination: address("192.168.1.2"),
        quoted: Flow::udp(endpoint(ALICE), endpoint(SERVER)),
    };
    assert_eq!(verdict, IcmpVerdict::Forward(expected));
    assert_eq!(forwarded(reply).destination, endpoint(ALICE));
}

#[test]
fn req_12_violating_an_icmp_error_ends_the_mapping() {
    let (verdict, reply) = reported(IcmpErrors::MappingEnds);
    assert!(matches!(verdict, IcmpVerdict::Forward(_)));
    assert_eq!(reply, Verdict::Drop(DropCause::NatNoMapping));
}

#[test]
fn req_12_b_violating_icmp_errors_are_dropped() {
    let (verdict, _) = reported(IcmpErrors::Dropped);
    assert_eq!(verdict, IcmpVerdict::Drop(DropCause::NatIcmpRefused));
}

fn sized(fragmentation: Fragmentation) -> SizedPacket {
    SizedPacket {
        flow: Flow::udp(endpoint(ALICE), endpoint(SERVER)),
        identification: 7,
        payload_bytes: 3000,
        fragmentation,
    }
}

fn fit(too_big: TooBig, fragmentation: Fragmentation, mtu_bytes: u16) -> Fit {
    let bench = Bench::new(NatConfig {
        too_big,
        ..conforming()
    });
    bench.nat.fit(&sized(fragmentation), mtu_bytes)
}

#[test]
fn req_13_conforming_a_packet_that_is_too_big_is_answered() {
    let Fit::Answer(answer) = fit(TooBig::Answered, Fragmentation::Forbidden, 1500) else {
        panic!("no answer");
    };
    assert_eq!(answer.kind, IcmpErrorKind::PacketTooBig { mtu_bytes: 1500 });
    assert_eq!(answer.destination, address("192.168.1.2"));
    assert_eq!(answer.quoted, sized(Fragmentation::Forbidden).flow);
    let fits = fit(TooBig::Answered, Fragmentation::Forbidden, 3020);
    assert_eq!(fits, Fit::Whole);
}

#[test]
fn req_13_violating_a_packet_that_is_too_big_vanishes() {
    assert_eq!(
        fit(TooBig::Silent, Fragmentation::Forbidden, 1500),
        Fit::Drop(DropCause::TooLarge)
    );
}

#[test]
fn req_13_a_conforming_a_packet_that_may_be_fragmented_is_in_order() {
    let Fit::Fragments(fragments) = fit(TooBig::Answered, Fragmentation::Allowed, 1500) else {
        panic!("no fragments");
    };
    let parts: Vec<_> = fragments
        .iter()
        .map(|part| (part.offset_bytes, part.length_bytes, part.ports.is_some()))
        .collect();
    assert_eq!(
        parts,
        [(0, 1480, true), (1480, 1480, false), (2960, 40, false)]
    );
    assert_eq!(fragments[1].more, MoreFragments::Follow);
    assert_eq!(fragments[2].more, MoreFragments::None);
}

/// The fragments of a reply of the server to Alice, and a NAT with a mapping for it.
fn reply_in_parts(fragments: Fragments) -> (Bench, Vec<Fragment>) {
    let mut bench = Bench::new(NatConfig {
        fragments,
        ..conforming()
    });
    let outside = forwarded(bench.send(NOW, ALICE, SERVER));
    let reply = SizedPacket {
        flow: outside.reversed(),
        ..sized(Fragmentation::Allowed)
    };
    match bench.nat.fit(&reply, 1500) {
        Fit::Fragments(parts) => (bench, parts),
        other => panic!("{other:?}"),
    }
}

/// The offsets of the fragments that reach Alice, in the order in which they do, when those of the
/// reply come in `order`.
#[track_caller]
fn check_fragments(fragments: Fragments, order: [usize; 3], expected: &[u16]) {
    let (mut bench, parts) = reply_in_parts(fragments);
    let mut arrived = Vec::new();
    for index in order {
        if let FragmentVerdict::Forward(parts) = bench.nat.inbound_fragment(NOW, parts[index]) {
            arrived.extend(parts);
        }
    }
    for part in &arrived {
        assert_eq!(part.destination, address("192.168.1.2"));
        let expected_ports = (part.offset_bytes == 0).then_some((3478, 5000));
        assert_eq!(part.ports, expected_ports);
    }
    let offsets: Vec<_> = arrived.iter().map(|part| part.offset_bytes).collect();
    assert_eq!(offsets, expected);
}

#[test]
fn req_14_conforming_fragments_pass_in_any_order() {
    check_fragments(Fragments::OutOfOrder, [0, 1, 2], &[0, 1480, 2960]);
    check_fragments(Fragments::OutOfOrder, [2, 0, 1], &[0, 2960, 1480]);
    check_fragments(Fragments::OutOfOrder, [2, 1, 0], &[0, 2960, 1480]);
}

#[test]
fn req_14_violating_fragments_before_the_first_are_dropped() {
    check_fragments(Fragments::InOrder, [0, 1, 2], &[0, 1480, 2960]);
    check_fragments(Fragments::InOrder, [2, 0, 1], &[0, 1480]);
}

#[test]
fn req_14_violating_no_fragment_passes() {
    check_fragments(Fragments::Refused, [0, 1, 2], &[]);
}

#[test]
fn req_14_a_conforming_a_flood_of_fragments_takes_no_memory_and_stops_no_packet() {
    let (mut bench, parts) = reply_in_parts(Fragments::OutOfOrder);
    for identification in 0..2000 {
        let stray = Fragment {
            identification,
            ..parts[1]
        };
        bench.nat.inbound_fragment(NOW, stray);
    }
    assert_eq!(bench.nat.reassembly.len(), MOST_PACKETS_IN_PARTS);
    let whole = Fragment {
        identification: 3000,
        ..parts[0]
    };
    let verdict = bench.nat.inbound_fragment(NOW, whole);
    assert!(matches!(verdict, FragmentVerdict::Forward(_)));
    let same = |nat: &mut Nat| {
        let stray = Fragment {
            identification: 4000,
            ..parts[1]
        };
        nat.inbound_fragment(NOW, stray)
    };
    let held =
        (0..MOST_HELD_FRAGMENTS + 5).filter(|_| same(&mut bench.nat) == FragmentVerdict::Hold);
    assert_eq!(held.count(), MOST_HELD_FRAGMENTS);
}
