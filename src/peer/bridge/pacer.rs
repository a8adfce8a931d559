//! When checks leave (pure).
//!
//! The agent checks every pair in each round, all in the same instant. RFC 8445 section 14.2 allows one
//! check in 5 ms: bursts overflow the queues of small gateways, which then drop the checks that matter.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::consent::Path;
use super::traffic::Packet;

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
    waiting: [VecDeque<(Path, Packet)>; 3],
    /// Of which kind the last one was that was no nomination.
    last: Urgency,
    next_at: Option<Instant>,
}

impl Pacer {
    pub(super) fn new() -> Self {
        Self {
            waiting: [const { VecDeque::new() }; 3],
            last: Urgency::Relayed,
            next_at: None,
        }
    }

    /// A check of the agent. One that waits for the same pair gives its place to it, so that a round
    /// that takes longer than the agent's wait leaves no queue that grows.
    pub(super) fn push(&mut self, packet: Packet, pair: Path, urgency: Urgency) {
        let queue = &mut self.waiting[urgency as usize];
        match queue.iter_mut().find(|(waiting, _)| *waiting == pair) {
            Some((_, waiting)) => *waiting = packet,
            None => queue.push_back((pair, packet)),
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
        let (urgency, packet) = turns.into_iter().find_map(|urgency| {
            let (_, packet) = self.waiting[urgency as usize].pop_front()?;
            Some((urgency, packet))
        })?;
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

    fn push(pacer: &mut Pacer, peer: u8, round: u8, urgency: Urgency) {
        let path = (address(1), address(peer), address(peer));
        pacer.push(check(peer, round), path, urgency);
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
    fn a_lone_check_waits_for_nothing() {
        let (mut pacer, start) = (Pacer::new(), Instant::now());
        push(&mut pacer, 2, 0, Urgency::Direct);
        assert_eq!(pacer.next_due(start), Some(start));
    }
}
