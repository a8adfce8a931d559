//! Any text is a session description or an error, and a description reads back as what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringtrue::peer::sdp::SessionDescription;

fuzz_target!(|text: &str| {
    if let Ok(description) = text.parse::<SessionDescription>() {
        let written = description.to_string();
        let read = written.parse().expect("what was written can be read");
        assert_eq!(description, read, "written as {written:?}");
    }
});
