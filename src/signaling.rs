//! Signaling: Socket.IO over a [`Net`](crate::net::Net), and the server that relays it.
//!
//! From the wire up: [`engine_io`] and [`socket_io`] are the two protocols, [`transport`] carries the
//! packets of the first over WebSocket or long-polling, [`manager`] keeps one connection and all
//! namespaces on it with the waits of [`backoff`], and [`socket`] is what an application holds of a
//! namespace. [`message`] is what two devices say to each other, [`mailbox`] sees to it that nothing
//! of that is lost, and [`client`] is the mailbox over a socket. [`channel`] is
//! what a call needs of it, for applications with signaling of their own. [`turn_credentials`] come from the
//! server too, and [`relay`] is that server.

pub mod backoff;
pub mod channel;
pub mod client;
pub mod endpoint;
pub mod engine_io;
pub mod mailbox;
pub mod manager;
pub mod message;
pub mod relay;
pub mod socket;
pub mod socket_io;
pub mod transport;
pub mod turn_credentials;

#[cfg(test)]
pub(crate) mod memory_net;
