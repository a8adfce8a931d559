//! Whether media goes to nobody who has not agreed to it (RFC 7675 section 5.1).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::datagram::{CHANNEL_BIND, Class, Datagram, Stun};
use super::facts::Facts;
use crate::net::flow::Protocol;
use crate::report::{Failure, FailureCause};
use crate::scenario::model::Scenario;
use crate::trace::PacketSummary;

/// How long an answer to a check allows media.
const CONSENT_LIFETIME: Duration = Duration::from_secs(30);

/// The socket of a host, where its packets go first, and the peer behind that where it is a relay.
type Path = (SocketAddr, SocketAddr, Option<SocketAddr>);

/// What one host has sent without consent. What goes over TCP to a relay is not seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsentWatch {
    answered: BTreeMap<Path, Duration>,
    channels: BTreeMap<(SocketAddr, SocketAddr, u16), SocketAddr>,
    /// When media was first sent without consent, and where to.
    pub broken: Option<(Duration, SocketAddr)>,
}

impl ConsentWatch {
    /// The host sends a packet.
    pub fn note_sent(&mut self, at: Duration, packet: &PacketSummary) {
        if packet.protocol != Protocol::Udp {
            return;
        }
        let datagram = Datagram::read(&packet.payload);
        let (local, remote) = (packet.source, packet.destination);
        if let Datagram::Stun(message) = datagram
            && let Some((number, peer)) = bound_channel(&message)
        {
            self.channels.insert((local, remote, number), peer);
        }
        if datagram.carried() == Datagram::Media && self.broken.is_none() {
            let path = self.path(local, remote, datagram);
            let answered = self.answered.get(&path);
            if answered.is_none_or(|answered| at.saturating_sub(*answered) > CONSENT_LIFETIME) {
                self.broken = Some((at, path.2.unwrap_or(remote)));
            }
        }
    }

    /// The host gets a packet.
    pub fn note_delivered(&mut self, at: Duration, packet: &PacketSummary) {
        let datagram = Datagram::read(&packet.payload);
        if packet.protocol == Protocol::Udp && datagram.carried().is_answer_to_check() {
            let path = self.path(packet.destination, packet.source, datagram);
            self.answered.insert(path, at);
        }
    }

    fn path(&self, local: SocketAddr, remote: SocketAddr, datagram: Datagram<'_>) -> Path {
        let peer = match datagram {
            Datagram::Channel { number, .. } => {
                self.channels.get(&(local, remote, number)).copied()
            }
            Datagram::Stun(message) => message.peer(),
            _ => None,
        };
        (local, remote, peer)
    }
}

fn bound_channel(message: &Stun<'_>) -> Option<(u16, SocketAddr)> {
    let asks = message.class == Class::Request && message.method == CHANNEL_BIND;
    asks.then_some((message.channel()?, message.peer()?))
}

/// A failure for each peer that sent media to who had not agreed.
#[must_use]
pub fn without_consent(scenario: &Scenario, facts: &Facts) -> Vec<Failure> {
    let peers = scenario.peers.keys();
    let broken = peers.filter_map(|peer| {
        let (at, to) = facts.consents.get(peer.as_str())?.broken?;
        let message = format!(
            "{peer} sent media to {to} at {at:?}, which had answered no check for over {CONSENT_LIFETIME:?}"
        );
        Some(Failure::new(FailureCause::NoConsent, message))
    });
    broken.collect()
}

#[cfg(test)]
mod tests {
    use ringtrue::net::TrafficClass;
    use stun::agent::TransactionId;
    use stun::integrity::MessageIntegrity;
    use stun::message::{BINDING_SUCCESS, Message};

    use super::*;
    use crate::trace::event::TcpSummary;

    const HERE: u8 = 1;
    const THERE: u8 = 2;

    fn packet(from: u8, to: u8, payload: Vec<u8>) -> PacketSummary {
        let address = |last| SocketAddr::from(([10, 0, 0, last], 5000));
        PacketSummary {
            protocol: Protocol::Udp,
            source: address(from),
            destination: address(to),
            class: TrafficClass::BestEffort,
            tcp: TcpSummary::default(),
            payload: payload.into(),
        }
    }

    fn answer() -> Vec<u8> {
        let mut message = Message::new();
        message
            .build(&[
                Box::new(TransactionId([7; 12])),
                Box::new(BINDING_SUCCESS),
                Box::new(MessageIntegrity(vec![1; 16])),
            ])
            .expect("a short message");
        message.raw
    }

    /// Whether media at this second is without consent, where an answer came at second 10.
    #[track_caller]
    fn check(from: u8, media_at: u64, is_broken: bool) {
        let mut watch = ConsentWatch::default();
        watch.note_delivered(Duration::from_secs(10), &packet(from, HERE, answer()));
        let media = packet(HERE, THERE, vec![0x80; 20]);
        watch.note_sent(Duration::from_secs(media_at), &media);
        assert_eq!(watch.broken.is_some(), is_broken);
    }

    #[test]
    fn media_is_allowed_for_30_s_after_an_answer() {
        check(THERE, 10, false);
        check(THERE, 40, false);
        check(THERE, 41, true);
    }

    #[test]
    fn an_answer_of_somebody_else_allows_nothing() {
        check(3, 10, true);
    }
}
