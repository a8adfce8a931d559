//! The client against real Socket.IO servers, and real clients against the relay, on real sockets.
//!
//! These tests need Node.js and Python with the peers' packages, and so are no part of a plain
//! `cargo test`: `tests/interop/run.sh` starts them.

mod client;
mod counting_net;
mod process;
mod relay;
mod server;
mod servers;
