//! Hairpinning (RFC 4787 section 6): two hosts behind one NAT that know each other by their
//! external addresses only.

use serde::Deserialize;

/// What a NAT does with a packet from inside to one of its own external addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hairpin {
    /// It comes back to the host that owns the mapping, with the external address and port of the
    /// sender as its source, and past that mapping's filter. RFC 4787 REQ-9 a demands it.
    #[default]
    Translated,
    /// It comes back with the inside address and port of its sender, so that the answer does not
    /// pass the NAT and the sender sees a stranger answering. REQ-9 a forbids it.
    InternalSource,
    /// It is dropped, as many home routers do all the same. REQ-9 forbids it.
    Refused,
}
