//! What can go wrong with a peer, split by whose fault it is.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::sdp::Fingerprint;
use crate::candidates::{CandidateSyntaxError, CandidateType};
use crate::redaction;

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerFailure {
    /// The peer's fault: its certificate is not the one that signaling announced.
    #[error("peer presented the certificate {presented}, but signaling announced {announced}")]
    FingerprintMismatch {
        /// The fingerprint in the session description.
        announced: Fingerprint,
        /// The fingerprint of the certificate that the peer presented.
        presented: Fingerprint,
    },
    /// The peer's fault: it broke the DTLS handshake off, or offered nothing acceptable.
    #[error("DTLS handshake failed: {}", redaction::scrubbed(.0))]
    Handshake(String),
    /// The network's fault: ICE found a path but DTLS did not get through it in time.
    #[error("DTLS handshake not finished within {0:?}")]
    HandshakeTimeout(Duration),
    /// The network's fault: no pair of candidates worked.
    #[error("no candidate pair worked: local {local}; remote {remote}{suspicion}")]
    NoPairWorked {
        /// The kinds of candidates that this side had.
        local: CandidateTypes,
        /// The kinds of candidates that the other side announced.
        remote: CandidateTypes,
        /// What that suggests.
        suspicion: Suspicion,
    },
    /// The network's fault: the path that was selected is dead.
    #[error("the selected pair carried nothing for {0:?}")]
    PathLost(Duration),
    /// The network's fault: there is no interface to send from.
    #[error("no interface: {}", redaction::scrubbed(.0))]
    NoInterface(String),
    /// Our fault: something that cannot happen did.
    #[error("internal error: {}", redaction::scrubbed(.0))]
    Internal(String),
}

/// What the candidates of a failed search suggest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// This side has servers configured and none of them answered.
    UdpBlockedHere,
    /// The other side announced nothing that a server told it.
    UdpBlockedThere,
    /// Nothing in particular.
    None,
}

impl Suspicion {
    /// What the candidate kinds of both sides suggest to a side that knows `servers` STUN and TURN
    /// servers.
    #[must_use]
    pub fn of(local: &CandidateTypes, remote: &CandidateTypes, servers: usize) -> Self {
        let learned = |kinds: &CandidateTypes| {
            [CandidateType::ServerReflexive, CandidateType::Relayed]
                .iter()
                .any(|kind| kinds.0.contains(kind))
        };
        if servers > 0 && !learned(local) {
            Self::UdpBlockedHere
        } else if !remote.0.is_empty() && !learned(remote) {
            Self::UdpBlockedThere
        } else {
            Self::None
        }
    }
}

impl fmt::Display for Suspicion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UdpBlockedHere => {
                "; no STUN or TURN server answered this side, as where UDP is blocked"
            }
            Self::UdpBlockedThere => {
                "; the other side learned no address from any server, as where UDP is blocked"
            }
            Self::None => "",
        })
    }
}

/// Why a call to a [`PeerConnection`](super::PeerConnection) was refused. These are the caller's
/// mistakes or the peer's malformed input; the connection goes on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerError {
    /// The remote description is missing.
    #[error("the remote description is not set yet")]
    NoRemoteDescription,
    /// A second remote description, where only one may come.
    #[error("the remote description is set already, for generation {ufrag:?}")]
    RemoteDescriptionSet {
        /// The user name fragment of the one that is set.
        ufrag: String,
    },
    /// The roles in the two descriptions do not fit together.
    #[error("setup {remote:?} cannot answer setup {local:?}")]
    SetupConflict {
        /// What this side said.
        local: &'static str,
        /// What the other side said.
        remote: &'static str,
    },
    /// A candidate of another generation.
    #[error("candidate belongs to generation {given:?}, the remote one is {expected:?}")]
    WrongGeneration {
        /// The remote description's user name fragment.
        expected: String,
        /// The candidate's.
        given: String,
    },
    /// A candidate that cannot be read.
    #[error("malformed candidate: {0}")]
    MalformedCandidate(#[from] CandidateSyntaxError),
    /// Audio before there is a secure path for it.
    #[error("not connected")]
    NotConnected,
    /// Audio faster than it can be sent.
    #[error("{bound} audio packets wait to be sent already")]
    Congested {
        /// The most that may wait.
        bound: usize,
    },
    /// The connection is closed.
    #[error("the peer connection is closed")]
    Closed,
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
}

/// A set of candidate kinds, written as `host, srflx` or `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CandidateTypes(pub BTreeSet<CandidateType>);

impl fmt::Display for CandidateTypes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("none");
        }
        for (index, kind) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{kind}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_no_server_answered_is_suspected() {
        let host = CandidateTypes([CandidateType::Host].into());
        let learned = CandidateTypes([CandidateType::Host, CandidateType::Relayed].into());
        let none = CandidateTypes::default();
        assert_eq!(Suspicion::of(&host, &learned, 6), Suspicion::UdpBlockedHere);
        assert_eq!(
            Suspicion::of(&learned, &host, 6),
            Suspicion::UdpBlockedThere
        );
        assert_eq!(Suspicion::of(&learned, &learned, 6), Suspicion::None);
        assert_eq!(Suspicion::of(&host, &none, 0), Suspicion::None);
    }

    #[test]
    fn an_unreachable_peer_is_explained_by_what_each_side_had() {
        let failure = PeerFailure::NoPairWorked {
            local: CandidateTypes([CandidateType::ServerReflexive, CandidateType::Host].into()),
            remote: CandidateTypes::default(),
            suspicion: Suspicion::None,
        };
        assert_eq!(
            failure.to_string(),
            "no candidate pair worked: local host, srflx; remote none"
        );
    }
}
