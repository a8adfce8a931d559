//! The client against real Socket.IO servers, and real clients against the relay, on real sockets; the captures
//! of runs, read by Wireshark; and the page of a run in a real browser.
//!
//! These tests need Node.js and Python with the peers' packages, and tshark, and so are no part of a plain
//! `cargo test`: `tests/interop/run.sh` starts them.

mod browser;
mod capture;
mod client;
mod counting_net;
mod process;
mod relay;
mod server;
mod servers;
