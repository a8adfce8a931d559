//! Any bytes are a file of Opus packets or an error. The Ogg reader leaves checksums aside under
//! `cfg(fuzzing)`, so that what lies behind them is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringtrue::audio::ogg_opus::{MAX_PACKET_BYTES, read_audio_packets};

fuzz_target!(|file: &[u8]| {
    if let Ok(packets) = read_audio_packets(file) {
        assert!(!packets.is_empty());
        assert!(
            packets
                .iter()
                .all(|packet| packet.len() <= MAX_PACKET_BYTES)
        );
    }
});
