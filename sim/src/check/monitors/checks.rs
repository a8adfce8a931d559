//! Whether checks and candidates are as RFC 8445 wants them, as far as packets show it.
//!
//! What goes over TCP to a relay is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Recent, Told, field};
use crate::check::datagram::{
    Class, Datagram, ICE_CONTROLLED, ICE_CONTROLLING, PRIORITY, Stun, USE_CANDIDATE, USERNAME,
};
use crate::net::flow::Protocol;
use crate::trace::{Event, EventKind, HostName, PacketSummary};

/// Section 14.2: the checks of an agent are at least so far apart.
const TA_MIN: Duration = Duration::from_millis(5);

/// What checks said so far, and what of it was against the rules.
#[derive(Debug, Clone, Default)]
pub struct CheckWatch {
    /// The hosts on which the client runs. Relays pass checks on, and make none; other clients have their
    /// own manners.
    clients: BTreeSet<HostName>,
    /// When each agent, by host and its own user name fragment, sent its latest check.
    latest: BTreeMap<(HostName, String), Duration>,
    /// Who is which in a session, by the fragments of both sides in order of the alphabet.
    roles: BTreeMap<(String, String), BTreeMap<HostName, Role>>,
    /// The pair that each controlling agent has nominated, by host and its own user name fragment. Of a pair with
    /// a relayed candidate it is the way to the relay.
    nominated: BTreeMap<(HostName, String), (SocketAddr, SocketAddr)>,
    /// From where to where each check came that somebody was handed.
    asked: Recent<(HostName, [u8; 12]), (SocketAddr, SocketAddr)>,
    told: Told,
}

/// A section of an RFC, and what was not as it says.
type Wrong = (&'static str, String);

/// Section 6.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Controlling,
    Controlled,
}

impl CheckWatch {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        let wrong = match &event.kind {
            EventKind::PacketSent(packet) if packet.protocol == Protocol::Udp => {
                self.sent(event, packet)
            }
            EventKind::PacketDelivered(packet) if packet.protocol == Protocol::Udp => {
                self.delivered(event, packet);
                None
            }
            EventKind::Log { target, .. } if target.starts_with("ringtrue::peer") => {
                self.clients.insert(event.host.clone());
                None
            }
            EventKind::Log { target, text, .. } if target.starts_with("ringtrue::signaling") => {
                wrong_priority(text).map(|wrong| ("RFC 8445 section 5.1.2.1", wrong))
            }
            _ => None,
        };
        if let Some((section, wrong)) = wrong {
            let what = format_args!("{wrong} ({section})");
            self.told.tell(event, section, what);
        }
    }

    /// How many agents sent checks.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.latest.len()
    }

    /// What was against the rules, oldest first.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.told.messages.clone()
    }

    fn sent(&mut self, event: &Event, packet: &PacketSummary) -> Option<Wrong> {
        if !self.clients.contains(&event.host) {
            return None;
        }
        let datagram = Datagram::read(&packet.payload);
        match datagram.carried() {
            Datagram::Stun(message) if datagram.carried().is_check() => {
                self.check_sent(event, packet, &message)
            }
            // Of what a relay carries the relay decides over the addresses.
            Datagram::Stun(message) if datagram.is_answer_to_check() => {
                self.answer_sent(event, packet, &message)
            }
            _ => None,
        }
    }

    fn delivered(&mut self, event: &Event, packet: &PacketSummary) {
        let datagram = Datagram::read(&packet.payload);
        if let Datagram::Stun(message) = datagram
            && datagram.is_check()
        {
            let key = (event.host.clone(), message.transaction);
            let way = (packet.source, packet.destination);
            self.asked.note(event.at, key, way);
        }
    }

    fn check_sent(
        &mut self,
        event: &Event,
        packet: &PacketSummary,
        message: &Stun<'_>,
    ) -> Option<Wrong> {
        let username = message.attribute(USERNAME)?;
        let username = String::from_utf8_lossy(username);
        let (remote, local) = username.split_once(':')?;
        let has = |attribute| message.attribute(attribute).is_some();
        let role = match (has(ICE_CONTROLLING), has(ICE_CONTROLLED)) {
            (true, false) => Role::Controlling,
            (false, true) => Role::Controlled,
            _ => {
                return Some((
                    "RFC 8445 section 7.1.3",
                    "sent a check with no role, or with two".into(),
                ));
            }
        };
        if has(USE_CANDIDATE) && role == Role::Controlled {
            return Some((
                "RFC 8445 section 7.1.2",
                "nominated, and is controlled".into(),
            ));
        }
        if !has(PRIORITY) {
            return Some((
                "RFC 8445 section 7.1.1",
                "sent a check without a priority".into(),
            ));
        }
        let another = if has(USE_CANDIDATE) {
            self.another_nominated(event, packet, local)
        } else {
            None
        };
        self.too_soon(event, local)
            .or(another)
            .or_else(|| self.both_alike(event, local, remote, role))
    }

    /// Section 14.2.
    fn too_soon(&mut self, event: &Event, local: &str) -> Option<Wrong> {
        let key = (event.host.clone(), local.to_owned());
        let before = self.latest.insert(key, event.at)?;
        let apart = event.at.saturating_sub(before);
        let wrong = || format!("sent two checks {apart:?} apart, not 5 ms");
        (apart < TA_MIN).then(|| ("RFC 8445 section 14.2", wrong()))
    }

    /// Section 8.1.1: a session has one nominated pair, and that once and for all.
    fn another_nominated(
        &mut self,
        event: &Event,
        packet: &PacketSummary,
        local: &str,
    ) -> Option<Wrong> {
        let pair = (packet.source, packet.destination);
        let key = (event.host.clone(), local.to_owned());
        let first = *self.nominated.entry(key).or_insert(pair);
        let wrong = || {
            let ((from, to), (first_from, first_to)) = (pair, first);
            format!("nominated {from} to {to} after {first_from} to {first_to}")
        };
        (first != pair).then(|| ("RFC 8445 section 8.1.1", wrong()))
    }

    /// Section 7.3.1.1: of the two sides one controls, and the other does not.
    fn both_alike(
        &mut self,
        event: &Event,
        local: &str,
        remote: &str,
        role: Role,
    ) -> Option<Wrong> {
        let session = (local.min(remote).to_owned(), local.max(remote).to_owned());
        let sides = self.roles.entry(session).or_default();
        let before = sides.insert(event.host.clone(), role);
        if before == Some(role) {
            return None;
        }
        let mut others = sides.iter().filter(|(host, _)| **host != event.host);
        let (other, _) = others.find(|(_, others)| **others == role)?;
        let what = format!("is {role:?} in its checks, as {other} is");
        Some(("RFC 8445 section 7.3.1.1", what))
    }

    /// RFC 8489 section 6.3.1.2: an answer goes from where the check came to, and to where it came from.
    fn answer_sent(
        &self,
        event: &Event,
        packet: &PacketSummary,
        message: &Stun<'_>,
    ) -> Option<Wrong> {
        if message.class != Class::Success {
            return None;
        }
        let asked = self.asked.get(&(event.host.clone(), message.transaction))?;
        let way = (packet.destination, packet.source);
        let wrong = || {
            let (source, destination) = way;
            format!(
                "answered a check of {} at {} from {destination} to {source}",
                asked.0, asked.1
            )
        };
        (way != *asked).then(|| ("RFC 8489 section 6.3.1.2", wrong()))
    }
}

/// What is wrong with the priority of a candidate that is sent (section 5.1.2.1).
fn wrong_priority(text: &str) -> Option<String> {
    let fields = text.strip_prefix("signaling message sent kind=candidate ")?;
    field(fields, "candidate")?;
    let (_, candidate) = fields.split_once(" candidate=")?;
    let mut words = candidate.split(' ');
    let component: u32 = words.nth(1)?.parse().ok()?;
    let priority: u32 = words.nth(1)?.parse().ok()?;
    let kind = words.skip_while(|word| *word != "typ").nth(1)?;
    // Section 5.1.2.2 recommends these, and says that reflexive ones must differ from host ones and
    // relayed ones come last.
    let of_kind = match kind {
        "host" => 126,
        "prflx" => 110,
        "srflx" => 100,
        "relay" => 0,
        _ => {
            return Some(format!(
                "sent a candidate of a kind that there is not: {candidate}"
            ));
        }
    };
    let says = (priority >> 24, priority & 0xff);
    (says != (of_kind, 256 - component))
        .then(|| format!("sent a candidate whose priority is not by the formula: {candidate}"))
}

#[cfg(test)]
mod tests {
    use stun::agent::TransactionId;
    use stun::attributes::{
        ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE,
        ATTR_USERNAME, AttrType,
    };
    use stun::integrity::MessageIntegrity;
    use stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message};
    use stun::textattrs::TextAttribute;

    use super::super::tests::{event, line, packet};
    use super::*;

    fn request(username: &str, attributes: &[AttrType]) -> PacketSummary {
        let mut message = Message::new();
        let username = TextAttribute::new(ATTR_USERNAME, username.into());
        message
            .build(&[
                Box::new(TransactionId([7; 12])),
                Box::new(BINDING_REQUEST),
                Box::new(username),
            ])
            .expect("a short message");
        for attribute in attributes {
            message.add(*attribute, &[0; 8]);
        }
        packet(&message.raw)
    }

    fn sent(at_ms: u64, host: &str, username: &str, attributes: &[AttrType]) -> Event {
        let kind = EventKind::PacketSent(request(username, attributes));
        event(at_ms, host, kind)
    }

    #[track_caller]
    fn check(events: &[Event], said: &[&str]) {
        let mut watch = CheckWatch::default();
        for peer in ["alice", "bob"] {
            watch.note(&line(0, peer, "ringtrue::peer::generation", "gathering"));
        }
        for event in events {
            watch.note(event);
        }
        assert_eq!(watch.broken(), said);
    }

    const CONTROLLING: [AttrType; 2] = [ATTR_ICE_CONTROLLING, ATTR_PRIORITY];
    const CONTROLLED: [AttrType; 2] = [ATTR_ICE_CONTROLLED, ATTR_PRIORITY];
    const ALICES: &str = "b:a";
    const BOBS: &str = "a:b";

    #[test]
    fn one_side_controls_and_nominates() {
        let nominates = [ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE];
        check(
            &[
                sent(0, "alice", ALICES, &CONTROLLING),
                sent(0, "bob", BOBS, &CONTROLLED),
                sent(5, "alice", ALICES, &nominates),
            ],
            &[],
        );
        let nominates = [ATTR_ICE_CONTROLLED, ATTR_PRIORITY, ATTR_USE_CANDIDATE];
        let said = "bob at 0ns nominated, and is controlled (RFC 8445 section 7.1.2)";
        check(&[sent(0, "bob", BOBS, &nominates)], &[said]);
    }

    #[test]
    fn an_agent_nominates_one_pair() {
        let nominates = [ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE];
        let nomination = |at_ms, username, port| {
            let mut packet = request(username, &nominates);
            packet.destination.set_port(port);
            event(at_ms, "alice", EventKind::PacketSent(packet))
        };
        let once = [nomination(0, ALICES, 5000), nomination(200, ALICES, 5000)];
        check(&once, &[]);
        let after_restart = nomination(400, "d:c", 5001);
        check(&[&once[..], &[after_restart]].concat(), &[]);
        let another = nomination(400, ALICES, 5001);
        let said = "alice at 400ms nominated 10.0.0.1:5000 to 10.0.0.2:5001 after 10.0.0.1:5000 to 10.0.0.2:5000 \
                    (RFC 8445 section 8.1.1)";
        check(&[&once[..], &[another]].concat(), &[said]);
    }

    #[test]
    fn two_of_one_role_are_found() {
        let both = [
            sent(0, "alice", ALICES, &CONTROLLING),
            sent(0, "bob", BOBS, &CONTROLLING),
            sent(9, "bob", BOBS, &CONTROLLING),
        ];
        let said =
            "bob at 0ns is Controlling in its checks, as alice is (RFC 8445 section 7.3.1.1)";
        check(&both, &[said]);
        let other_session = [
            sent(0, "alice", ALICES, &CONTROLLING),
            sent(0, "bob", "c:b", &CONTROLLING),
        ];
        check(&other_session, &[]);
    }

    #[test]
    fn who_passes_a_check_on_makes_none() {
        let both = [
            sent(0, "alice", ALICES, &CONTROLLING),
            sent(1, "turn", ALICES, &CONTROLLING),
        ];
        check(&both, &[]);
    }

    #[test]
    fn a_check_says_its_role_and_its_priority() {
        let said = "alice at 0ns sent a check with no role, or with two (RFC 8445 section 7.1.3)";
        check(&[sent(0, "alice", ALICES, &[ATTR_PRIORITY])], &[said]);
        let said = "alice at 0ns sent a check without a priority (RFC 8445 section 7.1.1)";
        check(&[sent(0, "alice", ALICES, &[ATTR_ICE_CONTROLLED])], &[said]);
    }

    #[test]
    fn checks_of_one_agent_are_5_ms_apart() {
        let checks = |second| {
            [
                sent(0, "alice", ALICES, &CONTROLLING),
                sent(second, "alice", ALICES, &CONTROLLING),
            ]
        };
        check(&checks(5), &[]);
        let said = "alice at 4ms sent two checks 4ms apart, not 5 ms (RFC 8445 section 14.2)";
        check(&checks(4), &[said]);
    }

    #[test]
    fn an_answer_goes_the_way_that_its_check_came() {
        let mut answer = Message::new();
        answer
            .build(&[
                Box::new(TransactionId([7; 12])),
                Box::new(BINDING_SUCCESS),
                Box::new(MessageIntegrity(vec![1; 16])),
            ])
            .expect("a short message");
        let asked = EventKind::PacketDelivered(request(BOBS, &CONTROLLED));
        let asked = event(0, "alice", asked);
        let mut answer = packet(&answer.raw);
        let astray = event(1, "alice", EventKind::PacketSent(answer.clone()));
        std::mem::swap(&mut answer.source, &mut answer.destination);
        let back = event(1, "alice", EventKind::PacketSent(answer));
        check(&[asked.clone(), back], &[]);
        let said = "alice at 1ms answered a check of 10.0.0.1:5000 at 10.0.0.2:5000 from 10.0.0.1:5000 to \
                    10.0.0.2:5000 (RFC 8489 section 6.3.1.2)";
        check(&[asked, astray], &[said]);
    }

    #[test]
    fn priorities_are_by_the_formula() {
        let sent = |candidate: &str| {
            let fields = format!("kind=candidate call=c1 ufrag=u candidate={candidate}");
            let text = format!("signaling message sent {fields}");
            line(0, "alice", "ringtrue::signaling::mailbox::outgoing", &text)
        };
        let host = "candidate:1 1 udp 2130706431 192.168.1.2 49153 typ host";
        let relay = "candidate:1 1 udp 16777215 192.0.2.4 9 typ relay raddr 192.168.1.2 rport 9";
        check(&[sent(host), sent(relay)], &[]);
        let other = "candidate:1 1 udp 2130706430 192.168.1.2 49153 typ host";
        let said = format!(
            "alice at 0ns sent a candidate whose priority is not by the formula: {other} (RFC 8445 section 5.1.2.1)"
        );
        check(&[sent(other)], &[&said]);
    }
}
