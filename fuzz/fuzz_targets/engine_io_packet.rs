//! Any text is an Engine.IO packet or an error, and a packet reads back as what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringtrue::signaling::engine_io::{EngineIoPacket, Frame};

fuzz_target!(|text: &str| {
    let Ok(packet) = EngineIoPacket::from_text(text) else {
        return;
    };
    match packet.clone().into_frame() {
        Frame::Text(text) => {
            let read = EngineIoPacket::from_text(&text).expect("what was written can be read");
            assert_eq!(read, packet);
        }
        Frame::Binary(_) => panic!("text was read as the binary message {packet:?}"),
    }
});
