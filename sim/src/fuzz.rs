//! Scenarios by chance: what they are made of, campaigns of them, and what is left of those that fail.
//!
//! A case is a [`Scenario`](crate::scenario::Scenario) that a [`strategy`] made from one number. A
//! [`campaign`] runs as many as it is asked for, and says what they [cover](coverage).

pub mod campaign;
pub mod case;
pub mod coverage;
pub mod strategy;
