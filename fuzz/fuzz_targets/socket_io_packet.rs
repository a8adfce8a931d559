//! Any text is a Socket.IO packet or an error, and a packet reads back as what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringtrue::signaling::socket_io::SocketIoPacket;

fuzz_target!(|text: &str| {
    if let Ok(packet) = SocketIoPacket::parse(text) {
        let read = SocketIoPacket::parse(&packet.encode()).expect("what was written can be read");
        assert_eq!(read, packet);
    }
});
