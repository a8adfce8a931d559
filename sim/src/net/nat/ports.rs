//! Port assignment (RFC 4787 section 4.2): which external port a new mapping gets.

use std::ops::RangeInclusive;

use rand::{Rng, RngExt as _};
use serde::Deserialize;

/// How a NAT chooses the external port of a new mapping (RFC 4787 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortAllocation {
    /// The port of the inside endpoint where it is free, else the next free one above it: port
    /// preservation without port overloading.
    #[default]
    Preserving,
    /// One after the other.
    Sequential,
    /// Anywhere in the range, so that nobody outside can guess it (RFC 6056 section 3.3.1).
    Random,
    /// The port of the inside endpoint even where another inside endpoint has it: port overloading,
    /// which RFC 4787 REQ-3 forbids. What comes in goes to the one that speaks with its sender, and
    /// where both do, to the one that spoke last, so that the other one hears nothing more.
    Overloading,
    /// The port of the inside endpoint unless another one uses it with the same remote endpoint,
    /// else the next free one: the port overlapping of RFC 7857 section 3, which Linux does. It
    /// takes an address-and-port-dependent mapping to be without conflicts; with others it becomes
    /// overloading as soon as both speak with one remote endpoint.
    Overlapping,
}

impl PortAllocation {
    /// All policies.
    pub const ALL: [Self; 5] = [
        Self::Preserving,
        Self::Sequential,
        Self::Random,
        Self::Overloading,
        Self::Overlapping,
    ];
}

/// Whether the external port is even where the inside port is, and odd where it is odd (RFC 4787
/// section 4.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortParity {
    /// It is, as long as such a port is free. RFC 4787 REQ-4 recommends it, for RTP with its RTCP on
    /// the next port.
    #[default]
    Preserved,
    /// It may be either.
    Ignored,
}

/// Whether the external port of an inside port below 1024 is below 1024 too, and of all others not
/// (RFC 4787 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WellKnownPorts {
    /// It is, as long as such a port is free. RFC 4787 REQ-3 a recommends it.
    #[default]
    Preserved,
    /// It may be any.
    Ignored,
}

/// The ports of one protocol and one external address that are in use, a bit each, so that the next
/// free one of 65,535 is found in a thousand steps at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortSet(Box<[u64; Self::WORDS]>);

impl PortSet {
    const WORDS: usize = 1024;
    const EVEN: u64 = 0x5555_5555_5555_5555;

    pub(super) fn insert(&mut self, port: u16) {
        self.0[usize::from(port / 64)] |= 1 << (port % 64);
    }

    pub(super) fn remove(&mut self, port: u16) {
        self.0[usize::from(port / 64)] &= !(1 << (port % 64));
    }

    /// The lowest port of `range` that is not in the set.
    fn first_missing(&self, range: RangeInclusive<u16>, class: ParityClass) -> Option<u16> {
        if range.is_empty() {
            return None;
        }
        let (first, last) = range.into_inner();
        let wanted = match class {
            ParityClass::Any => u64::MAX,
            ParityClass::Even => Self::EVEN,
            ParityClass::Odd => !Self::EVEN,
        };
        (first / 64..=last / 64).find_map(|word| {
            let mut free = !self.0[usize::from(word)] & wanted;
            if word == first / 64 {
                free &= u64::MAX << (first % 64);
            }
            if word == last / 64 {
                free &= u64::MAX >> (63 - last % 64);
            }
            let bit = u16::try_from(free.trailing_zeros()).ok()?;
            (bit < 64).then(|| word * 64 + bit)
        })
    }
}

impl Default for PortSet {
    fn default() -> Self {
        Self(Box::new([0; Self::WORDS]))
    }
}

#[derive(Debug, Clone, Copy)]
enum ParityClass {
    Any,
    Even,
    Odd,
}

impl ParityClass {
    const fn of(port: u16) -> Self {
        if port.is_multiple_of(2) {
            Self::Even
        } else {
            Self::Odd
        }
    }
}

/// Hands out the external ports of one NAT.
#[derive(Debug, Clone)]
pub(super) struct PortAllocator {
    allocation: PortAllocation,
    parity: PortParity,
    well_known_ports: WellKnownPorts,
    range: RangeInclusive<u16>,
    next: u16,
}

impl PortAllocator {
    pub(super) fn new(
        allocation: PortAllocation,
        parity: PortParity,
        well_known_ports: WellKnownPorts,
        range: RangeInclusive<u16>,
    ) -> Self {
        let range = (*range.start()).max(1)..=*range.end();
        let next = *range.start();
        Self {
            allocation,
            parity,
            well_known_ports,
            range,
            next,
        }
    }

    /// A port for an inside endpoint that has `inside_port`, or none where all are `taken`.
    /// `conflicts` says of a taken port whether it is in use with the remote endpoint in question.
    pub(super) fn allocate(
        &mut self,
        inside_port: u16,
        taken: &PortSet,
        conflicts: impl FnOnce(u16) -> bool,
        rng: &mut dyn Rng,
    ) -> Option<u16> {
        if self.range.is_empty() {
            return None;
        }
        let is_shared = match self.allocation {
            PortAllocation::Overloading => self.range.contains(&inside_port),
            PortAllocation::Overlapping => {
                self.range.contains(&inside_port) && !conflicts(inside_port)
            }
            PortAllocation::Preserving | PortAllocation::Sequential | PortAllocation::Random => {
                false
            }
        };
        if is_shared {
            return Some(inside_port);
        }
        let wanted = match self.allocation {
            PortAllocation::Sequential => self.next,
            PortAllocation::Random => rng.random_range(self.range.clone()),
            PortAllocation::Preserving
            | PortAllocation::Overloading
            | PortAllocation::Overlapping => inside_port,
        };
        let port = self.first_free(wanted, inside_port, taken)?;
        self.next = if port == *self.range.end() {
            *self.range.start()
        } else {
            port + 1
        };
        Some(port)
    }

    /// A free port anywhere in the range, whatever the policy.
    pub(super) fn allocate_anywhere(
        &self,
        inside_port: u16,
        taken: &PortSet,
        rng: &mut dyn Rng,
    ) -> Option<u16> {
        if self.range.is_empty() {
            return None;
        }
        let wanted = rng.random_range(self.range.clone());
        self.first_free(wanted, inside_port, taken)
    }

    /// The first free port from `wanted` upwards, beginning again at the bottom. What RFC 4787 only
    /// recommends, parity and range, gives way before a mapping is refused.
    fn first_free(&self, wanted: u16, inside_port: u16, taken: &PortSet) -> Option<u16> {
        let parity = match self.parity {
            PortParity::Preserved => ParityClass::of(inside_port),
            PortParity::Ignored => ParityClass::Any,
        };
        let same_block = self.same_block(inside_port);
        first_free_in(same_block.clone(), wanted, parity, taken)
            .or_else(|| first_free_in(same_block, wanted, ParityClass::Any, taken))
            .or_else(|| first_free_in(self.range.clone(), wanted, ParityClass::Any, taken))
    }

    /// The part of the range that is on the same side of 1024 as `inside_port`, where that matters.
    fn same_block(&self, inside_port: u16) -> RangeInclusive<u16> {
        let (first, last) = (*self.range.start(), *self.range.end());
        match (self.well_known_ports, inside_port) {
            (WellKnownPorts::Ignored, _) => first..=last,
            (WellKnownPorts::Preserved, ..1024) => first..=last.min(1023),
            (WellKnownPorts::Preserved, 1024..) => first.max(1024)..=last,
        }
    }
}

fn first_free_in(
    range: RangeInclusive<u16>,
    wanted: u16,
    parity: ParityClass,
    taken: &PortSet,
) -> Option<u16> {
    let (first, last) = range.into_inner();
    let wanted = if (first..=last).contains(&wanted) {
        wanted
    } else {
        first
    };
    let above = taken.first_missing(wanted..=last, parity);
    above.or_else(|| taken.first_missing(first..=wanted.checked_sub(1)?, parity))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn allocator(
        allocation: PortAllocation,
        parity: PortParity,
        range: RangeInclusive<u16>,
    ) -> PortAllocator {
        PortAllocator::new(allocation, parity, WellKnownPorts::Preserved, range)
    }

    fn ports_with(mut allocator: PortAllocator, inside_ports: &[u16]) -> Vec<Option<u16>> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut taken = PortSet::default();
        inside_ports
            .iter()
            .map(|inside| {
                let port = allocator.allocate(*inside, &taken, |_| true, &mut rng);
                if let Some(port) = port {
                    taken.insert(port);
                }
                port
            })
            .collect()
    }

    fn ports(allocation: PortAllocation, inside_ports: &[u16]) -> Vec<Option<u16>> {
        ports_with(
            allocator(allocation, PortParity::Ignored, 2000..=2003),
            inside_ports,
        )
    }

    #[test]
    fn a_free_port_is_preserved_and_a_taken_one_replaced_by_the_next() {
        let given = ports(PortAllocation::Preserving, &[2002, 2002, 2002, 80, 2002]);
        assert_eq!(
            given,
            [Some(2002), Some(2003), Some(2000), Some(2001), None]
        );
    }

    #[test]
    fn sequential_ports_ignore_the_inside_port() {
        let given = ports(PortAllocation::Sequential, &[5, 5, 2003, 5, 5]);
        assert_eq!(
            given,
            [Some(2000), Some(2001), Some(2002), Some(2003), None]
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
    fn parity_is_preserved_until_no_such_port_is_left() {
        let allocator = allocator(
            PortAllocation::Preserving,
            PortParity::Preserved,
            2000..=2003,
        );
        assert_eq!(
            ports_with(allocator, &[2000, 2000, 2000, 2000, 2000]),
            [Some(2000), Some(2002), Some(2001), Some(2003), None]
        );
    }

    #[test]
    fn well_known_ports_stay_among_themselves_until_none_is_left() {
        let allocator = allocator(PortAllocation::Preserving, PortParity::Ignored, 1022..=1025);
        assert_eq!(
            ports_with(allocator, &[123, 5000, 123, 5000, 5000]),
            [Some(1022), Some(1024), Some(1023), Some(1025), None]
        );
    }

    #[test]
    fn the_whole_space_is_found_port_by_port() {
        let mut allocator = allocator(PortAllocation::Sequential, PortParity::Ignored, 0..=65535);
        allocator.well_known_ports = WellKnownPorts::Ignored;
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut taken = PortSet::default();
        for expected in 1..=u16::MAX {
            let port = allocator.allocate(9, &taken, |_| true, &mut rng);
            assert_eq!(port, Some(expected));
            taken.insert(expected);
        }
        assert_eq!(allocator.allocate(9, &taken, |_| true, &mut rng), None);
        taken.remove(65535);
        assert_eq!(
            allocator.allocate(9, &taken, |_| true, &mut rng),
            Some(65535)
        );
    }

    #[test]
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "an empty range is what is tested"
    )]
    fn an_empty_range_has_no_port() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut allocator = allocator(PortAllocation::Random, PortParity::Ignored, 2..=1);
        let taken = PortSet::default();
        assert_eq!(allocator.allocate(1, &taken, |_| false, &mut rng), None);
        assert_eq!(allocator.allocate_anywhere(1, &taken, &mut rng), None);
    }

    #[test]
    fn a_sequential_port_that_is_free_again_waits_for_its_turn() {
        let mut allocator = allocator(PortAllocation::Sequential, PortParity::Ignored, 2000..=2003);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let taken = PortSet::default();
        let given: Vec<_> = (0..6)
            .filter_map(|_| allocator.allocate(5, &taken, |_| true, &mut rng))
            .collect();
        assert_eq!(given, [2000, 2001, 2002, 2003, 2000, 2001]);
    }

    proptest! {
        #[test]
        fn the_first_missing_port_is_the_one_that_a_plain_search_finds(
            taken in prop::collection::vec(1000..1300_u16, 0..400),
            freed in prop::collection::vec(1000..1300_u16, 0..50),
            first in 1000..1300_u16,
            last in 1000..1300_u16,
        ) {
            let mut set = PortSet::default();
            for port in &taken {
                set.insert(*port);
            }
            for port in &freed {
                set.remove(*port);
            }
            let is_free = |port: u16| !taken.contains(&port) || freed.contains(&port);
            for (class, rest) in [
                (ParityClass::Any, None),
                (ParityClass::Even, Some(0)),
                (ParityClass::Odd, Some(1)),
            ] {
                let plain = (first..=last)
                    .find(|port| is_free(*port) && rest.is_none_or(|rest| port % 2 == rest));
                prop_assert_eq!(set.first_missing(first..=last, class), plain);
            }
        }
    }
}
