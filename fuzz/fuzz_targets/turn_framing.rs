//! A stream gives the same messages however it is cut, and they make a stream that gives them again.
//!
//! The first byte of the input is the length of the pieces; what follows is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringtrue::peer::turn_framing::{Decoder, FramingError, encode};

fuzz_target!(|input: &[u8]| {
    let Some((&length, stream)) = input.split_first() else {
        return;
    };
    let whole = messages([stream]);
    assert_eq!(whole, messages(stream.chunks(usize::from(length).max(1))));

    let (messages_read, _) = whole;
    let mut written = Vec::new();
    for message in &messages_read {
        encode(message, &mut written).expect("a message that was read can be written");
    }
    assert_eq!(messages([&written[..]]), (messages_read, None));
});

/// The messages up to the first error, and that error.
fn messages<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Vec<u8>>, Option<FramingError>) {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}
