//! What a STUN probe sees of the NATs of the world.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand09::Rng as _;
use ringtrue_sim::net::nat::{
    Filtering, Hairpin, Mapping, NatConfig, NatPreset, PortAllocation, Refresh, UdpTimer,
};
use ringtrue_sim::probe::{Agreement, Classification, classify_nat};
use ringtrue_sim::seed::Seed;

/// How exactly a lifetime has to be found: the precision of the search, and what packets take in the
/// world of the probe.
const LIFETIME_WIDTH_MAX: Duration = Duration::from_secs(8);

#[track_caller]
fn classification(config: &NatConfig, seed: u64) -> Classification {
    classify_nat(config, Seed::new(seed)).unwrap_or_else(|error| panic!("{config:?}: {error}"))
}

fn random_nat(number: u64) -> NatConfig {
    let key = Seed::new(number).stream_key("random nat");
    let mut rng = <rand09::rngs::StdRng as rand09::SeedableRng>::from_seed(key);
    let mut third = || rng.random_range(0..3);
    let (mapping, filtering, ports) = (third(), third(), third());
    NatConfig {
        mapping: Mapping::ALL[mapping],
        filtering: Filtering::ALL[filtering],
        port_allocation: [
            PortAllocation::Preserving,
            PortAllocation::Sequential,
            PortAllocation::Random,
        ][ports],
        udp_timer: UdpTimer {
            idle: Duration::from_millis(rng.random_range(20_000..=600_000)),
            refresh: [Refresh::Outbound, Refresh::Both][rng.random_range(0..2)],
            ..UdpTimer::default()
        },
        hairpin: [
            Hairpin::Translated,
            Hairpin::InternalSource,
            Hairpin::Refused,
        ][rng.random_range(0..3)],
        ..NatConfig::default()
    }
}

/// Whether there is anything to be seen of the hairpin: a packet can be aimed so that it comes back.
fn shows_its_hairpin(config: &NatConfig) -> bool {
    config.mapping == Mapping::EndpointIndependent
        || config.filtering == Filtering::EndpointIndependent
        || config.port_allocation != PortAllocation::Random
}

#[test]
fn the_probe_agrees_with_the_configuration_of_500_random_nats() {
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= 500 {
                return;
            }
            let config = random_nat(number);
            let seen = classification(&config, number);
            assert_eq!(
                seen.agreement_with(&config),
                Agreement::Agrees,
                "NAT {number} is {config:?}, and the probe sees {seen}"
            );
            assert_eq!(
                seen.hairpin.is_some(),
                shows_its_hairpin(&config),
                "NAT {number} is {config:?}, and the probe sees {seen}"
            );
            let lifetime = seen.udp_lifetime.expect("it agrees");
            let width = lifetime.end().saturating_sub(*lifetime.start());
            assert!(width <= LIFETIME_WIDTH_MAX, "NAT {number}: {lifetime:?}");
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
}

#[test]
fn presets_look_as_they_are_named() {
    for preset in NatPreset::ALL {
        let mut config = preset.config();
        if preset == NatPreset::LinuxRouter {
            // Its mappings depend on the destination, and look as if they did not while no other
            // host wants the same port.
            config.mapping = Mapping::EndpointIndependent;
        }
        let seen = classification(&preset.config(), 1);
        assert_eq!(
            seen.agreement_with(&config),
            Agreement::Agrees,
            "{preset}: {seen}"
        );
    }
}

#[test]
fn a_nat_does_not_agree_with_what_it_is_not() {
    let config = NatPreset::PortRestricted.config();
    let seen = classification(&config, 1);
    let others = [
        NatConfig {
            mapping: Mapping::AddressDependent,
            ..config.clone()
        },
        NatConfig {
            filtering: Filtering::AddressDependent,
            ..config.clone()
        },
        NatConfig {
            hairpin: Hairpin::Refused,
            ..config.clone()
        },
        NatConfig {
            udp_timer: UdpTimer {
                idle: config.udp_timer.idle / 2,
                ..config.udp_timer
            },
            ..config
        },
    ];
    for other in others {
        assert_eq!(
            seen.agreement_with(&other),
            Agreement::Differs,
            "{seen} was taken for {other:?}"
        );
    }
}
