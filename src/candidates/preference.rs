//! Which of a host's addresses its candidates prefer (pure).

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The local preference of a host's only address (RFC 8445 section 5.1.2.1).
pub(crate) const LOCAL_PREFERENCE_MAX: u16 = u16::MAX;

/// The local preference of each of `v4` and `v6`, all different.
///
/// IPv6 comes first, and the families are interleaved in proportion to their numbers, so that a
/// family that leads nowhere is never all that is checked first (RFC 8421 section 4). Within a
/// family the order given stands.
pub(crate) fn local_preferences(v4: &[IpAddr], v6: &[IpAddr]) -> BTreeMap<IpAddr, u16> {
    let (mut next_v4, mut next_v6) = (v4.iter().peekable(), v6.iter().peekable());
    let (mut taken_v4, mut taken_v6) = (0, 0);
    let mut ordered = Vec::with_capacity(v4.len() + v6.len());
    loop {
        // The next of IPv6 stands at `taken_v6 / v6.len()` of the way, that of IPv4 one step of
        // its own later.
        let v6_is_due = taken_v6 * v4.len() < (taken_v4 + 1) * v6.len();
        let next = match (next_v4.peek(), next_v6.peek()) {
            (None, None) => break,
            (Some(_), Some(_)) if v6_is_due => next_v6.next(),
            (None, Some(_)) => next_v6.next(),
            (Some(_), _) => next_v4.next(),
        };
        let Some(address) = next else { break };
        match address {
            IpAddr::V4(_) => taken_v4 += 1,
            IpAddr::V6(_) => taken_v6 += 1,
        }
        ordered.push(*address);
    }
    ordered
        .into_iter()
        .zip((0..=LOCAL_PREFERENCE_MAX).rev())
        .collect()
}

/// `priority` with another local preference in it (RFC 8445 section 5.1.2.1).
pub(crate) fn with_local_preference(priority: u32, preference: u16) -> u32 {
    priority & 0xff00_00ff | u32::from(preference) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(v4_count: u8, v6_count: u8, expected: &str) {
        let v4: Vec<IpAddr> = (0..v4_count).map(|n| [10, 0, 0, n].into()).collect();
        let v6: Vec<IpAddr> = (0..v6_count)
            .map(|n| [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into())
            .collect();
        let mut preferences: Vec<_> = local_preferences(&v4, &v6).into_iter().collect();
        preferences.sort_by_key(|(_, preference)| u16::MAX - preference);
        let order: String = preferences
            .iter()
            .map(|(address, _)| if address.is_ipv6() { '6' } else { '4' })
            .collect();
        assert_eq!(order, expected);
        let best = preferences.first().map(|(_, preference)| *preference);
        assert_eq!(best, (!order.is_empty()).then_some(LOCAL_PREFERENCE_MAX));
    }

    #[test]
    fn ipv6_is_preferred_and_the_families_are_interleaved() {
        check(0, 0, "");
        check(1, 0, "4");
        check(0, 2, "66");
        check(1, 1, "64");
        check(2, 2, "6464");
        check(1, 3, "6664");
        check(2, 4, "664664");
        check(3, 1, "6444");
    }

    #[test]
    fn only_the_preference_changes_in_a_priority() {
        // A host candidate of component 1: 126 << 24 | 65535 << 8 | 255.
        assert_eq!(with_local_preference(2_130_706_431, 65_535), 2_130_706_431);
        assert_eq!(
            with_local_preference(2_130_706_431, 65_534),
            2_130_706_431 - 256
        );
    }
}
