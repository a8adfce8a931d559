use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::name_resolution::Record;
use ringtrue::net::TrafficClass;

use super::*;
use crate::net::flow::Protocol;
use crate::report::Outcome;
use crate::trace::event::TcpSummary;

const ALICE: &str = "192.168.1.2:49152";
const BOB: &str = "203.0.113.9:3478";

fn packet(protocol: Protocol, source: &str, destination: &str, payload: &[u8]) -> PacketSummary {
    PacketSummary {
        protocol,
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        class: TrafficClass::BestEffort,
        tcp: TcpSummary::default(),
        payload: payload.to_vec().into(),
    }
}

fn datagram(payload: &[u8]) -> PacketSummary {
    packet(Protocol::Udp, ALICE, BOB, payload)
}

fn at(host: &str, kind: EventKind) -> Event {
    Event {
        at: Duration::from_nanos(1_234_567_891),
        host: host.into(),
        kind,
    }
}

fn report(key_log: &[&str]) -> Report {
    Report {
        scenario: "cone-cone".to_owned(),
        seed: 7,
        passed: true,
        outcome: Outcome::AudioConnected,
        audio_connected_ms: BTreeMap::new(),
        selected: BTreeMap::new(),
        digest: String::new(),
        virtual_ms: 0,
        wall_ms: 0,
        failures: Vec::new(),
        file: "cone-cone.toml".into(),
        client: None,
        answered_at: None,
        cause: None,
        signaling_frames: BTreeMap::new(),
        timings: crate::check::milestones::Timings::default(),
        mean_opinion: BTreeMap::new(),
        timeline: Vec::new(),
        traffic: crate::report::traffic::Traffic::default(),
        bundle: None,
        key_log: key_log.iter().map(|line| (*line).to_owned()).collect(),
    }
}

fn names() -> Names {
    let named = |address: &str, hosts: &[&str]| {
        let address: IpAddr = address.parse().expect("an address");
        let hosts: BTreeSet<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        (address, hosts)
    };
    Names::from([
        named("192.168.1.2", &["alice", "carol"]),
        named("203.0.113.9", &["bob"]),
        named("2001:db8::7", &["dave"]),
    ])
}

/// The blocks of a capture of these events, as the library reads them back.
#[track_caller]
fn blocks(events: &[Event], key_log: &[&str]) -> Vec<Block<'static>> {
    let mut bytes = Vec::new();
    write(&mut bytes, &report(key_log), events, &names()).expect("memory takes everything");
    let mut reader = PcapNgReader::new(&bytes[..]).expect("a section");
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block() {
        blocks.push(block.expect("a sound block").into_owned());
    }
    blocks
}

/// The only packet of a capture of this event.
#[track_caller]
fn only_packet(event: Event) -> EnhancedPacketBlock<'static> {
    let blocks = blocks(&[event], &[]);
    let mut packets = blocks.into_iter().filter_map(Block::into_enhanced_packet);
    let packet = packets.next().expect("a packet");
    assert!(packets.next().is_none());
    packet
}

/// The bytes of a packet, once they were checked against RFC 1071: over everything that it covers, a right
/// checksum makes a sum of ones.
#[track_caller]
fn checked(packet: &PacketSummary) -> Vec<u8> {
    let bytes = only_packet(at("alice", EventKind::PacketSent(packet.clone())))
        .data
        .into_owned();
    let (transport, addresses, length, protocol) = if bytes[0] >> 4 == 4 {
        assert_eq!(ones_sum(&bytes[..20]), 0xffff, "the header of IPv4");
        let length = u16::from_be_bytes([bytes[2], bytes[3]]);
        (20, &bytes[12..20], usize::from(length), bytes[9])
    } else {
        let length = u16::from_be_bytes([bytes[4], bytes[5]]);
        (40, &bytes[8..40], 40 + usize::from(length), bytes[6])
    };
    assert_eq!(length, bytes.len());
    let mut covered = addresses.to_vec();
    covered.extend_from_slice(&[0, protocol]);
    let length = u16::try_from(bytes.len() - transport).expect("a short packet");
    covered.extend_from_slice(&length.to_be_bytes());
    covered.extend_from_slice(&bytes[transport..]);
    assert_eq!(ones_sum(&covered), 0xffff, "the segment or datagram");
    bytes
}

fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for word in bytes.chunks(2) {
        let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        let (added, carry) = sum.overflowing_add(word);
        sum = added + u16::from(carry);
    }
    sum
}

fn comments(packet: &EnhancedPacketBlock<'_>) -> Vec<String> {
    let comments = packet.options.iter().filter_map(|option| match option {
        EnhancedPacketOption::Comment(text) => Some(text.to_string()),
        _ => None,
    });
    comments.collect()
}

fn direction(packet: &EnhancedPacketBlock<'_>) -> Option<u32> {
    packet.options.iter().find_map(|option| match option {
        EnhancedPacketOption::Flags(flags) => Some(*flags),
        _ => None,
    })
}

#[test]
fn a_datagram_has_the_headers_of_both_layers() {
    let mut datagram = datagram(b"odd");
    datagram.class = TrafficClass::ExpeditedForwarding;
    let bytes = checked(&datagram);
    assert_eq!(bytes[1], 46 << 2, "expedited forwarding");
    assert_eq!(bytes[9], 17);
    assert_eq!(bytes[20..24], [0xc0, 0x00, 0x0d, 0x96]);
    assert_eq!(bytes[28..], *b"odd");
}

#[test]
fn ipv6_has_its_own_header() {
    let mut datagram = packet(Protocol::Udp, "[2001:db8::7]:1", "[2001:db8::8]:2", b"four");
    datagram.class = TrafficClass::ExpeditedForwarding;
    let bytes = checked(&datagram);
    assert_eq!(
        bytes[..2],
        [0x6b, 0x80],
        "version 6, then the traffic class"
    );
    assert_eq!(bytes[40..44], [0, 1, 0, 2]);
}

#[test]
fn a_checksum_of_zero_is_sent_as_ones() {
    // What is summed up to all ones would have a checksum of zero, which means that there is none.
    let mut payload = [0, 0];
    let found = (0..=u16::MAX).find_map(|word| {
        payload = word.to_be_bytes();
        let bytes = headers::with_headers(&datagram(&payload));
        (bytes[26..28] == [0xff, 0xff]).then_some(bytes)
    });
    let bytes = found.expect("one of all words makes it so");
    assert_eq!(ones_sum(&bytes[..20]), 0xffff);
    checked(&datagram(&payload));
}

#[test]
fn a_segment_keeps_its_numbers_and_flags() {
    // The flags of a summary, and those of RFC 9293 section 3.1 that they become.
    for (flags, payload, expected) in [
        (0b0001, &b""[..], 0x02),
        (0b0011, b"", 0x12),
        (0b0010, b"GET /", 0x18),
        (0b0110, b"", 0x11),
        (0b1010, b"", 0x14),
    ] {
        let mut segment = packet(Protocol::Tcp, ALICE, BOB, payload);
        segment.tcp = TcpSummary {
            flags,
            sequence: 0x0102_0304,
            acknowledgment: 0x0506_0708,
        };
        let bytes = checked(&segment);
        assert_eq!(bytes[24..32], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[33], expected, "{flags:04b}");
        assert_eq!(bytes[40..], *payload);
    }
}

#[test]
fn each_place_is_an_interface() {
    let events = [
        at("bob", EventKind::PacketDelivered(datagram(b"1"))),
        at("alice", EventKind::Timer),
        at("core", EventKind::Timer),
        at("alice", EventKind::PacketSent(datagram(b"1"))),
    ];
    let mut interfaces = Vec::new();
    let mut packets = Vec::new();
    for block in blocks(&events, &[]) {
        match block {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, DataLink::RAW);
                assert!(
                    packets.is_empty(),
                    "interfaces are described before packets"
                );
                let name = interface.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                let resolution = InterfaceDescriptionOption::IfTsResol(9);
                assert!(interface.options.contains(&resolution));
                interfaces.extend(name);
            }
            Block::EnhancedPacket(packet) => packets.push(packet),
            _ => {}
        }
    }
    assert_eq!(interfaces, ["alice", "bob"]);
    let seen: Vec<_> = packets.iter().map(|packet| packet.interface_id).collect();
    assert_eq!(seen, [1, 0]);
    let numbers: Vec<_> = packets.iter().flat_map(comments).collect();
    assert_eq!(numbers, ["event 1", "event 4"]);
    assert_eq!(packets[0].timestamp, Duration::from_nanos(1_234_567_891));
}

/// What is written beside a packet that this became of at `host`.
#[track_caller]
fn check_fate(host: &str, kind: EventKind, expected: &[&str], way: Option<u32>) {
    let packet = only_packet(at(host, kind));
    assert_eq!(comments(&packet), expected);
    assert_eq!(direction(&packet), way);
}

#[test]
fn the_fate_of_a_packet_is_beside_it() {
    let packet = || datagram(b"1");
    let dropped = || EventKind::PacketDropped {
        packet: packet(),
        cause: "nat: filtered".to_owned(),
    };
    let told = ["event 1", "dropped: nat: filtered"];
    check_fate(
        "alice",
        EventKind::PacketSent(packet()),
        &told[..1],
        Some(OUTBOUND),
    );
    check_fate(
        "bob",
        EventKind::PacketDelivered(packet()),
        &told[..1],
        Some(INBOUND),
    );
    check_fate("alice", dropped(), &told, Some(OUTBOUND));
    check_fate("bob", dropped(), &told, Some(INBOUND));
    check_fate("gateway home", dropped(), &told, None);
    let again = EventKind::Retransmission {
        packet: packet(),
        attempt: 2,
    };
    check_fate(
        "alice",
        again,
        &["event 1", "sent again: 2"],
        Some(OUTBOUND),
    );
}

#[test]
fn hosts_have_their_names() {
    let blocks = blocks(&[], &[]);
    let resolution = blocks.into_iter().find_map(|block| match block {
        Block::NameResolution(block) => Some(block),
        _ => None,
    });
    let records = resolution.expect("there are names").records;
    let names: Vec<_> = records
        .iter()
        .map(|record| match record {
            Record::Ipv4(record) => (record.ip_addr.to_vec(), record.names.join(", ")),
            Record::Ipv6(record) => (record.ip_addr[12..].to_vec(), record.names.join(", ")),
            other => panic!("{other:?}"),
        })
        .collect();
    let record = |address: [u8; 4], name: &str| (address.to_vec(), name.to_owned());
    assert_eq!(
        names,
        [
            record([192, 168, 1, 2], "alice or carol"),
            record([203, 0, 113, 9], "bob"),
            record([0, 0, 0, 7], "dave"),
        ]
    );
}

#[test]
fn secrets_come_before_what_they_open() {
    let events = [at("alice", EventKind::PacketSent(datagram(b"1")))];
    let blocks = blocks(&events, &["CLIENT_RANDOM 00 01", "CLIENT_RANDOM 02 03"]);
    let Block::Unknown(secrets) = &blocks[0] else {
        panic!("{:?}", blocks[0]);
    };
    let text = b"CLIENT_RANDOM 00 01\nCLIENT_RANDOM 02 03\n";
    let mut body = b"KSLT".to_vec();
    body.extend_from_slice(&[40, 0, 0, 0]);
    body.extend_from_slice(text);
    assert_eq!((secrets.type_, &secrets.value[..]), (0x0a, &body[..]));
}
