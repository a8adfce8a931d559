//! Application level gateways (RFC 4787 section 7): NATs that meddle with what packets carry.

use std::net::IpAddr;

use super::Nat;
use crate::net::flow::Flow;

/// Whether a NAT rewrites addresses inside of payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ApplicationGateway {
    /// It reads nothing beyond the ports. RFC 4787 REQ-10 demands it for UDP.
    #[default]
    Off,
    /// It replaces every occurrence of the address that it translates, in network byte order,
    /// wherever in the payload it stands. Such boxes are why STUN obscures the mapped address (RFC
    /// 8489 section 14.2).
    Generic,
}

impl Nat {
    /// Does to a payload what the NAT does to it on the way from `before` to `after`, the flow as it
    /// came and as [`outbound`](Self::outbound) or [`inbound`](Self::inbound) forwarded it. Gives
    /// the number of addresses replaced.
    pub fn rewrite_payload(&self, before: Flow, after: Flow, payload: &mut [u8]) -> usize {
        match self.config.application_gateway {
            ApplicationGateway::Off => 0,
            ApplicationGateway::Generic => {
                replace(before.source.ip(), after.source.ip(), payload)
                    + replace(before.destination.ip(), after.destination.ip(), payload)
            }
        }
    }
}

fn replace(old: IpAddr, new: IpAddr, payload: &mut [u8]) -> usize {
    match (old, new) {
        _ if old == new => 0,
        (IpAddr::V4(old), IpAddr::V4(new)) => replace_octets(&old.octets(), &new.octets(), payload),
        (IpAddr::V6(old), IpAddr::V6(new)) => replace_octets(&old.octets(), &new.octets(), payload),
        // The two have different lengths, so a box that overwrites in place cannot.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    }
}

fn replace_octets(old: &[u8], new: &[u8], payload: &mut [u8]) -> usize {
    let mut count = 0;
    let mut position = 0;
    while let Some(place) = payload.get_mut(position..position + old.len()) {
        if place == old {
            place.copy_from_slice(new);
            count += 1;
            position += old.len();
        } else {
            position += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::nat::NatConfig;

    /// What a payload becomes on the way between two flows, given as source and destination, and how
    /// many addresses are replaced.
    #[track_caller]
    fn check(before: [&str; 2], after: [&str; 2], payload: &[&[u8]], expected: (&[&[u8]], usize)) {
        let nat = Nat::new(
            Vec::new(),
            NatConfig {
                application_gateway: ApplicationGateway::Generic,
                ..NatConfig::default()
            },
        );
        let flow = |[source, destination]: [&str; 2]| {
            let endpoint = |text: &str| text.parse().expect("a socket address");
            Flow::udp(endpoint(source), endpoint(destination))
        };
        let mut payload = payload.concat();
        let count = nat.rewrite_payload(flow(before), flow(after), &mut payload);
        assert_eq!((payload, count), (expected.0.concat(), expected.1));
    }

    const INSIDE: &[u8] = &[10, 0, 0, 1];
    const OUTSIDE: &[u8] = &[192, 0, 2, 1];

    #[test]
    fn every_occurrence_is_replaced_wherever_it_stands() {
        let (before, after) = (["10.0.0.1:1", "9.9.9.9:9"], ["192.0.2.1:2", "9.9.9.9:9"]);
        let other: &[u8] = &[10, 0, 0, 2, 10];
        check(
            before,
            after,
            &[INSIDE, other, INSIDE, INSIDE],
            (&[OUTSIDE, other, OUTSIDE, OUTSIDE], 3),
        );
        check(before, after, &[&INSIDE[..3]], (&[&INSIDE[..3]], 0));
        // What is written is not read again.
        check(
            ["1.1.1.1:1", "9.9.9.9:9"],
            ["2.1.1.1:1", "9.9.9.9:9"],
            &[&[1; 9]],
            (&[&[2, 1, 1, 1, 2, 1, 1, 1, 1]], 2),
        );
    }

    #[test]
    fn both_addresses_are_replaced_where_both_are_translated() {
        let (before, after) = (["10.0.0.1:1", "192.0.2.1:2"], ["7.7.7.7:1", "10.0.0.8:2"]);
        check(
            before,
            after,
            &[INSIDE, OUTSIDE, INSIDE, OUTSIDE, INSIDE],
            (
                &[&[7; 4], &[10, 0, 0, 8], &[7; 4], &[10, 0, 0, 8], &[7; 4]],
                5,
            ),
        );
    }

    #[test]
    fn an_address_that_stays_is_not_counted() {
        let same = ["10.0.0.1:1", "192.0.2.1:2"];
        check(same, same, &[INSIDE, OUTSIDE], (&[INSIDE, OUTSIDE], 0));
    }

    #[test]
    fn long_addresses_are_replaced_by_long_ones_alone() {
        let (long, other) = ([0x11; 16], [0x22; 16]);
        let (one, two) = (
            "[1111:1111:1111:1111:1111:1111:1111:1111]:1",
            "[2222:2222:2222:2222:2222:2222:2222:2222]:1",
        );
        let far = "[2001:db8::1]:1";
        check([one, far], [two, far], &[&long], (&[&other], 1));
        check(
            [one, "9.9.9.9:9"],
            ["8.8.8.8:8", far],
            &[&long],
            (&[&long], 0),
        );
    }
}
