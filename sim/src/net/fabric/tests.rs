//! Packets through whole topologies.

use std::net::SocketAddr;

use rand::SeedableRng as _;
use ringtrue::net::TrafficClass;

use super::*;
use crate::fault::{AddressAfter, Direction};
use crate::net::firewall::{FirewallConfig, Passage};
use crate::net::flow::Flow;
use crate::net::link::LinkConfig;
use crate::net::loss::Probability;
use crate::net::nat::NatPreset;
use crate::net::topology::{Families, NetworkConfig};

const PORT: u16 = 5000;
const LAN_DELAY: Duration = Duration::from_millis(2);
const UPLINK_DELAY: Duration = Duration::from_millis(10);
const SERVER_DELAY: Duration = Duration::from_millis(5);

/// A generator for each label, as the seed of a run would give.
fn streams(seed: u64) -> impl FnMut(&str) -> ChaCha8Rng {
    move |label| {
        let hash = label.bytes().fold(seed, |hash, byte| {
            hash.wrapping_mul(0x0100_0000_01b3)
                .wrapping_add(u64::from(byte))
        });
        ChaCha8Rng::seed_from_u64(hash)
    }
}

impl Body for &'static str {
    fn reset(&self) -> Option<Self> {
        Some("reset")
    }

    fn unasked_reset() -> Self {
        "reset"
    }
}

/// Two homes with one host each, and a server.
struct Homes {
    fabric: Fabric<&'static str>,
    alice: HostId,
    bob: HostId,
    server: HostId,
    now: Duration,
}

impl Homes {
    fn new(alice: NetworkConfig, bob: NetworkConfig, seed: u64) -> Self {
        let mut topology = Topology::new();
        let mut home = |name: &str, config: NetworkConfig| {
            let network = topology
                .add_network(&format!("{name} home"), config)
                .expect("free");
            topology
                .add_host(name, network, LAN_DELAY.into())
                .expect("free")
        };
        let (alice, bob) = (home("alice", alice), home("bob", bob));
        let server = topology
            .add_server("server", SERVER_DELAY.into(), Families::V4)
            .expect("free");
        let fabric = Fabric::new(topology, streams(seed));
        Self {
            fabric,
            alice,
            bob,
            server,
            now: Duration::ZERO,
        }
    }

    fn behind(alice: NatPreset, bob: NatPreset) -> Self {
        Self::new(translated(alice), translated(bob), 1)
    }

    fn endpoint(&self, host: HostId) -> SocketAddr {
        SocketAddr::new(self.fabric.topology().addresses(host)[0], PORT)
    }

    /// Sends one packet and waits for what becomes of it.
    fn send(&mut self, from: HostId, to: SocketAddr) -> FabricOutput<&'static str> {
        let flow = Flow::udp(self.endpoint(from), to);
        self.fabric.inject(self.now, from, datagram(flow));
        self.now += Duration::from_secs(1);
        let outputs = self.fabric.advance(self.now);
        let [output] = <[_; 1]>::try_from(outputs).expect("one packet has one fate");
        output
    }

    /// The address under which the server sees a host.
    fn reflexive(&mut self, host: HostId) -> SocketAddr {
        let server = self.endpoint(self.server);
        delivered(self.send(host, server), self.server).source
    }

    /// Both hosts learn their addresses from the server and send to each other three times, as
    /// interactive connectivity checks would. Returns whether a packet came through each way.
    fn punch_holes(&mut self) -> [bool; 2] {
        let alice_outside = self.reflexive(self.alice);
        let bob_outside = self.reflexive(self.bob);
        let mut arrived = [false; 2];
        for _ in 0..3 {
            let forth = self.send(self.alice, bob_outside);
            arrived[0] |= matches!(forth, FabricOutput::Deliver { .. });
            let back = self.send(self.bob, alice_outside);
            arrived[1] |= matches!(back, FabricOutput::Deliver { .. });
        }
        arrived
    }
}

fn translated(preset: NatPreset) -> NetworkConfig {
    NetworkConfig {
        nat: Some(preset.config()),
        ..public()
    }
}

fn public() -> NetworkConfig {
    NetworkConfig {
        uplink: UPLINK_DELAY.into(),
        ..NetworkConfig::default()
    }
}

fn datagram(flow: Flow) -> Packet<&'static str> {
    Packet {
        flow,
        tcp: None,
        size_bytes: 100,
        class: TrafficClass::BestEffort,
        damage: Damage::None,
        body: "hello",
    }
}

#[track_caller]
fn delivered(output: FabricOutput<&'static str>, to: HostId) -> Flow {
    match output {
        FabricOutput::Deliver { host, packet, .. } => {
            assert_eq!(host, to);
            packet.flow
        }
        FabricOutput::Dropped { place, cause, .. } => panic!("dropped at {place}: {cause}"),
    }
}

#[track_caller]
fn dropped(output: FabricOutput<&'static str>) -> (String, DropCause) {
    match output {
        FabricOutput::Dropped { place, cause, .. } => (place, cause),
        FabricOutput::Deliver { at, .. } => panic!("delivered at {at:?}"),
    }
}

#[test]
fn a_packet_takes_the_sum_of_its_links_and_the_answer_finds_back() {
    let mut homes = Homes::behind(NatPreset::Symmetric, NatPreset::Symmetric);
    let server = homes.endpoint(homes.server);
    let output = homes.send(homes.alice, server);
    assert_eq!(output.at(), LAN_DELAY + UPLINK_DELAY + SERVER_DELAY);
    let seen = delivered(output, homes.server);
    assert_eq!(seen.source.ip().to_string(), "203.0.113.1");
    let answer = homes.send(homes.server, seen.source);
    assert_eq!(
        delivered(answer, homes.alice).destination,
        homes.endpoint(homes.alice)
    );
}

#[test]
fn hole_punching_works_as_the_presets_promise() {
    for alice in NatPreset::CLASSIC {
        for bob in NatPreset::CLASSIC {
            // The reflexive address of a symmetric NAT serves the server only. Packets from it
            // still come through where the other side's filter does not look at the port.
            let heard_by = |own: NatPreset, other: NatPreset| match (own, other) {
                (NatPreset::FullCone | NatPreset::AddressRestricted, _) => true,
                (NatPreset::PortRestricted, other) => other != NatPreset::Symmetric,
                _ => false,
            };
            let arrived = Homes::behind(alice, bob).punch_holes();
            assert_eq!(
                arrived,
                [heard_by(bob, alice), heard_by(alice, bob)],
                "{alice} {bob}"
            );
        }
    }
}

#[test]
fn two_hosts_of_one_network_meet_without_leaving_it() {
    for nat in [Some(NatPreset::Symmetric.config()), None] {
        let mut topology = Topology::new();
        let blocked = FirewallConfig {
            udp: Passage::Blocked,
            ..FirewallConfig::default()
        };
        let config = NetworkConfig {
            nat,
            firewall: blocked,
            uplink: UPLINK_DELAY.into(),
            ..NetworkConfig::default()
        };
        let home = topology.add_network("home", config).expect("free");
        let [alice, bob] = ["alice", "bob"].map(|name| {
            topology
                .add_host(name, home, LAN_DELAY.into())
                .expect("free")
        });
        let flow = Flow::udp(
            SocketAddr::new(topology.addresses(alice)[0], PORT),
            SocketAddr::new(topology.addresses(bob)[0], PORT),
        );
        let mut fabric = Fabric::new(topology, streams(1));
        fabric.inject(Duration::ZERO, alice, datagram(flow));
        let outputs = fabric.advance(Duration::from_secs(1));
        assert_eq!(
            outputs,
            [FabricOutput::Deliver {
                at: LAN_DELAY * 2,
                host: bob,
                packet: datagram(flow)
            }]
        );
    }
}

#[test]
fn a_hairpinned_packet_comes_back_into_the_network() {
    let mut topology = Topology::new();
    let home = topology
        .add_network("home", translated(NatPreset::FullCone))
        .expect("free");
    let [alice, bob] = ["alice", "bob"].map(|name| {
        topology
            .add_host(name, home, LAN_DELAY.into())
            .expect("free")
    });
    let server = topology
        .add_server("server", SERVER_DELAY.into(), Families::V4)
        .expect("free");
    let [alice_inside, bob_inside, server_address] =
        [alice, bob, server].map(|host| SocketAddr::new(topology.addresses(host)[0], PORT));
    let outside = topology.externals(home)[0];
    let mut fabric = Fabric::new(topology, streams(1));
    fabric.inject(
        Duration::ZERO,
        bob,
        datagram(Flow::udp(bob_inside, server_address)),
    );
    fabric.advance(Duration::from_secs(1));
    let to_bob = SocketAddr::new(outside, PORT);
    let now = Duration::from_secs(2);
    fabric.inject(now, alice, datagram(Flow::udp(alice_inside, to_bob)));
    // The port above Bob's has the wrong parity.
    let expected = Flow::udp(SocketAddr::new(outside, PORT + 2), bob_inside);
    assert_eq!(
        fabric.advance(Duration::from_secs(3)),
        [FabricOutput::Deliver {
            at: now + LAN_DELAY * 2,
            host: bob,
            packet: datagram(expected)
        }]
    );
}

#[test]
fn public_hosts_reach_each_other_unchanged() {
    let mut homes = Homes::new(public(), public(), 1);
    let bob = homes.endpoint(homes.bob);
    let alice = homes.endpoint(homes.alice);
    let output = homes.send(homes.alice, bob);
    assert_eq!(delivered(output, homes.bob), Flow::udp(alice, bob));
}

#[test]
fn a_dropped_packet_names_its_place_and_cause() {
    let blocked = FirewallConfig {
        udp: Passage::Blocked,
        ..FirewallConfig::default()
    };
    let mut homes = Homes::new(
        NetworkConfig {
            firewall: blocked,
            ..public()
        },
        translated(NatPreset::Symmetric),
        1,
    );
    let bob_private = homes.endpoint(homes.bob);
    let server = homes.endpoint(homes.server);
    let alice = homes.endpoint(homes.alice);

    let at_gateway = |name: &str, cause| (format!("gateway {name} home"), cause);
    assert_eq!(
        dropped(homes.send(homes.alice, server)),
        at_gateway("alice", DropCause::FirewallUdpBlocked)
    );
    assert_eq!(
        dropped(homes.send(homes.server, alice)),
        at_gateway("alice", DropCause::FirewallUdpBlocked)
    );
    assert_eq!(
        dropped(homes.send(homes.server, "203.0.113.2:1".parse().expect("an endpoint"))),
        at_gateway("bob", DropCause::NatNoMapping)
    );
    for nowhere in [bob_private, "8.8.8.8:53".parse().expect("an endpoint")] {
        let output = homes.send(homes.server, nowhere);
        assert_eq!(dropped(output), ("core".to_owned(), DropCause::NoRoute));
    }
    homes.fabric.reconfigure_host_link(
        homes.now,
        homes.server,
        LinkPair::symmetric(LinkConfig::default().with_loss(Probability::ALWAYS)),
    );
    assert_eq!(
        dropped(homes.send(homes.bob, server)),
        ("link server down".to_owned(), DropCause::Loss)
    );
}

/// Both hosts send to the server over lossy uplinks while it sends back what it knows of them.
fn lossy_run(seed: u64) -> Vec<FabricOutput<&'static str>> {
    let loss = Probability::from_parts_per_million(200_000).expect("a probability");
    let uplink = LinkPair::symmetric(LinkConfig::lossless(UPLINK_DELAY).with_loss(loss));
    let config = || NetworkConfig {
        uplink,
        ..translated(NatPreset::Symmetric)
    };
    let mut homes = Homes::new(config(), config(), seed);
    let server = homes.endpoint(homes.server);
    let mut outputs = Vec::new();
    for step in 0..200 {
        let now = Duration::from_millis(step);
        for host in [homes.alice, homes.bob] {
            let flow = Flow::udp(homes.endpoint(host), server);
            homes.fabric.inject(now, host, datagram(flow));
        }
        outputs.extend(homes.fabric.advance(now));
    }
    outputs.extend(homes.fabric.advance(Duration::from_secs(10)));
    assert_eq!(homes.fabric.next_event_at(), None);
    outputs
}

#[test]
fn equal_seeds_give_equal_outputs_and_others_differ() {
    assert_eq!(lossy_run(5), lossy_run(5));
    assert_ne!(lossy_run(5), lossy_run(6));
}

#[test]
fn every_packet_is_delivered_or_dropped_once() {
    let outputs = lossy_run(5);
    assert_eq!(outputs.len(), 400);
    let losses = outputs
        .iter()
        .filter(|output| {
            matches!(
                output,
                FabricOutput::Dropped {
                    cause: DropCause::Loss,
                    ..
                }
            )
        })
        .count();
    assert!((40..120).contains(&losses), "{losses} lost");
}

#[test]
fn deliveries_to_one_host_are_in_order_and_known_a_last_hop_ahead() {
    let mut homes = Homes::new(public(), public(), 1);
    let [alice, bob, server] =
        [homes.alice, homes.bob, homes.server].map(|host| homes.endpoint(host));
    assert_eq!(homes.fabric.minimal_last_hop_delay(), LAN_DELAY);
    let mut reported_until = Duration::ZERO;
    let mut last_at = BTreeMap::new();
    for step in 0..50 {
        let now = Duration::from_millis(step);
        homes
            .fabric
            .inject(now, homes.alice, datagram(Flow::udp(alice, server)));
        homes
            .fabric
            .inject(now, homes.alice, datagram(Flow::udp(alice, bob)));
        homes
            .fabric
            .inject(now, homes.server, datagram(Flow::udp(server, bob)));
        for output in homes.fabric.advance(now) {
            let FabricOutput::Deliver { at, host, .. } = output else {
                panic!("nothing is lost here");
            };
            assert!(at > reported_until, "{at:?} comes too late to be known");
            assert!(last_at.insert(host, at).is_none_or(|last| last <= at));
        }
        reported_until = now + LAN_DELAY;
    }
}

#[test]
#[should_panic(expected = "server sends at 1s, but the network has advanced to 2s")]
fn the_past_cannot_be_changed() {
    let mut homes = Homes::new(public(), public(), 1);
    homes.fabric.advance(Duration::from_secs(2));
    let flow = Flow::udp(homes.endpoint(homes.server), homes.endpoint(homes.alice));
    homes
        .fabric
        .inject(Duration::from_secs(1), homes.server, datagram(flow));
}

/// Two homes behind one carrier, with the same private subnet.
fn neighbours() -> Homes {
    let mut topology = Topology::new();
    let carrier = topology
        .add_carrier("carrier", translated(NatPreset::FullCone))
        .expect("free");
    let mut home = |name: &str| {
        let config = NetworkConfig {
            behind: Some(carrier),
            subnet: Some([192, 168, 0, 0].into()),
            ..translated(NatPreset::FullCone)
        };
        let network = topology
            .add_network(&format!("{name} home"), config)
            .expect("free");
        topology
            .add_host(name, network, LAN_DELAY.into())
            .expect("free")
    };
    let (alice, bob) = (home("alice"), home("bob"));
    let server = topology
        .add_server("server", SERVER_DELAY.into(), Families::V4)
        .expect("free");
    Homes {
        fabric: Fabric::new(topology, streams(1)),
        alice,
        bob,
        server,
        now: Duration::ZERO,
    }
}

#[test]
fn a_packet_passes_two_translators_each_way() {
    let mut homes = neighbours();
    let outside = homes.reflexive(homes.alice);
    assert_eq!(outside.ip().to_string(), "203.0.113.1", "the carrier's");
    let back = delivered(homes.send(homes.server, outside), homes.alice);
    assert_eq!(back.destination, homes.endpoint(homes.alice));
}

#[test]
fn neighbours_behind_one_carrier_meet_by_its_hairpin() {
    let mut homes = neighbours();
    assert_eq!(homes.punch_holes(), [true, true]);
    let alice = homes.endpoint(homes.alice);
    assert_eq!(alice, homes.endpoint(homes.bob), "the same private address");
    // A packet to that address never leaves the network that it is sent in.
    delivered(homes.send(homes.alice, alice), homes.alice);
}

#[test]
fn a_router_that_comes_back_with_another_address_is_reached_there_only() {
    let mut homes = Homes::behind(NatPreset::FullCone, NatPreset::FullCone);
    let before = homes.reflexive(homes.alice);
    let network = homes.fabric.topology().network_of(homes.alice);
    let lost = homes.fabric.restart_nat(
        homes.now,
        network.expect("alice is at home"),
        AddressAfter::New,
    );
    assert_eq!(lost, Ok(1));
    let after = homes.reflexive(homes.alice);
    assert_ne!(after.ip(), before.ip());
    delivered(homes.send(homes.server, after), homes.alice);
    let output = homes.send(homes.server, before);
    assert_eq!(dropped(output), ("core".to_owned(), DropCause::NoRoute));
}

#[test]
fn a_blackhole_swallows_one_direction_and_leaves_the_other() {
    let mut homes = Homes::behind(NatPreset::FullCone, NatPreset::FullCone);
    let outside = homes.reflexive(homes.alice);
    let home = homes.fabric.topology().network_of(homes.alice);
    let home = home.expect("alice is at home");
    homes.fabric.set_blackhole(home, Some(Direction::Down));
    let at_home = |cause| (gateway_name("alice home"), cause);
    let output = homes.send(homes.server, outside);
    assert_eq!(dropped(output), at_home(DropCause::Blackhole));
    homes.reflexive(homes.alice);
    homes.fabric.set_blackhole(home, None);
    delivered(homes.send(homes.server, outside), homes.alice);
}

#[test]
fn ipv6_passes_a_translator_unchanged() {
    let config = || NetworkConfig {
        families: Families::Dual,
        ..translated(NatPreset::Symmetric)
    };
    let mut homes = Homes::new(config(), config(), 1);
    let topology = homes.fabric.topology();
    let [alice, bob] =
        [homes.alice, homes.bob].map(|host| SocketAddr::new(topology.addresses(host)[1], PORT));
    let flow = Flow::udp(alice, bob);
    homes
        .fabric
        .inject(Duration::ZERO, homes.alice, datagram(flow));
    let outputs = homes.fabric.advance(Duration::from_secs(1));
    assert!(
        matches!(&outputs[..], [FabricOutput::Deliver { packet, .. }] if packet.flow == flow),
        "{outputs:?}"
    );
}
