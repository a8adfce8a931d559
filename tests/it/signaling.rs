//! The signaling client in worlds of its own, against servers that do what a test says. Tests with a
//! number check the requirement of that number in `socketio-client.md`.

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
