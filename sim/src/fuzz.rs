//! Scenarios by chance: what they are made of, campaigns of them, and what is left of those that fail.
//!
//! - [`strategy`]: what scenarios are made of, each a [`case`] that follows from one number;
//! - [`campaign`]: as many of them as are asked for, and what they [cover](coverage);
//! - [`hunt`]: a campaign whose failures are sorted and made small, and its [`summary`];
//! - [`comparison`]: two clients in the same cases;
//! - [`cause`]: which failures are the same;
//! - [`shrink`](mod@shrink): the least scenario that still fails in the same way;
//! - [`record`]: the file that holds on to a failure;
//! - [`seed_string`]: scenario, seed and client in one word, for a message or an issue.

pub mod campaign;
pub mod case;
pub mod cause;
pub mod comparison;
pub mod coverage;
pub mod hunt;
pub mod record;
pub mod seed_string;
pub mod shrink;
pub mod strategy;
pub mod summary;

mod canonical;
