//! When faults begin.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::scenario::model::Trigger;
use crate::scenario::value::format_duration;

/// When a fault begins. In the order of a scenario: moments first, then what waits for an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Begin {
    /// This long after the run began.
    At(Duration),
    /// This long after a callee first rang.
    AfterRinging(Duration),
    /// This long after the call was first audio-connected on both sides.
    AfterAudio(Duration),
    /// When a peer has sent so many signaling messages of a kind.
    OnMessage {
        /// The peer that sends: a key of [`Scenario::peers`](crate::scenario::model::Scenario).
        peer: String,
        /// What it sends.
        message: MessageName,
        /// Which one, counted from 1.
        number: u32,
    },
    /// Where a frame on a signaling connection of a peer begins or ends.
    OnFrame {
        /// Whose: a key of [`Scenario::peers`](crate::scenario::model::Scenario).
        peer: String,
        /// Where.
        point: FramePoint,
    },
}

/// The signaling messages that a fault can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageName {
    /// An offer.
    Offer,
    /// An answer.
    Answer,
    /// A candidate.
    Candidate,
}

/// A boundary of a frame on the signaling connections of a peer. What frames are is told by
/// [`frames`](crate::world::frames).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FramePoint {
    /// Which end of the frame.
    pub side: FrameSide,
    /// Which way the frame goes.
    pub way: FrameWay,
    /// Which one, counted from 1 in each way: every whole frame of the run counts, on whatever
    /// connection. One that was cut off does not.
    pub number: u64,
}

/// An end of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrameSide {
    /// Before its first byte.
    Before,
    /// After its last byte.
    After,
}

/// The way of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrameWay {
    /// From the peer. It counts when it leaves the host.
    Sends,
    /// To the peer. It counts when it reaches the host.
    Receives,
}

impl Begin {
    /// The moment of a step of the script; `None` for one that comes after all faults.
    #[must_use]
    pub fn of(trigger: Trigger) -> Option<Self> {
        match trigger {
            Trigger::At(at) => Some(Self::At(at)),
            Trigger::AfterRinging(wait) => Some(Self::AfterRinging(wait)),
            Trigger::AfterAudio(wait) => Some(Self::AfterAudio(wait)),
            Trigger::AfterSettling(_) => None,
        }
    }
}

impl fmt::Display for Begin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => write!(formatter, "at {}", format_duration(*at)),
            Self::AfterRinging(wait) => write!(formatter, "ringing + {}", format_duration(*wait)),
            Self::AfterAudio(wait) => write!(formatter, "audio + {}", format_duration(*wait)),
            Self::OnMessage {
                peer,
                message,
                number,
            } => write!(formatter, "{peer} sends {message} {number}"),
            Self::OnFrame { peer, point } => {
                let FramePoint { side, way, number } = point;
                write!(formatter, "{side} {peer} {way} frame {number}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_before_events() {
        let second = Duration::from_secs(1);
        assert!(Begin::At(second * 9) < Begin::AfterRinging(second));
        assert!(Begin::AfterRinging(second * 9) < Begin::AfterAudio(second));
    }

    #[test]
    fn a_frame_is_shown_as_scenarios_write_it() {
        let point = FramePoint {
            side: FrameSide::After,
            way: FrameWay::Receives,
            number: 17,
        };
        let begin = Begin::OnFrame {
            peer: "alice".to_owned(),
            point,
        };
        assert_eq!(begin.to_string(), "after alice receives frame 17");
    }
}
