//! Calls: the pure state table and the session that carries it out.

pub mod path_watch;
pub mod session;
pub mod state;
