//! Packets between the kernels, which have sockets, and the fabric, which has places.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use ringtrue::net::TrafficClass;
use turmoil_net::{Packet as KernelPacket, TcpFlags, TcpSegment, Transport};

use super::tcp::Tag;
use crate::net::fabric::{Body, Packet};
use crate::net::flow::{Flow, Protocol, TcpSignal};
use crate::net::link::Damage;
use crate::net::topology::HostId;
use crate::trace::PacketSummary;
use crate::trace::event::TcpSummary;

/// The size of an IPv4 header without options (RFC 791 section 3.1).
const IPV4_HEADER_BYTES: usize = 20;
/// The size of an IPv6 header without extensions (RFC 8200 section 3).
const IPV6_HEADER_BYTES: usize = 40;
/// The size of a UDP header (RFC 768).
const UDP_HEADER_BYTES: usize = 8;
/// The size of a TCP header without options (RFC 9293 section 3.1).
const TCP_HEADER_BYTES: usize = 20;
/// How many hops a packet made here could still pass, as the kernels set it.
pub(super) const TIME_TO_LIVE: u8 = 64;

/// What a packet of the fabric carries.
#[derive(Debug, Clone)]
pub(super) struct Cargo {
    pub(super) packet: KernelPacket,
    /// Who sent it; `None` where a middlebox made it up.
    pub(super) sender: Option<HostId>,
    pub(super) tag: Option<Tag>,
}

impl Body for Cargo {
    fn reset(&self) -> Option<Self> {
        let Transport::Tcp(segment) = &self.packet.payload else {
            return None;
        };
        if segment.flags.rst {
            return None;
        }
        let length = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        let flags = u32::from(segment.flags.syn) + u32::from(segment.flags.fin);
        Some(Self {
            packet: KernelPacket {
                payload: Transport::Tcp(TcpSegment {
                    seq: segment.ack,
                    ack: segment.seq.wrapping_add(length).wrapping_add(flags),
                    flags: TcpFlags {
                        rst: true,
                        ack: true,
                        ..TcpFlags::default()
                    },
                    window: 0,
                    payload: Bytes::new(),
                    ..*segment
                }),
                ..self.packet
            },
            sender: None,
            tag: None,
        })
    }

    fn unasked_reset() -> Self {
        // The addresses and ports are written when it is delivered.
        let nowhere = Ipv4Addr::UNSPECIFIED.into();
        Self {
            packet: KernelPacket {
                src: nowhere,
                dst: nowhere,
                ttl: TIME_TO_LIVE,
                payload: Transport::Tcp(TcpSegment {
                    src_port: 0,
                    dst_port: 0,
                    seq: 0,
                    ack: 0,
                    flags: TcpFlags {
                        rst: true,
                        ..TcpFlags::default()
                    },
                    window: 0,
                    payload: Bytes::new(),
                }),
            },
            sender: None,
            tag: None,
        }
    }
}

/// A kernel's packet as the fabric carries it, from a machine that knows itself by `source`.
pub(super) fn in_fabric(
    cargo: Box<Cargo>,
    source: IpAddr,
    class: TrafficClass,
) -> Packet<Box<Cargo>> {
    let packet = &cargo.packet;
    let (protocol, ports, tcp, size_bytes) = match &packet.payload {
        Transport::Udp(datagram) => (
            Protocol::Udp,
            (datagram.src_port, datagram.dst_port),
            None,
            UDP_HEADER_BYTES + datagram.payload.len(),
        ),
        Transport::Tcp(segment) => (
            Protocol::Tcp,
            (segment.src_port, segment.dst_port),
            Some(TcpSignal {
                syn: segment.flags.syn,
                ack: segment.flags.ack,
                fin: segment.flags.fin,
                rst: segment.flags.rst,
            }),
            TCP_HEADER_BYTES + segment.payload.len(),
        ),
    };
    let ip_header_bytes = match packet.dst {
        IpAddr::V4(_) => IPV4_HEADER_BYTES,
        IpAddr::V6(_) => IPV6_HEADER_BYTES,
    };
    Packet {
        flow: Flow {
            protocol,
            source: SocketAddr::new(source, ports.0),
            destination: SocketAddr::new(packet.dst, ports.1),
        },
        tcp,
        size_bytes: ip_header_bytes + size_bytes,
        class,
        damage: Damage::None,
        body: cargo,
    }
}

/// The packet as the kernel of its receiver sees it: with the addresses that the NATs on the way left
/// in it, and the receiver's own as its kernel knows it.
pub(super) fn rewritten(packet: &Packet<Box<Cargo>>, receiver: IpAddr) -> KernelPacket {
    let mut kernel = packet.body.packet.clone();
    let Flow {
        source,
        destination,
        ..
    } = packet.flow;
    kernel.src = source.ip();
    kernel.dst = receiver;
    match &mut kernel.payload {
        Transport::Udp(datagram) => {
            datagram.src_port = source.port();
            datagram.dst_port = destination.port();
            if packet.damage != Damage::None {
                let mut payload = datagram.payload.to_vec();
                packet.damage.apply(&mut payload);
                datagram.payload = payload.into();
            }
        }
        Transport::Tcp(segment) => {
            segment.src_port = source.port();
            segment.dst_port = destination.port();
        }
    }
    kernel
}

/// A packet with a segment as two: so many bytes of the payload, and what follows them.
pub(super) fn split(
    packet: Packet<Box<Cargo>>,
    bytes: usize,
) -> (Packet<Box<Cargo>>, Packet<Box<Cargo>>) {
    let mut begin = packet.clone();
    let mut rest = packet;
    (begin.body.packet, rest.body.packet) = split_segment(&begin.body.packet, bytes);
    begin.tcp = begin.tcp.map(|tcp| TcpSignal { fin: false, ..tcp });
    let left = payload_bytes(&rest.body.packet);
    begin.size_bytes -= left;
    rest.size_bytes -= payload_bytes(&begin.body.packet);
    (begin, rest)
}

/// A kernel's packet with a segment as two. Whatever else it holds comes with the first one.
pub(super) fn split_segment(packet: &KernelPacket, bytes: usize) -> (KernelPacket, KernelPacket) {
    let (mut begin, mut rest) = (packet.clone(), packet.clone());
    if let (Transport::Tcp(begin), Transport::Tcp(rest)) = (&mut begin.payload, &mut rest.payload) {
        let bytes = bytes.min(begin.payload.len());
        begin.payload.truncate(bytes);
        begin.flags.fin = false;
        rest.payload = rest.payload.slice(bytes..);
        let offset = u32::try_from(bytes).expect("a segment is shorter than 4 GiB");
        rest.seq = rest.seq.wrapping_add(offset);
    }
    (begin, rest)
}

fn payload_bytes(packet: &KernelPacket) -> usize {
    match &packet.payload {
        Transport::Udp(datagram) => datagram.payload.len(),
        Transport::Tcp(segment) => segment.payload.len(),
    }
}

pub(super) fn summary(packet: &Packet<Box<Cargo>>) -> PacketSummary {
    let (payload, tcp) = match &packet.body.packet.payload {
        Transport::Udp(datagram) => (datagram.payload.clone(), TcpSummary::default()),
        Transport::Tcp(segment) => {
            let flags = [
                segment.flags.syn,
                segment.flags.ack,
                segment.flags.fin,
                segment.flags.rst,
            ];
            let flags = flags
                .iter()
                .enumerate()
                .fold(0, |bits, (bit, set)| bits | u8::from(*set) << bit);
            let tcp = TcpSummary {
                flags,
                sequence: segment.seq,
                acknowledgment: segment.ack,
            };
            (segment.payload.clone(), tcp)
        }
    };
    PacketSummary {
        protocol: packet.flow.protocol,
        source: packet.flow.source,
        destination: packet.flow.destination,
        class: packet.class,
        tcp,
        payload,
    }
}
