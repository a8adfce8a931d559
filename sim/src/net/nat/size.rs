//! Packets that are larger than the next link can carry (RFC 4787 section 10).

use super::Nat;
use super::fragment::{Fragment, MoreFragments};
use super::icmp::{IcmpError, IcmpErrorKind};
use crate::net::cause::DropCause;
use crate::net::flow::Flow;

/// What a NAT answers to a packet that is too big for the next link and must not be fragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TooBig {
    /// An ICMP error that names the size, for the sender to send smaller packets (RFC 1191). RFC 4787
    /// REQ-13 demands it.
    #[default]
    Answered,
    /// Nothing: whatever the sender sends in that size vanishes. REQ-13 forbids it.
    Silent,
}

/// A packet and what matters of it to a link with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizedPacket {
    /// Its addresses.
    pub flow: Flow,
    /// What tells its fragments from those of other packets (RFC 791 section 3.1).
    pub identification: u16,
    /// Its length without the IP header.
    pub payload_bytes: u16,
    /// The bit "don't fragment".
    pub fragmentation: Fragmentation,
}

/// Whether a packet may be fragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragmentation {
    /// DF=0.
    Allowed,
    /// DF=1.
    Forbidden,
}

/// What becomes of a packet at a link with a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It goes on as it is.
    Whole,
    /// It goes on in fragments, the first one first.
    Fragments(Vec<Fragment>),
    /// It goes no further, and its sender gets this answer.
    Answer(IcmpError),
    /// It goes no further.
    Drop(DropCause),
}

/// The length of an IPv4 header without options.
const HEADER_BYTES: u16 = 20;

impl Nat {
    /// Judges a packet from inside, before it is translated, by the largest packet that the next
    /// link carries, in bytes with all headers. Fragments are then translated by
    /// [`outbound_fragment`](Self::outbound_fragment).
    #[must_use]
    pub fn fit(&self, packet: &SizedPacket, mtu_bytes: u16) -> Fit {
        let room = mtu_bytes.saturating_sub(HEADER_BYTES);
        if packet.payload_bytes <= room {
            return Fit::Whole;
        }
        match (packet.fragmentation, self.config.too_big) {
            (Fragmentation::Allowed, _) => fragments(packet, room),
            (Fragmentation::Forbidden, TooBig::Silent) => Fit::Drop(DropCause::TooLarge),
            (Fragmentation::Forbidden, TooBig::Answered) => match self.pool.addresses().first() {
                Some(own) => Fit::Answer(IcmpError {
                    kind: IcmpErrorKind::PacketTooBig { mtu_bytes },
                    source: *own,
                    destination: packet.flow.source.ip(),
                    quoted: packet.flow,
                }),
                None => Fit::Drop(DropCause::TooLarge),
            },
        }
    }
}

fn fragments(packet: &SizedPacket, room: u16) -> Fit {
    // Offsets are counted in units of eight bytes (RFC 791 section 3.1).
    let step = room / 8 * 8;
    if step == 0 {
        return Fit::Drop(DropCause::TooLarge);
    }
    let Flow {
        protocol,
        source,
        destination,
    } = packet.flow;
    let fragments = (0..packet.payload_bytes).step_by(usize::from(step));
    let fragments = fragments.map(|offset_bytes| {
        let left = packet.payload_bytes - offset_bytes;
        Fragment {
            protocol,
            source: source.ip(),
            destination: destination.ip(),
            identification: packet.identification,
            offset_bytes,
            length_bytes: left.min(step),
            more: if left > step {
                MoreFragments::Follow
            } else {
                MoreFragments::None
            },
            ports: (offset_bytes == 0).then_some((source.port(), destination.port())),
        }
    });
    Fit::Fragments(fragments.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::nat::NatConfig;

    /// Offset, length and whether more follow, of each fragment; none where it goes on whole.
    #[track_caller]
    fn check(payload_bytes: u16, mtu_bytes: u16, expected: Option<&[(u16, u16, MoreFragments)]>) {
        let endpoint = |text: &str| text.parse().expect("a socket address");
        let packet = SizedPacket {
            flow: Flow::udp(endpoint("192.168.1.2:5000"), endpoint("192.0.2.1:3478")),
            identification: 7,
            payload_bytes,
            fragmentation: Fragmentation::Allowed,
        };
        let nat = Nat::new(Vec::new(), NatConfig::default());
        match (nat.fit(&packet, mtu_bytes), expected) {
            (Fit::Whole, None) => {}
            (Fit::Fragments(fragments), Some(expected)) => {
                let found: Vec<_> = fragments
                    .iter()
                    .map(|each| (each.offset_bytes, each.length_bytes, each.more))
                    .collect();
                assert_eq!(found, expected);
                let with_ports = fragments.iter().map(|each| each.ports.is_some());
                let first_alone = (0..fragments.len()).map(|position| position == 0);
                assert!(with_ports.eq(first_alone), "{fragments:?}");
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packet_is_cut_in_units_of_eight_bytes_only_where_it_must_be() {
        use MoreFragments::{Follow, None as Last};
        check(16, 36, None);
        check(17, 36, Some(&[(0, 16, Follow), (16, 1, Last)]));
        check(16, 35, Some(&[(0, 8, Follow), (8, 8, Last)]));
        check(
            20,
            30,
            Some(&[(0, 8, Follow), (8, 8, Follow), (16, 4, Last)]),
        );
    }

    #[test]
    fn a_link_that_carries_no_unit_carries_nothing() {
        let endpoint = |text: &str| text.parse().expect("a socket address");
        let packet = SizedPacket {
            flow: Flow::udp(endpoint("192.168.1.2:5000"), endpoint("192.0.2.1:3478")),
            identification: 7,
            payload_bytes: 100,
            fragmentation: Fragmentation::Allowed,
        };
        let nat = Nat::new(Vec::new(), NatConfig::default());
        for mtu_bytes in [0, 20, 27] {
            assert_eq!(nat.fit(&packet, mtu_bytes), Fit::Drop(DropCause::TooLarge));
        }
    }
}
