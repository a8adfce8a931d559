//! When the host's addresses have become others (pure).

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Compares a host's addresses with what they were.
#[derive(Debug, Default)]
pub struct AddressWatch {
    /// The last that were any.
    last: BTreeSet<IpAddr>,
    presence: Presence,
}

/// What has become of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressChange {
    /// Nothing, or there are none: wait until there are.
    None,
    /// There are new ones, and all old ones remain: connections go on.
    Added,
    /// There were none for a while, and now the old ones are back: connections may go on.
    Back,
    /// Old ones are gone, and connections from them are dead.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Presence {
    #[default]
    Present,
    Absent,
}

impl AddressWatch {
    /// Takes in the present addresses.
    pub fn handle(&mut self, addresses: BTreeSet<IpAddr>) -> AddressChange {
        if addresses.is_empty() {
            self.presence = Presence::Absent;
            return AddressChange::None;
        }
        let was = std::mem::replace(&mut self.presence, Presence::Present);
        let last = std::mem::replace(&mut self.last, addresses);
        if last.is_empty() {
            return AddressChange::None;
        }
        match (last == self.last, last.is_subset(&self.last)) {
            (true, _) if was == Presence::Absent => AddressChange::Back,
            (true, _) => AddressChange::None,
            (false, true) => AddressChange::Added,
            (false, false) => AddressChange::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(steps: &[(&[u8], AddressChange)]) {
        let mut watch = AddressWatch::default();
        for (hosts, expected) in steps {
            let addresses = hosts.iter().map(|host| IpAddr::from([192, 0, 2, *host]));
            assert_eq!(watch.handle(addresses.collect()), *expected, "{hosts:?}");
        }
    }

    #[test]
    fn the_first_addresses_are_no_change() {
        check(&[
            (&[], AddressChange::None),
            (&[1], AddressChange::None),
            (&[1], AddressChange::None),
        ]);
    }

    #[test]
    fn another_network_is_a_loss_even_after_a_gap() {
        check(&[
            (&[1], AddressChange::None),
            (&[2], AddressChange::Lost),
            (&[], AddressChange::None),
            (&[3], AddressChange::Lost),
        ]);
    }

    #[test]
    fn a_second_network_breaks_nothing_and_its_loss_does() {
        check(&[
            (&[1], AddressChange::None),
            (&[1, 2], AddressChange::Added),
            (&[2], AddressChange::Lost),
        ]);
    }

    #[test]
    fn the_same_addresses_after_a_gap_are_back() {
        check(&[
            (&[1], AddressChange::None),
            (&[], AddressChange::None),
            (&[], AddressChange::None),
            (&[1], AddressChange::Back),
            (&[1], AddressChange::None),
        ]);
    }
}
