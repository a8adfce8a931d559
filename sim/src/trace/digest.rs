//! One chained SHA-256 over every event of a run.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use sha2::{Digest as _, Sha256};

use super::event::{Event, EventKind, PacketSummary};

/// What a run hashed to. Equal digests mean the same run, byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// The running hash. Events are encoded with their lengths, so that no two sequences of events
/// encode alike.
#[derive(Clone, Default)]
pub struct Chain {
    hasher: Sha256,
    buffer: Vec<u8>,
}

impl Chain {
    /// Adds one event.
    pub fn append(&mut self, event: &Event) {
        self.buffer.clear();
        encode(&mut self.buffer, event);
        self.hasher.update(&self.buffer);
    }

    /// The digest of what was added so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.hasher.clone().finalize().into())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Chain({})", self.digest())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

/// Whether two events are the same: no digest could tell them apart.
#[must_use]
pub fn is_same(left: &Event, right: &Event) -> bool {
    let encoded = |event| {
        let mut buffer = Vec::new();
        encode(&mut buffer, event);
        buffer
    };
    encoded(left) == encoded(right)
}

fn encode(buffer: &mut Vec<u8>, event: &Event) {
    let nanoseconds = u64::try_from(event.at.as_nanos()).unwrap_or(u64::MAX);
    number(buffer, nanoseconds);
    bytes(buffer, event.host.as_bytes());
    bytes(buffer, event.kind.name().as_bytes());
    match &event.kind {
        EventKind::PacketSent(summary) | EventKind::PacketDelivered(summary) => {
            packet(buffer, summary);
        }
        EventKind::PacketDropped {
            packet: summary,
            cause,
        } => {
            packet(buffer, summary);
            bytes(buffer, cause.as_bytes());
        }
        EventKind::Retransmission {
            packet: summary,
            attempt,
        } => {
            packet(buffer, summary);
            number(buffer, u64::from(*attempt));
        }
        EventKind::Timer => {}
        EventKind::Entropy {
            draws,
            bytes: length,
            hash,
        } => [*draws, *length, *hash]
            .into_iter()
            .for_each(|value| number(buffer, value)),
        EventKind::Canary(samples) => {
            for (name, value) in samples {
                bytes(buffer, name.as_bytes());
                number(buffer, *value);
            }
        }
        EventKind::Log {
            level,
            target,
            text,
        } => {
            bytes(buffer, level.as_str().as_bytes());
            bytes(buffer, target.as_bytes());
            bytes(buffer, text.as_bytes());
        }
        EventKind::App(event) => bytes(buffer, event.to_string().as_bytes()),
        EventKind::Fault(event) => {
            number(buffer, event.fault as u64);
            bytes(buffer, event.to_string().as_bytes());
        }
        EventKind::Wire(event) => bytes(buffer, event.to_string().as_bytes()),
        EventKind::Message(event) => {
            number(buffer, event.perturbation as u64);
            bytes(buffer, event.to_string().as_bytes());
        }
    }
}

fn packet(buffer: &mut Vec<u8>, summary: &PacketSummary) {
    bytes(buffer, summary.protocol.name().as_bytes());
    address(buffer, summary.source);
    address(buffer, summary.destination);
    buffer.push(summary.class.code_point());
    buffer.push(summary.tcp.flags);
    buffer.extend_from_slice(&summary.tcp.sequence.to_le_bytes());
    buffer.extend_from_slice(&summary.tcp.acknowledgment.to_le_bytes());
    bytes(buffer, &summary.payload);
}

fn address(buffer: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => bytes(buffer, &ip.octets()),
        IpAddr::V6(ip) => bytes(buffer, &ip.octets()),
    }
    buffer.extend_from_slice(&address.port().to_le_bytes());
}

fn bytes(buffer: &mut Vec<u8>, value: &[u8]) {
    number(buffer, value.len() as u64);
    buffer.extend_from_slice(value);
}

fn number(buffer: &mut Vec<u8>, value: u64) {
    buffer.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trace::AppEvent;

    #[track_caller]
    fn check(left: &[(&str, &str)], right: &[(&str, &str)]) {
        let digest = |events: &[(&str, &str)]| {
            let mut chain = Chain::default();
            for (host, text) in events {
                chain.append(&Event {
                    at: Duration::from_millis(1),
                    host: (*host).into(),
                    kind: EventKind::App(AppEvent::Refused {
                        what: (*text).into(),
                    }),
                });
            }
            chain.digest()
        };
        assert_eq!(digest(left), digest(left));
        assert_ne!(digest(left), digest(right));
    }

    #[test]
    fn every_part_of_an_event_changes_the_digest() {
        check(&[("alice", "rings")], &[("bob", "rings")]);
        check(&[("alice", "rings")], &[("alice", "ring")]);
        check(&[("alice", "rings")], &[]);
    }

    #[test]
    fn the_order_of_events_changes_the_digest() {
        check(&[("a", "1"), ("a", "2")], &[("a", "2"), ("a", "1")]);
    }

    #[test]
    fn no_text_can_pass_for_two() {
        check(&[("a", "1"), ("a", "2")], &[("a", "1a2")]);
    }
}
