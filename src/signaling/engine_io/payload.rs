//! Payloads of long-polling: packets joined by the record separator, binary messages in base64 (pure).
//!
//! A binary message is written as `b` and base64 of the standard alphabet (RFC 4648 section 4), padded
//! and without line breaks; every other packet as in a WebSocket text frame.

use std::collections::VecDeque;

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine as _};
use thiserror::Error;

use super::{EngineIoError, EngineIoPacket, Frame};

/// What stands between two packets.
const SEPARATOR: char = '\x1e';

/// The most packets of one payload that is written: python-engineio refuses more of them in a request.
pub const BATCH_PACKETS_MAX: usize = 16;

/// What a binary message starts with.
const BINARY: char = 'b';

/// Servers in other languages may leave the padding out, and what it means is certain without it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a payload cannot be read.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// The payload is not text.
    #[error("a polling payload of {length} bytes is not UTF-8")]
    NotText {
        /// Its length in bytes.
        length: usize,
    },
    /// A packet of it cannot be read.
    #[error("packet {index} of a polling payload is invalid")]
    Packet {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: EngineIoError,
    },
    /// A binary message of it cannot be read.
    #[error("packet {index} of a polling payload is no base64")]
    Base64 {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: base64::DecodeError,
    },
}

/// Reads a payload: at least one packet.
///
/// # Errors
///
/// Every [`PayloadError`]; bytes of any kind are answered with one of them, never with a panic.
pub fn decode(payload: &[u8]) -> Result<Vec<EngineIoPacket>, PayloadError> {
    let length = payload.len();
    let text = std::str::from_utf8(payload).map_err(|_| PayloadError::NotText { length })?;
    let packets = text.split(SEPARATOR).enumerate();
    packets
        .map(|(index, packet)| decode_packet(index, packet))
        .collect()
}

/// Takes packets from the front of `queue` into one payload of at most `bytes_max` bytes and
/// [`BATCH_PACKETS_MAX`] packets, but at least one packet: what is larger than a payload may be is sent
/// alone, since the server alone can say that it is too large. An empty queue makes an empty payload.
#[must_use]
pub fn take_batch(queue: &mut VecDeque<EngineIoPacket>, bytes_max: Option<u64>) -> String {
    let bytes_max = bytes_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let mut payload = String::new();
    for _ in 0..BATCH_PACKETS_MAX {
        let Some(packet) = queue.pop_front() else {
            break;
        };
        if !payload.is_empty() {
            if payload.len() + SEPARATOR.len_utf8() + encoded_bytes(&packet) > bytes_max {
                queue.push_front(packet);
                break;
            }
            payload.push(SEPARATOR);
        }
        append(&mut payload, packet);
    }
    payload
}

fn decode_packet(index: usize, packet: &str) -> Result<EngineIoPacket, PayloadError> {
    match packet.strip_prefix(BINARY) {
        Some(encoded) => {
            let message = LENIENT.decode(encoded);
            let message = message.map_err(|source| PayloadError::Base64 { index, source })?;
            Ok(EngineIoPacket::from_binary(message.into()))
        }
        None => EngineIoPacket::from_text(packet)
            .map_err(|source| PayloadError::Packet { index, source }),
    }
}

fn append(payload: &mut String, packet: EngineIoPacket) {
    match packet.into_frame() {
        Frame::Text(text) => payload.push_str(&text),
        Frame::Binary(message) => {
            payload.push(BINARY);
            STANDARD.encode_string(message, payload);
        }
    }
}

/// How long a packet is in a payload.
fn encoded_bytes(packet: &EngineIoPacket) -> usize {
    match packet {
        EngineIoPacket::Ping(text) | EngineIoPacket::Pong(text) | EngineIoPacket::Message(text) => {
            1 + text.len()
        }
        // Four characters for three bytes, begun ones included (RFC 4648 section 4).
        EngineIoPacket::Binary(message) => BINARY.len_utf8() + message.len().div_ceil(3) * 4,
        EngineIoPacket::Close | EngineIoPacket::Upgrade | EngineIoPacket::Noop => 1,
        EngineIoPacket::Open(open) => 1 + open.to_json().len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn message(text: &str) -> EngineIoPacket {
        EngineIoPacket::Message(text.into())
    }

    fn binary(bytes: &'static [u8]) -> EngineIoPacket {
        EngineIoPacket::Binary(Bytes::from_static(bytes))
    }

    fn batches(
        packets: impl IntoIterator<Item = EngineIoPacket>,
        bytes_max: Option<u64>,
    ) -> Vec<String> {
        let mut queue = VecDeque::from_iter(packets);
        let mut batches = Vec::new();
        while !queue.is_empty() {
            batches.push(take_batch(&mut queue, bytes_max));
        }
        batches
    }

    #[test]
    fn r03_payloads_split_at_the_record_separator_and_binary_is_base64() {
        let packets = decode("4hello\x1e2\x1ebAQIDBA==\x1e4€".as_bytes()).expect("a payload");
        let expected = [
            message("hello"),
            EngineIoPacket::Ping(String::new()),
            binary(&[1, 2, 3, 4]),
            message("€"),
        ];
        assert_eq!(packets, expected);
        assert_eq!(decode(b"b").expect("an empty message"), [binary(&[])]);
        assert_eq!(decode(b"b+/8").expect("no padding"), [binary(&[251, 255])]);
    }

    #[test]
    fn r03_written_base64_is_standard_padded_and_in_one_line() {
        static LONG: [u8; 100] = [0xfb; 100];
        let written = batches([binary(&[251, 255, 254, 3]), binary(&LONG)], None);
        let [payload] = written.as_slice() else {
            panic!("{written:?}");
        };
        let (first, second) = payload.split_once('\x1e').expect("two packets");
        assert_eq!(first, "b+//+Aw==");
        assert_eq!(second.len(), 1 + 136);
        assert!(second.ends_with("+w==") && !second.contains(char::is_whitespace));
    }

    #[test]
    fn r05_batches_fill_a_payload_and_a_larger_packet_goes_alone() {
        let packets = || [message("aaaa"), message("bbbb"), message("cccc")];
        assert_eq!(
            batches(packets(), Some(11)),
            ["4aaaa\x1e4bbbb", "4cccc"],
            "a payload may be full to the last byte"
        );
        assert_eq!(batches(packets(), Some(10)), ["4aaaa", "4bbbb", "4cccc"]);
        assert_eq!(batches(packets(), None), ["4aaaa\x1e4bbbb\x1e4cccc"]);
        let with_large = [message("a"), message("larger than that"), message("b")];
        assert_eq!(
            batches(with_large, Some(8)),
            ["4a", "4larger than that", "4b"]
        );
        let many = batches(vec![EngineIoPacket::Noop; 40], None);
        let counts: Vec<_> = many
            .iter()
            .map(|batch| batch.split('\x1e').count())
            .collect();
        assert_eq!(counts, [16, 16, 8]);
        // Bytes count, not characters.
        assert_eq!(batches([message("€"), message("€")], Some(8)), ["4€", "4€"]);
    }

    #[test]
    fn payloads_that_cannot_be_read_name_the_packet() {
        assert!(matches!(
            decode(&[0xff]),
            Err(PayloadError::NotText { length: 1 })
        ));
        assert!(matches!(
            decode(b""),
            Err(PayloadError::Packet {
                index: 0,
                source: EngineIoError::Empty
            })
        ));
        assert!(matches!(
            decode(b"2\x1e9"),
            Err(PayloadError::Packet { index: 1, .. })
        ));
        assert!(matches!(
            decode(b"2\x1e2\x1eb*"),
            Err(PayloadError::Base64 { index: 2, .. })
        ));
    }

    fn packets() -> impl Strategy<Value = Vec<EngineIoPacket>> {
        let text = "[^\x1e]{0,40}";
        let packet = prop_oneof![
            text.prop_map(EngineIoPacket::Message),
            text.prop_map(EngineIoPacket::Pong),
            Just(EngineIoPacket::Close),
            prop::collection::vec(any::<u8>(), 0..40)
                .prop_map(|message| EngineIoPacket::Binary(message.into())),
        ];
        prop::collection::vec(packet, 1..40)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_order_and_no_batch_is_too_large(
            packets in packets(),
            bytes_max in prop::option::of(0_u64..200),
        ) {
            let batches = batches(packets.clone(), bytes_max);
            let mut read = Vec::new();
            for batch in &batches {
                let found = decode(batch.as_bytes()).expect("own payload");
                let fits = bytes_max.is_none_or(|max| batch.len() as u64 <= max);
                prop_assert!(found.len() == 1 || fits, "{} bytes", batch.len());
                read.extend(found);
            }
            prop_assert_eq!(read, packets);
            // No two neighbours would have fitted into one.
            for pair in batches.windows(2) {
                let next = pair[1].split('\x1e').next().expect("a packet");
                let together = (pair[0].len() + 1 + next.len()) as u64;
                let is_full = bytes_max.is_some_and(|max| together > max);
                prop_assert!(is_full || pair[0].split('\x1e').count() == BATCH_PACKETS_MAX);
            }
        }

        #[test]
        fn no_payload_panics(payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            "([b0-7\x1e]|\\PC){0,20}".prop_map(String::into_bytes),
        ]) {
            let _ = decode(&payload);
        }
    }
}
