//! Calls: the pure state table, what decides beside it, and the session that carries it all out.

pub mod address_watch;
pub mod admission;
mod legs;
pub mod negotiation;
pub mod recovery;
pub mod saved;
pub(crate) mod session;
pub mod state;
