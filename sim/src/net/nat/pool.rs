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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn pool(size: u8) -> Pool {
        Pool::new((1..=size).map(|host| [203, 0, 113, host].into()).collect())
    }

    fn starts(size: u8, pooling: AddressPooling) -> Vec<usize> {
        let (mut pool, mut rng) = (pool(size), ChaCha8Rng::seed_from_u64(1));
        (0..5).map(|_| pool.start(pooling, &mut rng)).collect()
    }

    #[test]
    fn paired_hosts_take_one_address_after_the_other() {
        assert_eq!(starts(3, AddressPooling::Paired), [0, 1, 2, 0, 1]);
        assert_eq!(starts(2, AddressPooling::Paired), [0, 1, 0, 1, 0]);
        assert_eq!(starts(1, AddressPooling::Paired), [0; 5]);
    }

    #[test]
    fn arbitrary_mappings_take_any_address_and_draw_only_where_there_are_two() {
        let all: BTreeSet<_> = starts(2, AddressPooling::Arbitrary).into_iter().collect();
        assert_eq!(all, BTreeSet::from([0, 1]));
        let (mut pool, mut rng) = (pool(1), ChaCha8Rng::seed_from_u64(1));
        assert_eq!(pool.start(AddressPooling::Arbitrary, &mut rng), 0);
        assert_eq!(rng, ChaCha8Rng::seed_from_u64(1));
    }

    #[test]
    fn positions_are_counted_around() {
        let pool = pool(3);
        let hosts = [0, 2, 3, 7].map(|position| pool.at(position).to_string());
        assert_eq!(
            hosts,
            ["203.0.113.1", "203.0.113.3", "203.0.113.1", "203.0.113.2"]
        );
        assert_eq!(pool.len(), 3);
    }
}
