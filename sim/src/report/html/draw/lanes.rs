//! The states of each peer over time, as bars.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::model::Model;
use super::super::model::lanes::{Mood, Span};
use super::charts::ticks;
use super::markup::{clock, escape, number};

/// The lanes of all peers, with the faults above them.
pub(super) fn lanes(model: &Model<'_>) -> String {
    let mut html = String::new();
    if !model.ladder.bands.is_empty() {
        let spans: Vec<Span> = model
            .ladder
            .bands
            .iter()
            .map(|band| Span {
                from: band.from,
                to: band.to,
                state: band.name.clone(),
                mood: Mood::Bad,
            })
            .collect();
        html.push_str("<div class=\"peer-lanes\"><h3>world</h3>\n");
        html += &lane("faults", &spans, model.end);
        html.push_str("</div>\n");
    }
    for peer in &model.lanes {
        let _ = writeln!(
            html,
            "<div class=\"peer-lanes\"><h3>{}</h3>",
            escape(&peer.peer)
        );
        for each in &peer.lanes {
            html += &lane(each.name, &each.spans, model.end);
        }
        html.push_str("</div>\n");
    }
    html + &axis(model.end)
}

fn lane(name: &str, spans: &[Span], end: Duration) -> String {
    let mut html = format!("<div class=\"lane\"><h4>{name}</h4><ol class=\"track\">");
    for span in spans {
        let mood = match span.mood {
            Mood::Idle => "idle",
            Mood::Working => "working",
            Mood::Good => "good",
            Mood::Bad => "bad",
        };
        let state = escape(&span.state);
        let spoken = format!("{} s to {} s: {state}", clock(span.from), clock(span.to));
        let _ = write!(
            html,
            "<li class=\"{mood}\" style=\"left:{}%;width:{}%\" title=\"{spoken}\"><span>{state}</span>\
             <span class=\"unseen\">, {} s to {} s</span></li>",
            percent(span.from, end),
            percent(span.to - span.from, end),
            clock(span.from),
            clock(span.to)
        );
    }
    if spans.is_empty() {
        html.push_str("<li class=\"unseen\">never began</li>");
    }
    html.push_str("</ol></div>\n");
    html
}

fn axis(end: Duration) -> String {
    let mut html = String::from(
        "<div class=\"lane axis\" aria-hidden=\"true\"><h4>s</h4><div class=\"track\">",
    );
    for tick in ticks(end.as_secs_f64(), 6) {
        let at = Duration::from_secs_f64(tick);
        let _ = write!(
            html,
            "<span style=\"left:{}%\">{}</span>",
            percent(at, end),
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
