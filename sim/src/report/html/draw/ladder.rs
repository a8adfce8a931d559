//! The ladder as SVG.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::model::Model;
use super::super::model::columns::ColumnKind;
use super::super::model::content::Topic;
use super::super::model::journeys::Journey;
use super::super::model::ladder::{Arrow, Item, What};
use super::layout::{Anchor, Layout, Placed, arrow_text};
use super::markup::{clock, escape, lasting};

/// An arrow that begins and ends at one column goes out and down so far.
const LOOP: f64 = 34.0;
const LOOP_DOWN: f64 = 5.0;

/// The name of a topic, as in classes and filters.
pub(super) fn topic_name(topic: Topic) -> &'static str {
    match topic {
        Topic::Signaling => "signaling",
        Topic::Checks => "checks",
        Topic::Turn => "turn",
        Topic::Dtls => "dtls",
        Topic::Media => "media",
    }
}

/// A check box for each kind of thing on the ladder, with how many there are.
pub(super) fn filters(model: &Model<'_>) -> String {
    let items = &model.ladder.items;
    let arrows = items.iter().filter_map(|item| match &item.what {
        What::Arrow(arrow) => Some(arrow),
        _ => None,
    });
    let of = |topic: Topic| arrows.clone().filter(|arrow| arrow.topic == topic).count();
    let drops = arrows
        .clone()
        .filter(|arrow| arrow.dropped.is_some())
        .count();
    let marks = items
        .iter()
        .filter(|item| matches!(item.what, What::Mark { .. }))
        .count();
    let notes = items
        .iter()
        .filter(|item| matches!(item.what, What::Note { .. }))
        .count();
    let filters = [
        ("signaling", "Signaling", of(Topic::Signaling)),
        ("checks", "Checks", of(Topic::Checks)),
        ("turn", "STUN and TURN", of(Topic::Turn)),
        ("dtls", "DTLS", of(Topic::Dtls)),
        ("media", "Media", of(Topic::Media)),
        ("drops", "Drops", drops),
        ("faults", "Faults", marks),
        ("notes", "Peers", notes),
    ];
    let mut html = String::new();
    for (name, label, count) in filters {
        let _ = writeln!(
            html,
            "<label class=\"filter t-{name}\"><input type=\"checkbox\" id=\"show-{name}\" checked>\
             <span class=\"swatch\" aria-hidden=\"true\"></span>{label} <span class=\"count\">{count}</span></label>"
        );
    }
    html
}

/// What the ladder does not show one by one.
pub(super) fn summarised(model: &Model<'_>) -> String {
    let all = model.ladder.summarised;
    format!(
        "Of {} packets in this run, {} packets of media are summarised in bars, {} TCP segments without an event \
         of their own are left to the messages in them, and {} packets are folded into arrows marked ×n.",
        all.packets, all.media, all.segments, all.folded
    )
}

/// The ladder with its heads and times.
pub(super) fn ladder(model: &Model<'_>, layout: &Layout) -> String {
    let (width, height) = (layout.width, layout.height);
    let mut html = format!(
        "<div class=\"ladder\" style=\"--width:{width}px\">\n<div class=\"heads\"><div class=\"corner\">s</div>\
         <div class=\"names\" style=\"width:{width}px\">"
    );
    for (number, column) in model.columns.iter().enumerate() {
        let kind = match column.kind {
            ColumnKind::Peer => "peer",
            ColumnKind::Gateway => "gateway",
            ColumnKind::Server => "server",
        };
        let left = layout.x_of(number as f64) - layout.column / 2.0;
        let _ = write!(
            html,
            "<div class=\"column {kind}\" style=\"left:{left}px;width:{}px\"><b>{}</b><span>{}</span></div>",
            layout.column,
            escape(&column.name),
            escape(&column.role)
        );
    }
    html.push_str("</div></div>\n<div class=\"body\">\n");
    html += &times(layout);
    let _ = writeln!(
        html,
        "<svg class=\"arrows\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"group\" \
         aria-label=\"Ladder diagram: {} columns, time goes down\">",
        model.columns.len()
    );
    html += &background(model, layout);
    for placed in &layout.placed {
        let item = &model.ladder.items[placed.item];
        match &item.what {
            What::Arrow(arrow) => html += &arrow_group(model, layout, item, arrow, placed),
            What::Note { column, .. } => {
                html += &note_group(model, item.index, layout.x_of(*column as f64), placed);
            }
            What::Mark { .. } => html += &mark_group(item.index, width, placed),
        }
    }
    html += &ticks(model, layout);
    html.push_str("</svg>\n</div></div>\n");
    html
}

fn times(layout: &Layout) -> String {
    let mut svg = format!(
        "<svg class=\"times\" width=\"72\" height=\"{0}\" viewBox=\"0 0 72 {0}\" aria-hidden=\"true\">",
        layout.height
    );
    let mut free = 0.0;
    for (at, y) in layout.moments() {
        // Times that would cover each other are left out: the arrows have them.
        if *y >= free {
            let _ = write!(
                svg,
                "<text x=\"62\" y=\"{}\">{}</text>",
                y + 4.0,
                clock(*at)
            );
            free = y + 13.0;
        }
    }
    for pause in &layout.pauses {
        let _ = write!(
            svg,
            "<text class=\"pause\" x=\"62\" y=\"{}\">⋮ {}</text>",
            pause.y + 3.0,
            lasting(pause.lasting)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Bands of faults, the line of each column, pauses, and bars of audio.
fn background(model: &Model<'_>, layout: &Layout) -> String {
    let mut svg = String::new();
    for band in &model.ladder.bands {
        let (from, to) = (layout.y_of(band.from), layout.y_of(band.to));
        let _ = writeln!(
            svg,
            "<rect class=\"band\" x=\"0\" y=\"{from}\" width=\"{}\" height=\"{}\"><title>{}</title></rect>",
            layout.width,
            (to - from).max(2.0),
            escape(&band.name)
        );
    }
    for (number, column) in model.columns.iter().enumerate() {
        let x = layout.x_of(number as f64);
        let class = if column.kind == ColumnKind::Peer {
            "life peer"
        } else {
            "life"
        };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{}\"/>",
            layout.height
        );
    }
    for pause in &layout.pauses {
        let _ = writeln!(
            svg,
            "<path class=\"pause\" d=\"M0 {0}H{1}\"/>",
            pause.y, layout.width
        );
    }
    let mut side: Vec<u32> = vec![0; model.columns.len()];
    for stretch in &model.ladder.stretches {
        let (from, to) = (layout.y_of(stretch.begin), layout.y_of(stretch.end));
        let lane = &mut side[stretch.from];
        let outwards = if model.places.is_right(stretch.from as f64) {
            1.0
        } else {
            -1.0
        };
        let x =
            layout.x_of(stretch.from as f64) + outwards * (5.0 + f64::from(*lane % 3) * 6.0) - 2.0;
        *lane += 1;
        let _ = writeln!(
            svg,
            "<rect class=\"bar t-media\" x=\"{x}\" y=\"{from}\" width=\"4\" height=\"{}\" rx=\"2\"><title>{}</title></rect>",
            (to - from).max(4.0),
            escape(&stretch.to_string())
        );
    }
    svg
}

fn arrow_group(
    model: &Model<'_>,
    layout: &Layout,
    item: &Item,
    arrow: &Arrow,
    placed: &Placed,
) -> String {
    let (from, to, y) = (layout.x_of(arrow.from), layout.x_of(arrow.to), placed.y);
    let is_dropped = arrow.dropped.is_some();
    let mut svg = format!(
        "<g id=\"event-{}\" class=\"arrow t-{}{}\" tabindex=\"0\" role=\"button\" aria-label=\"{}\">",
        item.index,
        topic_name(arrow.topic),
        if is_dropped { " dropped" } else { "" },
        escape(&spoken(model, item.at, arrow))
    );
    let leads_left = placed.anchor == Anchor::End;
    // Where its tip is, and which way this points.
    let (tip, right) = if (from - to).abs() < 1.0 {
        let out = if leads_left { -LOOP } else { LOOP };
        let _ = write!(
            svg,
            "<path class=\"line\" d=\"M{from} {y}h{out}v{LOOP_DOWN}H{from}\"/>"
        );
        (y + LOOP_DOWN, leads_left)
    } else {
        let _ = write!(svg, "<path class=\"line\" d=\"M{from} {y}H{to}\"/>");
        (y, to > from)
    };
    if is_dropped {
        let (x, y) = (to - 4.0, tip - 4.0);
        let _ = write!(svg, "<path class=\"cross\" d=\"M{x} {y}l8 8m0-8l-8 8\"/>");
    } else {
        let back = if right { -8.0 } else { 8.0 };
        let _ = write!(svg, "<path class=\"head\" d=\"M{to} {tip}l{back} -4v8z\"/>");
        for x in crossings(model, layout, arrow) {
            let _ = write!(
                svg,
                "<circle class=\"rewrite\" cx=\"{x}\" cy=\"{y}\" r=\"2.6\"/>"
            );
        }
    }
    let _ = writeln!(
        svg,
        "<rect class=\"hit\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"20\"/><text{} x=\"{}\" y=\"{}\">{}</text></g>",
        from.min(to),
        y - 15.0,
        (from - to).abs().max(LOOP),
        class_of(placed.anchor),
        placed.text_x,
        y - 4.5,
        escape(&placed.text)
    );
    svg
}

fn class_of(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Start => "",
        Anchor::End => " class=\"end\"",
    }
}

/// The gateways that rewrote an address of the first packet.
fn crossings(model: &Model<'_>, layout: &Layout, arrow: &Arrow) -> Vec<f64> {
    let journey = arrow
        .journeys
        .first()
        .map(|number| &model.journeys[*number]);
    let mut columns: BTreeSet<usize> = BTreeSet::new();
    if let Some(journey) = journey {
        let (of_sender, of_receiver) = rewriting(model, journey);
        let all = of_sender.into_iter().chain(of_receiver);
        columns.extend(all.map(|(_, column)| column));
    }
    columns
        .into_iter()
        .map(|column| layout.x_of(column as f64))
        .collect()
}

type Gateways<'a> = Vec<(&'a str, usize)>;

/// The gateways before which a packet had another source, and those behind which it has another destination.
pub(super) fn rewriting<'a>(
    model: &'a Model<'_>,
    journey: &Journey<'a>,
) -> (Gateways<'a>, Gateways<'a>) {
    let (Some(sent), Some(end)) = (journey.sent, journey.end) else {
        return (Vec::new(), Vec::new());
    };
    let of_sender = if sent.source == end.hop.source {
        Vec::new()
    } else {
        model.places.way_of(sent.host, sent.source.ip())
    };
    let of_receiver = if sent.destination == end.hop.destination || end.cause.is_some() {
        Vec::new()
    } else {
        model.places.way_of(end.hop.host, end.hop.destination.ip())
    };
    (of_sender, of_receiver)
}

/// An arrow in words.
pub(super) fn spoken(model: &Model<'_>, at: std::time::Duration, arrow: &Arrow) -> String {
    let name = |place: f64| model.places.name_at(place);
    let mut text = format!(
        "{} s: {} from {}",
        clock(at),
        arrow_text(arrow),
        name(arrow.from)
    );
    match (&arrow.dropped, arrow.travel) {
        (Some(dropped), _) => {
            let _ = write!(text, ", dropped at {}", dropped.place);
        }
        (None, Some(travel)) => {
            let _ = write!(text, " to {} in {}", name(arrow.to), lasting(travel));
        }
        (None, None) => {
            let _ = write!(text, " to {}", name(arrow.to));
        }
    }
    if arrow.count > 1 {
        let _ = write!(text, ", the last one at {} s", clock(arrow.last));
    }
    text
}

fn note_group(model: &Model<'_>, index: usize, x: f64, placed: &Placed) -> String {
    let anchor = class_of(placed.anchor);
    let y = placed.y;
    let mut svg = format!("<g id=\"event-{index}\" class=\"note\">");
    for other in &placed.joined {
        let _ = write!(
            svg,
            "<circle id=\"event-{}\" class=\"anchor\" cx=\"{x}\" cy=\"{y}\" r=\"1\"/>",
            model.ladder.items[*other].index
        );
    }
    let _ = writeln!(
        svg,
        "<path class=\"diamond\" d=\"M{x} {}l5 5l-5 5l-5 -5z\"/><text{anchor} x=\"{}\" y=\"{}\">{}</text></g>",
        y - 5.0,
        placed.text_x,
        y + 4.0,
        escape(&placed.text)
    );
    svg
}

fn mark_group(index: usize, width: f64, placed: &Placed) -> String {
    format!(
        "<g id=\"event-{index}\" class=\"mark t-faults\"><path d=\"M0 {0}H{width}\"/><text x=\"{1}\" y=\"{2}\">⚡ {3}</text></g>\n",
        placed.y + 6.0,
        placed.text_x,
        placed.y + 1.0,
        escape(&placed.text)
    )
}

/// A small mark for each milestone that has nothing else on the ladder, so that the timeline can lead there.
fn ticks(model: &Model<'_>, layout: &Layout) -> String {
    let drawn: BTreeSet<usize> = model.ladder.items.iter().map(|item| item.index).collect();
    let mut svg = String::new();
    for milestone in &model.milestones {
        if drawn.contains(&milestone.index) {
            continue;
        }
        // What the servers say has no column of its own.
        let places = &model.places;
        let column = places.of_host(&milestone.host).or(places.signaling());
        let x = column.map_or(4.0, |column| layout.x_of(column as f64));
        let _ = writeln!(
            svg,
            "<circle id=\"event-{}\" class=\"tick\" cx=\"{x}\" cy=\"{:.1}\" r=\"3\"><title>{}</title></circle>",
            milestone.index,
            layout.y_of(milestone.at),
            escape(&milestone.text)
        );
    }
    svg
}
