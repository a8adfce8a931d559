//! The matrix of NATs as a table for people.

use std::fmt::Write as _;
use std::time::Duration;

use owo_colors::Style;

use super::CandidateType;
use super::text::Colour;
use crate::check::milestones::Timings;
use crate::check::oracle::Reach;
use crate::matrix::{Actual, Behaviour, Cell, CellResult, Layers, Udp, Verdict};
use crate::net::nat::{Filtering, Hairpin, Mapping};

/// How wide the label of a row is.
const LABEL: usize = 9;
/// How wide a column is.
const COLUMN: usize = 11;
/// How wide the label of a row of timings is.
const TIMED: usize = 20;
/// The label of the row and the column for homes in which UDP is blocked.
const BLOCKED: &str = "no UDP";

/// What the signs in [`table`] mean, in lines.
#[must_use]
pub fn legend() -> String {
    "\
rows: the caller's NAT, who is controlling; columns: the callee's; mapping/filtering (RFC 4787)
EI endpoint-independent, AD address-dependent, APD address-and-port-dependent
in a cell: D direct, R relayed, - unreachable; the selected local candidates, caller's and callee's:
h host, s srflx, p prflx, r relay; seconds from the answer to audio; !X where the oracle says X
"
    .to_owned()
}

/// A table of all cells that differ in nothing but the homes, one for each carrier that there is.
#[must_use]
pub fn table(results: &[CellResult], colour: Colour) -> String {
    let mut text = String::new();
    let mut rest = results;
    while let Some(first) = rest.first() {
        let same = |result: &&CellResult| {
            (result.cell.layers, result.cell.hairpin) == (first.cell.layers, first.cell.hairpin)
        };
        let (one, others) = rest.split_at(rest.iter().take_while(same).count());
        if let Some(title) = title(first.cell) {
            line(&mut text, title);
        }
        one_table(one, colour, &mut text);
        rest = others;
    }
    text
}

/// The last line: how many cells agree, and how long audio took.
#[must_use]
pub fn summary(results: &[CellResult], colour: Colour) -> String {
    let agree = results
        .iter()
        .filter(|result| result.verdict == Verdict::Agrees)
        .count();
    let style = if agree == results.len() {
        Style::new().green()
    } else {
        Style::new().red().bold()
    };
    let agree = colour.paint(&format!("{agree} agree with the oracle"), style);
    let mut times: Vec<Duration> = results
        .iter()
        .filter_map(|result| result.time_to_audio)
        .collect();
    times.sort_unstable();
    let times = match times.last() {
        None => "no audio".to_owned(),
        Some(longest) => format!(
            "time to audio median {} ms, longest {} ms",
            times[times.len() / 2].as_millis(),
            longest.as_millis()
        ),
    };
    format!("{} cells: {agree}; {times}", results.len())
}

/// Where the time from the answer to audio goes: for direct and for relayed calls, when each thing had
/// happened at both peers, in milliseconds.
#[must_use]
pub fn timings(results: &[CellResult]) -> String {
    let names = Timings::default().named().map(|(name, _)| name);
    let mut text = format!("{:<TIMED$}", "ms after the answer");
    for name in names {
        let _ = write!(text, "{name:>LABEL$}");
    }
    text.push('\n');
    for reach in [Reach::Direct, Reach::Relayed] {
        let timed = results
            .iter()
            .filter(|each| each.actual == Actual::Reach(reach));
        let timed: Vec<Timings> = timed.map(|each| each.timings).collect();
        for share in [50, 95] {
            let count = timed.len();
            let label = format!("{reach} ({count}), {share} %");
            let _ = write!(text, "{label:<TIMED$}");
            for column in 0..names.len() {
                let moments = timed.iter().filter_map(|each| each.named()[column].1);
                match percentile(moments, share) {
                    Some(time) => {
                        let _ = write!(text, "{:>LABEL$}", time.as_millis());
                    }
                    None => {
                        let _ = write!(text, "{:>LABEL$}", "-");
                    }
                }
            }
            text.push('\n');
        }
    }
    text
}

/// The smallest of the times that this share of them, in percent, does not exceed.
#[must_use]
pub fn percentile(times: impl Iterator<Item = Duration>, share: usize) -> Option<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let rank = (times.len() * share).div_ceil(100);
    times.get(rank.saturating_sub(1)).copied()
}

/// A cell that does not agree, in one line: what was predicted and why, and what happened.
#[must_use]
pub fn difference(result: &CellResult) -> String {
    let cell = &result.cell;
    format!(
        "{} calls {}: {}, and the oracle says {}, because {}",
        cell.controlling,
        cell.controlled,
        result.actual,
        result.predicted.reach,
        result.predicted.reason
    )
}

fn one_table(results: &[CellResult], colour: Colour, text: &mut String) {
    let homes: Vec<Option<Behaviour>> = Behaviour::all()
        .into_iter()
        .map(Some)
        .chain([None])
        .collect();
    let mut header = " ".repeat(LABEL);
    for column in &homes {
        let _ = write!(header, "{:<COLUMN$}", label(*column));
    }
    line(text, header.trim_end());
    for row in &homes {
        let mut cells = format!("{:<LABEL$}", label(*row));
        for column in &homes {
            let found = results
                .iter()
                .find(|result| position(result.cell) == (*row, *column));
            cells.push_str(&found.map_or_else(
                || " ".repeat(COLUMN),
                |result| {
                    let sign = sign(result);
                    let padding = COLUMN.saturating_sub(sign.chars().count());
                    colour.paint(&sign, style(result)) + &" ".repeat(padding)
                },
            ));
        }
        line(text, cells.trim_end());
    }
}

/// The row and the column of a cell; `None` for the homes in which UDP is blocked.
fn position(cell: Cell) -> (Option<Behaviour>, Option<Behaviour>) {
    let (row, column) = (Some(cell.controlling), Some(cell.controlled));
    match cell.udp {
        Udp::Open => (row, column),
        Udp::ControllingBlocked => (None, column),
        Udp::ControlledBlocked => (row, None),
        Udp::BothBlocked => (None, None),
    }
}

fn sign(result: &CellResult) -> String {
    let mut sign = match result.actual {
        Actual::Reach(reach) => letter(reach),
        Actual::Failed => '?',
    }
    .to_string();
    if let [Some(first), Some(second)] = result.selected {
        sign.extend([' ', initial(first), initial(second)]);
    }
    if let Some(time) = result.time_to_audio {
        let _ = write!(sign, " {:.2}", time.as_secs_f64());
    }
    if result.verdict == Verdict::Differs {
        sign.extend(['!', letter(result.predicted.reach)]);
    }
    sign
}

fn letter(reach: Reach) -> char {
    match reach {
        Reach::Direct => 'D',
        Reach::Relayed => 'R',
        Reach::Unreachable => '-',
    }
}

fn initial(kind: CandidateType) -> char {
    match kind {
        CandidateType::Host => 'h',
        CandidateType::ServerReflexive => 's',
        CandidateType::PeerReflexive => 'p',
        CandidateType::Relayed => 'r',
    }
}

fn style(result: &CellResult) -> Style {
    match (result.verdict, result.predicted.reach) {
        (Verdict::Differs, _) => Style::new().red().bold(),
        (Verdict::Agrees, Reach::Direct) => Style::new().green(),
        (Verdict::Agrees, Reach::Relayed) => Style::new().yellow(),
        (Verdict::Agrees, Reach::Unreachable) => Style::new().dimmed(),
    }
}

fn label(home: Option<Behaviour>) -> String {
    let Some(home) = home else {
        return BLOCKED.to_owned();
    };
    let mapping = match home.mapping {
        Mapping::EndpointIndependent => "EI",
        Mapping::AddressDependent => "AD",
        Mapping::AddressAndPortDependent => "APD",
    };
    let filtering = match home.filtering {
        Filtering::EndpointIndependent => "EI",
        Filtering::AddressDependent => "AD",
        Filtering::AddressAndPortDependent => "APD",
    };
    format!("{mapping}/{filtering}")
}

fn title(cell: Cell) -> Option<&'static str> {
    match (cell.layers, cell.hairpin) {
        (Layers::One, _) => None,
        (Layers::Two, None) => Some("each home behind a carrier's NAT of its own:"),
        (Layers::Two, Some(Hairpin::Refused)) => {
            Some("both homes behind one carrier's NAT, which refuses to hairpin:")
        }
        (Layers::Two, Some(_)) => Some("both homes behind one carrier's NAT, which hairpins:"),
    }
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}
