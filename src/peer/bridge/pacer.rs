//! When checks leave (pure).
//!
//! The agent checks every pair in each round, all in the same instant. RFC 8445 section 14.2 allows one
//! check in 5 ms: bursts overflow the queues of small gateways, which then drop the checks that matter.
//!
//! The agent puts the check that an incoming one calls for behind all the others. Where NATs make a mapping
//! for each destination that is dozens of pairs, most of which never work, and a third of a second.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::consent::Path;
use super::traffic::{CHECKED_PAIRS_MAX, Packet};

/// Between two checks: the least that RFC 8445 section 14.2 allows. With its 50 ms the sixteen pairs of a
/// call with two relays would take most of a second for one round.
const PACE: Duration = Duration::from_millis(5);

/// What leaves first. Direct and relayed checks take turns: NATs that make a mapping for each destination
/// can make so many pairs of the one kind that the other would never have its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A nomination, or the check that a nomination calls for: it decides for all pairs.
    Nomination,
    /// Between the two hosts.
    Direct,
    /// By way of a relay.
    Relayed,
}

/// Checks that wait to leave, at most one for each pair.
#[derive(Debug)]
pub(super) struct Pacer {
    waiting: [Queue; 3],
    /// The pairs that the other side has checked.
    triggered: BTreeMap<Path, Turn>,
    /// Of which kind the last one was that was no nomination.
    last: Urgency,
    next_at: Option<Instant>,
}

/// Whether the check that the other side's calls for has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Due,
    Taken,
}

/// The checks of one urgency.
#[derive(Debug, Default)]
struct Queue {
    /// Those that the other side's checks call for (RFC 8445 section 6.1.4.2): they go first.
    triggered: VecDeque<(Path, Packet)>,
    ordinary: VecDeque<(Path, Packet)>,
}

impl Pacer {
    pub(super) fn new() -> Self {
        Self {
            waiting: Default::default(),
            triggered: BTreeMap::new(),
            last: Urgency::Relayed,
            next_at: None,
        }
    }

    /// A check of the agent. One that waits for the same pair gives its place to it, so that a round
    /// that takes longer than the agent's wait leaves no queue that grows.
    pub(super) fn push(&mut self, packet: Packet, pair: Path, urgency: Urgency) {
        let is_triggered = self.triggered.get(&pair) == Some(&Turn::Due);
        let queue = &mut self.waiting[urgency as usize];
        match queue.find(pair) {
            Some(waiting) => *waiting = packet,
            None if is_triggered => queue.triggered.push_back((pair, packet)),
            None => queue.ordinary.push_back((pair, packet)),
        }
    }

    /// The other side has checked this pair, over which checks pass at least one way: the one that waits,
    /// or else the next, goes before the ordinary ones of its urgency. Once for each pair, or the many
    /// pairs that work one way only would leave the others no turn.
    pub(super) fn trigger(&mut self, pair: Path) {
        if self.triggered.len() == CHECKED_PAIRS_MAX || self.triggered.contains_key(&pair) {
            return;
        }
        self.triggered.insert(pair, Turn::Due);
        for queue in &mut self.waiting {
            queue.advance(pair);
        }
    }

    /// The check that leaves now, if there is one and the last is long enough ago.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Packet> {
        if self.next_at.is_some_and(|at| at > now) {
            return None;
        }
        let turns = match self.last {
            Urgency::Direct => [Urgency::Nomination, Urgency::Relayed, Urgency::Direct],
            _ => [Urgency::Nomination, Urgency::Direct, Urgency::Relayed],
        };
        let (urgency, (pair, packet)) = turns.into_iter().find_map(|urgency| {
            let check = self.waiting[urgency as usize].pop_front()?;
            Some((urgency, check))
        })?;
        if let Some(turn) = self.triggered.get_mut(&pair) {
            *turn = Turn::Taken;
        }
        if urgency != Urgency::Nomination {
            self.last = urgency;
        }
        self.next_at = Some(now + PACE);
        Some(packet)
    }

    /// When [`Self::pop`] has something next. `now` where it has it at once.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let waits = self.waiting.iter().any(|queue| !queue.is_empty());
        waits.then(|| self.next_at.unwrap_or(now))
    }
}

impl Queue {
    fn find(&mut self, pair: Path) -> Option<&mut Packet> {
        let mut waiting = self.triggered.iter_mut().chain(&mut self.ordinary);
        let (_, packet) = waiting.find(|(each, _)| *each == pair)?;
        Some(packet)
    }

    /// Lets the check of `pair` go before the ordinary ones.
    fn advance(&mut self, pair: Path) {
        let place = self.ordinary.iter().position(|(each, _)| *each == pair);
        self.triggered
            .extend(place.and_then(|place| self.ordinary.remove(place)));
    }

    fn pop_front(&mut self) -> Option<(Path, Packet)> {
        let triggered = self.triggered.pop_front();
        triggered.or_else(|| self.ordinary.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.triggered.is_empty() && self.ordinary.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 5000).into()
    }

    fn check(peer: u8, round: u8) -> Packet {
        Packet {
            local: address(1),
            remote: address(peer),
            payload: vec![round],
        }
    }

    fn path(peer: u8) -> Path {
        (address(1), address(peer), address(peer))
    }

    fn push(pacer: &mut Pacer, peer: u8, round: u8, urgency: Urgency) {
        pacer.push(check(peer, round), path(peer), urgency);
    }

    /// When and for which peer checks leave, in milliseconds.
    fn departures(pacer: &mut Pacer, start: Instant) -> Vec<(u128, SocketAddr)> {
        let mut now = start;
        let mut departures = Vec::new();
        while let Some(at) = pacer.next_due(now) {
            now = at.max(now);
            let packet = pacer.pop(now).expect("it is due");
            departures.push((now.duration_since(start).as_millis(), packet.remote));
        }
        departures
    }

    #[test]
    fn a_burst_leaves_at_a_pace_nominations_first_and_the_others_in_turn() {
        let (mut pacer, start) = (Pacer::new(), Instant::now());
        push(&mut pacer, 2, 0, Urgency::Relayed);
        push(&mut pacer, 3, 0, Urgency::Direct);
        push(&mut pacer, 4, 0, Urgency::Direct);
        push(&mut pacer, 5, 0, Urgency::Nomination);
        let expected = [(0, 5), (5, 3), (10, 2), (15, 4)];
        let expected = expected.map(|(at, peer)| (at, address(peer)));
        assert_eq!(departures(&mut pacer, start), expected);
    }

    #[test]
    fn a_new_check_takes_the_place_of_the_old_one_of_its_pair() {
        let (mut pacer, start) = (Pacer::new(), Instant::now());
        push(&mut pacer, 2, 0, Urgency::Direct);
        push(&mut pacer, 3, 0, Urgency::Direct);
        push(&mut pacer, 2, 1, Urgency::Direct);
        assert_eq!(pacer.pop(start), Some(check(2, 1)));
        assert_eq!(pacer.pop(start), None);
        assert_eq!(pacer.pop(start + PACE), Some(check(3, 0)));
        assert_eq!(pacer.next_due(start), None);
    }

    #[test]
    fn the_check_that_another_calls_for_goes_before_those_of_its_kind() {
        let (mut pacer, start) = (Pacer::new(), Instant::now());
        for (peer, urgency) in [
            (2, Urgency::Direct),
            (3, Urgency::Direct),
            (4, Urgency::Relayed),
        ] {
            push(&mut pacer, peer, 0, urgency);
        }
        pacer.trigger(path(3));
        pacer.trigger(path(5));
        push(&mut pacer, 5, 0, Urgency::Direct);
        let expected = [(0, 3), (5, 4), (10, 5), (15, 2)];
        let expected = expected.map(|(at, peer)| (at, address(peer)));
        assert_eq!(departures(&mut pacer, start), expected);
    }

    #[test]
    fn a_pair_goes_before_the_others_once() {
        let (mut pacer, start) = (Pacer::new(), Instant::now());
        pacer.trigger(path(3));
        push(&mut pacer, 3, 0, Urgency::Direct);
        assert_eq!(pacer.pop(start), Some(check(3, 0)));
        pacer.trigger(path(3));
        push(&mut pacer, 2, 1, Urgency::Direct);
        push(&mut pacer, 3, 1, Urgency::Direct);
        assert_eq!(pacer.pop(start + PACE), Some(check(2, 1)));
    }

    #[test]
    fn no_more_pairs_go_before_the_others_than_are_checked() {
        let mut pacer = Pacer::new();
        for port in 0..1000 {
            let peer = ([10, 0, 0, 2], port).into();
            pacer.trigger((address(1), peer, peer));
        }
        assert_eq!(pacer.triggered.len(), CHECKED_PAIRS_MAX);
    }

    #[test]
    fn a_lone_check_waits_for_nothing() {
        let (mut pacer, start) = (Pacer::new(), Instant::now());
        push(&mut pacer, 2, 0, Urgency::Direct);
        assert_eq!(pacer.next_due(start), Some(start));
    }
}
