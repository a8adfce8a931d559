//! The receiving side: recognises the other side's track by content.

use std::time::Duration;

use super::PACKET_DURATION;
use super::kept::{KeptAudio, Window};
use super::quality::Reception;
use super::sequence::{HISTORY_PACKETS, SequenceExtender};
use super::track::OpusTrack;

/// How many of [`CONNECTED_SPAN`] sequence numbers in a row must match for audio to count as
/// connected.
pub const CONNECTED_MATCHES: usize = 25;

/// The number of consecutive sequence numbers that are looked at.
pub const CONNECTED_SPAN: usize = 30;

/// Judges the packets of one RTP stream, that is of one synchronization source: another one needs
/// a sink of its own. Memory does not grow with the length of the call beyond the hour of windows
/// that [`KeptAudio`] remembers.
#[derive(Debug)]
pub struct AudioSink {
    expected: Option<OpusTrack>,
    /// Track index of sequence number 0, modulo the length of the track.
    alignment: Option<usize>,
    sequence: SequenceExtender,
    /// The newest packets, each at its extended sequence number modulo [`HISTORY_PACKETS`].
    history: Vec<Option<Heard>>,
    kept: KeptAudio,
    counters: Reception,
    connected: bool,
}

/// What a sink has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkEvent {
    /// 25 of 30 consecutive sequence numbers have matched, for the first time.
    AudioConnected,
}

/// A sequence number that was received.
#[derive(Debug, Clone, Copy)]
struct Heard {
    sequence: u64,
    /// The alignment that the content speaks for. `None` where it is of no track expected here.
    alignment: Option<usize>,
}

impl AudioSink {
    /// A sink for which only the packets of `track` match, each at its place. Which sequence
    /// number the track begins with is found out from the content.
    ///
    /// A packet that is in two tracks alike cannot tell them apart: give the two sides of a call
    /// tracks without common packets.
    #[must_use]
    pub fn expecting(track: OpusTrack) -> Self {
        Self::new(Some(track))
    }

    /// A sink for which any content matches, for a call with a side whose audio is not known.
    #[must_use]
    pub fn any() -> Self {
        Self::new(None)
    }

    fn new(expected: Option<OpusTrack>) -> Self {
        Self {
            expected,
            alignment: None,
            sequence: SequenceExtender::default(),
            history: vec![None; usize::from(HISTORY_PACKETS)],
            kept: KeptAudio::default(),
            counters: Reception::default(),
            connected: false,
        }
    }

    /// Takes a decrypted packet that arrived at `now`: its RTP sequence number and its payload.
    /// Late and reordered packets count like any other, up to [`HISTORY_PACKETS`] behind the
    /// newest; of several with one sequence number only the first counts.
    pub fn received(
        &mut self,
        now: Duration,
        sequence_number: u16,
        payload: &[u8],
    ) -> Option<SinkEvent> {
        self.counters.received += 1;
        let Some(sequence) = self.sequence.extend(sequence_number) else {
            self.counters.out_of_reach += 1;
            return None;
        };
        let slot = history_slot(sequence);
        if self.history[slot].is_some_and(|heard| heard.sequence == sequence) {
            self.counters.duplicates += 1;
            return None;
        }
        let alignment = self.alignment_of(sequence, payload);
        self.history[slot] = Some(Heard {
            sequence,
            alignment,
        });
        let enough = self.enough_agree_around(sequence, alignment);
        if enough || self.alignment.is_none() {
            self.alignment = alignment;
        }
        if alignment.is_none() || alignment != self.alignment {
            self.counters.unmatched += 1;
            return None;
        }
        self.counters.matched += 1;
        self.kept.record(now);
        if self.connected || !enough {
            return None;
        }
        self.connected = true;
        Some(SinkEvent::AudioConnected)
    }

    /// Whether [`SinkEvent::AudioConnected`] has been told.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The counters so far.
    #[must_use]
    pub fn reception(&self) -> Reception {
        Reception {
            expected: self.sequence.expected(),
            ..self.counters
        }
    }

    /// How much was kept, from the first matched packet to the end of the last one. Audio that
    /// stops for good leaves no trace here: ask [`windows_until`](Self::windows_until) for that.
    #[must_use]
    pub fn windows(&self) -> Vec<Window> {
        let end = self
            .kept
            .span()
            .map(|(_, last)| last.saturating_add(PACKET_DURATION));
        end.map_or_else(Vec::new, |end| self.kept.windows_until(end))
    }

    /// How much was kept, from the first matched packet to `end`, such as the end of the call.
    #[must_use]
    pub fn windows_until(&self, end: Duration) -> Vec<Window> {
        self.kept.windows_until(end)
    }

    /// The alignment for which `payload` belongs at `sequence`. Content at several places of the
    /// track speaks for the present alignment if that is one of them, and else for none.
    fn alignment_of(&self, sequence: u64, payload: &[u8]) -> Option<usize> {
        let Some(track) = &self.expected else {
            return Some(0);
        };
        let packets = track.packets();
        let into_track = remainder(sequence, packets.len());
        if let Some(alignment) = self.alignment
            && packets[(into_track + alignment) % packets.len()] == payload
        {
            return Some(alignment);
        }
        let position = track.position_of(payload)?;
        Some((position + packets.len() - into_track) % packets.len())
    }

    /// Whether some [`CONNECTED_SPAN`] numbers in a row with `sequence` among them hold
    /// [`CONNECTED_MATCHES`] that speak for `alignment`. That is the evidence for audio, and also
    /// for a new alignment: a sender may begin its track anew.
    fn enough_agree_around(&self, sequence: u64, alignment: Option<usize>) -> bool {
        if alignment.is_none() || (self.connected && alignment == self.alignment) {
            return false;
        }
        let reach = CONNECTED_SPAN as u64 - 1;
        let agrees: Vec<bool> = (sequence - reach..=sequence + reach)
            .map(|number| {
                self.history[history_slot(number)]
                    .is_some_and(|heard| heard.sequence == number && heard.alignment == alignment)
            })
            .collect();
        agrees
            .windows(CONNECTED_SPAN)
            .any(|span| span.iter().filter(|&&agrees| agrees).count() >= CONNECTED_MATCHES)
    }
}

fn history_slot(sequence: u64) -> usize {
    remainder(sequence, usize::from(HISTORY_PACKETS))
}

fn remainder(number: u64, length: usize) -> usize {
    usize::try_from(number % length as u64).expect("a remainder is smaller than a length")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::super::source::{AudioPacket, AudioSource};
    use super::super::track::tests::{high, low};
    use super::*;

    /// The packets of a source with the times they are sent at.
    fn sent(track: OpusTrack, seed: u64, count: u32) -> Vec<(Duration, AudioPacket)> {
        let mut source = AudioSource::new(track, &mut ChaCha8Rng::seed_from_u64(seed));
        (0..count)
            .map(|index| (PACKET_DURATION * index, source.next_packet()))
            .collect()
    }

    /// Gives packets to a sink; the result is how many had been given, the last one included, when
    /// each event came.
    fn hear<'a>(
        sink: &mut AudioSink,
        packets: impl IntoIterator<Item = &'a (Duration, AudioPacket)>,
    ) -> Vec<usize> {
        (1..)
            .zip(packets)
            .filter_map(|(count, (at, packet))| {
                sink.received(*at, packet.sequence_number, &packet.payload)
                    .map(|_| count)
            })
            .collect()
    }

    #[test]
    fn audio_connects_once_at_the_25th_packet() {
        for mut sink in [AudioSink::expecting(low()), AudioSink::any()] {
            let connected = hear(&mut sink, &sent(low(), 1, 70_000));
            assert_eq!(connected, [25]);
            let reception = sink.reception();
            assert_eq!((reception.matched, reception.expected), (70_000, 70_000));
            let windows = sink.windows();
            assert_eq!(windows.len(), 700);
            assert!(
                windows
                    .iter()
                    .all(|window| (window.matched, window.expected) == (100, 100))
            );
        }
    }

    #[test]
    fn twenty_four_of_thirty_are_not_enough() {
        let mut packets = sent(low(), 1, 300);
        let mut number = 0;
        packets.retain(|_| {
            number += 1;
            number % 5 != 0
        });
        let mut sink = AudioSink::expecting(low());
        assert!(hear(&mut sink, &packets).is_empty());
        assert_eq!(
            (sink.reception().matched, sink.reception().lost()),
            (240, 59)
        );
    }

    #[test]
    fn the_right_packets_under_wrong_numbers_do_not_match() {
        let mut packets = sent(low(), 1, 200);
        for (_, packet) in &mut packets[1..] {
            packet.sequence_number = packet.sequence_number.wrapping_mul(3);
        }
        let mut sink = AudioSink::expecting(low());
        assert!(hear(&mut sink, &packets).is_empty());
    }

    #[test]
    fn duplicates_count_once_and_do_not_connect() {
        let packets = sent(low(), 1, 24);
        let mut sink = AudioSink::expecting(low());
        let twice = packets.iter().chain(&packets).chain(&packets[..10]);
        assert!(hear(&mut sink, twice).is_empty());
        assert_eq!(
            (sink.reception().matched, sink.reception().duplicates),
            (24, 34)
        );
    }

    #[test]
    fn a_packet_late_by_a_thousand_still_counts() {
        let mut packets = sent(low(), 1, 1_200);
        let late = packets.remove(100);
        packets.insert(1_100, late);
        let mut sink = AudioSink::expecting(low());
        hear(&mut sink, &packets);
        assert_eq!(
            (sink.reception().matched, sink.reception().lost()),
            (1_200, 0)
        );
    }

    #[test]
    fn an_echo_after_connecting_is_counted_as_unmatched() {
        let mut packets = sent(low(), 1, 300);
        for ((_, packet), (_, echo)) in packets[100..].iter_mut().zip(sent(high(), 2, 200)) {
            packet.payload = echo.payload;
        }
        let mut sink = AudioSink::expecting(low());
        assert_eq!(hear(&mut sink, &packets), [25]);
        assert_eq!(
            (sink.reception().matched, sink.reception().unmatched),
            (100, 200)
        );
    }

    #[test]
    fn a_sender_that_begins_anew_is_found_again() {
        let mut sink = AudioSink::expecting(low());
        assert!(hear(&mut sink, &sent(low(), 1, 10)).is_empty());
        assert_eq!(hear(&mut sink, &sent(low(), 2, 100)).len(), 1);
        assert!(sink.reception().matched >= 10 + 100 - 25);
    }

    #[test]
    fn a_track_out_of_step_is_missed_until_it_is_aligned_again() {
        let mut packets = sent(low(), 1, 400);
        let skipped: Vec<_> = packets[150..]
            .iter()
            .map(|(_, packet)| packet.payload.clone())
            .collect();
        for ((_, packet), payload) in packets[100..350].iter_mut().zip(skipped) {
            packet.payload = payload;
        }
        let mut sink = AudioSink::expecting(low());
        assert_eq!(hear(&mut sink, &packets[..350]), [25]);
        assert_eq!(
            (sink.reception().matched, sink.reception().unmatched),
            (326, 24)
        );
        assert!(sink.windows()[1].share() < 0.9);
    }

    #[test]
    fn audio_that_stops_shows_up_to_the_end_of_the_call() {
        let mut sink = AudioSink::expecting(low());
        hear(&mut sink, &sent(low(), 1, 150));
        let shares = |windows: Vec<Window>| -> Vec<(u32, u32)> {
            windows
                .iter()
                .map(|window| (window.matched, window.expected))
                .collect()
        };
        assert_eq!(shares(sink.windows()), [(100, 100), (50, 50)]);
        let end = Duration::from_secs(6);
        assert_eq!(
            shares(sink.windows_until(end)),
            [(100, 100), (50, 100), (0, 100)]
        );
    }

    #[test]
    fn a_sink_that_heard_nothing_has_no_windows() {
        let mut sink = AudioSink::expecting(low());
        hear(&mut sink, &sent(high(), 1, 100));
        assert_eq!(sink.windows(), []);
        assert_eq!(sink.windows_until(Duration::from_secs(9)), []);
    }

    proptest! {
        #[test]
        fn any_packets_are_safe_to_receive(
            packets in prop::collection::vec(
                (any::<Duration>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..99)), 0..200,
            ),
        ) {
            for mut sink in [AudioSink::expecting(low()), AudioSink::any()] {
                for (now, sequence_number, payload) in &packets {
                    sink.received(*now, *sequence_number, payload);
                }
                let reception = sink.reception();
                let Reception { matched, unmatched, duplicates, out_of_reach, .. } = reception;
                prop_assert_eq!(
                    reception.received, matched + unmatched + duplicates + out_of_reach,
                );
                prop_assert!(sink.windows().len() <= 1_800);
            }
        }

        #[test]
        fn audio_connects_exactly_where_25_of_30_arrive(
            seed in any::<u64>(),
            lost_percent in 0_u32..50,
            dice in prop::collection::vec(0_u32..100, 30..400),
        ) {
            let arrives: Vec<bool> = dice.iter().map(|&die| die >= lost_percent).collect();
            let enough = arrives
                .windows(CONNECTED_SPAN)
                .any(|span| span.iter().filter(|&&arrives| arrives).count() >= CONNECTED_MATCHES);
            let packets = sent(low(), seed, u32::try_from(dice.len()).expect("at most 400"));
            let arrived = packets.iter().zip(&arrives).filter(|(_, arrives)| **arrives);
            let mut sink = AudioSink::expecting(low());
            let connected = hear(&mut sink, arrived.map(|(packet, _)| packet));
            prop_assert_eq!(connected.len(), usize::from(enough));
        }

        #[test]
        fn an_echo_of_ones_own_track_never_connects(seed in any::<u64>(), count in 1_u32..1_500) {
            let mut sink = AudioSink::expecting(low());
            let echo = sent(high(), seed, count);
            prop_assert!(hear(&mut sink, &echo).is_empty());
            prop_assert_eq!(sink.reception().matched, 0);
            prop_assert_eq!(sink.reception().unmatched, u64::from(count));
        }

        #[test]
        fn reordering_within_10_packets_changes_no_count(
            seed in any::<u64>(),
            delays in prop::collection::vec(0_usize..=10, 40..700),
        ) {
            let packets = sent(low(), seed, u32::try_from(delays.len()).expect("at most 700"));
            let mut order: Vec<usize> = (0..packets.len()).collect();
            order.sort_by_key(|&index| index + delays[index]);
            let mut sink = AudioSink::expecting(low());
            let connected = hear(&mut sink, order.iter().map(|&index| &packets[index]));
            let mut in_order = AudioSink::expecting(low());
            prop_assert_eq!(connected.len(), hear(&mut in_order, &packets).len());
            prop_assert_eq!(sink.reception(), in_order.reception());
        }
    }
}
