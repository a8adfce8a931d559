//! Whether what two people say reaches nobody else.
//!
//! What counts is who is handed a packet of DTLS or SRTP, by the content that no gateway and no relay
//! changes. A check of ICE may reach a stranger: a private address that the other side offers is
//! somebody else's where one stands, and to find that out is what checks are for (RFC 8445 section 2.2).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use super::Recent;
use crate::check::datagram::Datagram;
use crate::net::flow::Protocol;
use crate::scenario::model::Scenario;
use crate::trace::{AppEvent, Event, EventKind, HostName, PacketSummary};

/// Who called whom, who answered, and whose packets reached whom. What goes over TCP to a relay is not
/// seen where it is sent.
#[derive(Debug, Clone, Default)]
pub struct AddresseeWatch {
    /// Who sent first what has this hash.
    origins: Recent<u64, HostName>,
    /// Since when somebody is handed what somebody sends.
    reached: BTreeMap<(HostName, HostName), Duration>,
    /// Who called which user.
    calls: Vec<(HostName, String)>,
    /// Since when somebody is in a call.
    answered: BTreeMap<HostName, Duration>,
}

impl AddresseeWatch {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        let host = || event.host.clone();
        match &event.kind {
            EventKind::App(AppEvent::Calling { callee }) => {
                self.calls.push((host(), callee.clone()));
            }
            EventKind::App(AppEvent::Answered) => {
                self.answered.entry(host()).or_insert(event.at);
            }
            EventKind::PacketSent(packet) => {
                if let Some(hash) = media(packet) {
                    self.origins.note(event.at, hash, host());
                }
            }
            EventKind::PacketDelivered(packet) => {
                if let Some(origin) = media(packet).and_then(|hash| self.origins.get(&hash)) {
                    let key = (origin.clone(), host());
                    self.reached.entry(key).or_insert(event.at);
                }
            }
            _ => {}
        }
    }

    /// How many hosts were handed what others say, counted by both.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.reached.len()
    }

    /// What reached somebody who was not meant, by sender.
    #[must_use]
    pub fn broken(&self, scenario: &Scenario) -> Vec<String> {
        let is_peer = |host: &str| scenario.peers.contains_key(host);
        let reached = self.reached.iter().filter(|((from, to), at)| {
            let between_peers = from != to && is_peer(from) && is_peer(to);
            between_peers && !self.is_meant(scenario, from, to, **at)
        });
        reached
            .map(|((from, to), at)| {
                format!("{to} was handed what {from} says at {at:?}, and is not in its call")
            })
            .collect()
    }

    fn is_meant(&self, scenario: &Scenario, from: &str, to: &str, at: Duration) -> bool {
        self.calls.iter().any(|(caller, callee)| {
            let other = match &**caller {
                caller if caller == from => to,
                caller if caller == to => from,
                _ => return false,
            };
            let is_called = scenario
                .peers
                .get(other)
                .is_some_and(|peer| peer.user == *callee);
            is_called && self.answered.get(other).is_some_and(|since| *since <= at)
        })
    }
}

/// What tells a packet of DTLS or SRTP from all others.
fn media(packet: &PacketSummary) -> Option<u64> {
    if packet.protocol != Protocol::Udp {
        return None;
    }
    let carried = Datagram::read(&packet.payload).carried();
    matches!(carried, Datagram::Dtls | Datagram::Media).then(|| {
        let mut hasher = DefaultHasher::new();
        Datagram::content(&packet.payload).hash(&mut hasher);
        hasher.finish()
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::{event, packet};
    use super::*;

    const THREE: &str = "about = \"Bob has two devices.\"\n[network.a]\n[network.b]\n\
        [peer.alice]\nnetwork = \"a\"\n[peer.phone]\nnetwork = \"b\"\nuser = \"bob\"\n\
        [peer.tablet]\nnetwork = \"b\"\nuser = \"bob\"\n\
        [[script]]\nat = \"1s\"\npeer = \"alice\"\ndo = \"call\"\ncallee = \"bob\"\n\
        [[script]]\nafter = \"ringing\"\npeer = \"phone\"\ndo = \"answer\"\n\
        [[script]]\nafter = \"audio + 5s\"\npeer = \"alice\"\ndo = \"hang-up\"\n";

    /// What is said where alice calls bob, whose phone answers at 2 s, and this happens then.
    #[track_caller]
    fn check(at_ms: u64, from: &str, to: &str, payload: &[u8], said: &[&str]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/in-a-test.toml");
        let scenario = Scenario::parse(&file, THREE);
        let scenario = scenario.unwrap_or_else(|invalid| panic!("{invalid:?}"));
        let mut watch = AddresseeWatch::default();
        let callee = "bob".to_owned();
        watch.note(&event(
            1000,
            "alice",
            EventKind::App(AppEvent::Calling { callee }),
        ));
        watch.note(&event(2000, "phone", EventKind::App(AppEvent::Answered)));
        watch.note(&event(at_ms, from, EventKind::PacketSent(packet(payload))));
        watch.note(&event(
            at_ms,
            to,
            EventKind::PacketDelivered(packet(payload)),
        ));
        assert_eq!(watch.broken(&scenario), said);
    }

    const MEDIA: [u8; 4] = [0x80, 1, 2, 3];
    const DTLS: [u8; 4] = [22, 1, 2, 3];

    #[test]
    fn who_is_in_the_call_may_be_handed_media() {
        check(3000, "alice", "phone", &MEDIA, &[]);
        check(3000, "phone", "alice", &DTLS, &[]);
        check(3000, "alice", "alice", &MEDIA, &[]);
    }

    #[test]
    fn another_device_of_the_other_user_is_a_stranger() {
        let said = "tablet was handed what alice says at 3s, and is not in its call";
        check(3000, "alice", "tablet", &MEDIA, &[said]);
        let said = "alice was handed what tablet says at 3s, and is not in its call";
        check(3000, "tablet", "alice", &DTLS, &[said]);
    }

    #[test]
    fn nothing_is_said_before_the_answer() {
        let said = "phone was handed what alice says at 1.5s, and is not in its call";
        check(1500, "alice", "phone", &DTLS, &[said]);
    }

    #[test]
    fn what_a_relay_carries_is_its_senders() {
        let mut channel = vec![0x40, 1, 0, 4];
        channel.extend(MEDIA);
        check(
            3000,
            "alice",
            "tablet",
            &channel,
            &["tablet was handed what alice says at 3s, and is not in its call"],
        );
    }
}
