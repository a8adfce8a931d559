//! What keeps TCP reliable over links that lose (pure).
//!
//! The world's kernel has sockets, windows and states, but its receiver takes segments in order
//! only, answers no duplicate and its sender counts passes instead of time. So the world recovers
//! losses itself: a lost segment is sent again after the retransmission timeout of RFC 6298, or as
//! soon as its sender would know from three duplicate acknowledgments (RFC 5681 section 3.2), and
//! what overtook it waits at the receiver, as in any receive buffer. Applications see what they
//! would see over a real stack: bytes in order, later.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::net::flow::TcpSignal;

/// The least retransmission timeout. RFC 6298 section 2.4 asks for one second, deployed stacks use
/// this value, and the client's own timers were chosen against deployed stacks.
const TIMEOUT_MIN: Duration = Duration::from_millis(200);
/// The timeout while no round trip was measured yet (RFC 6298 section 2.1).
const TIMEOUT_INITIAL: Duration = Duration::from_secs(1);
/// The ceiling of the doubling timeout (RFC 6298 section 2.5).
const TIMEOUT_MAX: Duration = Duration::from_mins(1);
/// How often an unanswered handshake segment is sent again, as deployed stacks do.
const HANDSHAKE_RETRIES_MAX: u32 = 6;
/// How often any other segment is sent again, as deployed stacks do.
const DATA_RETRIES_MAX: u32 = 15;
/// How many segments arrive after a missing one until its sender takes it for lost (RFC 5681 section
/// 3.2).
const DUPLICATES_MAX: usize = 3;

/// One direction of a connection, by the addresses that its sender uses.
pub type Direction = (SocketAddr, SocketAddr);

/// Loss recovery for every connection of a world; `S` is a segment.
#[derive(Debug)]
pub struct Recovery<S> {
    directions: BTreeMap<Direction, Stream<S>>,
}

/// The place of a segment in its direction. It stays with the segment on its way, whatever a NAT
/// makes of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    direction: Direction,
    incarnation: u32,
    index: u64,
    attempt: u32,
    sent_at: Duration,
    kind: Kind,
}

/// What a segment that arrived means to its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived<S> {
    /// These may be seen now, in this order.
    Next(Vec<S>),
    /// Something before it is missing; it waits.
    Early {
        /// What the sender would know to be lost by now, and when it does.
        fast_retransmit: Option<(Missing, Duration)>,
    },
    /// It was seen before, or its connection is over.
    Stale,
}

/// A segment that is missing at its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    direction: Direction,
    incarnation: u32,
    index: u64,
}

/// What a segment carries beside its acknowledgment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Something that must arrive.
    Data,
    /// Nothing: a later acknowledgment says all that this one does.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Handshake,
    Data,
    Acknowledgment,
    Reset,
}

#[derive(Debug)]
struct Stream<S> {
    incarnation: u32,
    sent: u64,
    delivered: u64,
    early: BTreeMap<u64, S>,
    /// The segments that nothing has to wait for.
    skippable: BTreeSet<u64>,
    one_way: Option<Duration>,
}

impl<S> Default for Recovery<S> {
    fn default() -> Self {
        Self {
            directions: BTreeMap::new(),
        }
    }
}

impl<S> Recovery<S> {
    /// A host sends a segment.
    pub fn sent(
        &mut self,
        now: Duration,
        direction: Direction,
        signal: TcpSignal,
        content: Content,
    ) -> Tag {
        let stream = self.directions.entry(direction).or_insert_with(Stream::new);
        // A segment with SYN begins a connection; whatever went by these addresses is history.
        if signal.syn {
            let incarnation = stream.incarnation + 1;
            *stream = Stream {
                incarnation,
                ..Stream::new()
            };
        }
        let index = stream.sent;
        stream.sent += 1;
        let kind = match (signal, content) {
            (TcpSignal { rst: true, .. }, _) => Kind::Reset,
            (TcpSignal { syn: true, .. }, _) => Kind::Handshake,
            (TcpSignal { fin: false, .. }, Content::Nothing) => Kind::Acknowledgment,
            _ => Kind::Data,
        };
        if kind == Kind::Acknowledgment {
            stream.skippable.insert(index);
        }
        Tag {
            direction,
            incarnation: stream.incarnation,
            index,
            attempt: 0,
            sent_at: now,
            kind,
        }
    }

    /// A segment arrived at its receiver.
    pub fn arrived(&mut self, now: Duration, tag: Tag, segment: S) -> Arrived<S> {
        let Some(stream) = self.current(tag) else {
            return Arrived::Stale;
        };
        // A reset ends the connection whatever is missing before it.
        if tag.kind == Kind::Reset {
            stream.early.clear();
            stream.delivered = tag.index + 1;
            return Arrived::Next(vec![segment]);
        }
        if tag.attempt == 0 {
            stream.one_way = Some(now.saturating_sub(tag.sent_at));
        }
        if tag.index < stream.delivered {
            return Arrived::Stale;
        }
        stream.early.insert(tag.index, segment);
        let mut ready = Vec::new();
        loop {
            if let Some(next) = stream.early.remove(&stream.delivered) {
                ready.push(next);
            } else if stream.early.is_empty() || !stream.skippable.contains(&stream.delivered) {
                break;
            }
            stream.skippable.remove(&stream.delivered);
            stream.delivered += 1;
        }
        if !ready.is_empty() {
            return Arrived::Next(ready);
        }
        let told = (stream.early.len() == DUPLICATES_MAX).then(|| {
            let missing = Missing {
                direction: tag.direction,
                incarnation: tag.incarnation,
                index: stream.delivered,
            };
            (missing, now + stream.one_way.unwrap_or_default())
        });
        Arrived::Early {
            fast_retransmit: told,
        }
    }

    /// A segment was lost: when it is sent again, or `None` where its sender gave up.
    pub fn lost(&mut self, tag: Tag) -> Option<(Duration, Tag)> {
        let stream = self.current(tag)?;
        let retries_max = match tag.kind {
            Kind::Handshake => HANDSHAKE_RETRIES_MAX,
            Kind::Data | Kind::Acknowledgment => DATA_RETRIES_MAX,
            Kind::Reset => 0,
        };
        if tag.attempt >= retries_max {
            return None;
        }
        let first = stream
            .one_way
            .map_or(TIMEOUT_INITIAL, |one_way| (one_way * 4).max(TIMEOUT_MIN));
        let timeout = first
            .saturating_mul(1 << tag.attempt.min(16))
            .min(TIMEOUT_MAX);
        let again = tag.sent_at + timeout;
        Some((
            again,
            Tag {
                attempt: tag.attempt + 1,
                sent_at: again,
                ..tag
            },
        ))
    }

    fn current(&mut self, tag: Tag) -> Option<&mut Stream<S>> {
        self.directions
            .get_mut(&tag.direction)
            .filter(|stream| stream.incarnation == tag.incarnation)
    }
}

impl Tag {
    /// Whether this is the segment that is missing, sent again for the first time.
    #[must_use]
    pub fn is_first_retry_of(&self, missing: Missing) -> bool {
        self.direction == missing.direction
            && self.incarnation == missing.incarnation
            && self.index == missing.index
            && self.attempt == 1
    }

    /// The same segment, sent at another time.
    #[must_use]
    pub fn sent_at(self, sent_at: Duration) -> Self {
        Self { sent_at, ..self }
    }

    /// How often the segment was sent before.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl<S> Stream<S> {
    fn new() -> Self {
        Self {
            incarnation: 0,
            sent: 0,
            delivered: 0,
            early: BTreeMap::new(),
            skippable: BTreeSet::new(),
            one_way: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction() -> Direction {
        let address = |text: &str| text.parse().expect("a socket address");
        (address("192.168.0.2:50000"), address("192.0.2.1:80"))
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_overtook_a_lost_segment_waits_for_it() {
        let mut recovery = Recovery::default();
        let tags: Vec<Tag> = (0..3)
            .map(|index| recovery.sent(at(index), direction(), TcpSignal::ACK, Content::Data))
            .collect();
        assert_eq!(
            recovery.arrived(at(50), tags[0], 'a'),
            Arrived::Next(['a'].into())
        );
        let (again, retry) = recovery.lost(tags[1]).expect("a retransmission");
        assert_eq!(
            recovery.arrived(at(52), tags[2], 'c'),
            Arrived::Early {
                fast_retransmit: None
            }
        );
        assert_eq!(again, at(1) + TIMEOUT_MIN);
        assert_eq!(
            recovery.arrived(again + at(50), retry, 'b'),
            Arrived::Next(['b', 'c'].into())
        );
    }

    #[test]
    fn the_timeout_doubles_until_the_sender_gives_up() {
        let mut recovery = Recovery::<char>::default();
        let mut tag = recovery.sent(at(0), direction(), TcpSignal::SYN, Content::Nothing);
        let mut times = Vec::new();
        while let Some((again, retry)) = recovery.lost(tag) {
            times.push(again.as_secs());
            tag = retry;
        }
        assert_eq!(times, [1, 3, 7, 15, 31, 63]);
    }

    #[test]
    fn a_segment_delivered_twice_is_seen_once() {
        let mut recovery = Recovery::default();
        let tag = recovery.sent(at(0), direction(), TcpSignal::ACK, Content::Data);
        assert_eq!(
            recovery.arrived(at(50), tag, 'a'),
            Arrived::Next(['a'].into())
        );
        assert_eq!(recovery.arrived(at(60), tag, 'a'), Arrived::Stale);
    }

    #[test]
    fn a_new_connection_on_old_addresses_starts_afresh() {
        let mut recovery = Recovery::default();
        let old = recovery.sent(at(0), direction(), TcpSignal::ACK, Content::Data);
        let new = recovery.sent(at(10), direction(), TcpSignal::SYN, Content::Nothing);
        assert_eq!(recovery.arrived(at(20), old, 'o'), Arrived::Stale);
        assert_eq!(
            recovery.arrived(at(30), new, 'n'),
            Arrived::Next(['n'].into())
        );
        assert_eq!(recovery.lost(old), None);
    }

    #[test]
    fn a_reset_passes_whatever_is_missing() {
        let mut recovery = Recovery::default();
        let _lost = recovery.sent(at(0), direction(), TcpSignal::ACK, Content::Data);
        let reset = recovery.sent(at(1), direction(), TcpSignal::RST, Content::Nothing);
        assert_eq!(
            recovery.arrived(at(50), reset, 'r'),
            Arrived::Next(['r'].into())
        );
    }

    #[test]
    fn a_sender_knows_of_a_loss_when_three_later_segments_have_arrived() {
        let mut recovery = Recovery::default();
        let tags: Vec<Tag> = (0..5)
            .map(|index| recovery.sent(at(index), direction(), TcpSignal::ACK, Content::Data))
            .collect();
        assert_eq!(
            recovery.arrived(at(50), tags[0], 'a'),
            Arrived::Next(['a'].into())
        );
        let (_, retry) = recovery.lost(tags[1]).expect("a retransmission");
        let mut told = Vec::new();
        for (tag, segment) in tags[2..].iter().zip(['c', 'd', 'e']) {
            match recovery.arrived(at(60), *tag, segment) {
                Arrived::Early { fast_retransmit } => told.extend(fast_retransmit),
                other => panic!("{other:?}"),
            }
        }
        let [(missing, when)] = told[..] else {
            panic!("told of {told:?}");
        };
        assert!(retry.is_first_retry_of(missing));
        assert_eq!(when, at(60 + 56), "a one-way delay later");
    }

    #[test]
    fn nothing_waits_for_a_lost_acknowledgment() {
        let mut recovery = Recovery::default();
        let pure = recovery.sent(at(0), direction(), TcpSignal::ACK, Content::Nothing);
        let data = recovery.sent(at(1), direction(), TcpSignal::ACK, Content::Data);
        let (_, retry) = recovery.lost(pure).expect("it may be the last one");
        assert_eq!(
            recovery.arrived(at(50), data, 'd'),
            Arrived::Next(['d'].into())
        );
        assert_eq!(recovery.arrived(at(300), retry, 'a'), Arrived::Stale);
    }
}
