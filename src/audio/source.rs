//! The sending side: the packets of a track, over and over.

use bytes::Bytes;
use rand::Rng;

use super::TICKS_PER_PACKET;
use super::track::OpusTrack;

/// Plays a track in a loop, one packet for each call. Whoever carries the packets calls it every
/// [`PACKET_DURATION`](super::PACKET_DURATION).
#[derive(Debug)]
pub struct AudioSource {
    track: OpusTrack,
    next_index: usize,
    next_sequence_number: u16,
    next_timestamp: u32,
    next_marker: Marker,
}

/// One packet of 20 ms with the fields of its RTP header that are not constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioPacket {
    /// The Opus packet.
    pub payload: Bytes,
    /// RTP sequence number.
    pub sequence_number: u16,
    /// RTP timestamp in ticks of 48 kHz.
    pub timestamp: u32,
    /// Whether it begins a talk spurt.
    pub marker: Marker,
}

/// The RTP marker bit of an audio packet (RFC 3551 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Marker {
    /// The packet follows the one before it without a pause.
    #[default]
    Continuation,
    /// The packet is the first after silence.
    TalkSpurtStart,
}

impl AudioSource {
    /// Starts at the first packet of `track` with a random sequence number and timestamp, as
    /// RFC 3550 section 5.1 asks for, both drawn from `generator`.
    pub fn new(track: OpusTrack, generator: &mut impl Rng) -> Self {
        let [.., high, low] = generator.next_u32().to_be_bytes();
        Self {
            track,
            next_index: 0,
            next_sequence_number: u16::from_be_bytes([high, low]),
            next_timestamp: generator.next_u32(),
            next_marker: Marker::TalkSpurtStart,
        }
    }

    /// The next packet. After the last one of the track comes the first one again, while sequence
    /// number and timestamp go on.
    pub fn next_packet(&mut self) -> AudioPacket {
        let packets = self.track.packets();
        let packet = AudioPacket {
            payload: packets[self.next_index].clone(),
            sequence_number: self.next_sequence_number,
            timestamp: self.next_timestamp,
            marker: self.next_marker,
        };
        self.next_index = (self.next_index + 1) % packets.len();
        self.next_sequence_number = self.next_sequence_number.wrapping_add(1);
        self.next_timestamp = self.next_timestamp.wrapping_add(TICKS_PER_PACKET);
        self.next_marker = Marker::Continuation;
        packet
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::super::track::tests::low;
    use super::*;

    #[test]
    fn the_track_repeats_while_the_numbers_go_on() {
        let track = low();
        let mut source = AudioSource::new(track.clone(), &mut ChaCha8Rng::seed_from_u64(1));
        let first = source.next_packet();
        assert_eq!(first.marker, Marker::TalkSpurtStart);
        assert_eq!(first.payload, track.packets()[0]);
        let mut before = first;
        // More than 65,536 packets, so that the sequence number rolls over whatever it began with.
        for index in 1..70_000 {
            let packet = source.next_packet();
            assert_eq!(
                packet.payload,
                track.packets()[index % track.packets().len()]
            );
            assert_eq!(
                packet.sequence_number,
                before.sequence_number.wrapping_add(1)
            );
            assert_eq!(packet.timestamp, before.timestamp.wrapping_add(960));
            assert_eq!(packet.marker, Marker::Continuation);
            before = packet;
        }
    }

    #[test]
    fn the_generator_alone_decides_where_the_numbers_begin() {
        let first =
            |seed| AudioSource::new(low(), &mut ChaCha8Rng::seed_from_u64(seed)).next_packet();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1).sequence_number, first(2).sequence_number);
        assert_ne!(first(1).timestamp, first(2).timestamp);
    }
}
