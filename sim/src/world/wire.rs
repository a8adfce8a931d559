//! What shows on the wire of a machine's signaling connections (pure): when they open and close,
//! each frame that passes, and where a fault cuts.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::connections::End;
use super::frames::{Edge, FrameReader};
use crate::fault::{Breakage, FramePoint, FrameSide, FrameWay};
use crate::net::topology::HostId;
use crate::trace::{Purpose, WireEvent, WirePhase};

/// Listens in on the connections of one machine to one server.
#[derive(Debug)]
pub struct Tap {
    hosts: BTreeSet<HostId>,
    servers: BTreeSet<SocketAddr>,
    /// How many connections there were.
    connections: u64,
    /// How many whole frames left.
    sent: u64,
    /// How many whole frames arrived.
    received: u64,
    cuts: Vec<FrameCut>,
}

/// A connection that is cut at a frame, by whichever connection the frame passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameCut {
    /// The number of the fault that wants it.
    pub fault: usize,
    /// Where.
    pub point: FramePoint,
    /// How it shows at both ends.
    pub how: Breakage,
}

/// One connection, at the end of the machine that is listened to.
#[derive(Debug)]
pub struct Wire {
    /// The index of its tap.
    pub(super) tap: usize,
    number: u64,
    life: Life,
    purpose: Option<Purpose>,
    sent: Stream,
    received: Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Opening,
    Open,
    Closed,
}

#[derive(Debug, Default)]
struct Stream {
    reader: FrameReader,
    /// The sequence number of the first byte that was not seen; `None` before any was.
    next: Option<u32>,
}

/// A place in the payload of a segment where its connection is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CutHere {
    /// How many bytes of the payload come before it.
    pub(super) bytes: usize,
    pub(super) cut: FrameCut,
}

impl Tap {
    /// Listens in on what goes from `hosts` to `servers` and back.
    #[must_use]
    pub fn new(hosts: BTreeSet<HostId>, servers: BTreeSet<SocketAddr>) -> Self {
        Self {
            hosts,
            servers,
            connections: 0,
            sent: 0,
            received: 0,
            cuts: Vec::new(),
        }
    }

    /// Whether this end of a connection is one that is listened to.
    #[must_use]
    pub fn is_on(&self, end: End) -> bool {
        self.hosts.contains(&end.host) && self.servers.contains(&end.remote)
    }

    /// Whether it listens to this host.
    #[must_use]
    pub fn is_of(&self, host: HostId) -> bool {
        self.hosts.contains(&host)
    }

    /// Cuts a connection when its point is reached.
    pub fn cut_at(&mut self, cut: FrameCut) {
        self.cuts.push(cut);
    }

    /// A connection begins.
    pub(super) fn wire(&mut self, tap: usize) -> Wire {
        self.connections += 1;
        Wire {
            tap,
            number: self.connections,
            life: Life::Opening,
            purpose: None,
            sent: Stream::default(),
            received: Stream::default(),
        }
    }

    /// A segment passes on a wire. Only what was not there before is looked at, so segments may come
    /// again but not out of order.
    pub(super) fn pass(
        &mut self,
        wire: &mut Wire,
        way: FrameWay,
        sequence: u32,
        payload: &[u8],
    ) -> (Vec<WireEvent>, Option<CutHere>) {
        let (stream, count) = match way {
            FrameWay::Sends => (&mut wire.sent, &mut self.sent),
            FrameWay::Receives => (&mut wire.received, &mut self.received),
        };
        let (known, fresh) = stream.fresh(sequence, payload);
        let mut events = Vec::new();
        for edge in stream.reader.read(fresh) {
            let (side, number, offset) = match edge {
                Edge::Upgrade(_) => {
                    // What the client says next is for it to say as a WebSocket too.
                    wire.sent.reader.upgrade();
                    events.push(WireEvent {
                        connection: wire.number,
                        phase: WirePhase::Upgraded,
                    });
                    continue;
                }
                Edge::Begin(offset) => (FrameSide::Before, *count + 1, offset),
                Edge::End(offset) => {
                    *count += 1;
                    let number = *count;
                    events.push(WireEvent {
                        connection: wire.number,
                        phase: WirePhase::Frame { way, number },
                    });
                    (FrameSide::After, number, offset)
                }
            };
            let point = FramePoint { side, way, number };
            let index = self.cuts.iter().position(|cut| cut.point == point);
            if let Some(index) = index {
                let cut = self.cuts.remove(index);
                let bytes = known + offset;
                return (events, Some(CutHere { bytes, cut }));
            }
        }
        let purpose = wire.sent.reader.purpose();
        if let Some(asked) = purpose.filter(|_| purpose != wire.purpose) {
            wire.purpose = purpose;
            events.push(wire.event(WirePhase::Asks(asked)));
        }
        (events, None)
    }
}

impl Wire {
    /// The other end has accepted.
    pub(super) fn accepted(&mut self) -> Option<WireEvent> {
        if self.life != Life::Opening {
            return None;
        }
        self.life = Life::Open;
        Some(self.event(WirePhase::Opened))
    }

    /// This end has closed, or knows that the connection is gone.
    pub(super) fn closed(&mut self) -> Option<WireEvent> {
        let was_open = self.life == Life::Open;
        self.life = Life::Closed;
        was_open.then(|| self.event(WirePhase::Closed))
    }

    fn event(&self, phase: WirePhase) -> WireEvent {
        WireEvent {
            connection: self.number,
            phase,
        }
    }
}

impl Stream {
    /// What of a payload was not seen before, and how many bytes of it were.
    fn fresh<'a>(&mut self, sequence: u32, payload: &'a [u8]) -> (usize, &'a [u8]) {
        let next = *self.next.get_or_insert(sequence);
        let known = next.wrapping_sub(sequence) as usize;
        // A number from before the first one is as far away as one from after the next one.
        let fresh = payload.get(known..).unwrap_or_default();
        let length = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        self.next = Some(next.wrapping_add(length));
        (known, fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three WebSocket frames of four bytes each, behind the upgrade.
    const FRAMES: &[u8] = b"\x81\x02ab\x81\x02cd\x81\x02ef";

    fn upgraded() -> (Tap, Wire) {
        let mut tap = Tap::new(BTreeSet::new(), BTreeSet::new());
        let mut wire = tap.wire(0);
        let switching = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let (events, _) = tap.pass(&mut wire, FrameWay::Receives, 0, switching);
        let phases: Vec<_> = events.iter().map(|event| event.phase).collect();
        let way = FrameWay::Receives;
        let answer = WirePhase::Frame { way, number: 1 };
        assert_eq!(phases, [answer, WirePhase::Upgraded]);
        (tap, wire)
    }

    fn cut(side: FrameSide, number: u64) -> FrameCut {
        let way = FrameWay::Sends;
        FrameCut {
            fault: 0,
            point: FramePoint { side, way, number },
            how: Breakage::Rst,
        }
    }

    /// Where three frames that leave in one segment are cut, and how many of them count.
    #[track_caller]
    fn check(side: FrameSide, number: u64, bytes: usize, counted: usize) {
        let (mut tap, mut wire) = upgraded();
        let cut = cut(side, number);
        tap.cut_at(cut);
        let (events, here) = tap.pass(&mut wire, FrameWay::Sends, 7, FRAMES);
        assert_eq!(here, Some(CutHere { bytes, cut }));
        assert_eq!(events.len(), counted);
    }

    #[test]
    fn a_segment_with_several_frames_is_cut_between_them() {
        check(FrameSide::Before, 1, 0, 0);
        check(FrameSide::After, 1, 4, 1);
        check(FrameSide::Before, 2, 4, 1);
        check(FrameSide::After, 3, 12, 3);
    }

    #[test]
    fn a_segment_that_is_sent_again_counts_once() {
        let (mut tap, mut wire) = upgraded();
        let mut count = |sequence, payload| {
            let (events, _) = tap.pass(&mut wire, FrameWay::Sends, sequence, payload);
            events.len()
        };
        assert_eq!(count(u32::MAX - 1, &FRAMES[..5]), 1);
        assert_eq!(count(u32::MAX - 1, &FRAMES[..5]), 0);
        assert_eq!(count(2, &FRAMES[4..]), 2);
        assert_eq!(count(u32::MAX - 1, FRAMES), 0);
    }

    #[test]
    fn the_frames_of_a_run_are_counted_over_all_connections() {
        let (mut tap, mut first) = upgraded();
        let (events, _) = tap.pass(&mut first, FrameWay::Sends, 0, FRAMES);
        assert_eq!(events.len(), 3);
        tap.cut_at(cut(FrameSide::Before, 4));
        let mut second = tap.wire(0);
        let (_, here) = tap.pass(&mut second, FrameWay::Sends, 9, b"GET / HTTP/1.1\r\n");
        assert_eq!(here.map(|here| here.bytes), Some(0));
    }

    #[test]
    fn a_connection_that_was_never_open_is_never_closed() {
        let mut tap = Tap::new(BTreeSet::new(), BTreeSet::new());
        let mut wire = tap.wire(0);
        assert_eq!(wire.closed(), None);
        assert_eq!(wire.accepted(), None);
        let mut wire = tap.wire(0);
        assert!(wire.accepted().is_some() && wire.accepted().is_none());
        assert!(wire.closed().is_some() && wire.closed().is_none());
    }
}
