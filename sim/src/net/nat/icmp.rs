//! ICMP errors (RFC 4787 section 9, RFC 5508 section 4): a router or host could not forward or deliver
//! a packet, and quotes it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Nat;
use crate::net::cause::DropCause;
use crate::net::flow::Flow;

/// What a NAT does with ICMP errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum IcmpErrors {
    /// They reach the host whose packet they quote, and change nothing. RFC 4787 REQ-12 demands it.
    #[default]
    Translated,
    /// They reach the host and end the mapping of the packet that they quote: anybody who can send
    /// one can end a call. REQ-12 forbids it.
    MappingEnds,
    /// They are dropped, so that no host learns the size that a path can carry. REQ-12 b recommends
    /// otherwise.
    Dropped,
}

/// An ICMP error message, as far as a NAT reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// What went wrong.
    pub kind: IcmpErrorKind,
    /// The router or host that reports it.
    pub source: IpAddr,
    /// Who sent the packet in question.
    pub destination: IpAddr,
    /// The packet in question, as it was where it failed.
    pub quoted: Flow,
}

/// What an ICMP error reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpErrorKind {
    /// The packet cannot be delivered (RFC 792, destination unreachable).
    Unreachable,
    /// The packet is too big for the next link and must not be fragmented (RFC 1191 section 4).
    PacketTooBig {
        /// What the next link can carry, in bytes with all headers.
        mtu_bytes: u16,
    },
    /// The packet was on its way for too long (RFC 792, time exceeded).
    TimeExceeded,
}

/// What a NAT does with an ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpVerdict {
    /// It goes on, with these addresses.
    Forward(IcmpError),
    /// It goes no further.
    Drop(DropCause),
}

impl Nat {
    /// Judges an ICMP error from outside about a packet that went out. Whoever reports it is let
    /// pass, since routers on the way were never spoken to (REQ-12 a); no timer is refreshed.
    pub fn inbound_icmp(&mut self, now: Duration, error: IcmpError) -> IcmpVerdict {
        self.table.expire(now);
        if self.config.icmp_errors == IcmpErrors::Dropped {
            return IcmpVerdict::Drop(DropCause::NatIcmpRefused);
        }
        let Flow {
            protocol,
            source,
            destination: remote,
        } = error.quoted;
        let Some(key) = self.table.owner(protocol, source, remote, now) else {
            return IcmpVerdict::Drop(DropCause::NatNoMapping);
        };
        if self.config.icmp_errors == IcmpErrors::MappingEnds {
            self.table.remove(&key);
        }
        let translation = self.config.translation;
        IcmpVerdict::Forward(IcmpError {
            source: translation.as_seen_inside(error.source),
            destination: key.inside.ip(),
            quoted: Flow {
                protocol,
                source: key.inside,
                destination: SocketAddr::new(
                    translation.as_seen_inside(remote.ip()),
                    remote.port(),
                ),
            },
            ..error
        })
    }

    /// Judges an ICMP error from an inside host or router about a packet that came in. Its source
    /// becomes the external address (RFC 5508 section 4.2, REQ-5).
    pub fn outbound_icmp(&mut self, now: Duration, error: IcmpError) -> IcmpVerdict {
        self.table.expire(now);
        if self.config.icmp_errors == IcmpErrors::Dropped {
            return IcmpVerdict::Drop(DropCause::NatIcmpRefused);
        }
        // The quoted packet came in, so an answer to it says where it came from.
        let answer = error.quoted.reversed();
        let answer = match self.config.translation.towards_outside(answer) {
            Ok(answer) => answer,
            Err(cause) => return IcmpVerdict::Drop(cause),
        };
        let key = self.key_of(answer);
        let Some(external) = self.table.get(&key).map(|binding| binding.external) else {
            return IcmpVerdict::Drop(DropCause::NatNoMapping);
        };
        if self.config.icmp_errors == IcmpErrors::MappingEnds {
            self.table.remove(&key);
        }
        IcmpVerdict::Forward(IcmpError {
            source: external.ip(),
            destination: answer.destination.ip(),
            quoted: Flow {
                protocol: answer.protocol,
                source: answer.destination,
                destination: external,
            },
            ..error
        })
    }
}
