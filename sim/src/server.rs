//! The servers of the world: STUN and TURN, the signaling relay, and the web servers of middleboxes.
//! All of them run on any [`Net`](ringtrue::net::Net), so the relay of the world is the relay of
//! `ringtrue serve`.

pub mod certificate;
pub mod perturbing;
pub mod portal;
pub mod proxy;
pub mod signaling;
pub mod stun;
pub mod turn;

#[cfg(test)]
mod probe;
