//! The signaling client in worlds of its own, against servers that do what a test says. There are forty
//! requirements; the test of each is named after it, by number, and states it.

mod bench;
mod client;
mod closing;
mod handshake;
mod harness;
mod heartbeat;
mod herd;
mod opening;
mod polling;
mod protection;
mod server;
mod upgrade;
