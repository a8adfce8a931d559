//! Any argument of a call event is a frame or an error, and a frame reads back as what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringtrue::signaling::message::Frame;
use ringtrue::signaling::socket_io::{SocketIoBody, SocketIoPacket};

fuzz_target!(|argument: &str| {
    // Socket.IO is the only way in.
    let event = SocketIoPacket::parse(&format!(r#"2["call",{argument}]"#));
    let Ok(SocketIoBody::Event { arguments, .. }) = event.map(|packet| packet.body) else {
        return;
    };
    for argument in arguments {
        if let Ok(frame) = Frame::from_value(argument) {
            let read = Frame::from_value(frame.to_value()).expect("what was written can be read");
            assert_eq!(read, frame);
        }
    }
});
