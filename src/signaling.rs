//! Signaling: Socket.IO over a [`Net`](crate::net::Net), and the server that relays it.

pub mod backoff;
pub mod client;
pub mod engine_io;
pub mod message;
pub mod relay;
pub mod socket_io;
pub mod transport;
