//! A calling client for networks that fail.

#![forbid(unsafe_code)]

pub mod audio;
pub mod call;
pub mod candidates;
pub mod client;
pub mod config;
pub mod net;
pub mod peer;
pub mod signaling;
