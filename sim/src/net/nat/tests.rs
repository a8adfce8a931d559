//! What a NAT does: the bench for all tests, and the tests dimension by dimension.

use std::collections::BTreeSet;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;

mod dimensions;
mod properties;
mod requirements;

const EXTERNAL: &str = "203.0.113.1";
const ALICE: &str = "192.168.1.2:5000";
const BOB: &str = "192.168.1.3:5000";
const SERVER: &str = "192.0.2.1:3478";
/// The same address as [`SERVER`], another port.
const SERVER_ALTERNATE: &str = "192.0.2.1:3479";
const STRANGER: &str = "198.51.100.9:40000";

fn endpoint(text: &str) -> SocketAddr {
    text.parse().expect("a socket address")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

/// A NAT with its generator, and short hands for the two directions.
struct Bench {
    nat: Nat,
    rng: ChaCha8Rng,
}

impl Bench {
    fn new(config: impl Into<NatConfig>) -> Self {
        Self::with_pool(&[EXTERNAL], config)
    }

    fn with_pool(pool: &[&str], config: impl Into<NatConfig>) -> Self {
        let pool = pool.iter().map(|text| address(text)).collect();
        Self {
            nat: Nat::new(pool, config.into()),
            rng: ChaCha8Rng::seed_from_u64(1),
        }
    }

    fn with_behavior(mapping: Mapping, filtering: Filtering) -> Self {
        Self::new(NatConfig {
            mapping,
            filtering,
            ..NatConfig::default()
        })
    }

    fn send(&mut self, now: Duration, source: &str, destination: &str) -> Verdict {
        let flow = Flow::udp(endpoint(source), endpoint(destination));
        self.nat.outbound(now, flow, None, &mut self.rng)
    }

    fn send_tcp(
        &mut self,
        now: Duration,
        source: &str,
        destination: &str,
        signal: TcpSignal,
    ) -> Verdict {
        let flow = Flow::tcp(endpoint(source), endpoint(destination));
        self.nat.outbound(now, flow, Some(signal), &mut self.rng)
    }

    /// The external address and port of a UDP packet that has to pass.
    fn mapped(&mut self, now: Duration, source: &str, destination: &str) -> SocketAddr {
        forwarded(self.send(now, source, destination)).source
    }

    fn receive(&mut self, now: Duration, source: &str, destination: SocketAddr) -> Verdict {
        self.nat
            .inbound(now, Flow::udp(endpoint(source), destination), None)
    }

    fn receive_tcp(
        &mut self,
        now: Duration,
        source: &str,
        destination: SocketAddr,
        signal: TcpSignal,
    ) -> Verdict {
        self.nat
            .inbound(now, Flow::tcp(endpoint(source), destination), Some(signal))
    }
}

#[track_caller]
fn forwarded(verdict: Verdict) -> Flow {
    match verdict {
        Verdict::Forward(flow) => flow,
        Verdict::Drop(cause) | Verdict::Refuse(cause) => panic!("dropped: {cause}"),
    }
}

/// Sends to three destinations and receives from each of them and a stranger at the first mapping.
#[track_caller]
fn check_behavior(mapping: Mapping, filtering: Filtering) {
    let mut bench = Bench::with_behavior(mapping, filtering);
    let first = bench.mapped(Duration::ZERO, ALICE, SERVER);
    let passes = [SERVER, SERVER_ALTERNATE, STRANGER].map(|source| {
        matches!(
            bench.receive(Duration::ZERO, source, first),
            Verdict::Forward(_)
        )
    });
    let expected_passes = match filtering {
        Filtering::EndpointIndependent => [true, true, true],
        Filtering::AddressDependent => [true, true, false],
        Filtering::AddressAndPortDependent => [true, false, false],
    };
    assert_eq!(passes, expected_passes, "filtering");

    let reused = [SERVER, SERVER_ALTERNATE, STRANGER]
        .map(|destination| bench.mapped(Duration::ZERO, ALICE, destination) == first);
    let expected_reused = match mapping {
        Mapping::EndpointIndependent => [true, true, true],
        Mapping::AddressDependent => [true, true, false],
        Mapping::AddressAndPortDependent => [true, false, false],
    };
    assert_eq!(reused, expected_reused, "mapping");
}

macro_rules! behaviors {
    ($($name:ident: $mapping:ident, $filtering:ident;)*) => {
        $(
            #[test]
            fn $name() {
                check_behavior(Mapping::$mapping, Filtering::$filtering);
            }
        )*
    };
}

behaviors! {
    independent_mapping_independent_filter: EndpointIndependent, EndpointIndependent;
    independent_mapping_address_filter: EndpointIndependent, AddressDependent;
    independent_mapping_port_filter: EndpointIndependent, AddressAndPortDependent;
    address_mapping_independent_filter: AddressDependent, EndpointIndependent;
    address_mapping_address_filter: AddressDependent, AddressDependent;
    address_mapping_port_filter: AddressDependent, AddressAndPortDependent;
    port_mapping_independent_filter: AddressAndPortDependent, EndpointIndependent;
    port_mapping_address_filter: AddressAndPortDependent, AddressDependent;
    port_mapping_port_filter: AddressAndPortDependent, AddressAndPortDependent;
}

#[test]
fn packets_are_rewritten_to_the_mapping_and_back() {
    let mut bench = Bench::new(NatConfig::default());
    let outside = forwarded(bench.send(Duration::ZERO, ALICE, SERVER));
    assert_eq!(
        outside.to_string(),
        "udp 203.0.113.1:5000 -> 192.0.2.1:3478"
    );
    let inside = forwarded(bench.nat.inbound(Duration::ZERO, outside.reversed(), None));
    assert_eq!(inside.to_string(), "udp 192.0.2.1:3478 -> 192.168.1.2:5000");
}

#[test]
fn drops_name_their_cause() {
    let mut bench = Bench::new(NatPreset::PortRestricted);
    let unmapped = endpoint("203.0.113.1:9");
    assert_eq!(
        bench.receive(Duration::ZERO, SERVER, unmapped),
        Verdict::Drop(DropCause::NatNoMapping)
    );
    let mapped = bench.mapped(Duration::ZERO, ALICE, SERVER);
    assert_eq!(
        bench.receive(Duration::ZERO, STRANGER, mapped),
        Verdict::Drop(DropCause::NatFiltered)
    );
}

#[test]
fn two_hosts_with_the_same_port_get_different_external_ports() {
    let mut bench = Bench::new(NatConfig::default());
    assert_eq!(bench.mapped(Duration::ZERO, ALICE, SERVER).port(), 5000);
    assert_eq!(bench.mapped(Duration::ZERO, BOB, SERVER).port(), 5002);
    let tcp = forwarded(bench.send_tcp(Duration::ZERO, BOB, SERVER, TcpSignal::SYN));
    assert_eq!(
        tcp.source.port(),
        5000,
        "udp and tcp ports are counted apart"
    );
}

#[test]
fn a_mapping_expires_when_idle_and_frees_its_port() {
    let mut bench = Bench::new(NatConfig::default());
    let mapped = bench.mapped(Duration::ZERO, ALICE, SERVER);
    let last_moment = minutes(5).saturating_sub(Duration::from_nanos(1));
    forwarded(bench.receive(last_moment, SERVER, mapped));
    let idle = last_moment + minutes(5);
    assert_eq!(
        bench.receive(idle, SERVER, mapped),
        Verdict::Drop(DropCause::NatNoMapping)
    );
    assert_eq!(
        bench.mapped(idle, BOB, SERVER),
        mapped,
        "the port is free again"
    );
}

#[test]
fn inbound_packets_refresh_only_where_configured() {
    let refresh = Refresh::Outbound;
    let udp_timer = UdpTimer {
        refresh,
        ..UdpTimer::default()
    };
    let mut bench = Bench::new(NatConfig {
        udp_timer,
        ..NatConfig::default()
    });
    let mapped = bench.mapped(Duration::ZERO, ALICE, SERVER);
    forwarded(bench.receive(minutes(4), SERVER, mapped));
    assert_eq!(
        bench.receive(minutes(5), SERVER, mapped),
        Verdict::Drop(DropCause::NatNoMapping)
    );
}

#[test]
fn outbound_packets_always_refresh() {
    for refresh in [Refresh::Outbound, Refresh::Both] {
        let udp_timer = UdpTimer {
            refresh,
            ..UdpTimer::default()
        };
        let mut bench = Bench::new(NatConfig {
            udp_timer,
            ..NatConfig::default()
        });
        let mapped = bench.mapped(Duration::ZERO, ALICE, SERVER);
        assert_eq!(bench.mapped(minutes(4), ALICE, SERVER), mapped);
        forwarded(bench.receive(minutes(8), SERVER, mapped));
    }
}

#[test]
fn traffic_with_one_peer_keeps_the_port_but_not_the_filter_of_another() {
    let mut bench = Bench::new(NatPreset::PortRestricted);
    let mapped = bench.mapped(Duration::ZERO, ALICE, SERVER);
    bench.mapped(Duration::ZERO, ALICE, STRANGER);
    for minute in 1..10 {
        assert_eq!(bench.mapped(minutes(minute), ALICE, SERVER), mapped);
    }
    assert_eq!(
        bench.receive(minutes(9), STRANGER, mapped),
        Verdict::Drop(DropCause::NatFiltered)
    );
}

#[test]
fn exhausted_ports_are_a_drop_and_no_overloading() {
    let mut bench = Bench::new(NatConfig {
        port_range: 7000..=7000,
        ..NatConfig::default()
    });
    assert_eq!(bench.mapped(Duration::ZERO, ALICE, SERVER).port(), 7000);
    assert_eq!(
        bench.send(Duration::ZERO, BOB, SERVER),
        Verdict::Drop(DropCause::NatPortsExhausted)
    );
    assert_eq!(
        bench.mapped(minutes(5), BOB, SERVER).port(),
        7000,
        "after expiry"
    );
}

#[test]
fn a_hairpinned_packet_has_the_external_source_and_passes_the_filter() {
    let mut bench = Bench::new(NatPreset::PortRestricted);
    let alice = bench.mapped(Duration::ZERO, ALICE, SERVER).to_string();
    let bob = bench.mapped(Duration::ZERO, BOB, SERVER).to_string();
    assert_eq!(
        bench.send(Duration::ZERO, ALICE, &bob),
        Verdict::Drop(DropCause::NatFiltered),
        "bob has not sent yet"
    );
    let inside = forwarded(bench.send(Duration::ZERO, BOB, &alice));
    assert_eq!(inside, Flow::udp(endpoint(&bob), endpoint(ALICE)));
}

#[test]
fn a_nat_without_hairpinning_drops_and_maps_nothing() {
    let mut bench = Bench::new(NatPreset::Symmetric);
    assert_eq!(
        bench.send(Duration::ZERO, ALICE, "203.0.113.1:5001"),
        Verdict::Drop(DropCause::NatHairpinRefused)
    );
    assert_eq!(bench.nat.live_mappings(Duration::ZERO), 0);
}

/// Connects from outside to a mapped TCP port: from the server that was spoken to, from another port
/// of it, and from a stranger.
#[track_caller]
fn check_tcp_filter(filtering: Filtering, expected: [bool; 3]) {
    let now = Duration::ZERO;
    let mut bench = Bench::with_behavior(Mapping::EndpointIndependent, filtering);
    let mapped = forwarded(bench.send_tcp(now, ALICE, SERVER, TcpSignal::SYN)).source;
    let passes = [SERVER, SERVER_ALTERNATE, STRANGER].map(|source| {
        let verdict = bench.receive_tcp(now, source, mapped, TcpSignal::SYN);
        match verdict {
            Verdict::Forward(_) => true,
            Verdict::Drop(DropCause::NatUnsolicitedTcp) => false,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(passes, expected, "{filtering:?}");
    let nowhere = endpoint("203.0.113.1:9");
    assert_eq!(
        bench.receive_tcp(now, STRANGER, nowhere, TcpSignal::SYN),
        Verdict::Drop(DropCause::NatUnsolicitedTcp)
    );
}

#[test]
fn tcp_connections_from_outside_pass_the_same_filter_as_udp() {
    check_tcp_filter(Filtering::EndpointIndependent, [true, true, true]);
    check_tcp_filter(Filtering::AddressDependent, [true, true, false]);
    check_tcp_filter(Filtering::AddressAndPortDependent, [true, false, false]);
}

#[test]
fn a_segment_in_the_middle_of_no_connection_does_not_pass_the_most_open_filter() {
    let mut bench = Bench::new(NatPreset::FullCone);
    let now = Duration::ZERO;
    let mapped = forwarded(bench.send_tcp(now, ALICE, SERVER, TcpSignal::SYN)).source;
    assert_eq!(
        bench.receive_tcp(now, STRANGER, mapped, TcpSignal::ACK),
        Verdict::Drop(DropCause::NatUnknownTcp)
    );
}

#[test]
fn simultaneous_open_passes() {
    let mut bench = Bench::new(NatPreset::PortRestricted);
    let now = Duration::ZERO;
    let mapped = forwarded(bench.send_tcp(now, ALICE, STRANGER, TcpSignal::SYN)).source;
    forwarded(bench.receive_tcp(now, STRANGER, mapped, TcpSignal::SYN));
}

#[test]
fn tcp_outlives_two_hours_only_when_established() {
    let mut bench = Bench::new(NatConfig::default());
    let now = Duration::ZERO;
    let half_open = forwarded(bench.send_tcp(now, ALICE, STRANGER, TcpSignal::SYN)).source;
    let open = forwarded(bench.send_tcp(now, BOB, SERVER, TcpSignal::SYN)).source;
    forwarded(bench.receive_tcp(now, SERVER, open, TcpSignal::SYN_ACK));
    assert_eq!(
        bench.receive_tcp(minutes(4), STRANGER, half_open, TcpSignal::SYN_ACK),
        Verdict::Drop(DropCause::NatNoMapping)
    );
    let later = minutes(124).saturating_sub(Duration::from_secs(1));
    forwarded(bench.receive_tcp(later, SERVER, open, TcpSignal::FIN_ACK));
    forwarded(bench.send_tcp(later, BOB, SERVER, TcpSignal::FIN_ACK));
    assert_eq!(
        bench.receive_tcp(later + minutes(4), SERVER, open, TcpSignal::ACK),
        Verdict::Drop(DropCause::NatNoMapping),
        "a closing connection is transitory"
    );
}

#[test]
fn a_reset_of_an_unknown_connection_makes_no_mapping() {
    let mut bench = Bench::new(NatConfig::default());
    assert_eq!(
        bench.send_tcp(Duration::ZERO, ALICE, SERVER, TcpSignal::RST),
        Verdict::Drop(DropCause::NatUnknownTcp)
    );
    assert_eq!(bench.nat.live_mappings(Duration::ZERO), 0);
}

#[test]
fn a_restarted_nat_has_forgotten_everything() {
    let mut bench = Bench::new(NatPreset::FullCone);
    let mapped = bench.mapped(Duration::ZERO, ALICE, SERVER);
    bench.nat.restart(vec![address(EXTERNAL)]);
    assert_eq!(
        bench.receive(Duration::ZERO, SERVER, mapped),
        Verdict::Drop(DropCause::NatNoMapping)
    );
}
