//! The integration tests: one binary, a module per topic.

mod calls;
mod command_line;
mod consent;
mod crash;
mod crossings;
mod determinism;
mod devices;
mod drops;
mod faults;
mod frames;
mod late_candidates;
mod lifecycle;
mod matrix;
mod parity;
mod probe;
mod real_sockets;
mod recovery;
mod returns;
mod scenario;
mod serve;
mod shrinking;
mod signaling;
mod strikes;
mod support;
mod turn;
mod variants;
