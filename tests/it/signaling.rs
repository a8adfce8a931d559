//! The signaling client in worlds of its own, against servers that do what a test says.

mod bench;
mod harness;
mod server;
