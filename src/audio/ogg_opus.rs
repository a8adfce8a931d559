//! Ogg Opus files (RFC 7845), as far as a track needs them.

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use ogg::{OggReadError, Packet, PacketReader};

use super::{PACKET_DURATION, TICKS_PER_PACKET};

/// The longest packet a track may hold, in bytes: the longest Opus frame there is (RFC 6716
/// section 3.2.1).
pub const MAX_PACKET_BYTES: usize = 1_275;

/// Why bytes are not a track.
#[derive(Debug, thiserror::Error)]
pub enum OggOpusError {
    /// The bytes are not Ogg, or are damaged or cut short within a page.
    #[error("the Ogg container cannot be read after packet {packets}")]
    Container {
        /// How many packets, headers included, could be read before.
        packets: usize,
        /// What the container reader says.
        source: OggReadError,
    },
    /// More than one logical stream: multiplexed with another or chained to one.
    #[error("packet {packet} is of Ogg stream {found:#x}, expected only stream {expected:#x}")]
    SecondStream {
        /// Index of the packet in the file, headers included.
        packet: usize,
        /// The stream of the first packet.
        expected: u32,
        /// The stream of this packet.
        found: u32,
    },
    /// The first packet is missing or no identification header of RFC 7845 section 5.1.
    #[error("packet 0 is no OpusHead of version 0 to 15")]
    Head,
    /// The recording is not mono.
    #[error("OpusHead says {found} channels, expected 1")]
    Channels {
        /// The number of channels found.
        found: u8,
    },
    /// The second packet is missing or no comment header of RFC 7845 section 5.2.
    #[error("packet 1 is no OpusTags")]
    Tags,
    /// There is no audio after the headers.
    #[error("no audio packet after the headers")]
    Empty,
    /// Pages are missing: the position that a page states is not that of its packets.
    #[error("audio packet {packet} ends at tick {found} by its page, expected {expected}")]
    Gap {
        /// Index of the audio packet that ends the page, headers not counted.
        packet: usize,
        /// The position the packets before lead to, in ticks of 48 kHz.
        expected: u64,
        /// The position the page states, in ticks of 48 kHz.
        found: u64,
    },
    /// The file stops before the page that is marked as its last.
    #[error("the stream is not ended after {packets} audio packets")]
    Unfinished {
        /// How many audio packets there are.
        packets: usize,
    },
    /// An audio packet is longer than [`MAX_PACKET_BYTES`].
    #[error("audio packet {packet} has {found} bytes, allowed are {MAX_PACKET_BYTES}")]
    PacketTooLong {
        /// Index of the audio packet, headers not counted.
        packet: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// An audio packet has no bytes, or no byte for the number of frames that it announces.
    #[error("audio packet {packet} is too short to say its duration")]
    PacketTooShort {
        /// Index of the audio packet, headers not counted.
        packet: usize,
    },
    /// An audio packet does not carry 20 ms.
    #[error("audio packet {packet} lasts {found:?}, expected {PACKET_DURATION:?}")]
    PacketDuration {
        /// Index of the audio packet, headers not counted.
        packet: usize,
        /// Its duration.
        found: Duration,
    },
}

/// The audio packets of a whole Ogg Opus file, at least one.
///
/// # Errors
///
/// [`OggOpusError`] for anything but one complete mono stream of 20 ms packets. Bytes of any kind
/// are safe to pass.
pub fn read_audio_packets(file: &[u8]) -> Result<Vec<Bytes>, OggOpusError> {
    let mut packets = read_packets(file)?.into_iter();
    check_head(&packets.next().ok_or(OggOpusError::Head)?.data)?;
    if !packets
        .next()
        .is_some_and(|tags| tags.data.starts_with(b"OpusTags"))
    {
        return Err(OggOpusError::Tags);
    }
    let audio: Vec<Packet> = packets.collect();
    for (index, packet) in audio.iter().enumerate() {
        check_audio(index, &packet.data)?;
    }
    check_complete(&audio)?;
    Ok(audio.into_iter().map(|packet| packet.data.into()).collect())
}

/// How much sound an Opus packet carries (RFC 6716 sections 3.1 and 3.2). `None` where the packet
/// is too short to say.
#[must_use]
pub fn packet_duration(packet: &[u8]) -> Option<Duration> {
    let toc = *packet.first()?;
    let frame = Duration::from_micros(match toc >> 3 {
        config @ 0..12 => [10_000, 20_000, 40_000, 60_000][usize::from(config % 4)],
        config @ 12..16 => [10_000, 20_000][usize::from(config % 2)],
        config => [2_500, 5_000, 10_000, 20_000][usize::from(config % 4)],
    });
    let frames = match toc & 0b11 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0b0011_1111),
    };
    Some(frame * frames)
}

fn read_packets(file: &[u8]) -> Result<Vec<Packet>, OggOpusError> {
    let mut reader = PacketReader::new(Cursor::new(file));
    let mut packets = Vec::new();
    let mut stream = None;
    loop {
        let packet = match reader.read_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(packets),
            Err(source) => {
                return Err(OggOpusError::Container {
                    packets: packets.len(),
                    source,
                });
            }
        };
        let found = packet.stream_serial();
        let expected = *stream.get_or_insert(found);
        if found != expected {
            return Err(OggOpusError::SecondStream {
                packet: packets.len(),
                expected,
                found,
            });
        }
        packets.push(packet);
    }
}

/// RFC 7845 section 5.1. A major version other than 0 (the upper four bits) is another format; of
/// the fields only the channel count matters to a sender of packets.
fn check_head(head: &[u8]) -> Result<(), OggOpusError> {
    const SHORTEST_HEAD_BYTES: usize = 19;
    if head.len() < SHORTEST_HEAD_BYTES || !head.starts_with(b"OpusHead") || head[8] & 0xf0 != 0 {
        return Err(OggOpusError::Head);
    }
    match head[9] {
        1 => Ok(()),
        found => Err(OggOpusError::Channels { found }),
    }
}

fn check_audio(index: usize, packet: &[u8]) -> Result<(), OggOpusError> {
    if packet.len() > MAX_PACKET_BYTES {
        return Err(OggOpusError::PacketTooLong {
            packet: index,
            found: packet.len(),
        });
    }
    match packet_duration(packet) {
        Some(PACKET_DURATION) => Ok(()),
        Some(found) => Err(OggOpusError::PacketDuration {
            packet: index,
            found,
        }),
        None => Err(OggOpusError::PacketTooShort { packet: index }),
    }
}

/// The container reader passes over a page whose first bytes are damaged. The granule positions
/// show it: each page states how much sound there is up to its last packet, and only the last page
/// may state less, to cut off its end (RFC 7845 section 4). That RFC also lets the first page begin
/// anywhere, for captures of live streams; a track does not, since a missing first page looks alike.
fn check_complete(audio: &[Packet]) -> Result<(), OggOpusError> {
    let last = audio.last().ok_or(OggOpusError::Empty)?;
    if !last.last_in_stream() {
        return Err(OggOpusError::Unfinished {
            packets: audio.len(),
        });
    }
    let mut expected = 0;
    for (index, packet) in audio.iter().enumerate() {
        expected += u64::from(TICKS_PER_PACKET);
        if !packet.last_in_page() {
            continue;
        }
        let found = packet.absgp_page();
        let cut_short = packet.last_in_stream() && found < expected;
        if found != expected && !cut_short {
            return Err(OggOpusError::Gap {
                packet: index,
                expected,
                found,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use ogg::{PacketWriteEndInfo, PacketWriter};
    use proptest::prelude::*;

    use super::*;

    const LOW: &[u8] = include_bytes!("../../fixtures/tone-low.opus");
    const HEAD: &[u8] = b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0";

    /// A file with each packet on a page of its own, and the page's granule position.
    fn file_of_pages(pages: &[(u32, &[u8], u64)]) -> Vec<u8> {
        let mut writer = PacketWriter::new(Cursor::new(Vec::new()));
        for (index, &(stream, packet, granule)) in pages.iter().enumerate() {
            let end = if index + 1 == pages.len() {
                PacketWriteEndInfo::EndStream
            } else {
                PacketWriteEndInfo::EndPage
            };
            writer
                .write_packet(packet, stream, end, granule)
                .expect("memory takes every write");
        }
        writer.into_inner().into_inner()
    }

    fn file(packets: &[&[u8]]) -> Vec<u8> {
        let granules = [0, 0].into_iter().chain((1..).map(|count| count * 960));
        let pages: Vec<_> = packets
            .iter()
            .zip(granules)
            .map(|(packet, granule)| (7, *packet, granule))
            .collect();
        file_of_pages(&pages)
    }

    /// A whole file with these audio packets.
    pub(in super::super) fn file_of_audio(packets: &[&[u8]]) -> Vec<u8> {
        file(&[&[HEAD, b"OpusTags"], packets].concat())
    }

    fn error_of(file: &[u8]) -> String {
        read_audio_packets(file)
            .expect_err("not a track")
            .to_string()
    }

    #[test]
    fn the_first_byte_says_the_duration() {
        let cases: [(&[u8], Option<u64>); 9] = [
            (&[0 << 3], Some(10_000)),
            (&[3 << 3], Some(60_000)),
            (&[9 << 3], Some(20_000)),
            (&[12 << 3], Some(10_000)),
            (&[15 << 3], Some(20_000)),
            (&[(16 << 3) | 1], Some(5_000)),
            (&[(31 << 3) | 2], Some(40_000)),
            (&[(28 << 3) | 3, 0b1100_1000], Some(20_000)),
            (&[3], None),
        ];
        for (packet, micros) in cases {
            assert_eq!(
                packet_duration(packet),
                micros.map(Duration::from_micros),
                "{packet:?}"
            );
        }
        assert_eq!(packet_duration(&[]), None);
    }

    #[test]
    fn errors_name_value_bound_and_place() {
        let stereo = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
        let long = [0xf8; MAX_PACKET_BYTES + 1];
        let cases = [
            (
                Vec::new(),
                "the Ogg container cannot be read after packet 0",
            ),
            (
                LOW[..LOW.len() - 1].to_vec(),
                "the Ogg container cannot be read after packet 502",
            ),
            (
                file(&[b"OpusHeap"]),
                "packet 0 is no OpusHead of version 0 to 15",
            ),
            (file(&[stereo]), "OpusHead says 2 channels, expected 1"),
            (file(&[HEAD]), "packet 1 is no OpusTags"),
            (file_of_audio(&[]), "no audio packet after the headers"),
            (
                file_of_audio(&[b"\xf8", &long]),
                "audio packet 1 has 1276 bytes, allowed are 1275",
            ),
            (
                file_of_audio(&[b""]),
                "audio packet 0 is too short to say its duration",
            ),
            (
                file_of_audio(&[b"\xf8", b"\xf9"]),
                "audio packet 1 lasts 40ms, expected 20ms",
            ),
            (
                file_of_pages(&[(7, HEAD, 0), (8, b"OpusTags", 0)]),
                "packet 1 is of Ogg stream 0x8, expected only stream 0x7",
            ),
        ];
        for (file, message) in cases {
            assert_eq!(error_of(&file), message);
        }
    }

    fn page_starts(file: &[u8]) -> Vec<usize> {
        (0..file.len())
            .filter(|&at| file[at..].starts_with(b"OggS"))
            .collect()
    }

    #[test]
    fn no_page_can_be_missing_without_an_error() {
        let starts = page_starts(LOW);
        assert!(starts.len() > 10);
        for &start in &starts {
            let mut damaged = LOW.to_vec();
            damaged[start] = b'o';
            assert!(
                read_audio_packets(&damaged).is_err(),
                "page at {start} damaged"
            );
            assert!(
                read_audio_packets(&LOW[..start]).is_err(),
                "cut short at {start}"
            );
        }
    }

    #[test]
    fn only_the_last_page_may_state_less_than_it_holds() {
        let audio = |first, second| {
            let headers = [(7, HEAD, 0), (7, &b"OpusTags"[..], 0)];
            let audio = [(7, &b"\xf8a"[..], first), (7, &b"\xf8b"[..], second)];
            file_of_pages(&[headers, audio].concat())
        };
        assert!(read_audio_packets(&audio(960, 1_500)).is_ok());
        for (file, message) in [
            (
                audio(900, 1_920),
                "audio packet 0 ends at tick 900 by its page, expected 960",
            ),
            (
                audio(960, 2_880),
                "audio packet 1 ends at tick 2880 by its page, expected 1920",
            ),
        ] {
            assert_eq!(error_of(&file), message);
        }
    }

    /// Sets the checksum of the first page (RFC 3533 section 6), so that a changed page gets past
    /// the container's own check.
    fn repair_first_page(file: &mut [u8]) {
        let segments = usize::from(file[26]);
        let body: usize = file[27..27 + segments]
            .iter()
            .copied()
            .map(usize::from)
            .sum();
        let page_bytes = (27 + segments + body).min(file.len());
        file[22..26].fill(0);
        let checksum = file[..page_bytes].iter().fold(0_u32, |checksum, &byte| {
            (0..8).fold(checksum ^ (u32::from(byte) << 24), |bits, _| {
                (bits << 1) ^ if bits >> 31 == 1 { 0x04c1_1db7 } else { 0 }
            })
        });
        file[22..26].copy_from_slice(&checksum.to_le_bytes());
    }

    #[test]
    fn a_repaired_page_gets_past_the_checksum() {
        let mut stereo = LOW.to_vec();
        stereo[28 + 9] = 2;
        assert_eq!(
            error_of(&stereo),
            "the Ogg container cannot be read after packet 0"
        );
        repair_first_page(&mut stereo);
        assert_eq!(error_of(&stereo), "OpusHead says 2 channels, expected 1");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = read_audio_packets(&bytes);
        }

        #[test]
        fn no_damage_to_a_real_file_makes_it_panic(
            at in 0..LOW.len(), bits in 1_u8.., length in 0..LOW.len(),
        ) {
            let mut damaged = LOW.to_vec();
            damaged[at] ^= bits;
            prop_assert!(read_audio_packets(&damaged).is_err());
            let _ = read_audio_packets(&LOW[..length]);
        }

        #[test]
        fn no_page_with_a_right_checksum_makes_it_panic(
            changes in prop::collection::vec((4_usize..60, any::<u8>()), 1..8),
        ) {
            let mut changed = LOW.to_vec();
            for (at, byte) in changes {
                changed[at] = byte;
            }
            repair_first_page(&mut changed);
            let _ = read_audio_packets(&changed);
        }

        #[test]
        fn nothing_but_packets_of_20_ms_is_read(
            packets in prop::collection::vec(
                (prop_oneof![Just(0xf8), any::<u8>()], prop::collection::vec(any::<u8>(), 0..300))
                    .prop_map(|(toc, frames)| [vec![toc], frames].concat()),
                0..6,
            ),
        ) {
            let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            let all_fit = packets
                .iter()
                .all(|packet| packet_duration(packet) == Some(PACKET_DURATION));
            match read_audio_packets(&file_of_audio(&packets)) {
                Ok(read) => prop_assert_eq!(read, packets),
                Err(_) => prop_assert!(packets.is_empty() || !all_fit),
            }
        }
    }
}
