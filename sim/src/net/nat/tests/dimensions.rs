//! The dimensions of which RFC 4787 has no requirement, and what can happen to a whole NAT.

use super::*;
use crate::net::nat::fragment::{Fragment, FragmentVerdict, MoreFragments, REASSEMBLY_TIMEOUT};
use crate::net::nat::icmp::{IcmpError, IcmpErrorKind, IcmpVerdict};
use crate::net::nat::nat64::embedded;

const SECOND_EXTERNAL: &str = "203.0.113.2";
const NOW: Duration = Duration::ZERO;
/// An inside host that has IPv6 only.
const ALICE_6: &str = "[2001:db8::2]:5000";
/// [`SERVER`] as such a host knows it.
const SERVER_6: &str = "[64:ff9b::192.0.2.1]:3478";

#[test]
fn paired_hosts_spread_over_the_addresses_and_keep_theirs() {
    let mut bench = Bench::with_pool(&[EXTERNAL, SECOND_EXTERNAL], NatConfig::default());
    let alice = bench.mapped(NOW, ALICE, SERVER).ip();
    let bob = bench.mapped(NOW, BOB, SERVER).ip();
    assert_eq!((alice, bob), (address(EXTERNAL), address(SECOND_EXTERNAL)));
    let tcp = forwarded(bench.send_tcp(NOW, BOB, STRANGER, TcpSignal::SYN));
    assert_eq!(tcp.source.ip(), bob, "for tcp too");
    assert!(bench.nat.owns(alice) && bench.nat.owns(bob));
    assert!(!bench.nat.owns(address("203.0.113.3")));
}

#[test]
fn a_paired_host_gets_no_port_of_another_address() {
    let config = NatConfig {
        port_range: 7000..=7000,
        ..NatConfig::default()
    };
    let mut bench = Bench::with_pool(&[EXTERNAL, SECOND_EXTERNAL], config.clone());
    bench.mapped(NOW, ALICE, SERVER);
    let another_port = "192.168.1.2:5001";
    assert_eq!(
        bench.send(NOW, another_port, SERVER),
        Verdict::Drop(DropCause::NatPortsExhausted)
    );
    assert_eq!(
        bench.mapped(NOW, BOB, SERVER).ip(),
        address(SECOND_EXTERNAL)
    );

    let arbitrary = NatConfig {
        pooling: AddressPooling::Arbitrary,
        ..config
    };
    let mut bench = Bench::with_pool(&[EXTERNAL, SECOND_EXTERNAL], arbitrary);
    let first = bench.mapped(NOW, ALICE, SERVER);
    assert_ne!(bench.mapped(NOW, another_port, SERVER), first);
}

#[test]
fn hosts_with_different_external_addresses_reach_each_other() {
    let mut bench = Bench::with_pool(&[EXTERNAL, SECOND_EXTERNAL], NatPreset::FullCone);
    let alice = bench.mapped(NOW, ALICE, SERVER).to_string();
    let bob = bench.mapped(NOW, BOB, SERVER);
    let inside = forwarded(bench.send(NOW, BOB, &alice));
    assert_eq!(inside, Flow::udp(bob, endpoint(ALICE)));
}

#[test]
fn overloaded_ports_are_told_apart_by_the_remote_endpoint() {
    let mut bench = Bench::new(NatConfig {
        port_allocation: PortAllocation::Overloading,
        ..NatConfig::default()
    });
    let shared = bench.mapped(NOW, ALICE, SERVER);
    assert_eq!(bench.mapped(NOW, BOB, STRANGER), shared);
    for (remote, inside) in [(SERVER, ALICE), (STRANGER, BOB)] {
        let reply = forwarded(bench.receive(NOW, remote, shared));
        assert_eq!(reply.destination, endpoint(inside));
    }
    let later = Duration::from_secs(1);
    bench.mapped(later, ALICE, STRANGER);
    let reply = forwarded(bench.receive(later, STRANGER, shared));
    assert_eq!(reply.destination, endpoint(ALICE), "who spoke last");
    let idle = minutes(5) + later;
    assert_eq!(bench.nat.live_mappings(idle), 0);
}

#[test]
fn an_overlapped_port_is_shared_only_among_different_remotes() {
    let mut bench = Bench::new(NatPreset::LinuxRouter);
    let alice = bench.mapped(NOW, ALICE, SERVER);
    assert_eq!(bench.mapped(NOW, BOB, STRANGER), alice);
    let bob = bench.mapped(NOW, BOB, SERVER);
    assert_ne!(bob, alice, "both speak with the server");
    for (external, remote, inside) in [
        (alice, SERVER, ALICE),
        (alice, STRANGER, BOB),
        (bob, SERVER, BOB),
    ] {
        let reply = forwarded(bench.receive(NOW, remote, external));
        assert_eq!(reply.destination, endpoint(inside));
    }
    assert_eq!(
        bench.receive(NOW, SERVER_ALTERNATE, alice),
        Verdict::Drop(DropCause::NatFiltered)
    );
}

#[test]
fn a_single_host_behind_a_linux_router_keeps_one_port_for_all() {
    let mut bench = Bench::new(NatPreset::LinuxRouter);
    let seen = [SERVER, SERVER_ALTERNATE, STRANGER].map(|to| bench.mapped(NOW, ALICE, to));
    assert_eq!(seen, [endpoint("203.0.113.1:5000"); 3]);
}

#[test]
fn a_host_at_its_limit_gets_no_further_mapping_until_one_has_ended() {
    let mut bench = Bench::new(NatConfig {
        ports_per_host: Some(2),
        ..NatConfig::default()
    });
    bench.mapped(NOW, "192.168.1.2:5000", SERVER);
    let later = minutes(1);
    forwarded(bench.send_tcp(later, "192.168.1.2:5001", SERVER, TcpSignal::SYN));
    assert_eq!(
        bench.send(later, "192.168.1.2:5002", SERVER),
        Verdict::Drop(DropCause::NatHostLimit)
    );
    bench.mapped(later, ALICE, STRANGER);
    bench.mapped(later, BOB, SERVER);
    bench.mapped(minutes(5), "192.168.1.2:5002", SERVER);
}

#[test]
fn tcp_timers_are_those_of_the_phase() {
    let mut bench = Bench::new(NatConfig {
        tcp_timers: TcpTimers {
            established: minutes(60),
            transitory: minutes(1),
        },
        ..NatConfig::default()
    });
    let mapped = forwarded(bench.send_tcp(NOW, ALICE, SERVER, TcpSignal::SYN)).source;
    forwarded(bench.receive_tcp(NOW, SERVER, mapped, TcpSignal::SYN_ACK));
    assert_eq!(bench.nat.live_mappings(minutes(59)), 1);
    forwarded(bench.receive_tcp(minutes(59), SERVER, mapped, TcpSignal::RST));
    let almost = minutes(60).saturating_sub(Duration::from_millis(1));
    assert_eq!(bench.nat.live_mappings(almost), 1);
    assert_eq!(bench.nat.live_mappings(minutes(60)), 0, "a reset ends it");
}

#[test]
fn a_connection_that_ends_sooner_than_it_would_have_frees_its_port_on_time() {
    let mut bench = Bench::new(NatConfig::default());
    let mapped = forwarded(bench.send_tcp(NOW, ALICE, SERVER, TcpSignal::SYN)).source;
    forwarded(bench.receive_tcp(NOW, SERVER, mapped, TcpSignal::SYN_ACK));
    assert_eq!(bench.nat.live_mappings(minutes(5)), 1);
    forwarded(bench.send_tcp(minutes(6), ALICE, SERVER, TcpSignal::RST));
    let last_moment = minutes(10).saturating_sub(Duration::from_nanos(1));
    assert_eq!(bench.nat.live_mappings(last_moment), 1);
    assert_eq!(bench.nat.live_mappings(minutes(10)), 0);
}

/// A part of 8 bytes of a packet from alice to the server, whose first part has her port.
fn part(offset_bytes: u16, more: MoreFragments, ports: Option<(u16, u16)>) -> Fragment {
    Fragment {
        protocol: Protocol::Udp,
        source: endpoint(ALICE).ip(),
        destination: endpoint(SERVER).ip(),
        identification: 7,
        offset_bytes,
        length_bytes: 8,
        more,
        ports,
    }
}

#[test]
fn fragments_from_inside_get_the_external_endpoint() {
    let mut bench = Bench::new(NatConfig {
        port_range: 7000..=7000,
        ..NatConfig::default()
    });
    let mut send = |part| bench.nat.outbound_fragment(NOW, part, &mut bench.rng);
    let outside = |part| Fragment {
        source: address(EXTERNAL),
        ..part
    };
    let first = |port| part(0, MoreFragments::Follow, Some((port, 3478)));
    let last = part(8, MoreFragments::None, None);
    assert_eq!(send(last), FragmentVerdict::Hold);
    assert_eq!(
        send(first(5000)),
        FragmentVerdict::Forward(vec![outside(first(7000)), outside(last)])
    );
    assert_eq!(send(last), FragmentVerdict::Forward(vec![outside(last)]));
}

/// How many fragments go on when the first one comes so long after the last one.
#[track_caller]
fn check_held(wait: Duration, expected: usize) {
    let mut bench = Bench::new(NatConfig::default());
    let last = part(8, MoreFragments::None, None);
    let held = bench.nat.outbound_fragment(NOW, last, &mut bench.rng);
    assert_eq!(held, FragmentVerdict::Hold);
    let first = part(0, MoreFragments::Follow, Some((5000, 3478)));
    let led = bench.nat.outbound_fragment(wait, first, &mut bench.rng);
    match led {
        FragmentVerdict::Forward(parts) => assert_eq!(parts.len(), expected, "after {wait:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fragment_waits_for_its_packet_for_half_a_minute() {
    check_held(
        REASSEMBLY_TIMEOUT.saturating_sub(Duration::from_nanos(1)),
        2,
    );
    check_held(REASSEMBLY_TIMEOUT, 1);
}

#[test]
fn a_nat_says_how_it_behaves() {
    let config = NatPreset::LinuxRouter.config();
    assert_eq!(Bench::new(config.clone()).nat.config(), &config);
}

#[test]
fn a_connection_that_goes_on_after_a_reset_lives_on() {
    let mut bench = Bench::new(NatConfig::default());
    let mapped = forwarded(bench.send_tcp(NOW, ALICE, SERVER, TcpSignal::SYN)).source;
    forwarded(bench.receive_tcp(NOW, SERVER, mapped, TcpSignal::SYN_ACK));
    forwarded(bench.receive_tcp(NOW, SERVER, mapped, TcpSignal::RST));
    forwarded(bench.send_tcp(NOW, ALICE, SERVER, TcpSignal::ACK));
    assert_eq!(bench.nat.live_mappings(minutes(123)), 1);
}

/// What a segment in the middle of a connection meets at a NAT that has restarted.
#[track_caller]
fn check_unknown(unknown_tcp: UnknownTcp, from_inside: Verdict, from_outside: Verdict) {
    let mut bench = Bench::new(NatConfig {
        unknown_tcp,
        ..NatConfig::default()
    });
    let mapped = forwarded(bench.send_tcp(NOW, ALICE, SERVER, TcpSignal::SYN)).source;
    bench.nat.restart(vec![address(EXTERNAL)]);
    assert_eq!(
        bench.receive_tcp(NOW, SERVER, mapped, TcpSignal::ACK),
        from_outside
    );
    assert_eq!(
        bench.send_tcp(NOW, ALICE, SERVER, TcpSignal::ACK),
        from_inside
    );
}

#[test]
fn an_unknown_segment_is_dropped_refused_or_adopted() {
    let (inside, outside) = (DropCause::NatUnknownTcp, DropCause::NatNoMapping);
    check_unknown(
        UnknownTcp::Silent,
        Verdict::Drop(inside),
        Verdict::Drop(outside),
    );
    check_unknown(
        UnknownTcp::Reset,
        Verdict::Refuse(inside),
        Verdict::Refuse(outside),
    );
    let goes_on = Flow::tcp(endpoint("203.0.113.1:5000"), endpoint(SERVER));
    check_unknown(
        UnknownTcp::Adopted,
        Verdict::Forward(goes_on),
        Verdict::Drop(outside),
    );
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_unknown_although_the_port_lives_on() {
    let mut bench = Bench::new(NatConfig {
        unknown_tcp: UnknownTcp::Reset,
        ..NatConfig::default()
    });
    forwarded(bench.send_tcp(NOW, ALICE, SERVER, TcpSignal::SYN));
    forwarded(bench.send_tcp(minutes(3), ALICE, STRANGER, TcpSignal::SYN));
    assert_eq!(
        bench.send_tcp(minutes(4), ALICE, SERVER, TcpSignal::ACK),
        Verdict::Refuse(DropCause::NatUnknownTcp)
    );
}

#[test]
fn an_unsolicited_connection_attempt_is_refused_only_where_configured() {
    for (unsolicited_syn, expected) in [
        (
            UnsolicitedSyn::Silent,
            Verdict::Drop(DropCause::NatUnsolicitedTcp),
        ),
        (
            UnsolicitedSyn::Reset,
            Verdict::Refuse(DropCause::NatUnsolicitedTcp),
        ),
    ] {
        let mut bench = Bench::new(NatConfig {
            unsolicited_syn,
            ..NatConfig::default()
        });
        let mapped = forwarded(bench.send_tcp(NOW, ALICE, SERVER, TcpSignal::SYN)).source;
        for destination in [mapped, endpoint("203.0.113.1:9")] {
            assert_eq!(
                bench.receive_tcp(NOW, STRANGER, destination, TcpSignal::SYN),
                expected
            );
        }
    }
}

#[test]
fn a_restarted_nat_may_have_a_new_address() {
    let mut bench = Bench::new(NatPreset::FullCone);
    let old = bench.mapped(NOW, ALICE, SERVER);
    bench.nat.restart(vec![address(SECOND_EXTERNAL)]);
    assert_eq!(bench.nat.externals(), [address(SECOND_EXTERNAL)]);
    assert_eq!(
        bench.receive(NOW, SERVER, old),
        Verdict::Drop(DropCause::NatNoMapping)
    );
    let new = bench.mapped(NOW, ALICE, SERVER);
    assert_eq!(new.ip(), address(SECOND_EXTERNAL));
}

#[test]
fn a_flush_forgets_all_mappings_and_says_how_many() {
    let mut bench = Bench::new(NatPreset::FullCone);
    let mapped = bench.mapped(NOW, ALICE, SERVER);
    bench.mapped(NOW, BOB, SERVER);
    assert_eq!(bench.nat.flush(), 2);
    assert_eq!(
        bench.receive(NOW, SERVER, mapped),
        Verdict::Drop(DropCause::NatNoMapping)
    );
    assert_eq!(bench.nat.flush(), 0);
    assert_eq!(bench.nat.externals(), [address(EXTERNAL)]);
}

#[test]
fn a_rebinding_moves_every_live_mapping_and_keeps_its_sessions() {
    for preset in NatPreset::ALL {
        let mut bench = Bench::new(preset);
        let old = [ALICE, BOB].map(|inside| bench.mapped(NOW, inside, SERVER));
        assert_eq!(bench.nat.rebind(NOW, &mut bench.rng), 2, "{preset}");
        for (inside, old) in [ALICE, BOB].into_iter().zip(old) {
            assert_eq!(
                bench.receive(NOW, SERVER, old),
                Verdict::Drop(DropCause::NatNoMapping),
                "{preset}"
            );
            let new = bench.mapped(NOW, inside, SERVER);
            assert_ne!(new, old, "{preset}");
            let reply = forwarded(bench.receive(NOW, SERVER, new));
            assert_eq!(reply.destination, endpoint(inside), "{preset}");
        }
    }
}

#[test]
fn a_rebinding_keeps_the_filter_open_and_lets_the_dead_rest() {
    let mut bench = Bench::new(NatPreset::PortRestricted);
    bench.mapped(NOW, ALICE, SERVER);
    bench.mapped(minutes(4), BOB, SERVER);
    assert_eq!(bench.nat.rebind(minutes(5), &mut bench.rng), 1);
    let key = bench.nat.table.keys()[0];
    let new = bench.nat.table.get(&key).expect("a binding").external;
    let inside = forwarded(bench.receive(minutes(5), SERVER, new));
    assert_eq!(inside.destination, endpoint(BOB), "before BOB sends again");
}

#[test]
fn ten_thousand_mappings_each_get_a_port_and_all_are_forgotten() {
    let mut bench = Bench::new(NatConfig {
        port_allocation: PortAllocation::Random,
        ..NatConfig::default()
    });
    let ports: BTreeSet<_> = (0..10_000_u16)
        .map(|index| {
            let [high, low] = index.to_be_bytes();
            let inside = SocketAddr::from(([10, 0, high, low], 5000));
            let flow = Flow::udp(inside, endpoint(SERVER));
            forwarded(bench.nat.outbound(NOW, flow, None, &mut bench.rng)).source
        })
        .collect();
    assert_eq!(ports.len(), 10_000);
    assert_eq!(bench.nat.live_mappings(minutes(4)), 10_000);
    assert_eq!(bench.nat.live_mappings(minutes(5)), 0);
    assert!(bench.nat.table.is_clean());
}

#[test]
fn an_icmp_error_about_nothing_that_went_out_is_dropped() {
    let mut bench = Bench::new(NatConfig::default());
    let error = IcmpError {
        kind: IcmpErrorKind::TimeExceeded,
        source: address("198.51.100.254"),
        destination: address(EXTERNAL),
        quoted: Flow::udp(endpoint("203.0.113.1:9"), endpoint(SERVER)),
    };
    assert_eq!(
        bench.nat.inbound_icmp(NOW, error),
        IcmpVerdict::Drop(DropCause::NatNoMapping)
    );
}

#[test]
fn an_icmp_error_from_inside_names_the_external_endpoint() {
    let mut bench = Bench::new(NatConfig::default());
    let mapped = bench.mapped(NOW, ALICE, SERVER);
    let error = IcmpError {
        kind: IcmpErrorKind::Unreachable,
        source: address("192.168.1.2"),
        destination: address("192.0.2.1"),
        quoted: Flow::udp(endpoint(SERVER), endpoint(ALICE)),
    };
    let expected = IcmpError {
        source: mapped.ip(),
        quoted: Flow::udp(endpoint(SERVER), mapped),
        ..error
    };
    assert_eq!(
        bench.nat.outbound_icmp(NOW, error),
        IcmpVerdict::Forward(expected)
    );
}

/// How many mappings are left after an ICMP error from inside.
#[track_caller]
fn check_icmp_from_inside(icmp_errors: IcmpErrors, expected: usize) {
    let mut bench = Bench::new(NatConfig {
        icmp_errors,
        ..NatConfig::default()
    });
    bench.mapped(NOW, ALICE, SERVER);
    bench.nat.outbound_icmp(
        NOW,
        IcmpError {
            kind: IcmpErrorKind::Unreachable,
            source: endpoint(ALICE).ip(),
            destination: endpoint(SERVER).ip(),
            quoted: Flow::udp(endpoint(SERVER), endpoint(ALICE)),
        },
    );
    assert_eq!(bench.nat.live_mappings(NOW), expected, "{icmp_errors:?}");
}

#[test]
fn an_icmp_error_from_inside_ends_a_mapping_only_where_configured() {
    check_icmp_from_inside(IcmpErrors::Translated, 1);
    check_icmp_from_inside(IcmpErrors::Dropped, 1);
    check_icmp_from_inside(IcmpErrors::MappingEnds, 0);
}

#[test]
fn nat64_sends_an_icmp_error_from_inside_to_the_address_that_the_outside_knows() {
    let mut bench = nat64();
    let mapped = bench.mapped(NOW, ALICE_6, SERVER_6);
    let error = IcmpError {
        kind: IcmpErrorKind::TimeExceeded,
        source: endpoint(ALICE_6).ip(),
        destination: endpoint(SERVER_6).ip(),
        quoted: Flow::udp(endpoint(SERVER_6), endpoint(ALICE_6)),
    };
    let expected = IcmpError {
        kind: IcmpErrorKind::TimeExceeded,
        source: mapped.ip(),
        destination: endpoint(SERVER).ip(),
        quoted: Flow::udp(endpoint(SERVER), mapped),
    };
    assert_eq!(
        bench.nat.outbound_icmp(NOW, error),
        IcmpVerdict::Forward(expected)
    );
}

#[test]
fn an_icmp_error_keeps_no_mapping_alive() {
    let mut bench = Bench::new(NatConfig::default());
    let mapped = bench.mapped(NOW, ALICE, SERVER);
    let error = IcmpError {
        kind: IcmpErrorKind::Unreachable,
        source: address("192.0.2.1"),
        destination: mapped.ip(),
        quoted: Flow::udp(mapped, endpoint(SERVER)),
    };
    bench.nat.inbound_icmp(minutes(4), error);
    assert_eq!(bench.nat.live_mappings(minutes(5)), 0);
}

fn nat64() -> Bench {
    Bench::new(NatConfig {
        translation: Translation::Nat64,
        ..NatConfig::default()
    })
}

#[test]
fn nat64_translates_there_and_back() {
    let mut bench = nat64();
    let outside = forwarded(bench.send(NOW, ALICE_6, SERVER_6));
    let expected = Flow::udp(endpoint("203.0.113.1:5000"), endpoint(SERVER));
    assert_eq!(outside, expected);
    let inside = forwarded(bench.nat.inbound(NOW, outside.reversed(), None));
    assert_eq!(inside, Flow::udp(endpoint(SERVER_6), endpoint(ALICE_6)));
}

#[test]
fn nat64_hairpins_through_its_embedded_address() {
    let mut bench = Bench::new(NatConfig {
        translation: Translation::Nat64,
        ..NatPreset::FullCone.config()
    });
    let bob = "[2001:db8::3]:6000";
    bench.mapped(NOW, ALICE_6, SERVER_6);
    bench.mapped(NOW, bob, SERVER_6);
    let inside = forwarded(bench.send(NOW, bob, "[64:ff9b::203.0.113.1]:5000"));
    let seen = endpoint("[64:ff9b::203.0.113.1]:6000");
    assert_eq!(inside, Flow::udp(seen, endpoint(ALICE_6)));
}

#[test]
fn nat64_translates_icmp_errors_with_the_addresses_that_they_quote() {
    let mut bench = nat64();
    let outside = forwarded(bench.send(NOW, ALICE_6, SERVER_6));
    let error = IcmpError {
        kind: IcmpErrorKind::Unreachable,
        source: address("198.51.100.254"),
        destination: outside.source.ip(),
        quoted: outside,
    };
    let router = embedded("198.51.100.254".parse().expect("an address"));
    let expected = IcmpError {
        kind: IcmpErrorKind::Unreachable,
        source: router.into(),
        destination: endpoint(ALICE_6).ip(),
        quoted: Flow::udp(endpoint(ALICE_6), endpoint(SERVER_6)),
    };
    assert_eq!(
        bench.nat.inbound_icmp(NOW, error),
        IcmpVerdict::Forward(expected)
    );
}

#[test]
fn a_packet_of_the_wrong_family_is_dropped() {
    let refused = Verdict::Drop(DropCause::NatWrongFamily);
    let mut bench = nat64();
    assert_eq!(bench.send(NOW, ALICE, SERVER), refused);
    assert_eq!(
        bench.send(NOW, ALICE_6, "[2001:db8:1::1]:3478"),
        refused,
        "it embeds no address"
    );
    let mut bench = Bench::new(NatConfig::default());
    assert_eq!(
        bench.send(NOW, ALICE_6, "[2001:db8:1::1]:3478"),
        refused,
        "the pool has no such address"
    );
    let mut bench = Bench::with_pool(&[], NatConfig::default());
    assert_eq!(bench.send(NOW, ALICE, SERVER), refused);
}
