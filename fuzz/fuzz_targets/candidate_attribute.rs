//! Any text is a candidate attribute or an error, and a candidate reads back as what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringtrue::candidates::CandidateAttribute;

fuzz_target!(|text: &str| {
    if let Ok(attribute) = text.parse::<CandidateAttribute>() {
        let written = attribute.to_string();
        let read = written.parse().expect("what was written can be read");
        assert_eq!(attribute, read, "written as {written:?}");
    }
});
