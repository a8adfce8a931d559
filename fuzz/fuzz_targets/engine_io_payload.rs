//! Any bytes are a polling payload or an error, and packets read back as what they were.
#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use ringtrue::signaling::engine_io::payload::{decode, take_batch};

/// A small payload, so that one queue makes several.
const BYTES_MAX: u64 = 64;

fuzz_target!(|payload: &[u8]| {
    let Ok(packets) = decode(payload) else {
        return;
    };
    let mut queue = VecDeque::from(packets.clone());
    let mut read = Vec::new();
    while !queue.is_empty() {
        let written = take_batch(&mut queue, Some(BYTES_MAX));
        read.extend(decode(written.as_bytes()).expect("what was written can be read"));
    }
    assert_eq!(read, packets);
});
