//! Whether a client that may use relays only keeps its addresses to itself (RFC 8829 section 3.5.3): they
//! show neither in a packet to the other side nor in what it says of itself, be it as a related address.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ringtrue::config::TransportPolicy;

use crate::check::datagram::Datagram;
use crate::net::flow::Protocol;
use crate::scenario::model::Scenario;
use crate::trace::{Event, EventKind, HostName};

/// What a candidate says of itself that is no relay's.
const OF_NO_RELAY: [&[u8]; 3] = [b" typ host", b" typ srflx", b" typ prflx"];

/// What comes before an address that a candidate was derived from.
const RELATED: &[u8] = b" raddr ";

/// The beginnings of addresses that say nothing (RFC 8839 section 5.1).
const UNSPECIFIED: [&[u8]; 2] = [b"0.0.0.0 ", b":: "];

/// What left each host that is not for a relay. It counts where the scenario allows relays only.
#[derive(Debug, Clone, Default)]
pub struct LeakWatch {
    /// What left whom when; the same of a host once.
    leaked: Vec<(HostName, Duration, Leak)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Leak {
    /// A packet that went straight to somebody.
    Sent(SocketAddr),
    /// A candidate with this in it.
    Told(String),
}

impl LeakWatch {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        let leak = match &event.kind {
            EventKind::PacketSent(packet) if packet.protocol == Protocol::Udp => {
                let datagram = Datagram::read(&packet.payload);
                let is_direct = matches!(datagram, Datagram::Dtls | Datagram::Media)
                    || datagram.is_check()
                    || datagram.is_answer_to_check();
                is_direct.then_some(Leak::Sent(packet.destination))
            }
            // What a client sends is masked (RFC 6455 section 5.3); what reaches it is not.
            EventKind::PacketDelivered(packet) if packet.protocol == Protocol::Tcp => {
                telling(&packet.payload).map(|text| {
                    let text = String::from_utf8_lossy(text);
                    Leak::Told(text.trim_end().to_owned())
                })
            }
            _ => None,
        };
        if let Some(leak) = leak {
            let mut leaked = self.leaked.iter();
            if !leaked.any(|(host, _, known)| *host == event.host && *known == leak) {
                self.leaked.push((event.host.clone(), event.at, leak));
            }
        }
    }

    /// How many hosts showed an address, as they may where other candidates are allowed.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.leaked.len()
    }

    /// What was shown that must not be.
    #[must_use]
    pub fn broken(&self, scenario: &Scenario) -> Vec<String> {
        if scenario.policy != TransportPolicy::RelayOnly {
            return Vec::new();
        }
        let of_peers = self
            .leaked
            .iter()
            .filter(|(host, ..)| scenario.peers.contains_key(&**host));
        of_peers
            .map(|(host, at, leak)| {
                format!("{host} {leak} at {at:?}, though clients may use relays only")
            })
            .collect()
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(to) => write!(formatter, "sent a packet straight to {to}"),
            Self::Told(what) => write!(formatter, "was told a candidate with{what}"),
        }
    }
}

/// What in this text tells where a client is.
fn telling(text: &[u8]) -> Option<&[u8]> {
    let find = |wanted: &[u8]| {
        let mut windows = text.windows(wanted.len());
        windows.position(|window| window == wanted)
    };
    let kind = OF_NO_RELAY.into_iter().find(|kind| find(kind).is_some());
    let related = || {
        let after = &text[find(RELATED)? + RELATED.len()..];
        // The end of a segment may be in the middle of it.
        let is_whole = after.contains(&b' ');
        let is_known = is_whole && !UNSPECIFIED.iter().any(|none| after.starts_with(none));
        is_known.then_some(RELATED)
    };
    kind.or_else(related)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::{event, packet};
    use super::*;

    const HOMES: &str = "about = \"Two homes talk.\"\n[network.a]\n[network.b]\n\
        [peer.alice]\nnetwork = \"a\"\n[peer.bob]\nnetwork = \"b\"\n[client]\npolicy = ";

    #[track_caller]
    fn check(policy: &str, kind: EventKind, said: &[&str]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/in-a-test.toml");
        let scenario = Scenario::parse(&file, &format!("{HOMES}\"{policy}\"\n"));
        let scenario = scenario.unwrap_or_else(|invalid| panic!("{invalid:?}"));
        let mut watch = LeakWatch::default();
        let event = event(1000, "alice", kind);
        watch.note(&event);
        watch.note(&event);
        assert_eq!(watch.broken(&scenario), said);
    }

    #[test]
    fn media_leaves_for_relays_only() {
        let media = [0x80, 1, 2, 3];
        let mut channel = vec![0x40, 1, 0, 4];
        channel.extend(media);
        check("relay-only", EventKind::PacketSent(packet(&channel)), &[]);
        let said = "alice sent a packet straight to 10.0.0.2:5000 at 1s, though clients may use relays only";
        check("relay-only", EventKind::PacketSent(packet(&media)), &[said]);
        check("all", EventKind::PacketSent(packet(&media)), &[]);
    }

    #[test]
    fn no_candidate_tells_an_address_of_ones_own() {
        let told = |text: &str| {
            let mut packet = packet(text.as_bytes());
            packet.protocol = Protocol::Tcp;
            EventKind::PacketDelivered(packet)
        };
        let silent = "1 udp 1 192.0.2.4 9 typ relay raddr 0.0.0.0 rport 9";
        check("relay-only", told(silent), &[]);
        let related = "1 udp 1 192.0.2.4 9 typ relay raddr 192.168.1.2 rport 9";
        let said =
            "alice was told a candidate with raddr at 1s, though clients may use relays only";
        check("relay-only", told(related), &[said]);
        let said =
            "alice was told a candidate with typ srflx at 1s, though clients may use relays only";
        check(
            "relay-only",
            told("1 udp 1 203.0.113.1 9 typ srflx"),
            &[said],
        );
        check("all", told("1 udp 1 203.0.113.1 9 typ srflx"), &[]);
    }
}
