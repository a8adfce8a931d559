//! What judges a run. Checkers read the trace and the scenario, never the inside of a client.

pub mod call;
pub mod consent;
pub mod datagram;
pub mod delivery;
pub mod effect;
pub mod expectation;
pub mod facts;
pub mod kept;
pub mod live_sockets;
pub mod media_delay;
pub mod milestones;
pub mod monitors;
pub mod opinion;
pub mod oracle;
pub mod outage;
pub mod path_loss;
pub mod remains;
pub mod settling;
pub mod verdict;
