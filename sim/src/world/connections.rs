//! The TCP connections of the world, and how to break them from outside (pure).
//!
//! A fault breaks a connection as a middlebox would: with a FIN or a reset in the name of the other
//! end, or by swallowing everything. What either end says afterwards is answered here, since the
//! real other end knows nothing of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use turmoil_net::{Packet as KernelPacket, TcpFlags, TcpSegment, Transport};

use super::cargo::TIME_TO_LIVE;
use crate::fault::Breakage;
use crate::net::topology::HostId;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Whose.
    pub host: HostId,
    /// Its address, as the kernel knows it.
    pub local: SocketAddr,
    /// The other end's address, as this one sees it.
    pub remote: SocketAddr,
}

/// The connections of a world.
#[derive(Debug, Default)]
pub struct Connections(BTreeMap<End, Connection>);

/// What one end was told so far.
#[derive(Debug, Default)]
struct Connection {
    /// The other end, once a segment of it has arrived.
    other: Option<End>,
    /// The sequence number that this end expects next.
    expects: u32,
    /// The last acknowledgment that this end has got.
    acknowledged: u32,
    finished: bool,
    broken: Option<Breakage>,
}

/// What becomes of a segment of one end.
#[derive(Debug)]
pub enum Sent {
    /// It goes its way.
    Passes,
    /// The connection is broken: it goes nowhere, and the end is given this.
    Swallowed(Option<KernelPacket>),
}

impl Connections {
    /// An end sends a segment.
    pub fn sent(&mut self, end: End, segment: &TcpSegment) -> Sent {
        if segment.flags.syn && !segment.flags.ack {
            // Whatever went by these addresses is history.
            self.0.insert(end, Connection::default());
            return Sent::Passes;
        }
        let Some(connection) = self.0.get(&end) else {
            return Sent::Passes;
        };
        let Some(breakage) = connection.broken else {
            return Sent::Passes;
        };
        let length = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        let answer = match breakage {
            Breakage::Fin if segment.flags.fin => {
                let acknowledged = segment.seq.wrapping_add(length).wrapping_add(1);
                Some(end.packet(connection.expects, acknowledged, acknowledgment()))
            }
            // Who has closed both directions has no use for data.
            Breakage::Fin if length > 0 => Some(end.packet(segment.ack, 0, reset())),
            Breakage::Fin | Breakage::Rst | Breakage::Silence => None,
        };
        Sent::Swallowed(answer)
    }

    /// A segment of `from` reaches `to`. `false` where the connection is broken and it must not.
    #[must_use]
    pub fn arrives(&mut self, to: End, from: Option<End>, segment: &TcpSegment) -> bool {
        let connection = self.0.entry(to).or_default();
        if segment.flags.syn && !segment.flags.ack {
            *connection = Connection::default();
        }
        if connection.broken.is_some() {
            return false;
        }
        let length = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        let flags = u32::from(segment.flags.syn) + u32::from(segment.flags.fin);
        connection.expects = segment.seq.wrapping_add(length).wrapping_add(flags);
        if segment.flags.ack {
            connection.acknowledged = segment.ack;
        }
        connection.finished |= segment.flags.fin;
        connection.other = from.or(connection.other);
        let both_finished = connection.finished
            && from.is_some_and(|from| self.0.get(&from).is_some_and(|other| other.finished));
        if segment.flags.rst || both_finished {
            self.0.remove(&to);
            if let Some(from) = from {
                self.0.remove(&from);
            }
        }
        true
    }

    /// Breaks every connection of `host` whose remote end `is_meant`, at both ends. Gives what the
    /// ends are told, and how many connections were broken.
    pub fn break_at_both_ends(
        &mut self,
        host: HostId,
        is_meant: impl Fn(SocketAddr) -> bool,
        how: Breakage,
    ) -> (Vec<KernelPacket>, usize) {
        let mine = self
            .0
            .iter()
            .filter(|(end, each)| end.host == host && is_meant(end.remote) && each.is_open())
            .map(|(end, each)| (*end, each.other));
        let pairs: Vec<(End, Option<End>)> = mine.collect();
        let mut told = Vec::new();
        for (end, other) in &pairs {
            told.extend(self.tell(*end, how));
            told.extend(other.and_then(|other| self.tell(other, how)));
        }
        (told, pairs.len())
    }

    /// Ends every connection of `host` as its own operating system does: the other ends learn
    /// nothing of it, and are answered by a kernel that knows none. Gives what the host's own kernel
    /// is told.
    pub fn abort_all(&mut self, host: HostId) -> (Vec<KernelPacket>, usize) {
        let whole = self
            .0
            .iter()
            .filter(|(end, each)| end.host == host && each.broken.is_none());
        let ends: Vec<End> = whole.map(|(end, _)| *end).collect();
        let told: Vec<_> = ends
            .iter()
            .filter_map(|end| {
                let packet = self.tell(*end, Breakage::Rst);
                self.0.remove(end);
                packet
            })
            .collect();
        (told, ends.len())
    }

    /// How many connections of `host` are open.
    #[must_use]
    pub fn open_at(&self, host: HostId) -> usize {
        let open = self.0.iter();
        open.filter(|(end, each)| end.host == host && each.is_open())
            .count()
    }

    fn tell(&mut self, end: End, how: Breakage) -> Option<KernelPacket> {
        let connection = self.0.get_mut(&end)?;
        connection.broken = Some(how);
        let (expects, acknowledged) = (connection.expects, connection.acknowledged);
        match how {
            Breakage::Silence => None,
            Breakage::Rst => Some(end.packet(expects, acknowledged, reset())),
            Breakage::Fin => {
                connection.expects = expects.wrapping_add(1);
                let flags = TcpFlags {
                    fin: true,
                    ..acknowledgment()
                };
                Some(end.packet(expects, acknowledged, flags))
            }
        }
    }
}

impl Connection {
    /// Whether both ends have heard of each other and neither has closed.
    fn is_open(&self) -> bool {
        self.broken.is_none() && self.other.is_some() && !self.finished
    }
}

impl End {
    /// A segment to this end in the name of the other one.
    fn packet(&self, sequence: u32, acknowledged: u32, flags: TcpFlags) -> KernelPacket {
        KernelPacket {
            src: self.remote.ip(),
            dst: self.local.ip(),
            ttl: TIME_TO_LIVE,
            payload: Transport::Tcp(TcpSegment {
                src_port: self.remote.port(),
                dst_port: self.local.port(),
                seq: sequence,
                ack: acknowledged,
                flags,
                window: u16::MAX,
                payload: Bytes::new(),
            }),
        }
    }
}

fn acknowledgment() -> TcpFlags {
    TcpFlags {
        ack: true,
        ..TcpFlags::default()
    }
}

fn reset() -> TcpFlags {
    TcpFlags {
        rst: true,
        ..TcpFlags::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::link::LinkPair;
    use crate::net::topology::{Families, Topology};

    fn ends() -> [End; 2] {
        let mut topology = Topology::new();
        let mut host = |name| {
            topology
                .add_server(name, LinkPair::default(), Families::V4)
                .expect("an address is left")
        };
        let [client, server] = [host("client"), host("server")];
        let address = |text: &str| text.parse().expect("a socket address");
        [
            End {
                host: client,
                local: address("192.168.0.2:50000"),
                remote: address("192.0.2.1:80"),
            },
            End {
                host: server,
                local: address("192.0.2.1:80"),
                remote: address("203.0.113.1:50000"),
            },
        ]
    }

    fn segment(seq: u32, payload: &'static [u8], flags: TcpFlags) -> TcpSegment {
        TcpSegment {
            src_port: 1,
            dst_port: 2,
            seq,
            ack: 70,
            flags,
            window: 1000,
            payload: Bytes::from_static(payload),
        }
    }

    /// A connection over which each end has said five bytes.
    fn open() -> (Connections, [End; 2]) {
        let [client, server] = ends();
        let mut connections = Connections::default();
        for (to, from) in [(server, client), (client, server)] {
            let said = segment(100, b"hello", acknowledgment());
            assert!(connections.arrives(to, Some(from), &said));
        }
        (connections, [client, server])
    }

    fn flags_of(packet: &KernelPacket) -> (bool, bool, u32) {
        match &packet.payload {
            Transport::Tcp(segment) => (segment.flags.fin, segment.flags.rst, segment.seq),
            Transport::Udp(_) => unreachable!("only segments are made"),
        }
    }

    #[test]
    fn a_fin_comes_in_sequence_at_both_ends() {
        let (mut connections, [client, _]) = open();
        let (told, count) = connections.break_at_both_ends(client.host, |_| true, Breakage::Fin);
        assert_eq!(count, 1);
        let flags: Vec<_> = told.iter().map(flags_of).collect();
        assert_eq!(flags, [(true, false, 105), (true, false, 105)]);
    }

    #[test]
    fn whoever_closes_after_a_fin_is_acknowledged_and_whoever_talks_is_reset() {
        let (mut connections, [client, _]) = open();
        let _told = connections.break_at_both_ends(client.host, |_| true, Breakage::Fin);
        let fin = TcpFlags {
            fin: true,
            ..acknowledgment()
        };
        let Sent::Swallowed(Some(answer)) = connections.sent(client, &segment(70, b"", fin)) else {
            panic!("the FIN is not answered");
        };
        assert_eq!(flags_of(&answer), (false, false, 106));
        let talk = segment(70, b"still here", acknowledgment());
        let Sent::Swallowed(Some(answer)) = connections.sent(client, &talk) else {
            panic!("the data is not answered");
        };
        assert!(flags_of(&answer).1);
    }

    #[test]
    fn silence_tells_nobody_and_swallows_everything() {
        let (mut connections, [client, server]) = open();
        let (told, count) =
            connections.break_at_both_ends(client.host, |_| true, Breakage::Silence);
        assert_eq!((told.len(), count), (0, 1));
        let said = segment(105, b"hello?", acknowledgment());
        assert!(matches!(
            connections.sent(client, &said),
            Sent::Swallowed(None)
        ));
        assert!(!connections.arrives(server, Some(client), &said));
    }

    #[test]
    fn only_the_connections_that_are_meant_break() {
        let (mut connections, [client, server]) = open();
        let (_, count) = connections.break_at_both_ends(client.host, |_| false, Breakage::Rst);
        assert_eq!(count, 0);
        let (told, count) = connections.abort_all(client.host);
        assert_eq!((told.len(), count), (1, 1), "the server learns nothing");
        let said = segment(105, b"hello?", acknowledgment());
        assert!(connections.arrives(server, Some(client), &said));
    }

    #[test]
    fn a_new_connection_on_the_same_addresses_is_whole() {
        let (mut connections, [client, _]) = open();
        let _told = connections.break_at_both_ends(client.host, |_| true, Breakage::Rst);
        let syn = TcpFlags {
            syn: true,
            ..TcpFlags::default()
        };
        assert!(matches!(
            connections.sent(client, &segment(0, b"", syn)),
            Sent::Passes
        ));
        let said = segment(1, b"hello", acknowledgment());
        assert!(matches!(connections.sent(client, &said), Sent::Passes));
    }
}
