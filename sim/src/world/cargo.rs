//! Packets between the kernels, which have sockets, and the fabric, which has places.

use std::net::SocketAddr;

use ringtrue::net::TrafficClass;
use turmoil_net::{Packet as KernelPacket, Transport};

use super::tcp::Tag;
use crate::net::fabric::Packet;
use crate::net::flow::{Flow, TcpSignal};
use crate::trace::PacketSummary;
use crate::trace::event::TcpSummary;

/// The size of an IPv4 header without options (RFC 791 section 3.1), which every packet has.
const IP_HEADER_BYTES: usize = 20;
/// The size of a UDP header (RFC 768).
const UDP_HEADER_BYTES: usize = 8;
/// The size of a TCP header without options (RFC 9293 section 3.1).
const TCP_HEADER_BYTES: usize = 20;
/// What a packet of the fabric carries.
#[derive(Debug, Clone)]
pub(super) struct Cargo {
    pub(super) packet: KernelPacket,
    pub(super) class: TrafficClass,
    pub(super) tag: Option<Tag>,
}

/// A kernel's packet as the fabric carries it.
pub(super) fn in_fabric(cargo: Cargo) -> Packet<Cargo> {
    let packet = &cargo.packet;
    let (flow, tcp, size_bytes) = match &packet.payload {
        Transport::Udp(datagram) => (
            Flow::udp(
                SocketAddr::new(packet.src, datagram.src_port),
                SocketAddr::new(packet.dst, datagram.dst_port),
            ),
            None,
            UDP_HEADER_BYTES + datagram.payload.len(),
        ),
        Transport::Tcp(segment) => (
            Flow::tcp(
                SocketAddr::new(packet.src, segment.src_port),
                SocketAddr::new(packet.dst, segment.dst_port),
            ),
            Some(TcpSignal {
                syn: segment.flags.syn,
                ack: segment.flags.ack,
                fin: segment.flags.fin,
                rst: segment.flags.rst,
            }),
            TCP_HEADER_BYTES + segment.payload.len(),
        ),
    };
    Packet {
        flow,
        tcp,
        size_bytes: IP_HEADER_BYTES + size_bytes,
        body: cargo,
    }
}

/// The packet as its receiver sees it: with the addresses that the NATs on the way left in it.
pub(super) fn rewritten(packet: &Packet<Cargo>) -> KernelPacket {
    let mut received = packet.body.packet.clone();
    let Flow {
        source,
        destination,
        ..
    } = packet.flow;
    received.src = source.ip();
    received.dst = destination.ip();
    match &mut received.payload {
        Transport::Udp(datagram) => {
            datagram.src_port = source.port();
            datagram.dst_port = destination.port();
        }
        Transport::Tcp(segment) => {
            segment.src_port = source.port();
            segment.dst_port = destination.port();
        }
    }
    received
}

pub(super) fn summary(packet: &Packet<Cargo>) -> PacketSummary {
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
        class: packet.body.class,
        tcp,
        payload,
    }
}
