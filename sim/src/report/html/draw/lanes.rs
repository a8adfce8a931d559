//! The states of each peer over time, as bars.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::model::Model;
use super::super::model::lanes::{Mood, PeerLanes, Span};
use super::charts::ticks;
use super::markup::{clock, escape, lasting, number};

/// What part of a run is shown.
#[derive(Debug, Clone, Copy)]
struct Window {
    end: Duration,
}

/// The lanes of all peers: the set-up by itself where it is short beside the rest, then all of the run.
pub(super) fn lanes(model: &Model<'_>) -> String {
    let whole = Window { end: model.end };
    let Some(set_up) = set_up(model) else {
        return in_window(model, whole);
    };
    format!(
        "<h3>The first {}</h3>\n{}<h3>The whole run</h3>\n{}",
        lasting(set_up.end),
        in_window(model, set_up),
        in_window(model, whole)
    )
}

/// The time until both sides heard each other, and some more.
fn set_up(model: &Model<'_>) -> Option<Window> {
    let heard = |peer: &PeerLanes| {
        let audio = peer.lanes.iter().find(|lane| lane.name == "audio")?;
        let mut spans = audio.spans.iter();
        Some(spans.find(|span| span.mood == Mood::Good)?.from)
    };
    let last = model.lanes.iter().filter_map(heard).max()?;
    let end = Duration::from_millis(500) * u32::try_from(last.as_millis() / 500 + 1).ok()?;
    (end * 3 < model.end).then_some(Window { end })
}

fn in_window(model: &Model<'_>, window: Window) -> String {
    let mut html = String::new();
    let bands = model.ladder.bands.iter();
    let faults: Vec<Span> = bands
        .filter(|band| band.from < window.end)
        .map(|band| Span {
            from: band.from,
            to: band.to,
            state: band.name.clone(),
            mood: Mood::Bad,
        })
        .collect();
    if !faults.is_empty() {
        html.push_str("<div class=\"peer-lanes\"><h4>world</h4>\n");
        for (number, row) in side_by_side(faults).iter().enumerate() {
            html += &lane(if number == 0 { "faults" } else { "" }, row, window);
        }
        html.push_str("</div>\n");
    }
    for peer in &model.lanes {
        let _ = writeln!(
            html,
            "<div class=\"peer-lanes\"><h4>{}</h4>",
            escape(&peer.peer)
        );
        for each in &peer.lanes {
            html += &lane(each.name, &each.spans, window);
        }
        html.push_str("</div>\n");
    }
    html + &axis(window)
}

/// Faults that are there at the same time stand below each other.
fn side_by_side(faults: Vec<Span>) -> Vec<Vec<Span>> {
    let mut rows: Vec<Vec<Span>> = Vec::new();
    for fault in faults {
        let is_free = |row: &&mut Vec<Span>| row.last().is_none_or(|last| last.to <= fault.from);
        match rows.iter_mut().find(is_free) {
            Some(row) => row.push(fault),
            None => rows.push(vec![fault]),
        }
    }
    rows
}

fn lane(name: &str, spans: &[Span], window: Window) -> String {
    let mut html = format!("<div class=\"lane\"><h5>{name}</h5><ol class=\"track\">");
    let shown: Vec<&Span> = spans.iter().filter(|span| span.from < window.end).collect();
    for span in &shown {
        let mood = match span.mood {
            Mood::Idle => "idle",
            Mood::Working => "working",
            Mood::Good => "good",
            Mood::Bad => "bad",
        };
        let state = escape(&span.state);
        let times = format!("{} s to {} s", clock(span.from), clock(span.to));
        let to = span.to.min(window.end);
        let _ = write!(
            html,
            "<li class=\"{mood}\" style=\"left:{}%;width:{}%\" title=\"{state}, {times}\"><span>{state}</span>\
             <span class=\"unseen\">, {times}</span></li>",
            percent(span.from, window.end),
            percent(to.saturating_sub(span.from), window.end)
        );
    }
    if shown.is_empty() {
        html.push_str("<li class=\"never\">not begun</li>");
    }
    html.push_str("</ol></div>\n");
    html
}

fn axis(window: Window) -> String {
    let mut html = String::from(
        "<div class=\"lane axis\" aria-hidden=\"true\"><h5>s</h5><div class=\"track\">",
    );
    for tick in ticks(window.end.as_secs_f64(), 6) {
        let at = Duration::from_secs_f64(tick);
        let _ = write!(
            html,
            "<span style=\"left:{}%\">{}</span>",
            percent(at, window.end),
            number(tick)
        );
    }
    html.push_str("</div></div>\n");
    html
}

fn percent(part: Duration, whole: Duration) -> String {
    let share = part.as_secs_f64() / whole.as_secs_f64().max(f64::EPSILON);
    number(share * 100.0)
}
