//! Any sequence of messages gives packets up to the first error, and a packet reads back.
//!
//! Messages are separated as in a polling payload (0x1e). One that starts with `b` is binary, here
//! without base64.
#![no_main]

use std::mem::discriminant;

use libfuzzer_sys::fuzz_target;
use ringtrue::signaling::engine_io::EngineIoPacket;
use ringtrue::signaling::socket_io::SocketIoPacket;
use ringtrue::signaling::socket_io::reassembly::Reassembler;

fuzz_target!(|input: &[u8]| {
    let mut reassembler = Reassembler::default();
    for message in input.split(|&byte| byte == 0x1e) {
        let message = match message.split_first() {
            Some((b'b', attachment)) => EngineIoPacket::Binary(attachment.to_vec().into()),
            _ => EngineIoPacket::Message(String::from_utf8_lossy(message).into()),
        };
        match reassembler.read(message) {
            Ok(Some(packet)) => check(&packet),
            Ok(None) => {}
            Err(_) => return,
        }
    }
});

fn check(packet: &SocketIoPacket) {
    let mut reassembler = Reassembler::default();
    let mut read = None;
    for message in packet.clone().into_messages() {
        assert!(read.is_none(), "complete before the last message");
        read = reassembler
            .read(message)
            .expect("what was written can be read");
    }
    let read = read.expect("complete with the last message");
    assert_eq!(read.namespace, packet.namespace);
    assert_eq!(read.attachments, packet.attachments);
    // No more than the kind, since `serde_json` reads some numbers wrong in the last bit where it is not
    // told to be exact.
    assert_eq!(discriminant(&read.body), discriminant(&packet.body));
}
