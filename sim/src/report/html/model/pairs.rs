//! The candidate pairs of each peer, as their checks show them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::columns::{Columns, machine};
use super::content::Weight;
use super::journeys::Journey;
use super::messages::{Message, Way, candidate_of};
use crate::check::datagram::{CHANNEL_BIND, Class, Datagram, Stun, USE_CANDIDATE};

/// One pair of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pair {
    pub(crate) peer: String,
    pub(crate) local: Candidate,
    pub(crate) remote: Candidate,
    /// How many checks were sent over it.
    pub(crate) checks: usize,
    /// How many of them were answered.
    pub(crate) answers: usize,
    #[serde(serialize_with = "super::seconds")]
    pub(crate) first_check: Duration,
    #[serde(serialize_with = "super::optional_seconds")]
    pub(crate) first_answer: Option<Duration>,
    #[serde(serialize_with = "super::optional_seconds")]
    pub(crate) nominated: Option<Duration>,
    /// When audio was first sent over it.
    #[serde(serialize_with = "super::optional_seconds")]
    pub(crate) selected: Option<Duration>,
    /// The event of the first check.
    pub(crate) index: usize,
}

/// One end of a pair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Candidate {
    /// As candidate lines call it: `host`, `srflx`, `prflx` or `relay`.
    pub(crate) kind: String,
    pub(crate) address: SocketAddr,
}

impl Pair {
    /// How far it came.
    pub(crate) fn state(&self) -> &'static str {
        match (self.selected, self.nominated, self.answers) {
            (Some(_), ..) => "selected",
            (None, Some(_), 1..) => "nominated",
            (None, _, 1..) => "succeeded",
            (None, _, 0) => "failed",
        }
    }
}

/// A pair by its ends, as the peer itself sees them.
type Ends = (String, SocketAddr, SocketAddr);

/// What is known of candidates and relays while the packets go by.
#[derive(Debug, Default)]
struct Known<'a> {
    /// What each peer has said of its own addresses.
    said: BTreeMap<(&'a str, SocketAddr), &'a str>,
    /// The same by the addresses that checks are sent from, which others are not told.
    bases: BTreeMap<(&'a str, SocketAddr), &'a str>,
    /// What each peer has from its relay, by its own socket and the relay's address.
    relayed: BTreeMap<(SocketAddr, SocketAddr), SocketAddr>,
    channels: BTreeMap<(SocketAddr, SocketAddr, u16), SocketAddr>,
}

/// The pairs of all peers, in the order of their first checks.
pub(crate) fn of(
    journeys: &[Journey<'_>],
    messages: &[Message<'_>],
    columns: &Columns,
) -> Vec<Pair> {
    let mut known = Known::default();
    for message in messages.iter().filter(|it| it.way == Way::Sent) {
        if let Some((told, base, kind)) = addresses(candidate_of(message.fields)) {
            known.said.entry((message.host, told)).or_insert(kind);
            known.bases.entry((message.host, base)).or_insert(kind);
        }
    }
    let mut pairs: BTreeMap<Ends, Pair> = BTreeMap::new();
    let mut asked: BTreeMap<(String, [u8; 12]), (Ends, bool)> = BTreeMap::new();
    for (at, journey, is_sent) in in_order(journeys) {
        let hop = match (is_sent, journey.sent, journey.end) {
            (true, Some(sent), _) => sent,
            (false, _, Some(end)) => end.hop,
            _ => continue,
        };
        if !columns.is_peer(hop.host) {
            continue;
        }
        let peer = machine(hop.host);
        let read = Datagram::read(&journey.packet.payload);
        let (own, other) = if is_sent {
            (hop.source, hop.destination)
        } else {
            (hop.destination, hop.source)
        };
        known.learn(&read, own, other);
        let Some((local, remote)) = known.ends(&read, own, other) else {
            continue;
        };
        let ends: Ends = (peer.to_owned(), local, remote);
        match read.carried() {
            Datagram::Stun(check) if is_sent && read.carried().is_check() => {
                let nominates = check.attribute(USE_CANDIDATE).is_some();
                asked.insert(
                    (peer.to_owned(), check.transaction),
                    (ends.clone(), nominates),
                );
                let pair = pairs.entry(ends).or_insert_with(|| Pair {
                    peer: peer.to_owned(),
                    local: known.candidate(peer, local, local != own),
                    remote: known.remote(peer, remote),
                    checks: 0,
                    answers: 0,
                    first_check: at,
                    first_answer: None,
                    nominated: None,
                    selected: None,
                    index: hop.index,
                });
                pair.checks += 1;
            }
            Datagram::Stun(answer) if !is_sent && read.carried().is_answer_to_check() => {
                let key = (peer.to_owned(), answer.transaction);
                if let Some((ends, nominates)) = asked.remove(&key)
                    && let Some(pair) = pairs.get_mut(&ends)
                {
                    pair.answers += 1;
                    pair.first_answer.get_or_insert(at);
                    if nominates {
                        pair.nominated.get_or_insert(at);
                    }
                }
            }
            Datagram::Stun(check) if !is_sent && read.carried().is_check() => {
                if check.attribute(USE_CANDIDATE).is_some()
                    && let Some(pair) = pairs.get_mut(&ends)
                {
                    pair.nominated.get_or_insert(at);
                }
            }
            Datagram::Media if is_sent && journey.content.weight == Weight::Audio => {
                if let Some(pair) = pairs.get_mut(&ends) {
                    pair.selected.get_or_insert(at);
                }
            }
            _ => {}
        }
    }
    let mut pairs: Vec<Pair> = pairs.into_values().collect();
    pairs.sort_by_key(|pair| (pair.first_check, pair.index));
    pairs
}

/// What was sent and delivered, in the order in which it was.
fn in_order<'a, 'b>(journeys: &'b [Journey<'a>]) -> Vec<(Duration, &'b Journey<'a>, bool)> {
    let mut sights: Vec<(usize, Duration, &Journey<'_>, bool)> = Vec::new();
    for journey in journeys {
        if let Some(sent) = journey.sent {
            sights.push((sent.index, sent.at, journey, true));
        }
        if let Some(end) = journey.end.filter(|end| end.cause.is_none()) {
            sights.push((end.hop.index, end.hop.at, journey, false));
        }
    }
    sights.sort_by_key(|(index, ..)| *index);
    let sights = sights.into_iter();
    sights
        .map(|(_, at, journey, is_sent)| (at, journey, is_sent))
        .collect()
}

impl Known<'_> {
    /// Learns of allocations and channels.
    fn learn(&mut self, datagram: &Datagram<'_>, own: SocketAddr, server: SocketAddr) {
        let Datagram::Stun(message) = datagram else {
            return;
        };
        if let Some(relayed) = message.relayed() {
            self.relayed.insert((own, server), relayed);
        }
        if let Some((channel, peer)) = bound(message) {
            self.channels.insert((own, server, channel), peer);
        }
    }

    /// Both ends of the pair that a datagram goes over.
    fn ends(
        &self,
        datagram: &Datagram<'_>,
        own: SocketAddr,
        other: SocketAddr,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let remote = match datagram {
            Datagram::Channel { number, .. } => self.channels.get(&(own, other, *number)).copied(),
            Datagram::Stun(message) if datagram.carried() != *datagram => message.peer(),
            _ => return Some((own, other)),
        };
        Some((*self.relayed.get(&(own, other))?, remote?))
    }

    fn candidate(&self, peer: &str, address: SocketAddr, is_relayed: bool) -> Candidate {
        let said = self.bases.get(&(peer, address)).copied();
        let kind = if is_relayed {
            "relay"
        } else {
            said.unwrap_or("host")
        };
        Candidate {
            kind: kind.to_owned(),
            address,
        }
    }

    /// A candidate of somebody else: what nobody has said of an address, checks have shown.
    fn remote(&self, peer: &str, address: SocketAddr) -> Candidate {
        let mut said = self.said.iter();
        let kind = said
            .find_map(|((host, said), kind)| (*host != peer && *said == address).then_some(*kind));
        Candidate {
            kind: kind.unwrap_or("prflx").to_owned(),
            address,
        }
    }
}

fn bound(message: &Stun<'_>) -> Option<(u16, SocketAddr)> {
    let is_bind = message.method == CHANNEL_BIND && message.class == Class::Request;
    is_bind.then(|| Some((message.channel()?, message.peer()?)))?
}

/// The address that a candidate line names, the one that its checks are sent from, and its type. The two
/// addresses differ for a server reflexive candidate (RFC 8445 section 5.1.1.2).
fn addresses(candidate: &str) -> Option<(SocketAddr, SocketAddr, &str)> {
    let words: Vec<&str> = candidate.split(' ').collect();
    let after = |word: &str| {
        let place = words.iter().position(|it| *it == word)?;
        words.get(place + 1).copied()
    };
    let address = |ip: Option<&str>, port: Option<&str>| -> Option<SocketAddr> {
        Some(SocketAddr::new(ip?.parse().ok()?, port?.parse().ok()?))
    };
    let kind = after("typ")?;
    let told = address(words.get(4).copied(), words.get(5).copied())?;
    let base = address(after("raddr"), after("rport")).filter(|_| kind == "srflx");
    Some((told, base.unwrap_or(told), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(candidate: &str, expected: Option<(&str, &str, &str)>) {
        let seen = addresses(candidate);
        let seen = seen.map(|(told, base, kind)| (told.to_string(), base.to_string(), kind));
        let seen = seen.as_ref();
        let seen = seen.map(|(told, base, kind)| (told.as_str(), base.as_str(), *kind));
        assert_eq!(seen, expected);
    }

    #[test]
    fn only_a_reflexive_candidate_is_checked_from_elsewhere() {
        check(
            "candidate:1 1 udp 2130706431 192.168.1.2 49152 typ host",
            Some(("192.168.1.2:49152", "192.168.1.2:49152", "host")),
        );
        check(
            "candidate:2 1 udp 1694498815 203.0.113.1 59168 typ srflx raddr 192.168.1.2 rport 49154",
            Some(("203.0.113.1:59168", "192.168.1.2:49154", "srflx")),
        );
        check(
            "candidate:3 1 udp 16777215 192.0.2.4 49152 typ relay raddr 192.168.1.2 rport 49157",
            Some(("192.0.2.4:49152", "192.0.2.4:49152", "relay")),
        );
    }

    #[test]
    fn what_is_no_candidate_names_nothing() {
        check("", None);
        check("candidate:1 1 udp many 192.0.2.1 port typ host", None);
        check("candidate:1 1 udp 9 name.local 54400 typ host", None);
    }
}
