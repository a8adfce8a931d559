//! Failures that nobody wrote down: how they are told apart, made small, and handed on.
//!
//! - [`cause`]: which failures are the same;
//! - [`shrink`](mod@shrink): the least scenario that still fails in the same way;
//! - [`record`]: the file that holds on to a failure;
//! - [`seed_string`]: scenario, seed and client in one word, for a message or an issue.

pub mod cause;
pub mod record;
pub mod seed_string;
pub mod shrink;

mod canonical;
