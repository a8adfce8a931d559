//! Loss, jitter and opinion over time, as small charts.

use std::fmt::Write as _;

use super::super::model::Model;
use super::super::model::media::{Direction, Point};
use super::markup::{escape, number, table};

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 148.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;

/// One chart: what it shows, in which unit, and between which values.
struct Chart {
    name: &'static str,
    unit: &'static str,
    lowest: f64,
    highest: f64,
    /// How long each value holds, in seconds.
    window: f64,
    values: Vec<(f64, f64)>,
}

/// The charts of both directions, each with its table.
pub(super) fn charts(model: &Model<'_>) -> String {
    if model.directions.is_empty() {
        return "<p class=\"none\">No audio was sent.</p>".to_owned();
    }
    let mut html = String::new();
    for direction in &model.directions {
        html += &of_direction(direction, model);
    }
    html
}

fn of_direction(direction: &Direction, model: &Model<'_>) -> String {
    let points = &direction.points;
    let series = |value: fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
        let points = points.iter();
        points
            .filter_map(|point| Some((point.at.as_secs_f64(), value(point)?)))
            .collect()
    };
    let loss = series(|point| Some(f64::from(point.lost) / f64::from(point.sent) * 100.0));
    let jitter = series(|point| point.jitter_ms);
    let opinion = series(|point| Some(point.opinion));
    let window = direction.window.as_secs_f64();
    let charts = [
        Chart {
            name: "Loss",
            unit: "%",
            lowest: 0.0,
            highest: ceiling(&loss, &[5.0, 10.0, 20.0, 50.0, 100.0]),
            window,
            values: loss,
        },
        Chart {
            name: "Jitter (RFC 3550)",
            unit: "ms",
            lowest: 0.0,
            highest: ceiling(
                &jitter,
                &[5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0],
            ),
            window,
            values: jitter,
        },
        Chart {
            name: "Opinion (MOS, E-model)",
            unit: "1 to 4.5",
            lowest: 1.0,
            highest: 4.5,
            window,
            values: opinion,
        },
    ];
    let name = format!("{} → {}", escape(&direction.from), escape(&direction.to));
    let mut html = format!("<div class=\"direction\"><h3>{name}</h3>\n<div class=\"charts\">\n");
    for chart in &charts {
        html += &chart.figure(&name, model);
    }
    let _ = writeln!(
        html,
        "</div>\n<details class=\"numbers\"><summary>The numbers of {name}</summary>\n{}</details></div>",
        numbers(direction)
    );
    html
}

impl Chart {
    fn figure(&self, direction: &str, model: &Model<'_>) -> String {
        let end = model.end.as_secs_f64();
        let x = |at: f64| LEFT + at / end.max(f64::EPSILON) * (WIDTH - LEFT - RIGHT);
        let span = self.highest - self.lowest;
        let y = |value: f64| TOP + (self.highest - value) / span * (HEIGHT - TOP - BOTTOM);
        let floor = HEIGHT - BOTTOM;
        let spoken = self.spoken();
        let mut svg = format!(
            "<figure><figcaption>{} <span>{}</span></figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} of {direction}: {spoken}\">",
            self.name, self.unit, self.name
        );
        for band in &model.ladder.bands {
            let (from, to) = (x(band.from.as_secs_f64()), x(band.to.as_secs_f64()));
            let _ = write!(
                svg,
                "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"/>",
                (to - from).max(1.0),
                floor - TOP
            );
        }
        for step in [0.0, 0.5, 1.0] {
            let value = self.lowest + step * span;
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {0:.1}H{1}\"/><text class=\"end\" x=\"{2}\" y=\"{3:.1}\">{4}</text>",
                y(value),
                WIDTH - RIGHT,
                LEFT - 6.0,
                y(value) + 4.0,
                number(value)
            );
        }
        for tick in ticks(end, 5) {
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{0:.1} {floor}v4\"/><text class=\"middle\" x=\"{0:.1}\" y=\"{1}\">{2}</text>",
                x(tick),
                floor + 16.0,
                number(tick)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"end unit\" x=\"{}\" y=\"{}\">seconds</text>",
            WIDTH - RIGHT,
            HEIGHT - 4.0
        );
        // Each value holds for its window, so the line goes in steps.
        let mut line = String::new();
        for (number, (at, value)) in self.values.iter().enumerate() {
            let command = if number == 0 { 'M' } else { 'L' };
            let level = y(value.clamp(self.lowest, self.highest));
            let until = x((at + self.window).min(end));
            let _ = write!(line, "{command}{:.1} {level:.1}H{until:.1}", x(*at));
        }
        if let (Some((first, _)), Some((last, _))) = (self.values.first(), self.values.last()) {
            let _ = write!(
                svg,
                "<path class=\"area\" d=\"{line}L{:.1} {floor}L{:.1} {floor}z\"/><path class=\"curve\" d=\"{line}\"/>",
                x((last + self.window).min(end)),
                x(*first)
            );
        }
        let _ = writeln!(svg, "</svg><p>{spoken}</p></figure>");
        svg
    }

    /// The chart in words.
    fn spoken(&self) -> String {
        let count = self.values.len();
        if count == 0 {
            return "no values".to_owned();
        }
        let values = || self.values.iter().map(|(_, value)| *value);
        let mean = values().sum::<f64>() / count as f64;
        let is_opinion = self.lowest > 0.0;
        let worst = if is_opinion {
            values().fold(f64::INFINITY, f64::min)
        } else {
            values().fold(0.0, f64::max)
        };
        let at = self
            .values
            .iter()
            .find(|(_, value)| (*value - worst).abs() < 1e-9);
        let at = at.map_or(0.0, |(at, _)| *at);
        format!(
            "mean {}, worst {} at {} s",
            short(mean),
            short(worst),
            number(at)
        )
    }
}

fn short(value: f64) -> String {
    number((value * 100.0).round() / 100.0)
}

/// The lowest of these values that nothing is above.
fn ceiling(values: &[(f64, f64)], steps: &[f64]) -> f64 {
    let highest = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let step = steps.iter().find(|step| **step >= highest);
    step.copied().unwrap_or(highest)
}

/// Round values from 0 to `end`, at most so many and one.
pub(super) fn ticks(end: f64, most: u32) -> Vec<f64> {
    const STEPS: [f64; 13] = [
        0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0,
    ];
    let fits = |step: &&f64| end / **step <= f64::from(most);
    let step = STEPS.iter().find(fits).copied();
    let step = step.unwrap_or(end / f64::from(most));
    let mut ticks = Vec::new();
    let mut tick = 0.0;
    while tick <= end && ticks.len() <= most as usize {
        ticks.push(tick);
        tick += step;
    }
    ticks
}

fn numbers(direction: &Direction) -> String {
    let optional = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    let rows: Vec<Vec<String>> = direction
        .points
        .iter()
        .map(|point| {
            vec![
                number(point.at.as_secs_f64()),
                point.sent.to_string(),
                point.lost.to_string(),
                optional(point.jitter_ms),
                optional(point.delay_ms),
                number(point.opinion),
            ]
        })
        .collect();
    let caption = format!("{} to {}", direction.from, direction.to);
    let head = ["From, s", "Sent", "Lost", "Jitter, ms", "Delay, ms", "MOS"];
    table(&caption, &head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(9.6, 5), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(0.0, 5), [0.0]);
        assert_eq!(ticks(2400.0, 6).len(), 5);
    }

    #[test]
    fn a_scale_holds_all_values() {
        assert!((ceiling(&[(0.0, 12.0)], &[5.0, 20.0]) - 20.0).abs() < 1e-9);
        assert!((ceiling(&[(0.0, 99.0)], &[5.0, 20.0]) - 99.0).abs() < 1e-9);
    }
}
