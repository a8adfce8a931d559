//! The IP, UDP and TCP headers of packets that the world carries without.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::flow::Protocol;
use crate::trace::PacketSummary;

/// The protocol numbers of IANA.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// As the world's kernels send.
const HOP_LIMIT: u8 = 64;

/// A packet that no router may take apart (RFC 791 section 3.1). Its identification can be zero then (RFC
/// 6864 section 4.1).
const DO_NOT_FRAGMENT: u16 = 0x4000;

/// The widest window without the option that scales it.
const WINDOW: u16 = u16::MAX;

/// The bits of TCP's flags (RFC 9293 section 3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// The packet as it stands on a wire that has no frames of its own.
pub(super) fn with_headers(packet: &PacketSummary) -> Vec<u8> {
    let (number, mut transport) = match packet.protocol {
        Protocol::Udp => (UDP, udp_header(packet)),
        Protocol::Tcp => (TCP, tcp_header(packet)),
    };
    transport.extend_from_slice(&packet.payload);
    let ends = Ends::of(packet);
    let sum = ends.pseudo_header_sum(number, transport.len()) + sum(&transport);
    let (offset, checksum) = match packet.protocol {
        // All zeros would mean that there is none (RFC 768).
        Protocol::Udp => (
            6,
            Some(folded(sum))
                .filter(|sum| *sum != 0)
                .unwrap_or(u16::MAX),
        ),
        Protocol::Tcp => (16, folded(sum)),
    };
    transport[offset..offset + 2].copy_from_slice(&checksum.to_be_bytes());
    let mut bytes = ends.ip_header(number, packet.class.code_point() << 2, transport.len());
    bytes.append(&mut transport);
    bytes
}

/// Source and destination.
enum Ends {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    fn of(packet: &PacketSummary) -> Self {
        let mapped = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        match (packet.source.ip(), packet.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::V4(source, destination),
            (source, destination) => Self::V6(mapped(source), mapped(destination)),
        }
    }

    /// The pseudo header of RFC 9293 section 3.1, or that of RFC 8200 section 8.1.
    fn pseudo_header_sum(&self, protocol: u8, length: usize) -> u64 {
        let addresses = match self {
            Self::V4(source, destination) => sum(&source.octets()) + sum(&destination.octets()),
            Self::V6(source, destination) => sum(&source.octets()) + sum(&destination.octets()),
        };
        addresses + u64::from(protocol) + length as u64
    }

    fn ip_header(&self, protocol: u8, traffic_class: u8, length: usize) -> Vec<u8> {
        match self {
            Self::V4(source, destination) => {
                let mut header = vec![0x45, traffic_class];
                header.extend_from_slice(&length_field(20 + length));
                header.extend_from_slice(&[0, 0]);
                header.extend_from_slice(&DO_NOT_FRAGMENT.to_be_bytes());
                header.extend_from_slice(&[HOP_LIMIT, protocol, 0, 0]);
                header.extend_from_slice(&source.octets());
                header.extend_from_slice(&destination.octets());
                let checksum = folded(sum(&header));
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                header
            }
            Self::V6(source, destination) => {
                let first = 6 << 28 | u32::from(traffic_class) << 20;
                let mut header = first.to_be_bytes().to_vec();
                header.extend_from_slice(&length_field(length));
                header.extend_from_slice(&[protocol, HOP_LIMIT]);
                header.extend_from_slice(&source.octets());
                header.extend_from_slice(&destination.octets());
                header
            }
        }
    }
}

fn udp_header(packet: &PacketSummary) -> Vec<u8> {
    let mut header = Vec::with_capacity(8 + packet.payload.len());
    header.extend_from_slice(&packet.source.port().to_be_bytes());
    header.extend_from_slice(&packet.destination.port().to_be_bytes());
    header.extend_from_slice(&length_field(8 + packet.payload.len()));
    header.extend_from_slice(&[0, 0]);
    header
}

fn tcp_header(packet: &PacketSummary) -> Vec<u8> {
    let known = [SYN, ACK, FIN, RST].into_iter().enumerate();
    let set = known.filter(|(bit, _)| packet.tcp.flags & (1 << bit) != 0);
    let mut flags = set.fold(0, |flags, (_, flag)| flags | flag);
    if !packet.payload.is_empty() {
        flags |= PSH;
    }
    let window = if flags & RST == 0 { WINDOW } else { 0 };
    let mut header = Vec::with_capacity(20 + packet.payload.len());
    header.extend_from_slice(&packet.source.port().to_be_bytes());
    header.extend_from_slice(&packet.destination.port().to_be_bytes());
    header.extend_from_slice(&packet.tcp.sequence.to_be_bytes());
    header.extend_from_slice(&packet.tcp.acknowledgment.to_be_bytes());
    // Five words of header, and no options.
    header.extend_from_slice(&[5 << 4, flags]);
    header.extend_from_slice(&window.to_be_bytes());
    header.extend_from_slice(&[0, 0, 0, 0]);
    header
}

/// The world's packets are no longer than 1500 bytes.
fn length_field(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// The sum of the 16-bit words (RFC 1071 section 1).
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        [high, ..] => u64::from(*high) << 8,
        [] => 0,
    });
    words.sum()
}

/// The one's complement of the sum.
fn folded(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("it was folded until it fits")
}
