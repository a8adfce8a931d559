//! Audio on its way: bars on the ladder, and how much of it is lost, late and uneven.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ringtrue::audio::mos::mean_opinion;
use ringtrue::audio::quality::InterarrivalJitter;
use serde::Serialize;

use super::columns::{Columns, machine};
use super::content::Weight;
use super::journeys::Journey;
use crate::check::datagram::{Datagram, is_report};
use crate::trace::{AppEvent, Event, EventKind};

/// Audio that pauses for longer is another bar.
const PAUSE: Duration = Duration::from_secs(1);
/// The most points of a chart.
const POINTS_MAX: u32 = 120;
/// A packet of audio holds this much of it, which is recorded before it is sent.
const PACKET: Duration = Duration::from_millis(20);

/// Audio from one host over one path without a pause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Stretch {
    /// The event of the first packet.
    pub(crate) index: usize,
    /// The first packet.
    #[serde(skip)]
    pub(crate) journey: usize,
    /// The column of the sender.
    pub(crate) from: usize,
    /// The column that the packets reach, where one does.
    pub(crate) to: f64,
    #[serde(serialize_with = "super::seconds")]
    pub(crate) begin: Duration,
    #[serde(serialize_with = "super::seconds")]
    pub(crate) end: Duration,
    pub(crate) packets: usize,
    pub(crate) reports: usize,
    pub(crate) dropped: usize,
}

impl fmt::Display for Stretch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasting = (self.end.saturating_sub(self.begin) + PACKET).as_secs_f64();
        let rate = (self.packets as f64 / lasting).round();
        write!(formatter, "SRTP {rate}/s, {} packets", self.packets)?;
        if self.dropped > 0 {
            write!(formatter, ", {} dropped", self.dropped)?;
        }
        write!(formatter, ", until {:.3} s", self.end.as_secs_f64())
    }
}

/// How one side is heard by another one, in windows of equal length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Direction {
    pub(crate) from: String,
    pub(crate) to: String,
    /// How long a window is.
    #[serde(serialize_with = "super::seconds")]
    pub(crate) window: Duration,
    pub(crate) points: Vec<Point>,
}

/// What was sent in one window, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Point {
    #[serde(serialize_with = "super::seconds")]
    pub(crate) at: Duration,
    pub(crate) sent: u32,
    pub(crate) lost: u32,
    /// Interarrival jitter at the end of the window (RFC 3550 section 6.4.1), in milliseconds; `None` before
    /// anything has arrived.
    pub(crate) jitter_ms: Option<f64>,
    /// The mean way of what has arrived, in milliseconds.
    pub(crate) delay_ms: Option<f64>,
    /// What the E-model makes of loss and delay.
    pub(crate) opinion: f64,
}

/// The bars of all audio, in the order in which they begin.
pub(crate) fn stretches(journeys: &[Journey<'_>], columns: &Columns) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut open: BTreeMap<(&str, SocketAddr), usize> = BTreeMap::new();
    for (number, journey) in journeys.iter().enumerate() {
        let Some(sent) = journey.sent else { continue };
        if journey.content.weight != Weight::Audio {
            continue;
        }
        let Some(from) = columns.of_host(sent.host) else {
            continue;
        };
        let key = (sent.host, sent.destination);
        let reached = journey.end.filter(|end| end.cause.is_none());
        let to = reached.and_then(|end| columns.of_host(end.hop.host));
        let continued = open.get(&key).copied();
        let continued = continued.filter(|open| sent.at <= stretches[*open].end + PAUSE);
        let index = continued.unwrap_or_else(|| {
            stretches.push(Stretch {
                index: sent.index,
                journey: number,
                from,
                to: columns.of_place("core", from),
                begin: sent.at,
                end: sent.at,
                packets: 0,
                reports: 0,
                dropped: 0,
            });
            stretches.len() - 1
        });
        open.insert(key, index);
        let stretch = &mut stretches[index];
        stretch.end = sent.at;
        if let Some(to) = to {
            stretch.to = to as f64;
        }
        if is_report(Datagram::content(&journey.packet.payload)) {
            stretch.reports += 1;
        } else {
            stretch.packets += 1;
            stretch.dropped += usize::from(journey.cause().is_some());
        }
    }
    stretches
}

/// One packet of audio from end to end, whatever relays are between.
struct Passage {
    sent: Duration,
    arrived: Option<Duration>,
    timestamp: u32,
}

/// How each peer is heard by the other one, while that one is in the call.
pub(crate) fn directions(
    events: &[Event],
    journeys: &[Journey<'_>],
    columns: &Columns,
) -> Vec<Direction> {
    let away = Away::of(events);
    let mut passages: BTreeMap<&[u8], (String, Option<String>, Passage)> = BTreeMap::new();
    for journey in journeys {
        if journey.content.weight != Weight::Audio {
            continue;
        }
        let media = Datagram::content(&journey.packet.payload);
        if is_report(media) {
            continue;
        }
        let Some(timestamp) = media.get(4..8).and_then(|bytes| bytes.first_chunk::<4>()) else {
            continue;
        };
        if let Some(sent) = journey.sent
            && columns.is_peer(sent.host)
        {
            let passage = Passage {
                sent: sent.at,
                arrived: None,
                timestamp: u32::from_be_bytes(*timestamp),
            };
            let sender = machine(sent.host).to_owned();
            passages.entry(media).or_insert((sender, None, passage));
        }
        if let Some(end) = journey.end.filter(|end| end.cause.is_none())
            && columns.is_peer(end.hop.host)
            && let Some((_, receiver, passage)) = passages.get_mut(media)
        {
            passage.arrived.get_or_insert(end.hop.at);
            receiver.get_or_insert_with(|| machine(end.hop.host).to_owned());
        }
    }
    let mut by_sender: BTreeMap<String, (Option<String>, Vec<Passage>)> = BTreeMap::new();
    for (sender, receiver, passage) in passages.into_values() {
        let (heard_by, of_sender) = by_sender.entry(sender).or_default();
        *heard_by = heard_by.take().or(receiver);
        of_sender.push(passage);
    }
    let directions = by_sender.into_iter().map(|(from, (to, mut passages))| {
        let to = to.unwrap_or_else(|| "nobody".to_owned());
        away.forgive(&to, &mut passages);
        direction(from, to, passages)
    });
    directions.collect()
}

/// From when to when each peer was in no call any more, and heard nothing by itself.
#[derive(Debug, Default)]
struct Away(BTreeMap<String, Vec<(Duration, Duration)>>);

impl Away {
    fn of(events: &[Event]) -> Self {
        let mut away: BTreeMap<String, Vec<(Duration, Duration)>> = BTreeMap::new();
        for event in events {
            let times = away.entry(event.host.to_string()).or_default();
            match event.kind {
                EventKind::App(AppEvent::Ended { .. }) => times.push((event.at, Duration::MAX)),
                EventKind::App(AppEvent::Answered | AppEvent::Resumed) => {
                    if let Some((_, until)) = times.last_mut() {
                        *until = event.at.min(*until);
                    }
                }
                _ => {}
            }
        }
        Self(away)
    }

    /// Takes out what would have come to a peer that was away: nobody has lost it.
    fn forgive(&self, peer: &str, passages: &mut Vec<Passage>) {
        let ways = passages.iter().filter_map(Passage::way);
        let longest = ways.max().unwrap_or_default();
        let times = self.0.get(peer).map_or(&[][..], Vec::as_slice);
        passages.retain(|passage| {
            let due = passage.sent + longest;
            let is_away = |(from, until): &(Duration, Duration)| (*from..*until).contains(&due);
            passage.arrived.is_some() || !times.iter().any(is_away)
        });
    }
}

impl Passage {
    /// How long it took, where it came.
    fn way(&self) -> Option<Duration> {
        self.arrived?.checked_sub(self.sent)
    }
}

fn direction(from: String, to: String, mut passages: Vec<Passage>) -> Direction {
    passages.sort_by_key(|passage| passage.sent);
    let first = passages.first().map_or(Duration::ZERO, |first| first.sent);
    let last = passages.last().map_or(Duration::ZERO, |last| last.sent);
    let seconds = last.saturating_sub(first).as_secs();
    let per_point = seconds.div_ceil(u64::from(POINTS_MAX)).max(1);
    let window = Duration::from_secs(per_point);
    let mut jitter = InterarrivalJitter::default();
    let mut arrivals: Vec<(Duration, u32)> = passages
        .iter()
        .filter_map(|passage| Some((passage.arrived?, passage.timestamp)))
        .collect();
    arrivals.sort_unstable();
    let mut arrivals = arrivals.into_iter().peekable();
    let mut heard = false;
    let mut points = Vec::new();
    let mut rest = passages.as_slice();
    let mut at = Duration::from_secs(first.as_secs());
    while !rest.is_empty() {
        let end = at + window;
        let count = rest.partition_point(|passage| passage.sent < end);
        let (inside, after) = rest.split_at(count);
        rest = after;
        while let Some((arrived, timestamp)) = arrivals.next_if(|(arrived, _)| *arrived < end) {
            jitter.observe(arrived, timestamp);
            heard = true;
        }
        points.extend(point(at, inside, heard.then(|| jitter.duration())));
        at = end;
    }
    Direction {
        from,
        to,
        window,
        points,
    }
}

/// What the packets of one window come to; `None` where there are none.
fn point(at: Duration, inside: &[Passage], jitter: Option<Duration>) -> Option<Point> {
    let sent = u32::try_from(inside.len()).ok().filter(|sent| *sent > 0)?;
    let ways: Vec<Duration> = inside.iter().filter_map(Passage::way).collect();
    let lost = sent - u32::try_from(ways.len()).unwrap_or(sent);
    let arrived = sent - lost;
    let delay = (arrived > 0).then(|| ways.iter().sum::<Duration>() / arrived);
    let mouth_to_ear = delay.unwrap_or_default() + PACKET;
    Some(Point {
        at,
        sent,
        lost,
        jitter_ms: jitter.map(milliseconds),
        delay_ms: delay.map(milliseconds),
        opinion: rounded(mean_opinion(
            f64::from(lost) / f64::from(sent),
            // Bursts show as windows that are worse than others.
            1.0,
            mouth_to_ear,
        )),
    })
}

fn milliseconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

/// To hundredths, which is as much as anybody reads.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use ringtrue::client::EndReason;

    use super::super::tests::event;
    use super::*;

    /// Packets sent every 20 ms, of which those with `false` are lost; the others take 40 ms.
    fn passages(arrived: &[bool]) -> Vec<Passage> {
        let sent = (0..).map(|number: u32| (number, PACKET * number));
        let passages = sent.zip(arrived).map(|((number, sent), arrived)| Passage {
            sent,
            arrived: arrived.then(|| sent + Duration::from_millis(40)),
            timestamp: number * 960,
        });
        passages.collect()
    }

    #[test]
    fn each_second_has_its_loss_and_an_even_stream_has_no_jitter() {
        let mut arrived = vec![true; 100];
        arrived[60] = false;
        arrived[61] = false;
        let direction = direction("alice".into(), "bob".into(), passages(&arrived));
        let loss: Vec<(u32, u32)> = direction
            .points
            .iter()
            .map(|point| (point.sent, point.lost))
            .collect();
        assert_eq!(loss, [(50, 0), (50, 2)]);
        let second = direction.points[1];
        assert_eq!((second.jitter_ms, second.delay_ms), (Some(0.0), Some(40.0)));
        assert!(second.opinion < direction.points[0].opinion);
    }

    #[test]
    fn what_comes_to_who_has_hung_up_is_not_lost() {
        let at = |milliseconds, app| event(milliseconds, "bob", EventKind::App(app));
        let reason = EndReason::HungUp;
        let events = [
            at(0, AppEvent::Answered),
            at(60, AppEvent::Ended { reason }),
            at(100, AppEvent::Resumed),
        ];
        // Due at 40, 60, 80, 100 and 120 ms.
        let mut passages = passages(&[true, false, false, false, false]);
        Away::of(&events).forgive("bob", &mut passages);
        let sent: Vec<u128> = passages.iter().map(|it| it.sent.as_millis()).collect();
        assert_eq!(sent, [0, 60, 80]);
    }

    #[test]
    fn a_long_call_has_no_more_points_than_a_chart_can_show() {
        let arrived = vec![true; 50 * 60 * 10];
        let direction = direction("alice".into(), "bob".into(), passages(&arrived));
        assert_eq!(direction.window, Duration::from_secs(5));
        assert_eq!(direction.points.len(), 120);
    }
}
