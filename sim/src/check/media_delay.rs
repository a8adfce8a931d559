//! How long media took from host to host, queues included.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::datagram::{Datagram, is_report};
use crate::net::flow::Protocol;
use crate::trace::{Event, EventKind, HostName, PacketSummary};

/// How many packets can be on their way: some ten seconds of two who talk.
const ON_THE_WAY_MAX: usize = 1024;

/// A media packet by what its header says (RFC 3550 section 5.1), which SRTP leaves readable: source and
/// sequence number.
type MediaPacket = (u32, u16);

/// The delays of the media packets of a run.
#[derive(Debug, Clone, Default)]
pub struct MediaDelays {
    sent: BTreeMap<MediaPacket, Duration>,
    order: VecDeque<MediaPacket>,
    by_host: BTreeMap<HostName, (Duration, u32)>,
}

impl MediaDelays {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        match &event.kind {
            EventKind::PacketSent(packet) => {
                if let Some(media) = media_packet(packet) {
                    self.note_sent(event.at, media);
                }
            }
            EventKind::PacketDelivered(packet) => {
                let media = media_packet(packet);
                let sent = media.and_then(|media| self.sent.get(&media));
                if let Some(sent) = sent {
                    let delay = event.at.saturating_sub(*sent);
                    let (sum, count) = self.by_host.entry(event.host.clone()).or_default();
                    *sum += delay;
                    *count += 1;
                }
            }
            _ => {}
        }
    }

    /// The mean over all media packets that reached a host. `None` where none did.
    #[must_use]
    pub fn mean(&self, host: &str) -> Option<Duration> {
        let (sum, count) = self.by_host.get(host)?;
        Some(*sum / *count)
    }

    /// A relay sends it on, and that does not count.
    fn note_sent(&mut self, at: Duration, media: MediaPacket) {
        if self.sent.contains_key(&media) {
            return;
        }
        if self.order.len() == ON_THE_WAY_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.sent.remove(&oldest);
        }
        self.sent.insert(media, at);
        self.order.push_back(media);
    }
}

fn media_packet(packet: &PacketSummary) -> Option<MediaPacket> {
    if packet.protocol != Protocol::Udp {
        return None;
    }
    let content = Datagram::content(&packet.payload);
    if Datagram::read(content) != Datagram::Media || is_report(content) {
        return None;
    }
    let source = content.get(8..12)?.try_into().ok()?;
    let number = content.get(2..4)?.try_into().ok()?;
    Some((u32::from_be_bytes(source), u16::from_be_bytes(number)))
}

#[cfg(test)]
mod tests {
    use super::super::monitors::tests::{event, packet};
    use super::*;

    fn media(number: u8) -> Vec<u8> {
        vec![0x80, 111, 0, number, 0, 0, 0, 0, 1, 2, 3, 4, 0]
    }

    fn in_channel(number: u8) -> Vec<u8> {
        let media = media(number);
        let length = u8::try_from(media.len()).expect("it is short");
        [&[0x40, 1, 0, length], &media[..]].concat()
    }

    #[track_caller]
    fn check(events: &[Event], expected_ms: Option<u64>) {
        let mut delays = MediaDelays::default();
        for event in events {
            delays.note(event);
        }
        assert_eq!(delays.mean("bob"), expected_ms.map(Duration::from_millis));
    }

    fn sent(at_ms: u64, host: &str, payload: &[u8]) -> Event {
        event(at_ms, host, EventKind::PacketSent(packet(payload)))
    }

    fn delivered(at_ms: u64, host: &str, payload: &[u8]) -> Event {
        event(at_ms, host, EventKind::PacketDelivered(packet(payload)))
    }

    #[test]
    fn the_mean_is_over_what_arrived() {
        let events = [
            sent(0, "alice", &media(1)),
            sent(20, "alice", &media(2)),
            sent(40, "alice", &media(3)),
            delivered(50, "bob", &media(1)),
            delivered(140, "bob", &media(3)),
        ];
        check(&events, Some(75));
    }

    #[test]
    fn a_relay_takes_part_of_the_time() {
        let events = [
            sent(0, "alice", &in_channel(1)),
            delivered(30, "turn", &in_channel(1)),
            sent(30, "turn", &media(1)),
            delivered(70, "bob", &media(1)),
        ];
        check(&events, Some(70));
    }

    #[test]
    fn what_is_no_audio_has_no_delay() {
        let control = [0x80, 200, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 0];
        check(
            &[sent(0, "alice", &control), delivered(9, "bob", &control)],
            None,
        );
        check(&[delivered(9, "bob", &media(1))], None);
    }
}
