//! The media peer: one ICE generation, DTLS and SRTP over it, and the session description that
//! announces it.
//!
//! [`PeerConnection`] is the face. Below it, from the wire upwards: `bridge` carries the ICE
//! agent's packets over a [`Net`](crate::net::Net), `generation` is the agent with one pair of ICE
//! credentials, `dtls` authenticates the other side over the pair that the agent selected, and
//! `srtp` encrypts the audio with keys from DTLS.

mod bridge;
#[cfg(test)]
pub(crate) mod cable;
pub mod connection;
mod dtls;
#[cfg(test)]
mod dual_stack;
pub mod failure;
mod generation;
#[cfg(test)]
mod liveness;
#[cfg(test)]
mod loopback;
pub mod sdp;
pub mod servers;
mod srtp;
#[cfg(test)]
mod strangers;
pub mod turn_framing;

pub use self::connection::{
    AudioPacket, IceRole, IceState, Marker, MediaIdentity, PeerConnection, PeerEvent,
};
pub use self::failure::{CandidateTypes, PeerError, PeerFailure, Suspicion};
