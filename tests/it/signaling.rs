//! The signaling client in worlds of its own, against servers that do what a test says. Tests with a
//! number check the requirement of that number in `socketio-client.md`.

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
