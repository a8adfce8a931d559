//! RTP sequence numbers without roll-over.

/// How far behind the newest a packet may come and still be told from a duplicate: some 20 s of
/// audio.
pub const HISTORY_PACKETS: u16 = 1_024;

/// The gap from which on numbers count as begun anew (`MAX_DROPOUT`, RFC 3550 appendix A.1): a
/// minute of audio.
const RESTART_GAP: u16 = 3_000;

/// Turns the 16-bit sequence numbers of one stream into numbers that only grow (RFC 3550
/// appendix A.1).
#[derive(Debug, Clone, Default)]
pub struct SequenceExtender {
    range: Option<Range>,
}

#[derive(Debug, Clone)]
struct Range {
    lowest: u64,
    highest: u64,
    /// Numbers that a restart jumped over; nobody sent them.
    jumped: u64,
    /// What would follow the last number out of reach. Two such in a row are a sender that began
    /// anew, a single one is a stray.
    restart_at: Option<u16>,
}

impl SequenceExtender {
    /// The full number of a packet. `None` where it is [`HISTORY_PACKETS`] or more behind the
    /// newest, or 3,000 or more ahead of it, and does not follow another such packet.
    pub fn extend(&mut self, sequence_number: u16) -> Option<u64> {
        let Some(range) = &mut self.range else {
            // One roll-over up, so that packets from before the first have a number too.
            let first = (1 << 16) | u64::from(sequence_number);
            self.range = Some(Range {
                lowest: first,
                highest: first,
                jumped: 0,
                restart_at: None,
            });
            return Some(first);
        };
        let highest = range.highest;
        let ahead = sequence_number.wrapping_sub(low_bits(highest));
        let behind = ahead.wrapping_neg();
        if ahead < RESTART_GAP {
            range.highest += u64::from(ahead);
            range.restart_at = None;
            Some(range.highest)
        } else if behind < HISTORY_PACKETS {
            let extended = highest - u64::from(behind);
            range.lowest = range.lowest.min(extended);
            Some(extended)
        } else if range.restart_at == Some(sequence_number) {
            range.highest += u64::from(ahead);
            range.jumped += u64::from(ahead) - 1;
            range.restart_at = None;
            Some(range.highest)
        } else {
            range.restart_at = Some(sequence_number.wrapping_add(1));
            None
        }
    }

    /// The newest number so far.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.range.as_ref().map(|range| range.highest)
    }

    /// How many packets the other side has sent, as far as their numbers tell.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.range
            .as_ref()
            .map_or(0, |range| range.highest - range.lowest + 1 - range.jumped)
    }
}

fn low_bits(extended: u64) -> u16 {
    let [.., high, low] = extended.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extender(numbers: &[u16]) -> SequenceExtender {
        let mut extender = SequenceExtender::default();
        for &number in numbers {
            extender.extend(number);
        }
        extender
    }

    #[test]
    fn numbers_grow_through_a_roll_over() {
        let mut extender = extender(&[65_534]);
        let numbers = [65_535, 1, 0].map(|number| extender.extend(number));
        assert_eq!(numbers, [Some(131_071), Some(131_073), Some(131_072)]);
        assert_eq!(extender.expected(), 4);
    }

    #[test]
    fn a_packet_from_before_the_first_has_its_place() {
        let mut extender = extender(&[2]);
        assert_eq!(extender.extend(65_535), Some(65_535));
        assert_eq!(extender.expected(), 4);
    }

    #[test]
    fn one_stray_number_is_no_restart_but_two_in_a_row_are() {
        let mut extender = extender(&[10, 11]);
        assert_eq!(extender.extend(40_000), None);
        assert_eq!(extender.extend(12), Some(65_548));
        assert_eq!(extender.extend(40_001), None);
        assert_eq!(extender.extend(40_002), Some(65_536 + 40_002));
        assert_eq!(extender.expected(), 4);
    }

    proptest! {
        #[test]
        fn any_numbers_keep_the_range_in_order(
            numbers in prop::collection::vec(
                prop_oneof![any::<u16>(), 0_u16..40, 65_500_u16..], 1..300,
            ),
        ) {
            let mut extender = SequenceExtender::default();
            for number in numbers {
                let before = extender.highest();
                if let Some(extended) = extender.extend(number) {
                    prop_assert_eq!(low_bits(extended), number);
                }
                prop_assert!(extender.highest() >= before);
                prop_assert!(extender.expected() >= 1);
            }
        }
    }
}
