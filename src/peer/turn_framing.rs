//! How STUN messages and `ChannelData` follow each other on a TCP connection (pure).
//!
//! Both tell their own length, so nothing stands between them (RFC 8489 section 6.2.2). `ChannelData`
//! is padded to a multiple of four bytes, which its length does not count (RFC 8656 section 12.5).

use bytes::{Buf, BytesMut};
use thiserror::Error;

/// The longest message that is taken apart or put together, without padding: the buffers of the ICE
/// agent are no larger.
pub const FRAME_BYTES_MAX: usize = 8192;

/// The bytes of a STUN header (RFC 8489 section 5).
const STUN_HEADER_BYTES: usize = 20;

/// The bytes of a `ChannelData` header (RFC 8656 section 12.4).
const CHANNEL_HEADER_BYTES: usize = 4;

/// What every STUN message has in the bytes 4 to 7 (RFC 8489 section 5).
const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

/// How many bytes tell of what kind a message is, and how long.
const START_BYTES: usize = 4;

/// Why bytes are no sequence of messages. Nothing behind them can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FramingError {
    /// The first byte belongs to neither kind.
    #[error("a message begins with {first:#04x}, which neither STUN nor ChannelData does")]
    Kind {
        /// The byte.
        first: u8,
    },
    /// A STUN message is not made of whole words.
    #[error("a STUN message says that it has {said} bytes, no multiple of 4")]
    Unaligned {
        /// What its header says, header included.
        said: usize,
    },
    /// A message is too long.
    #[error("a message says that it has {said} bytes, and at most {FRAME_BYTES_MAX} are allowed")]
    TooLong {
        /// What its header says, header included.
        said: usize,
    },
    /// A STUN message lacks the magic cookie.
    #[error("a STUN message has {found:02x?} in place of the magic cookie")]
    Cookie {
        /// What stands there.
        found: [u8; 4],
    },
    /// A packet to be sent is not exactly one message.
    #[error("a packet of {given} bytes holds a message that says it has {said}")]
    Packet {
        /// What its header says, header included.
        said: usize,
        /// The bytes of the packet.
        given: usize,
    },
}

/// Takes messages out of the bytes of one direction of a connection.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    failed: Option<FramingError>,
}

impl Decoder {
    /// Adds bytes that arrived. Whoever takes all messages out before adding more never has more
    /// waiting here than one message and what was added last.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole message, without padding; `None` until more bytes arrive.
    ///
    /// # Errors
    ///
    /// [`FramingError`], then and for ever: nothing tells where the next message begins.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let extent = match Extent::read(&self.buffer) {
            Ok(Some(extent)) if extent.on_the_wire <= self.buffer.len() => extent,
            Ok(_) => return Ok(None),
            Err(error) => {
                self.failed = Some(error);
                self.buffer = BytesMut::new();
                return Err(error);
            }
        };
        let frame = self.buffer[..extent.message].to_vec();
        self.buffer.advance(extent.on_the_wire);
        Ok(Some(frame))
    }
}

/// Appends one message to `stream` as it goes over TCP. Padding that the packet has already, as
/// over UDP it may, is written anew.
///
/// # Errors
///
/// [`FramingError`] where the packet is not exactly one message; nothing is appended then.
pub fn encode(packet: &[u8], stream: &mut Vec<u8>) -> Result<(), FramingError> {
    let given = packet.len();
    let extent = Extent::read(packet)?.ok_or(FramingError::Packet {
        said: START_BYTES,
        given,
    })?;
    if given != extent.message && given != extent.on_the_wire {
        return Err(FramingError::Packet {
            said: extent.message,
            given,
        });
    }
    stream.extend_from_slice(&packet[..extent.message]);
    stream.resize(stream.len() + extent.on_the_wire - extent.message, 0);
    Ok(())
}

/// How far a message reaches, in bytes from its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    message: usize,
    /// The same with padding.
    on_the_wire: usize,
}

impl Extent {
    /// Reads it from the beginning of a message; `None` while that is not all there.
    fn read(bytes: &[u8]) -> Result<Option<Self>, FramingError> {
        let Some((&[first, second, third, fourth], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([third, fourth]));
        let extent = match (first, second) {
            // The two highest bits tell the kinds apart (RFC 8656 section 12); the numbers of
            // channels end at 0x4FFF.
            (0x00..=0x3f, _) => {
                let said = STUN_HEADER_BYTES + length;
                if !length.is_multiple_of(4) {
                    return Err(FramingError::Unaligned { said });
                }
                Self {
                    message: said,
                    on_the_wire: said,
                }
            }
            (0x40..=0x4f, _) => {
                let said = CHANNEL_HEADER_BYTES + length;
                Self {
                    message: said,
                    on_the_wire: said.next_multiple_of(4),
                }
            }
            _ => return Err(FramingError::Kind { first }),
        };
        if extent.message > FRAME_BYTES_MAX {
            return Err(FramingError::TooLong {
                said: extent.message,
            });
        }
        if first <= 0x3f {
            let Some((found, _)) = rest.split_first_chunk::<4>() else {
                return Ok(None);
            };
            if *found != MAGIC_COOKIE {
                return Err(FramingError::Cookie { found: *found });
            }
        }
        Ok(Some(extent))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A Binding request without attributes, byte for byte.
    const BINDING: [u8; 20] = [
        0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];

    fn stun(body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("a short body");
        let mut message = BINDING.to_vec();
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        message
    }

    fn channel_data(data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).expect("short data");
        let mut message = vec![0x40, 0x01];
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(data);
        message
    }

    /// Everything that comes out when `stream` arrives in pieces of these lengths.
    fn decode(stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Option<FramingError>) {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        let mut rest = stream;
        let mut lengths = pieces.iter().copied();
        while !rest.is_empty() {
            let length = lengths.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let (piece, after) = rest.split_at(length);
            rest = after;
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        (frames, None)
    }

    #[test]
    fn channel_data_is_padded_and_its_length_does_not_say_so() {
        let mut stream = Vec::new();
        encode(&channel_data(b"abcde"), &mut stream).expect("one message");
        assert_eq!(
            stream,
            [
                0x40, 0x01, 0x00, 0x05, b'a', b'b', b'c', b'd', b'e', 0, 0, 0
            ]
        );
        stream.extend_from_slice(&BINDING);
        let (frames, error) = decode(&stream, &[]);
        assert_eq!(error, None);
        assert_eq!(frames, [channel_data(b"abcde"), BINDING.to_vec()]);
    }

    #[test]
    fn padding_that_a_packet_has_is_not_doubled() {
        let mut padded = channel_data(b"abcde");
        padded.extend_from_slice(&[0; 3]);
        let mut stream = Vec::new();
        encode(&padded, &mut stream).expect("one message");
        assert_eq!(stream, padded);
    }

    #[test]
    fn packets_that_are_not_one_message_are_refused() {
        let mut stream = Vec::new();
        let mut refused = |packet: &[u8]| encode(packet, &mut stream).expect_err("not one message");
        assert_eq!(
            refused(&BINDING[..19]),
            FramingError::Packet {
                said: 20,
                given: 19
            }
        );
        assert_eq!(
            refused(&[&BINDING[..], &[0]].concat()),
            FramingError::Packet {
                said: 20,
                given: 21
            }
        );
        assert_eq!(refused(b""), FramingError::Packet { said: 4, given: 0 });
        assert_eq!(refused(&[0x80; 40]), FramingError::Kind { first: 0x80 });
        assert_eq!(stream, b"");
    }

    #[test]
    fn what_cannot_be_a_message_ends_the_stream() {
        for (bytes, expected) in [
            (&[0x80, 0, 0, 0][..], FramingError::Kind { first: 0x80 }),
            (&[0x50, 0, 0, 0][..], FramingError::Kind { first: 0x50 }),
            (&[0, 1, 0, 3][..], FramingError::Unaligned { said: 23 }),
            (
                &[0, 1, 0xff, 0xfc][..],
                FramingError::TooLong { said: 65552 },
            ),
            (
                &[0x40, 0, 0xff, 0xff][..],
                FramingError::TooLong { said: 65539 },
            ),
            (
                &[0, 1, 0, 0, 1, 2, 3, 4][..],
                FramingError::Cookie {
                    found: [1, 2, 3, 4],
                },
            ),
        ] {
            assert_eq!(decode(bytes, &[]), (Vec::new(), Some(expected)));
        }
    }

    #[test]
    fn nothing_is_kept_and_nothing_comes_after_an_error() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff; 64]);
        assert!(decoder.next_frame().is_err());
        decoder.push(&BINDING);
        assert_eq!(
            decoder.next_frame(),
            Err(FramingError::Kind { first: 0xff })
        );
        assert_eq!(decoder.buffer.len(), 0);
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (0..40_usize).prop_map(|words| stun(&vec![7; words * 4])),
            vec(any::<u8>(), 0..200).prop_map(|data| channel_data(&data)),
        ]
    }

    proptest! {
        #[test]
        fn whatever_the_pieces_the_messages_are_those_that_were_sent(
            messages in vec(message(), 0..20),
            pieces in vec(1..60_usize, 0..100),
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                encode(message, &mut stream).expect("one message");
            }
            prop_assert_eq!(decode(&stream, &pieces), (messages, None));
        }

        #[test]
        fn any_bytes_give_the_same_in_any_pieces(
            stream in vec(prop_oneof![Just(0), Just(0x40), Just(4), any::<u8>()], 0..300),
            pieces in vec(1..20_usize, 0..100),
        ) {
            prop_assert_eq!(decode(&stream, &pieces), decode(&stream, &[]));
        }
    }
}
