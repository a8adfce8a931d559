//! The TCP connections of the world, and how to break them from outside (pure).
//!
//! A fault breaks a connection as a middlebox would: with a FIN or a reset in the name of the other
//! end, or by swallowing everything. What either end says afterwards is answered here, since the
//! real other end knows nothing of it.
//!
//! A connection can also be cut at a [frame](super::frames): what has left by then arrives, even if
//! it is lost and sent again, and the other end hears of the cut when it has got it. Nothing reaches
//! the end at which the frame was seen any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use turmoil_net::{Packet as KernelPacket, TcpFlags, TcpSegment, Transport};

use super::cargo::TIME_TO_LIVE;
use super::wire::{CutHere, FrameCut, Tap, Wire};
use crate::fault::{Breakage, FrameWay};
use crate::net::topology::HostId;
use crate::trace::WireEvent;

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
pub struct Connections {
    ends: BTreeMap<End, Connection>,
    /// Every end that somebody has connected to. A kernel may hold one for long after both ends have
    /// closed, while the last acknowledgment does not arrive.
    accepted: BTreeSet<End>,
    taps: Vec<Tap>,
    events: Vec<(HostId, WireEvent)>,
}

/// What one end was told so far.
#[derive(Debug, Default)]
struct Connection {
    /// The other end, once a segment of it has arrived.
    other: Option<End>,
    /// The sequence number that this end expects next.
    expects: u32,
    /// The last acknowledgment that this end has got.
    acknowledged: u32,
    /// The sequence number that this end sends next, where it has opened the connection.
    sends: u32,
    finished: bool,
    /// Whether a SYN has arrived and its acknowledgment is still awaited.
    is_opening: bool,
    broken: Option<Breakage>,
    /// Up to where what this end has sent goes on although it is broken.
    passes_until: Option<u32>,
    /// This end breaks as soon as it has got everything before this sequence number.
    breaks_at: Option<(u32, Breakage)>,
    /// Where it is listened to.
    wire: Option<Wire>,
}

/// What becomes of a segment, and of its connection.
#[derive(Debug)]
pub struct Passage {
    /// How much of the segment goes its way.
    pub passes: Passes,
    /// What its receiver is told before it.
    pub first: Option<KernelPacket>,
    /// What the two ends are told after it.
    pub told: Vec<KernelPacket>,
    /// The fault that cuts the connection here, by number.
    pub cut_by: Option<usize>,
    /// Whether this is the first segment after a SYN, and more than the acknowledgment that completes
    /// the handshake. The kernel takes nothing else from it, so it needs that one before.
    pub completes_handshake: bool,
}

/// How much of a segment goes its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// All of it.
    Whole,
    /// So many bytes of its payload.
    Begin {
        /// How many.
        bytes: usize,
    },
    /// Nothing: the connection is broken.
    Nothing,
}

impl Connections {
    /// Listens in on the connections of a machine.
    pub fn listen_in(&mut self, tap: Tap) {
        self.taps.push(tap);
    }

    /// Cuts a connection of the machine of `host` at a frame. `false` where nobody listens to it.
    pub fn cut_at(&mut self, host: HostId, cut: FrameCut) -> bool {
        let tap = self.taps.iter_mut().find(|tap| tap.is_of(host));
        tap.map(|tap| tap.cut_at(cut)).is_some()
    }

    /// What showed on the wires since the last call.
    pub fn take_events(&mut self) -> Vec<(HostId, WireEvent)> {
        std::mem::take(&mut self.events)
    }

    /// An end sends a segment.
    pub fn sent(&mut self, end: End, segment: &TcpSegment) -> Passage {
        if segment.flags.syn && !segment.flags.ack {
            // Whatever went by these addresses is history.
            self.note_close(end);
            let wire = self.wire_of(end);
            let connection = Connection {
                sends: after(segment, segment.payload.len()),
                wire,
                ..Connection::default()
            };
            self.ends.insert(end, connection);
            return Passage::whole();
        }
        if segment.flags.fin || segment.flags.rst {
            self.note_close(end);
        }
        let Some(connection) = self.ends.get_mut(&end) else {
            return Passage::whole();
        };
        let after = after(segment, segment.payload.len());
        if let Some(breakage) = connection.broken {
            if connection.has_left(segment) {
                return Passage::whole();
            }
            return Passage {
                told: connection
                    .answer(end, segment, breakage)
                    .into_iter()
                    .collect(),
                ..Passage::of(Passes::Nothing)
            };
        }
        if is_before(connection.sends, after) {
            connection.sends = after;
        }
        match self.listen(end, FrameWay::Sends, segment) {
            None => Passage::whole(),
            Some(CutHere { bytes, cut }) => {
                let until = plus(segment.seq, bytes);
                Passage {
                    passes: Passes::begin(bytes),
                    told: self.cut(end, until, cut.how),
                    cut_by: Some(cut.fault),
                    ..Passage::whole()
                }
            }
        }
    }

    /// Whether a segment had left `end` before the connection was cut there, so that it arrives although the
    /// kernel that sent it may know the connection no more.
    #[must_use]
    pub fn left_before_cut(&self, end: End, segment: &TcpSegment) -> bool {
        let connection = self.ends.get(&end);
        connection.is_some_and(|connection| connection.has_left(segment))
    }

    /// A segment of `from` reaches `to`.
    pub fn arrives(&mut self, to: End, from: Option<End>, segment: &TcpSegment) -> Passage {
        if segment.flags.syn && !segment.flags.ack {
            let connection = Connection {
                is_opening: true,
                ..Connection::default()
            };
            self.ends.insert(to, connection);
            self.accepted.insert(to);
        }
        let connection = self.ends.entry(to).or_default();
        if connection.broken.is_some() {
            return Passage::of(Passes::Nothing);
        }
        let was_opening = connection.is_opening;
        let first = segment
            .flags
            .rst
            .then(|| connection.handshake_completed(to))
            .flatten();
        connection.is_opening &= segment.flags.syn;
        let says_more = !segment.payload.is_empty() || segment.flags.fin;
        let completes_handshake = was_opening && !connection.is_opening && says_more;
        if segment.flags.syn
            && segment.flags.ack
            && let Some(event) = connection.wire.as_mut().and_then(Wire::accepted)
        {
            self.events.push((to.host, event));
        }
        let cut = self.listen(to, FrameWay::Receives, segment);
        if segment.flags.rst {
            self.note_close(to);
        }
        let connection = self.ends.entry(to).or_default();
        connection.other = from.or(connection.other);
        if segment.flags.ack {
            connection.acknowledged = segment.ack;
        }
        if let Some(CutHere { bytes, cut }) = cut {
            connection.expects = plus(segment.seq, bytes);
            let until = connection.sends;
            return Passage {
                passes: Passes::begin(bytes),
                told: self.cut(to, until, cut.how),
                cut_by: Some(cut.fault),
                ..Passage::whole()
            };
        }
        connection.expects = after(segment, segment.payload.len());
        connection.finished |= segment.flags.fin;
        let (finished, expects) = (connection.finished, connection.expects);
        let breaks = connection
            .breaks_at
            .filter(|(at, _)| !is_before(expects, *at));
        let both_finished = finished
            && from.is_some_and(|from| self.ends.get(&from).is_some_and(|other| other.finished));
        if segment.flags.rst || both_finished {
            self.ends.remove(&to);
            if let Some(from) = from {
                self.ends.remove(&from);
            }
        }
        Passage {
            first,
            told: breaks
                .map(|(_, how)| self.tell(to, how))
                .unwrap_or_default(),
            completes_handshake,
            ..Passage::whole()
        }
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
            .ends
            .iter()
            .filter(|(end, each)| end.host == host && is_meant(end.remote) && each.is_open())
            .map(|(end, each)| (*end, each.other));
        let pairs: Vec<(End, Option<End>)> = mine.collect();
        let mut told = Vec::new();
        for (end, other) in &pairs {
            told.extend(self.tell(*end, how));
            told.extend(other.iter().flat_map(|other| self.tell(*other, how)));
        }
        (told, pairs.len())
    }

    /// Ends every connection of `host` as its own operating system does: the other ends learn
    /// nothing of it, and are answered by a kernel that knows none. Gives what the host's own kernel
    /// is told.
    pub fn abort_all(&mut self, host: HostId) -> (Vec<KernelPacket>, usize) {
        let whole = self
            .ends
            .iter()
            .filter(|(end, each)| end.host == host && each.broken.is_none());
        let ends: Vec<End> = whole.map(|(end, _)| *end).collect();
        let told: Vec<_> = ends
            .iter()
            .flat_map(|end| {
                let packets = self.tell(*end, Breakage::Rst);
                self.ends.remove(end);
                packets
            })
            .collect();
        (told, ends.len())
    }

    /// What the kernel of `host` is told so that nothing is left of the connections that it has accepted,
    /// those that linger because the other end says nothing any more among them.
    pub fn clear(&mut self, host: HostId) -> Vec<KernelPacket> {
        let of_host: Vec<End> = self
            .accepted
            .extract_if(.., |end| end.host == host)
            .collect();
        let told = of_host.into_iter().map(|end| {
            self.ends.remove(&end);
            // A reset is taken whatever its number.
            end.packet(0, 0, reset())
        });
        told.collect()
    }

    /// How many connections of `host` are open.
    #[must_use]
    pub fn open_at(&self, host: HostId) -> usize {
        let open = self.ends.iter();
        open.filter(|(end, each)| end.host == host && each.is_open())
            .count()
    }

    /// Cuts a connection at `end`. The other end hears of it when it has got what this one sent
    /// before the sequence number `until`.
    fn cut(&mut self, end: End, until: u32, how: Breakage) -> Vec<KernelPacket> {
        let mut told = self.tell(end, how);
        let Some(connection) = self.ends.get_mut(&end) else {
            return told;
        };
        connection.passes_until = Some(until);
        let Some(other_end) = connection.other else {
            return told;
        };
        match self.ends.get_mut(&other_end) {
            Some(other) if is_before(other.expects, until) => other.breaks_at = Some((until, how)),
            Some(_) => told.extend(self.tell(other_end, how)),
            None => {}
        }
        told
    }

    fn tell(&mut self, end: End, how: Breakage) -> Vec<KernelPacket> {
        if how == Breakage::Rst {
            self.note_close(end);
        }
        let Some(connection) = self.ends.get_mut(&end) else {
            return Vec::new();
        };
        connection.broken = Some(how);
        let (expects, acknowledged) = (connection.expects, connection.acknowledged);
        match how {
            Breakage::Silence => Vec::new(),
            Breakage::Rst => {
                let first = connection.handshake_completed(end);
                let reset = end.packet(expects, acknowledged, reset());
                first.into_iter().chain([reset]).collect()
            }
            Breakage::Fin => {
                connection.expects = expects.wrapping_add(1);
                let flags = TcpFlags {
                    fin: true,
                    ..acknowledgment()
                };
                vec![end.packet(expects, acknowledged, flags)]
            }
        }
    }

    /// The wire of an end that is listened to.
    fn wire_of(&mut self, end: End) -> Option<Wire> {
        let mut taps = self.taps.iter_mut().enumerate();
        let (index, tap) = taps.find(|(_, tap)| tap.is_on(end))?;
        Some(tap.wire(index))
    }

    /// Listens to a segment at an end, and tells where it is to be cut.
    fn listen(&mut self, end: End, way: FrameWay, segment: &TcpSegment) -> Option<CutHere> {
        // The number of a SYN is that of no byte.
        if segment.payload.is_empty() {
            return None;
        }
        let wire = self.ends.get_mut(&end)?.wire.as_mut()?;
        let tap = &mut self.taps[wire.tap];
        let (events, cut) = tap.pass(wire, way, segment.seq, &segment.payload);
        let events = events.into_iter().map(|event| (end.host, event));
        self.events.extend(events);
        cut
    }

    /// The application at an end has closed it, whatever its kernel still does.
    pub(super) fn note_close(&mut self, end: End) {
        let connection = self.ends.get_mut(&end);
        let event = connection
            .and_then(|connection| connection.wire.as_mut())
            .and_then(Wire::closed);
        self.events.extend(event.map(|event| (end.host, event)));
    }
}

impl Connection {
    /// Whether both ends have heard of each other and neither has closed.
    fn is_open(&self) -> bool {
        self.broken.is_none() && self.other.is_some() && !self.finished
    }

    /// Whether this end was cut, and the segment had left it by then.
    fn has_left(&self, segment: &TcpSegment) -> bool {
        let after = after(segment, segment.payload.len());
        let is_covered = |until| !segment.payload.is_empty() && !is_before(until, after);
        self.broken.is_some() && self.passes_until.is_some_and(is_covered)
    }

    /// The acknowledgment that completes the handshake of `end`, if it awaits one. It comes before a reset:
    /// the kernel of the world forgets a connection that is reset only when somebody has accepted it, so
    /// that one which nobody can accept would hold its port for ever.
    fn handshake_completed(&self, end: End) -> Option<KernelPacket> {
        let awaits = self.is_opening && self.sends != 0;
        awaits.then(|| end.packet(self.expects, self.sends, acknowledgment()))
    }

    /// What an end is told that goes on although it is broken.
    fn answer(&self, end: End, segment: &TcpSegment, how: Breakage) -> Option<KernelPacket> {
        match how {
            Breakage::Fin if segment.flags.fin => {
                let acknowledged = after(segment, segment.payload.len());
                Some(end.packet(self.expects, acknowledged, acknowledgment()))
            }
            // Who has closed both directions has no use for data.
            Breakage::Fin if !segment.payload.is_empty() => {
                Some(end.packet(segment.ack, 0, reset()))
            }
            Breakage::Fin | Breakage::Rst | Breakage::Silence => None,
        }
    }
}

impl Passage {
    /// That of a packet which belongs to no connection.
    #[must_use]
    pub fn whole() -> Self {
        Self::of(Passes::Whole)
    }

    fn of(passes: Passes) -> Self {
        Self {
            passes,
            told: Vec::new(),
            first: None,
            cut_by: None,
            completes_handshake: false,
        }
    }
}

impl Passes {
    fn begin(bytes: usize) -> Self {
        match bytes {
            0 => Self::Nothing,
            bytes => Self::Begin { bytes },
        }
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

/// The sequence number after a segment of which so much of the payload is taken.
fn after(segment: &TcpSegment, bytes: usize) -> u32 {
    let flags = usize::from(segment.flags.syn) + usize::from(segment.flags.fin);
    plus(segment.seq, bytes + flags)
}

fn plus(sequence: u32, bytes: usize) -> u32 {
    sequence.wrapping_add(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Whether one sequence number comes before another (RFC 9293 section 3.4).
fn is_before(one: u32, other: u32) -> bool {
    let distance = other.wrapping_sub(one);
    distance != 0 && distance < 1 << 31
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
mod tests;
