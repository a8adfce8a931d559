//! Audio: recorded Opus in, matched packets out.
//!
//! An [`OpusTrack`](track::OpusTrack) is a recording. An [`AudioSource`](source::AudioSource) turns
//! it into RTP payloads, one every 20 ms, and an [`AudioSink`](sink::AudioSink) on the other side
//! recognises them by content: audio counts as heard only where the very packet that belongs at a
//! sequence number arrives under it. Nothing in here is async, reads a clock or opens a file.

use std::time::Duration;

pub mod kept;
pub mod mos;
pub mod ogg_opus;
pub mod quality;
pub mod sequence;
pub mod sink;
pub mod source;
pub mod track;

/// How much sound one packet carries, and so how often one is sent.
pub const PACKET_DURATION: Duration = Duration::from_millis(20);

/// The RTP clock of Opus in ticks a second, whatever the rate of the recording (RFC 7587
/// section 4.1).
pub const RTP_CLOCK_HZ: u32 = 48_000;

/// Ticks of [`RTP_CLOCK_HZ`] in one [`PACKET_DURATION`].
pub const TICKS_PER_PACKET: u32 = 960;
