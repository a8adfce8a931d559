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
