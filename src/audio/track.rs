//! A recording, held as the packets that go on the wire.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::PACKET_DURATION;
use super::ogg_opus::{OggOpusError, read_audio_packets};

/// A recording: mono, one packet for every 20 ms. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct OpusTrack {
    recording: Arc<Recording>,
}

#[derive(PartialEq, Eq)]
struct Recording {
    packets: Vec<Bytes>,
    /// Indices of `packets` in the order of their content, without those that occur twice.
    by_content: Vec<usize>,
}

impl OpusTrack {
    /// Reads a whole Ogg Opus file.
    ///
    /// # Errors
    ///
    /// [`OggOpusError`] for anything but one mono stream of 20 ms packets. Bytes of any kind are
    /// safe to pass.
    pub fn parse(file: &[u8]) -> Result<Self, OggOpusError> {
        let packets = read_audio_packets(file)?;
        let by_content = unique_by_content(&packets);
        Ok(Self {
            recording: Arc::new(Recording {
                packets,
                by_content,
            }),
        })
    }

    /// The audio packets in their order, at least one.
    #[must_use]
    pub fn packets(&self) -> &[Bytes] {
        &self.recording.packets
    }

    /// How long one pass through all packets takes, the encoder's pre-skip included.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.packets().iter().map(|_| PACKET_DURATION).sum()
    }

    /// Where in the track this payload is. `None` where it is nowhere, or at more than one place
    /// and so says nothing.
    #[must_use]
    pub fn position_of(&self, payload: &[u8]) -> Option<usize> {
        let Recording {
            packets,
            by_content,
        } = &*self.recording;
        let found = by_content.binary_search_by(|&index| packets[index].as_ref().cmp(payload));
        found.ok().map(|rank| by_content[rank])
    }
}

impl fmt::Debug for OpusTrack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpusTrack")
            .field("packets", &self.packets().len())
            .finish()
    }
}

fn unique_by_content(packets: &[Bytes]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..packets.len()).collect();
    order.sort_by(|&left, &right| packets[left].cmp(&packets[right]));
    order
        .chunk_by(|&left, &right| packets[left] == packets[right])
        .filter_map(|equal| <[usize; 1]>::try_from(equal).ok())
        .map(|[index]| index)
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::super::ogg_opus::tests::file_of_audio;
    use super::*;

    const LOW: &[u8] = include_bytes!("../../fixtures/tone-low.opus");
    const HIGH: &[u8] = include_bytes!("../../fixtures/tone-high.opus");

    pub(in super::super) fn low() -> OpusTrack {
        OpusTrack::parse(LOW).expect("the fixture is a track")
    }

    pub(in super::super) fn high() -> OpusTrack {
        OpusTrack::parse(HIGH).expect("the fixture is a track")
    }

    #[test]
    fn both_tones_are_ten_seconds_of_packets_that_all_differ() {
        let (low, high) = (low(), high());
        for track in [&low, &high] {
            assert_eq!(track.packets().len(), 501);
            assert_eq!(track.duration(), Duration::from_millis(10_020));
        }
        let distinct: BTreeSet<_> = low.packets().iter().chain(high.packets()).collect();
        assert_eq!(distinct.len(), 1_002);
    }

    #[test]
    fn content_says_where_a_packet_belongs() {
        let (low, high) = (low(), high());
        for (index, packet) in low.packets().iter().enumerate() {
            assert_eq!(low.position_of(packet), Some(index));
            assert_eq!(high.position_of(packet), None);
        }
    }

    #[test]
    fn a_packet_that_occurs_twice_has_no_position() {
        let track = OpusTrack::parse(&file_of_audio(&[b"\xf8a", b"\xf8b", b"\xf8a"]))
            .expect("a well-formed file");
        assert_eq!(track.packets().len(), 3);
        assert_eq!(track.position_of(b"\xf8a"), None);
        assert_eq!(track.position_of(b"\xf8b"), Some(1));
    }
}
