//! Signaling: Socket.IO over a [`Net`](crate::net::Net), and the server that relays it.
//!
//! From the wire up: [`engine_io`] and [`socket_io`] are the two protocols, [`transport`] carries the
//! packets of the first over WebSocket or long-polling, [`manager`] keeps one connection and all
//! namespaces on it, with the waits of [`backoff`], and [`socket`] is what an application holds of a
//! namespace. [`connection`] is one joined namespace, and [`client`] keeps such a connection alive for
//! ever, with the unacknowledged messages of [`send_buffer`], and [`seen`] against repetitions.
//! [`message`] is what two clients say to each other, and [`relay`] is the server between them.

pub mod backoff;
pub mod client;
pub mod connection;
pub mod endpoint;
pub mod engine_io;
pub mod manager;
pub mod message;
pub mod relay;
pub mod seen;
pub mod send_buffer;
pub mod socket;
pub mod socket_io;
pub mod transport;

#[cfg(test)]
mod memory_net;
