//! Packets on their way through a fabric, and what becomes of them.

use std::time::Duration;

use ringtrue::net::TrafficClass;

use crate::net::cause::DropCause;
use crate::net::flow::{Flow, TcpSignal};
use crate::net::link::Damage;
use crate::net::topology::HostId;

/// The size of a TCP segment without data and options: two headers of 20 bytes each (RFC 791 section
/// 3.1, RFC 9293 section 3.1).
const RESET_BYTES: usize = 40;

/// A packet on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<B> {
    /// Its addresses, rewritten by every NAT that it passes.
    pub flow: Flow,
    /// The flags of a TCP segment; none for UDP.
    pub tcp: Option<TcpSignal>,
    /// Its length with all headers.
    pub size_bytes: usize,
    /// How it wants to be treated.
    pub class: TrafficClass,
    /// What links did to its bits so far.
    pub damage: Damage,
    /// What is delivered, opaque to the network.
    pub body: B,
}

/// What a packet carries through the network.
pub trait Body: Clone {
    /// The body of the TCP reset that answers this segment (RFC 9293 section 3.10.7.1); none where
    /// it is a datagram, or a reset itself.
    fn reset(&self) -> Option<Self>;

    /// The body of a TCP reset that answers nothing.
    fn unasked_reset() -> Self;
}

/// A packet passes through many hands on its way, so a large body is better in a box.
impl<B: Body> Body for Box<B> {
    fn reset(&self) -> Option<Self> {
        (**self).reset().map(Self::new)
    }

    fn unasked_reset() -> Self {
        Self::new(B::unasked_reset())
    }
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FabricOutput<B> {
    /// It reaches its destination.
    Deliver {
        /// When it does.
        at: Duration,
        /// Who gets it.
        host: HostId,
        /// The packet with the addresses that the receiver sees.
        packet: Packet<B>,
    },
    /// It goes no further.
    Dropped {
        /// When it was dropped.
        at: Duration,
        /// The link or node that dropped it.
        place: String,
        /// Why.
        cause: DropCause,
        /// The packet with the addresses that it had there.
        packet: Packet<B>,
    },
}

impl<B> FabricOutput<B> {
    /// When it happens.
    #[must_use]
    pub const fn at(&self) -> Duration {
        match self {
            Self::Deliver { at, .. } | Self::Dropped { at, .. } => *at,
        }
    }
}

/// A TCP reset on its way.
pub(super) fn reset<B>(flow: Flow, body: B) -> Packet<B> {
    Packet {
        flow,
        tcp: Some(TcpSignal::RST),
        size_bytes: RESET_BYTES,
        damage: Damage::None,
        class: TrafficClass::BestEffort,
        body,
    }
}
