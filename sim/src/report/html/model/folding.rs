//! Packets that are alike become one arrow: the more, the longer they go on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::columns::Columns;
use super::content::Weight;
use super::journeys::Journey;
use super::ladder::{Arrow, Drop, Item, What, dropped, ends};

/// How many packets of one arrow are shown whole.
const PACKETS_OF_ARROW: usize = 8;
/// What is alike within this time is one arrow, however long it has gone on.
const FOLDED_AT_LEAST: Duration = Duration::from_millis(300);
/// What is alike after such a pause is news again.
const NEWS_AFTER: Duration = Duration::from_secs(8);
/// What the arrows of packets that are alike have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    label: String,
    from: String,
    to: String,
    dropped: Option<Drop>,
}

/// The arrow that packets of one kind are folded into at present.
struct Open {
    item: usize,
    begun: Duration,
    opened: Duration,
    last: Duration,
}

/// An arrow for each kind of packets and each while, but for those in bars and those that carry messages.
pub(crate) fn arrows(journeys: &[Journey<'_>], columns: &Columns, coarseness: u32) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut open: BTreeMap<Alike, Open> = BTreeMap::new();
    for (number, journey) in journeys.iter().enumerate() {
        if !is_shown(journey) {
            continue;
        }
        let dropped = dropped(journey);
        let Some((from, to)) = ends(journey, columns) else {
            continue;
        };
        let label = if journey.attempt > 0 {
            format!("{} sent again", journey.content.label)
        } else {
            journey.content.label.clone()
        };
        let alike = Alike {
            label: label.clone(),
            from: from.to_string(),
            to: to.to_string(),
            dropped: dropped.clone(),
        };
        let at = journey.at();
        if let Some(open) = open.get_mut(&alike)
            && at.saturating_sub(open.last) < NEWS_AFTER * coarseness
        {
            open.last = at;
            let age = open.opened.saturating_sub(open.begun);
            let wait = (FOLDED_AT_LEAST + age) * coarseness;
            if at.saturating_sub(open.opened) < wait {
                add_to(&mut items[open.item], number, at);
                continue;
            }
            open.opened = at;
            open.item = items.len();
        } else {
            open.insert(
                alike,
                Open {
                    item: items.len(),
                    begun: at,
                    opened: at,
                    last: at,
                },
            );
        }
        items.push(Item {
            index: journey.index(),
            at,
            what: What::Arrow(Arrow {
                topic: journey.content.topic,
                label,
                from,
                to,
                count: 1,
                last: at,
                travel: journey.travel(),
                dropped,
                fields: None,
                journeys: vec![number],
            }),
        });
    }
    items
}

/// Whether a packet belongs to an arrow, and not only to a bar or a message.
pub(crate) fn is_shown(journey: &Journey<'_>) -> bool {
    let is_dropped = journey.cause().is_some();
    match journey.content.weight {
        Weight::Shown => true,
        Weight::Carrier => is_dropped || journey.attempt > 0,
        Weight::Audio => is_dropped,
    }
}

fn add_to(item: &mut Item, journey: usize, at: Duration) {
    let What::Arrow(arrow) = &mut item.what else {
        return;
    };
    arrow.count += 1;
    arrow.last = at;
    if arrow.journeys.len() < PACKETS_OF_ARROW {
        arrow.journeys.push(journey);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ladder::Ladder;
    use super::super::tests::{columns, datagram, event};
    use super::super::{journeys, messages};
    use super::*;
    use crate::trace::EventKind;

    /// A check that is sent at these moments, and what the arrows are: when they begin and how many packets
    /// they stand for.
    #[track_caller]
    fn check(sent_ms: &[u64], arrows: &[(u64, usize)]) {
        let keepalive = [0x00, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        let mut events = Vec::new();
        for (number, at) in sent_ms.iter().enumerate() {
            let mut payload = keepalive.to_vec();
            payload.extend([u8::try_from(number).expect("a few"); 12]);
            let packet = datagram("192.168.1.2:5000", "203.0.113.2:6000", &payload);
            events.push(event(*at, "alice", EventKind::PacketSent(packet)));
        }
        let columns = columns(&events);
        let journeys = journeys::of(&events, &columns);
        let messages = messages::of(&events, &journeys);
        let ladder = Ladder::of(&events, &columns, &journeys, &messages);
        let seen: Vec<(u64, usize)> = ladder
            .items
            .iter()
            .map(|item| match &item.what {
                What::Arrow(arrow) => {
                    let at = u64::try_from(item.at.as_millis()).expect("a short run");
                    (at, arrow.count)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(seen, arrows);
    }

    #[test]
    fn what_is_alike_and_close_is_one_arrow() {
        check(&[0, 10, 200], &[(0, 3)]);
    }

    #[test]
    fn the_longer_it_goes_on_the_more_is_folded() {
        check(
            &[0, 400, 800, 1200, 1600, 2000],
            &[(0, 1), (400, 2), (1200, 3)],
        );
    }

    #[test]
    fn what_comes_after_a_long_pause_is_news() {
        check(
            &[0, 400, 60_000, 60_400],
            &[(0, 1), (400, 1), (60_000, 1), (60_400, 1)],
        );
    }
}
