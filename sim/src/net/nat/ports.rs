//! Port assignment (RFC 4787 section 4.2): which external port a new mapping gets.

use std::ops::RangeInclusive;

use rand::{Rng, RngExt as _};

/// How a NAT chooses the external port of a new mapping (RFC 4787 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum PortAllocation {
    /// The port of the inside endpoint where it is free, else the next free one above it: port
    /// preservation without port overloading.
    #[default]
    Preserving,
    /// One after the other.
    Sequential,
    /// Anywhere in the range, so that nobody outside can guess it (RFC 6056 section 3.3.1).
    Random,
}

/// Hands out the external ports of one NAT.
#[derive(Debug, Clone)]
pub(super) struct PortAllocator {
    allocation: PortAllocation,
    range: RangeInclusive<u16>,
    next: u16,
}

impl PortAllocator {
    pub(super) fn new(allocation: PortAllocation, range: RangeInclusive<u16>) -> Self {
        let next = *range.start();
        Self {
            allocation,
            range,
            next,
        }
    }

    /// A port that is not taken, or none where all are.
    pub(super) fn allocate(
        &mut self,
        inside_port: u16,
        is_taken: impl Fn(u16) -> bool,
        rng: &mut dyn Rng,
    ) -> Option<u16> {
        if self.range.is_empty() {
            return None;
        }
        let wanted = match self.allocation {
            PortAllocation::Preserving => inside_port,
            PortAllocation::Sequential => self.next,
            PortAllocation::Random => rng.random_range(self.range.clone()),
        };
        let port = self.first_free(wanted, is_taken)?;
        self.next = if port == *self.range.end() {
            *self.range.start()
        } else {
            port + 1
        };
        Some(port)
    }

    /// The first free port from `wanted` upwards, beginning again at the bottom of the range.
    fn first_free(&self, wanted: u16, is_taken: impl Fn(u16) -> bool) -> Option<u16> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let wanted = if self.range.contains(&wanted) {
            wanted
        } else {
            first
        };
        (wanted..=last)
            .chain(first..wanted)
            .find(|port| !is_taken(*port))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn ports(allocation: PortAllocation, inside_ports: &[u16]) -> Vec<Option<u16>> {
        let mut allocator = PortAllocator::new(allocation, 1000..=1003);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut taken = BTreeSet::new();
        inside_ports
            .iter()
            .map(|inside| {
                let port = allocator.allocate(*inside, |port| taken.contains(&port), &mut rng);
                taken.extend(port);
                port
            })
            .collect()
    }

    #[test]
    fn a_free_port_is_preserved_and_a_taken_one_replaced_by_the_next() {
        let given = ports(PortAllocation::Preserving, &[1002, 1002, 1002, 80, 1002]);
        assert_eq!(
            given,
            [Some(1002), Some(1003), Some(1000), Some(1001), None]
        );
    }

    #[test]
    fn sequential_ports_ignore_the_inside_port() {
        let given = ports(PortAllocation::Sequential, &[5, 5, 1003, 5, 5]);
        assert_eq!(
            given,
            [Some(1000), Some(1001), Some(1002), Some(1003), None]
        );
    }

    #[test]
    fn random_ports_use_up_the_whole_range() {
        let given = ports(PortAllocation::Random, &[5; 5]);
        let distinct: BTreeSet<_> = given.iter().flatten().collect();
        assert_eq!(distinct.len(), 4);
        assert_eq!(given[4], None);
    }

    #[test]
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "an empty range is what is tested"
    )]
    fn an_empty_range_has_no_port() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut allocator = PortAllocator::new(PortAllocation::Random, 2..=1);
        assert_eq!(allocator.allocate(1, |_| false, &mut rng), None);
    }
}
