//! Fragments (RFC 4787 section 11): only the first one of a packet holds the ports that a NAT needs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::Rng;

use super::expiry::Side;
use super::{Nat, Verdict};
use crate::net::cause::DropCause;
use crate::net::flow::{Flow, Protocol};

/// Which fragments a NAT forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Fragments {
    /// All of them: those that come before the first one wait for it. RFC 4787 REQ-14 demands it.
    #[default]
    OutOfOrder,
    /// Those that come after the first one. REQ-14 forbids it.
    InOrder,
    /// None. REQ-14 forbids it.
    Refused,
}

/// A part of an IPv4 packet, as far as a NAT reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// The transport protocol of the packet.
    pub protocol: Protocol,
    /// Who the packet says it is from.
    pub source: IpAddr,
    /// Where it is going.
    pub destination: IpAddr,
    /// What all fragments of one packet have in common (RFC 791 section 3.1).
    pub identification: u16,
    /// Where in the packet this part begins.
    pub offset_bytes: u16,
    /// How long this part is.
    pub length_bytes: u16,
    /// Whether this is the last part.
    pub more: MoreFragments,
    /// The source and destination port, which only the first part holds.
    pub ports: Option<(u16, u16)>,
}

/// Whether a fragment is the last one of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoreFragments {
    /// It is not.
    Follow,
    /// It is.
    None,
}

/// What a NAT does with a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FragmentVerdict {
    /// It goes on, and after it those that have waited for it, all with new addresses.
    Forward(Vec<Fragment>),
    /// It waits for the first fragment of its packet.
    Hold,
    /// It goes no further, and those that have waited for it neither.
    Drop(DropCause),
}

/// How long the rest of a packet is waited for, after its first fragment or the first that was held:
/// what Linux and pf take. RFC 791 section 3.2 names 15 s as a lower bound.
pub const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(30);

/// How many packets are in parts at a time at most. The oldest gives way to a new one, so that a
/// flood of fragments takes neither memory nor whole packets with it (REQ-14 a).
pub const MOST_PACKETS_IN_PARTS: usize = 64;

/// How many fragments of one packet are held at most: 64 kB of 1,500 bytes each.
pub const MOST_HELD_FRAGMENTS: usize = 45;

/// Packets of which some fragments were seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Reassembly {
    parts: BTreeMap<PacketId, Parts>,
}

/// What the fragments of one packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PacketId {
    is_from_inside: bool,
    protocol: Protocol,
    source: IpAddr,
    destination: IpAddr,
    identification: u16,
}

#[derive(Debug, Clone)]
struct Parts {
    since: Duration,
    progress: Progress,
}

#[derive(Debug, Clone)]
enum Progress {
    /// The first fragment is still missing.
    Held(Vec<Fragment>),
    /// The first fragment told where the packet goes.
    Translated { source: IpAddr, destination: IpAddr },
}

impl Nat {
    /// Judges a fragment from an inside host. Of TCP the flags are not read: fragments of a
    /// connection's first segment count as the middle of one.
    pub fn outbound_fragment(
        &mut self,
        now: Duration,
        fragment: Fragment,
        rng: &mut dyn Rng,
    ) -> FragmentVerdict {
        self.judge_fragment(now, fragment, Side::Inside, |nat, flow| {
            nat.outbound(now, flow, None, rng)
        })
    }

    /// Judges a fragment that arrives at an external address.
    pub fn inbound_fragment(&mut self, now: Duration, fragment: Fragment) -> FragmentVerdict {
        self.judge_fragment(now, fragment, Side::Outside, |nat, flow| {
            nat.inbound(now, flow, None)
        })
    }

    fn judge_fragment(
        &mut self,
        now: Duration,
        fragment: Fragment,
        side: Side,
        judge: impl FnOnce(&mut Self, Flow) -> Verdict,
    ) -> FragmentVerdict {
        let refused = FragmentVerdict::Drop(DropCause::NatFragmentRefused);
        let order = self.config.fragments;
        if order == Fragments::Refused {
            return refused;
        }
        self.reassembly.expire(now);
        let id = PacketId {
            is_from_inside: side == Side::Inside,
            protocol: fragment.protocol,
            source: fragment.source,
            destination: fragment.destination,
            identification: fragment.identification,
        };
        let Some((source_port, destination_port)) = fragment.ports else {
            return match self.reassembly.follow(now, id, fragment, order) {
                Some(verdict) => verdict,
                None => refused,
            };
        };
        let flow = Flow {
            protocol: fragment.protocol,
            source: SocketAddr::new(fragment.source, source_port),
            destination: SocketAddr::new(fragment.destination, destination_port),
        };
        match judge(self, flow) {
            Verdict::Forward(flow) => {
                FragmentVerdict::Forward(self.reassembly.lead(now, id, fragment, flow))
            }
            Verdict::Drop(cause) | Verdict::Refuse(cause) => {
                self.reassembly.parts.remove(&id);
                FragmentVerdict::Drop(cause)
            }
        }
    }
}

impl Reassembly {
    /// Takes the first fragment, which becomes part of `flow`. Gives all fragments that can go on.
    fn lead(&mut self, now: Duration, id: PacketId, first: Fragment, flow: Flow) -> Vec<Fragment> {
        let (source, destination) = (flow.source.ip(), flow.destination.ip());
        let rest = match self.parts.remove(&id).map(|parts| parts.progress) {
            Some(Progress::Held(held)) => held,
            Some(Progress::Translated { .. }) | None => Vec::new(),
        };
        self.begin(
            now,
            id,
            Progress::Translated {
                source,
                destination,
            },
        );
        let first = Fragment {
            source,
            destination,
            ports: Some((flow.source.port(), flow.destination.port())),
            ..first
        };
        let rest = rest.into_iter().map(|fragment| Fragment {
            source,
            destination,
            ..fragment
        });
        std::iter::once(first).chain(rest).collect()
    }

    /// Takes a fragment that is not the first one; none where it is not to be had.
    fn follow(
        &mut self,
        now: Duration,
        id: PacketId,
        fragment: Fragment,
        order: Fragments,
    ) -> Option<FragmentVerdict> {
        match self.parts.get_mut(&id).map(|parts| &mut parts.progress) {
            Some(Progress::Translated {
                source,
                destination,
            }) => Some(FragmentVerdict::Forward(vec![Fragment {
                source: *source,
                destination: *destination,
                ..fragment
            }])),
            Some(Progress::Held(held)) => {
                let has_room = held.len() < MOST_HELD_FRAGMENTS;
                has_room.then(|| {
                    held.push(fragment);
                    FragmentVerdict::Hold
                })
            }
            None => (order == Fragments::OutOfOrder).then(|| {
                self.begin(now, id, Progress::Held(vec![fragment]));
                FragmentVerdict::Hold
            }),
        }
    }

    fn begin(&mut self, now: Duration, id: PacketId, progress: Progress) {
        if self.parts.len() >= MOST_PACKETS_IN_PARTS {
            let oldest = self.parts.iter().min_by_key(|(_, parts)| parts.since);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.parts.remove(&oldest);
            }
        }
        let since = now;
        self.parts.insert(id, Parts { since, progress });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    fn expire(&mut self, now: Duration) {
        self.parts
            .retain(|_, parts| now.saturating_sub(parts.since) < REASSEMBLY_TIMEOUT);
    }
}
