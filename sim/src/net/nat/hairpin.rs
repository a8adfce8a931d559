//! Hairpinning (RFC 4787 section 6): two hosts behind one NAT that know each other by their
//! external addresses only.

/// What a NAT does with a packet from inside to its own external address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Hairpin {
    /// It comes back to the host that owns the mapping, with the external address and port of the
    /// sender as its source, and past that mapping's filter. RFC 4787 REQ-9 demands it.
    #[default]
    Translated,
    /// It is dropped, as many home routers do all the same.
    Refused,
}
