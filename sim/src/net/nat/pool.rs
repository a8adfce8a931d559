//! External addresses (RFC 4787 section 4.1): which one a new mapping gets where there are several.

use std::net::IpAddr;

use rand::{Rng, RngExt as _};
use serde::Deserialize;

/// Whether an inside host keeps one external address (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressPooling {
    /// All mappings of one host have the same external address, as long as it has any. RFC 4787
    /// REQ-2 recommends it, since peers and servers tell hosts apart by address. A host whose
    /// address has no port left gets none on another one.
    #[default]
    Paired,
    /// Each mapping has any of them: a STUN server and a TURN server may see two addresses of one
    /// host.
    Arbitrary,
}

/// The external addresses of a NAT.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    addresses: Vec<IpAddr>,
    /// Where the next host without an address begins to look.
    next: usize,
}

impl Pool {
    pub(super) const fn new(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, next: 0 }
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    pub(super) fn owns(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Where a new mapping begins to look for a free port: for [`AddressPooling::Paired`] one
    /// address after the other, so that hosts spread evenly. Random numbers are drawn only where
    /// there is a choice.
    pub(super) fn start(&mut self, pooling: AddressPooling, rng: &mut dyn Rng) -> usize {
        let count = self.addresses.len();
        if count < 2 {
            return 0;
        }
        match pooling {
            AddressPooling::Paired => {
                let start = self.next;
                self.next = (start + 1) % count;
                start
            }
            AddressPooling::Arbitrary => rng.random_range(0..count),
        }
    }

    /// The address at `position`, counted around.
    pub(super) fn at(&self, position: usize) -> IpAddr {
        self.addresses[position % self.addresses.len()]
    }

    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }
}
