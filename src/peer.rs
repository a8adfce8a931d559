//! The media peer: one ICE generation, DTLS and SRTP over it, and the session description that
//! announces it.

pub mod bridge;
pub mod connection;
pub mod dtls;
pub mod generation;
pub mod sdp;
pub mod srtp;
