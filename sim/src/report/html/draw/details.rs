//! The packets behind the arrows, for the script: one JSON object by the event that names the arrow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use ringtrue::net::TrafficClass;
use serde::Serialize;

use super::super::model::Model;
use super::super::model::journeys::{Hop, Journey};
use super::super::model::ladder::{Arrow, What};
use super::ladder::{rewriting, spoken};
use super::markup::clock;

/// How many bytes of a packet are shown.
const BYTES_SHOWN: usize = 64;

/// An arrow and what is behind it.
#[derive(Debug, Serialize)]
struct Detail {
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<String>,
    /// How many packets are like these and not shown.
    more: usize,
    packets: Vec<Packet>,
}

/// One packet.
#[derive(Debug, Serialize)]
struct Packet {
    is: String,
    about: String,
    hops: Vec<Row>,
    hex: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<usize>,
}

/// One place of a packet's way: what happened, its addresses then, and where it is known, when and as which event.
#[derive(Debug, Serialize)]
struct Row(String, String, String, Option<String>, Option<usize>);

/// All details. `<` is written as an escape, so that no text ends the element that holds them.
pub(super) fn details(model: &Model<'_>) -> String {
    let items = &model.ladder.items;
    let arrows = items.iter().filter_map(|item| match &item.what {
        What::Arrow(arrow) => Some((item, arrow)),
        _ => None,
    });
    let details: BTreeMap<usize, Detail> = arrows
        .map(|(item, arrow)| {
            let title = spoken(model, item.at, arrow);
            (item.index, detail(model, title, arrow))
        })
        .collect();
    let json = serde_json::to_string(&details).expect("details are always JSON");
    json.replace('<', "\\u003c")
}

fn detail(model: &Model<'_>, title: String, arrow: &Arrow) -> Detail {
    let packets = arrow.journeys.iter();
    Detail {
        title,
        says: arrow.fields.clone().filter(|fields| !fields.is_empty()),
        more: arrow.count.saturating_sub(arrow.journeys.len()),
        packets: packets
            .map(|number| packet(model, &model.journeys[*number]))
            .collect(),
    }
}

fn packet(model: &Model<'_>, journey: &Journey<'_>) -> Packet {
    let payload = &journey.packet.payload;
    let mut hex = String::new();
    for byte in payload.iter().take(BYTES_SHOWN) {
        let _ = write!(hex, "{byte:02x}");
    }
    let class = match journey.packet.class {
        TrafficClass::BestEffort => "best effort",
        TrafficClass::ExpeditedForwarding => "expedited forwarding",
    };
    let again = match journey.attempt {
        0 => String::new(),
        attempt => format!(", sent before: {attempt}"),
    };
    let next = journey.continues.map(|number| &model.journeys[number]);
    Packet {
        is: journey.content.label.clone(),
        about: format!(
            "{}, {} bytes, {class}{again}",
            journey.packet.protocol,
            payload.len()
        ),
        hops: hops(model, journey),
        hex,
        next: next.map(Journey::index),
    }
}

fn hops(model: &Model<'_>, journey: &Journey<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(sent) = journey.sent {
        rows.push(seen(format!("sent by {}", sent.host), &sent));
    }
    let Some(end) = journey.end else {
        rows.push(Row(
            "on its way when the run ended".to_owned(),
            String::new(),
            String::new(),
            None,
            None,
        ));
        return rows;
    };
    if let Some(sent) = journey.sent {
        let (of_sender, of_receiver) = rewriting(model, journey);
        if let Some(names) = named(&of_sender) {
            rows.push(between(
                format!("{names} rewrote the source"),
                end.hop.source,
                sent.destination,
            ));
        }
        let inwards: Vec<(&str, usize)> = of_receiver.into_iter().rev().collect();
        if let Some(names) = named(&inwards) {
            rows.push(between(
                format!("{names} rewrote the destination"),
                end.hop.source,
                end.hop.destination,
            ));
        }
    }
    let what = match end.cause {
        Some(cause) => format!("dropped at {}: {cause}", end.hop.host),
        None => format!("delivered to {}", end.hop.host),
    };
    rows.push(seen(what, &end.hop));
    rows
}

fn named(gateways: &[(&str, usize)]) -> Option<String> {
    let names: Vec<&str> = gateways.iter().map(|(name, _)| *name).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("gateway {one}")),
        several => Some(format!("gateways {}", several.join(" and "))),
    }
}

fn seen(what: String, hop: &Hop<'_>) -> Row {
    Row(
        what,
        hop.source.to_string(),
        hop.destination.to_string(),
        Some(clock(hop.at)),
        Some(hop.index),
    )
}

/// A place between two that the trace has: the addresses are known, and not when.
fn between(what: String, source: SocketAddr, destination: SocketAddr) -> Row {
    Row(
        what,
        source.to_string(),
        destination.to_string(),
        None,
        None,
    )
}
