//! What signaling does to single messages on their way, by name: the same names in scenario files, in
//! timelines and in reports.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::scenario::value::format_duration;

/// Something that happens to one message of a peer, or to all of a kind, between the signaling server
/// and whoever it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Perturbation {
    /// Who sends it: the name of a user.
    pub from: String,
    /// What is sent.
    pub kind: MessageKind,
    /// Which one of its kind, counted from 1 in the order in which they are first delivered; `None`
    /// for all.
    pub which: Option<u32>,
    /// How many deliveries of each message are lost, before the first one that is not.
    pub lost: u32,
    /// How much later than it would each message arrives.
    pub delay: MessageDelay,
    /// How often each message arrives.
    pub copies: u32,
    /// How long after each other these copies arrive.
    pub copy_delay: Duration,
    /// From when on messages are left alone that were not met before, from the start of the run; `None`
    /// where that is never.
    pub until: Option<Duration>,
    /// What arrives right before each of these, as if its sender had said it too; `None` for nothing.
    pub beside: Option<BadCandidate>,
    /// The line of the scenario's file that it stands on, counted from 1.
    pub line: Option<usize>,
}

/// A candidate that no peer connection can use, as scenarios name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadCandidate {
    /// The empty text by which some browsers end a generation's candidates.
    EmptyCandidate,
    /// A text that is no candidate attribute.
    UnparsableCandidate,
    /// An address that is a name of multicast DNS, which nobody but the sender's own network can resolve.
    MdnsCandidate,
}

impl BadCandidate {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::EmptyCandidate,
        Self::UnparsableCandidate,
        Self::MdnsCandidate,
    ];

    /// As scenarios write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptyCandidate => "empty-candidate",
            Self::UnparsableCandidate => "unparsable-candidate",
            Self::MdnsCandidate => "mdns-candidate",
        }
    }

    /// The candidate attribute.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::EmptyCandidate => "",
            Self::UnparsableCandidate => "candidate:1 1 udp many 192.0.2.1 port typ host",
            Self::MdnsCandidate => {
                "candidate:1 1 udp 2113937151 3f2c1d9e-5a77-4c1b-9a4e-6d0e7b8c9f10.local 54400 typ host"
            }
        }
    }
}

/// How much later than it would a message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageDelay {
    /// So much.
    Fixed(Duration),
    /// In whole milliseconds, each as likely, drawn for each message from the stream of its
    /// perturbation.
    Uniform {
        /// At least so much.
        from: Duration,
        /// At most so much.
        to: Duration,
    },
}

/// The kinds of messages, as scenarios name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageKind {
    /// All of them.
    Any,
    /// An offer.
    Offer,
    /// The callee rings.
    Ringing,
    /// An answer.
    Answer,
    /// A candidate.
    Candidate,
    /// No more candidates come.
    EndOfCandidates,
    /// A hang-up.
    HangUp,
}

impl MessageKind {
    /// As scenarios write it: but for `any`, what the message calls itself.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Offer => "offer",
            Self::Ringing => "ringing",
            Self::Answer => "answer",
            Self::Candidate => "candidate",
            Self::EndOfCandidates => "end-of-candidates",
            Self::HangUp => "hang-up",
        }
    }
}

impl MessageDelay {
    /// No delay at all.
    pub const NONE: Self = Self::Fixed(Duration::ZERO);
}

impl fmt::Display for BadCandidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for MessageDelay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(delay) => formatter.write_str(&format_duration(*delay)),
            Self::Uniform { from, to } => {
                let (from, to) = (format_duration(*from), format_duration(*to));
                write!(formatter, "{from} to {to}")
            }
        }
    }
}

impl fmt::Display for Perturbation {
    /// Whose message, and which: `alice's candidate 2`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}'s {}", self.from, self.kind)?;
        match self.which {
            Some(which) => write!(formatter, " {which}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perturbation_is_shown_by_its_message() {
        let mut perturbation = Perturbation {
            from: "alice".to_owned(),
            kind: MessageKind::EndOfCandidates,
            which: Some(2),
            lost: 0,
            delay: MessageDelay::NONE,
            copies: 2,
            copy_delay: Duration::ZERO,
            until: None,
            beside: None,
            line: None,
        };
        assert_eq!(perturbation.to_string(), "alice's end-of-candidates 2");
        perturbation.which = None;
        assert_eq!(perturbation.to_string(), "alice's end-of-candidates");
    }

    #[test]
    fn the_names_are_the_ones_that_scenarios_write() {
        use serde::de::value::{Error, StrDeserializer};
        for kind in [
            MessageKind::Any,
            MessageKind::Offer,
            MessageKind::Ringing,
            MessageKind::Answer,
            MessageKind::Candidate,
            MessageKind::EndOfCandidates,
            MessageKind::HangUp,
        ] {
            let read = MessageKind::deserialize(StrDeserializer::<Error>::new(kind.as_str()));
            assert_eq!(read, Ok(kind));
        }
        for bad in BadCandidate::ALL {
            let read = BadCandidate::deserialize(StrDeserializer::<Error>::new(bad.as_str()));
            assert_eq!(read, Ok(bad));
        }
    }
}
