//! The servers of the world: STUN and TURN, and the signaling relay. All of them run on any
//! [`Net`](ringtrue::net::Net), so the relay of the world is the relay of `ringtrue serve`.

pub mod signaling;
pub mod stun;
pub mod turn;
