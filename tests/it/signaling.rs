//! The signaling client in worlds of its own, against servers that do what a test says. There are forty
//! requirements; the test of each is named after it, by number, and states it.

mod acknowledgements;
mod bench;
mod client;
mod closing;
mod forty;
mod handshake;
mod harness;
mod heartbeat;
mod herd;
mod namespaces;
mod opening;
mod parsing;
mod polling;
mod protection;
mod reconnection;
mod recovery;
mod sending;
mod server;
mod upgrade;
mod waits;
