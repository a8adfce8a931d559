//! What holds for every NAT and all traffic.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn any_config() -> impl Strategy<Value = NatConfig> {
    (
        prop::sample::select(Mapping::ALL.to_vec()),
        prop::sample::select(Filtering::ALL.to_vec()),
        prop::sample::select(vec![
            PortAllocation::Preserving,
            PortAllocation::Sequential,
            PortAllocation::Random,
            PortAllocation::Overlapping,
        ]),
        prop::sample::select(vec![Refresh::Outbound, Refresh::Both]),
        1_u64..600,
        prop::sample::select(vec![Hairpin::Translated, Hairpin::Refused]),
    )
        .prop_map(
            |(mapping, filtering, port_allocation, refresh, idle_secs, hairpin)| NatConfig {
                // Overlapping keeps hosts apart by their remote endpoints, so mappings have to.
                mapping: match port_allocation {
                    PortAllocation::Overlapping => Mapping::AddressAndPortDependent,
                    _ => mapping,
                },
                filtering,
                port_allocation,
                udp_timer: UdpTimer {
                    idle: Duration::from_secs(idle_secs),
                    refresh,
                    ..UdpTimer::default()
                },
                hairpin,
                ..NatConfig::default()
            },
        )
}

/// A few addresses and ports, so that packets often have one or both in common.
fn outside_endpoint() -> impl Strategy<Value = SocketAddr> {
    (1_u8..4, 1_u16..4).prop_map(|(host, port)| SocketAddr::from(([192, 0, 2, host], port)))
}

fn inside_endpoint() -> impl Strategy<Value = SocketAddr> {
    (2_u8..5, 5000_u16..5003).prop_map(|(host, port)| SocketAddr::from(([192, 168, 1, host], port)))
}

/// What inside hosts send, with the pause before each packet in seconds.
fn traffic() -> impl Strategy<Value = Vec<(u64, SocketAddr, SocketAddr)>> {
    prop::collection::vec((0_u64..120, inside_endpoint(), outside_endpoint()), 1..40)
}

proptest! {
    #[test]
    fn a_reply_within_the_timer_always_comes_back(
        config in any_config(),
        traffic in traffic(),
        wait_share in 0.0..1.0_f64,
        seed: u64,
    ) {
        let idle = config.udp_timer.idle;
        let mut bench = Bench::new(config);
        bench.rng = ChaCha8Rng::seed_from_u64(seed);
        let mut now = Duration::ZERO;
        for (pause_secs, source, destination) in traffic {
            now += Duration::from_secs(pause_secs);
            let flow = Flow::udp(source, destination);
            let outside = forwarded(bench.nat.outbound(now, flow, None, &mut bench.rng));
            prop_assert_eq!(outside.destination, destination);
            let mut reply_nat = bench.nat.clone();
            let reply_at = now + idle.mul_f64(wait_share * 0.999);
            let inside = reply_nat.inbound(reply_at, outside.reversed(), None);
            prop_assert_eq!(inside, Verdict::Forward(flow.reversed()));
        }
    }

    #[test]
    fn nothing_unsolicited_passes_a_filter_that_forbids_it(
        config in any_config(),
        traffic in traffic(),
        sender in outside_endpoint(),
        port in 4990_u16..5020,
        seed: u64,
    ) {
        let filtering = config.filtering;
        let mut bench = Bench::new(config);
        bench.rng = ChaCha8Rng::seed_from_u64(seed);
        let mut now = Duration::ZERO;
        let mut contacted = Vec::new();
        for (pause_secs, source, destination) in traffic {
            now += Duration::from_secs(pause_secs);
            let flow = Flow::udp(source, destination);
            let outside = forwarded(bench.nat.outbound(now, flow, None, &mut bench.rng)).source;
            contacted.push((source, outside, destination));
        }
        let external = bench.nat.externals()[0];
        for target in contacted
            .iter()
            .map(|(_, outside, _)| *outside)
            .chain([SocketAddr::new(external, port)])
        {
            let verdict = bench.nat.clone().inbound(now, Flow::udp(sender, target), None);
            if let Verdict::Forward(inside) = verdict {
                let invited = contacted.iter().any(|(source, outside, remote)| {
                    *source == inside.destination && *outside == target && match filtering {
                        Filtering::EndpointIndependent => true,
                        Filtering::AddressDependent => remote.ip() == sender.ip(),
                        Filtering::AddressAndPortDependent => *remote == sender,
                    }
                });
                prop_assert!(invited, "{sender} got in to {target}");
            }
        }
    }

    #[test]
    fn no_two_mappings_share_an_external_endpoint_unless_ports_are_overloaded(
        config in any_config(),
        traffic in traffic(),
        rebinds in prop::collection::vec(any::<bool>(), 40),
        seed: u64,
    ) {
        prop_assume!(config.port_allocation != PortAllocation::Overlapping);
        let mut bench = Bench::with_pool(&[EXTERNAL, "203.0.113.2"], config);
        bench.rng = ChaCha8Rng::seed_from_u64(seed);
        let mut now = Duration::ZERO;
        for ((pause_secs, source, destination), rebinds) in traffic.into_iter().zip(rebinds) {
            now += Duration::from_secs(pause_secs);
            for flow in [Flow::udp(source, destination), Flow::tcp(source, destination)] {
                let signal = Some(TcpSignal::SYN);
                forwarded(bench.nat.outbound(now, flow, signal, &mut bench.rng));
            }
            if rebinds {
                bench.nat.rebind(now, &mut bench.rng);
            }
            let mut owners = BTreeMap::new();
            for key in bench.nat.table.keys() {
                let external = bench.nat.table.get(&key).expect("a binding").external;
                let other = owners.insert((key.protocol, external), key);
                prop_assert_eq!(other, None, "{} twice", external);
            }
        }
    }

    #[test]
    fn an_idle_nat_ends_up_empty(config in any_config(), traffic in traffic(), seed: u64) {
        let mut bench = Bench::new(config);
        bench.rng = ChaCha8Rng::seed_from_u64(seed);
        let mut now = Duration::ZERO;
        for (pause_secs, source, destination) in traffic {
            now += Duration::from_secs(pause_secs);
            for (flow, signal) in [
                (Flow::udp(source, destination), TcpSignal::ACK),
                (Flow::tcp(source, destination), TcpSignal::SYN),
                (Flow::tcp(source, destination), TcpSignal::RST),
            ] {
                let verdict = bench.nat.outbound(now, flow, Some(signal), &mut bench.rng);
                let outside = forwarded(verdict);
                bench.nat.inbound(now, outside.reversed(), Some(TcpSignal::SYN_ACK));
            }
        }
        prop_assert!(bench.nat.live_mappings(now) > 0);
        prop_assert_eq!(bench.nat.live_mappings(now + minutes(125)), 0);
        prop_assert!(bench.nat.table.is_clean());
    }
}
