//! The model of whole runs, and what the tests of its parts share.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ringtrue::net::TrafficClass;
use tracing::Level;

use super::Model;
use super::columns::Columns;
use super::ladder::What;
use crate::net::flow::Protocol;
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::trace::event::TcpSummary;
use crate::trace::{Event, EventKind, PacketSummary, Recording};
use crate::variants::Variant;
use crate::world::run::{RunOptions, run};

pub(super) fn event(at_ms: u64, host: &str, kind: EventKind) -> Event {
    Event {
        at: Duration::from_millis(at_ms),
        host: host.into(),
        kind,
    }
}

pub(super) fn line(at_ms: u64, host: &str, target: &'static str, text: &str) -> Event {
    let kind = EventKind::Log {
        level: Level::DEBUG,
        target,
        text: text.to_owned(),
    };
    event(at_ms, host, kind)
}

/// A datagram between two addresses.
pub(super) fn datagram(source: &str, destination: &str, payload: &[u8]) -> PacketSummary {
    let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
    PacketSummary {
        protocol: Protocol::Udp,
        source: address(source),
        destination: address(destination),
        class: TrafficClass::BestEffort,
        tcp: TcpSummary::default(),
        payload: Bytes::copy_from_slice(payload),
    }
}

/// A scenario of the checkout.
pub(super) fn scenario(path: &str) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    Scenario::load(&file).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Two peers behind a NAT each, and the columns that these events need.
pub(super) fn columns(events: &[Event]) -> Columns {
    Columns::of(&scenario("scenarios/nat/cone-cone.toml"), events)
}

fn events_of(scenario: &Scenario, client: Option<&str>) -> Vec<Event> {
    let recording = Recording::default();
    let mut options = RunOptions {
        observers: vec![Box::new(recording.clone())],
        ..RunOptions::default()
    };
    if let Some(client) = client {
        let variant: Variant = client.parse().expect("a variant's name");
        options.endpoint = variant.endpoint();
    }
    run(scenario, Seed::new(1), options).unwrap_or_else(|error| panic!("{error}"));
    recording.take()
}

/// The model in lines that can be read.
fn outline(model: &Model<'_>) -> String {
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("a String takes every text");
    for column in &model.columns {
        say(format!("column {}: {}", column.name, column.role));
    }
    say(format!("{:?}", model.ladder.summarised));
    for item in &model.ladder.items {
        let at = item.at.as_secs_f64();
        say(match &item.what {
            What::Arrow(arrow) => {
                let places = &model.places;
                let (from, to) = (places.name_at(arrow.from), places.name_at(arrow.to));
                let dropped = arrow.dropped.as_ref().map(|drop| {
                    let (place, cause) = (&drop.place, &drop.cause);
                    format!(" dropped at {place}: {cause}")
                });
                let packets = arrow.journeys.len();
                format!(
                    "{at:.3} {:?} {from} → {to}: {} ×{} ({packets} kept){}",
                    arrow.topic,
                    arrow.label,
                    arrow.count,
                    dropped.unwrap_or_default()
                )
            }
            What::Note { column, text } => {
                format!("{at:.3} at {}: {text}", model.columns[*column].name)
            }
            What::Mark { text } => format!("{at:.3} {text}"),
        });
    }
    for pair in &model.pairs {
        let (local, remote) = (&pair.local, &pair.remote);
        say(format!(
            "pair of {}: {} {} to {} {}, {} checks, {} answers, {}",
            pair.peer,
            local.kind,
            local.address,
            remote.kind,
            remote.address,
            pair.checks,
            pair.answers,
            pair.state()
        ));
    }
    for peer in &model.lanes {
        for lane in &peer.lanes {
            let spans: Vec<String> = lane
                .spans
                .iter()
                .map(|span| {
                    let (from, to) = (span.from.as_secs_f64(), span.to.as_secs_f64());
                    format!("{} {from:.3}-{to:.3}", span.state)
                })
                .collect();
            say(format!("{} {}: {}", peer.peer, lane.name, spans.join(", ")));
        }
    }
    for direction in &model.directions {
        let lost: u32 = direction.points.iter().map(|point| point.lost).sum();
        let sent: u32 = direction.points.iter().map(|point| point.sent).sum();
        say(format!(
            "{} to {}: {lost} of {sent} lost, last {:?}",
            direction.from,
            direction.to,
            direction.points.last()
        ));
    }
    say(format!("{} rows of timeline", model.milestones.len()));
    text
}

#[test]
fn a_direct_call_is_modelled() {
    let scenario = scenario("scenarios/nat/same-lan.toml");
    let events = events_of(&scenario, None);
    insta::assert_snapshot!(outline(&Model::of(&scenario, &events)));
}

#[test]
fn a_call_that_fails_is_modelled() {
    let scenario = scenario("fixtures/field/janus-738.toml");
    let events = events_of(&scenario, Some("naive"));
    insta::assert_snapshot!(outline(&Model::of(&scenario, &events)));
}

#[test]
fn every_packet_is_in_an_arrow_or_in_the_summary() {
    let scenario = scenario("scenarios/mobility/blackhole-one-way.toml");
    let events = events_of(&scenario, None);
    let model = Model::of(&scenario, &events);
    let arrows = model
        .ladder
        .items
        .iter()
        .filter_map(|item| match &item.what {
            // Messages and bars stand for packets that are counted elsewhere.
            What::Arrow(arrow) if arrow.fields.is_none() && !arrow.is_bar() => Some(arrow.count),
            _ => None,
        });
    let all = model.ladder.summarised;
    assert_eq!(
        arrows.sum::<usize>() + all.media + all.segments,
        all.packets
    );
}

#[test]
fn every_drop_has_an_arrow_with_its_cause() {
    let scenario = scenario("scenarios/mobility/blackhole-one-way.toml");
    let events = events_of(&scenario, None);
    let model = Model::of(&scenario, &events);
    let dropped = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::PacketDropped { .. }));
    let shown = model
        .ladder
        .items
        .iter()
        .filter_map(|item| match &item.what {
            What::Arrow(arrow) if arrow.fields.is_none() => {
                arrow.dropped.as_ref().map(|_| arrow.count)
            }
            _ => None,
        });
    assert_eq!(shown.sum::<usize>(), dropped.count());
}

#[test]
fn every_message_leads_to_a_packet() {
    let scenario = scenario("scenarios/nat/cone-cone.toml");
    let events = events_of(&scenario, None);
    let model = Model::of(&scenario, &events);
    let mut messages = 0;
    for item in &model.ladder.items {
        if let What::Arrow(arrow) = &item.what
            && arrow.fields.is_some()
        {
            messages += 1;
            let [journey] = arrow.journeys.as_slice() else {
                panic!("{arrow:?} has no packet");
            };
            let packet = model.journeys[*journey].packet;
            assert_eq!(packet.protocol, Protocol::Tcp, "{arrow:?}");
            assert!(!packet.payload.is_empty(), "{arrow:?}");
        }
    }
    assert!(messages >= 20, "{messages}");
}
