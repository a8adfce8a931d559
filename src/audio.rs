//! Audio: recorded Opus in, matched packets out.

pub mod quality;
pub mod sink;
pub mod source;
pub mod track;
