//! A deterministic world in which calls are tested.

#![deny(unsafe_code)]

pub mod check;
pub mod cli;
pub mod determinism;
pub mod net;
pub mod report;
pub mod scenario;
pub mod seed;
pub mod server;
pub mod trace;
pub mod world;
