//! Where everything on the ladder stands (pure).
//!
//! Time goes down. Each arrow and note has a row; what happens at one moment shares rows where there is room.
//! Where nothing happens, little room is left, and the pause is marked.

use std::time::Duration;

use super::super::model::Model;
use super::super::model::columns::Columns;
use super::super::model::ladder::{Arrow, Item, What};
use super::markup::lasting;

/// The width that a ladder has on most screens.
const WIDTH: f64 = 1114.0;
/// Columns are at least and at most this far apart.
const COLUMN_MIN: f64 = 116.0;
const COLUMN_MAX: f64 = 190.0;
/// The room beside the outer columns.
const MARGIN: f64 = 70.0;
const ROW: f64 = 22.0;
/// The room above the first row and below the last one.
const EDGE: f64 = 26.0;
/// The mean width of a letter of the ladder's texts.
const LETTER: f64 = 6.3;
/// Texts keep this much from their line and from each other.
const PADDING: f64 = 8.0;
/// A longer pause is marked.
const PAUSE: Duration = Duration::from_millis(1500);
/// A longer text is cut.
const LETTERS_MAX: usize = 74;

/// The places of everything.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// How far the columns are from each other.
    pub(super) column: f64,
    pub(super) placed: Vec<Placed>,
    pub(super) pauses: Vec<Pause>,
    /// The first row of each moment.
    moments: Vec<(Duration, f64)>,
}

/// Where one item stands.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// Its number in the ladder.
    pub(super) item: usize,
    /// Others that are shown as one with it: notes of one peer at one moment.
    pub(super) joined: Vec<usize>,
    pub(super) y: f64,
    pub(super) text: String,
    pub(super) text_x: f64,
    pub(super) anchor: Anchor,
}

/// Which side of a text is at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    End,
}

/// A time in which nothing happens.
#[derive(Debug, Clone)]
pub(super) struct Pause {
    pub(super) y: f64,
    pub(super) lasting: Duration,
}

/// One row that is being filled.
struct Row {
    y: f64,
    taken: Vec<(f64, f64)>,
}

impl Layout {
    pub(super) fn of(model: &Model<'_>) -> Self {
        let last = model.columns.len().saturating_sub(1) as f64;
        let column = ((WIDTH - 2.0 * MARGIN) / last.max(1.0)).floor();
        let column = column.clamp(COLUMN_MIN, COLUMN_MAX);
        let mut layout = Self {
            width: last * column + 2.0 * MARGIN,
            height: EDGE,
            column,
            placed: Vec::new(),
            pauses: Vec::new(),
            moments: Vec::new(),
        };
        let mut rows: Vec<Row> = Vec::new();
        let mut now: Option<Duration> = None;
        let items = &model.ladder.items;
        let mut number = 0;
        while number < items.len() {
            let item = &items[number];
            let joined = joined(items, number);
            let first = number;
            number += 1;
            if layout.is_joined(first) {
                continue;
            }
            if now != Some(item.at) {
                layout.next_moment(now, item.at);
                rows.clear();
                now = Some(item.at);
            }
            let (text, text_x, anchor) = layout.label(items, first, &joined, &model.places);
            let extent = layout.extent(item, &text, text_x, anchor);
            let y = layout.row_for(&mut rows, extent);
            layout.placed.push(Placed {
                item: first,
                joined,
                y,
                text,
                text_x,
                anchor,
            });
        }
        layout.height += EDGE;
        layout
    }

    /// The horizontal place of a column, or between two.
    pub(super) fn x_of(&self, column: f64) -> f64 {
        MARGIN + column * self.column
    }

    /// Where a moment is.
    pub(super) fn y_of(&self, at: Duration) -> f64 {
        let after = self.moments.partition_point(|(moment, _)| *moment <= at);
        match (after.checked_sub(1), self.moments.get(after)) {
            (None, Some((_, y))) => *y,
            (Some(before), Some((next_at, next_y))) => {
                let (before_at, before_y) = self.moments[before];
                let since = |at: Duration| at.saturating_sub(before_at).as_secs_f64();
                let share = since(at) / since(*next_at);
                before_y + share * (next_y - before_y)
            }
            (Some(before), None) => {
                let (before_at, y) = self.moments[before];
                if at == before_at {
                    y
                } else {
                    self.height - EDGE
                }
            }
            (None, None) => EDGE,
        }
    }

    /// The moments that are written beside the ladder.
    pub(super) fn moments(&self) -> &[(Duration, f64)] {
        &self.moments
    }

    fn is_joined(&self, item: usize) -> bool {
        let mut latest = self.placed.iter().rev().take(24);
        latest.any(|placed| placed.joined.contains(&item))
    }

    fn next_moment(&mut self, before: Option<Duration>, at: Duration) {
        let pause = at.saturating_sub(before.unwrap_or(at));
        self.height += match pause.as_millis() {
            0..2 => 0.0,
            2..50 => 3.0,
            50..300 => 8.0,
            300..1500 => 16.0,
            _ => 34.0,
        };
        if pause >= PAUSE {
            self.pauses.push(Pause {
                y: self.height - 20.0,
                lasting: pause,
            });
        }
        self.moments.push((at, self.height));
    }

    /// The first row of this moment that has room.
    fn row_for(&mut self, rows: &mut Vec<Row>, (from, to): (f64, f64)) -> f64 {
        let free = rows.iter_mut().find(|row| {
            let overlaps = |(begin, end): &(f64, f64)| from < *end && *begin < to;
            !row.taken.iter().any(overlaps)
        });
        if let Some(row) = free {
            row.taken.push((from, to));
            return row.y;
        }
        let y = self.height;
        self.height += ROW;
        rows.push(Row {
            y,
            taken: vec![(from, to)],
        });
        y
    }

    /// The text of an item, and where it stands: beside where the item begins.
    fn label(
        &self,
        items: &[Item],
        number: usize,
        joined: &[usize],
        columns: &Columns,
    ) -> (String, f64, Anchor) {
        match &items[number].what {
            What::Arrow(arrow) => {
                let goes_left = arrow.to < arrow.from
                    || (arrow.to <= arrow.from && columns.is_right(arrow.from));
                let x = self.x_of(arrow.from);
                if goes_left {
                    (cut(arrow_text(arrow)), x - PADDING, Anchor::End)
                } else {
                    (cut(arrow_text(arrow)), x + PADDING, Anchor::Start)
                }
            }
            What::Note { column, .. } => {
                let numbers = std::iter::once(&number).chain(joined);
                let texts: Vec<&str> = numbers
                    .filter_map(|number| match &items[*number].what {
                        What::Note { text, .. } => Some(text.as_str()),
                        _ => None,
                    })
                    .collect();
                let x = self.x_of(*column as f64);
                let text = cut(texts.join(" · "));
                if columns.is_right(*column as f64) {
                    (text, x - 2.0 * PADDING, Anchor::End)
                } else {
                    (text, x + 2.0 * PADDING, Anchor::Start)
                }
            }
            What::Mark { text } => (text.clone(), PADDING, Anchor::Start),
        }
    }

    /// From where to where an item needs its row.
    fn extent(&self, item: &Item, text: &str, text_x: f64, anchor: Anchor) -> (f64, f64) {
        let letters = text.chars().count() as f64 * LETTER;
        let of_text = match anchor {
            Anchor::Start => (text_x, text_x + letters + PADDING),
            Anchor::End => (text_x - letters - PADDING, text_x),
        };
        match &item.what {
            What::Arrow(arrow) => {
                let (from, to) = (self.x_of(arrow.from), self.x_of(arrow.to));
                // Arrows that meet at a column share a row.
                let inside = (from.min(to) + 1.0, from.max(to) - 1.0);
                (inside.0.min(of_text.0), inside.1.max(of_text.1))
            }
            What::Note { .. } => (of_text.0 - 3.0 * PADDING, of_text.1 + 3.0 * PADDING),
            What::Mark { .. } => (0.0, self.width),
        }
    }
}

/// The notes of the same peer and moment that follow.
fn joined(items: &[Item], number: usize) -> Vec<usize> {
    let What::Note { column, .. } = &items[number].what else {
        return Vec::new();
    };
    let same = |item: &Item| matches!(&item.what, What::Note { column: it, .. } if it == column);
    let rest = items.iter().enumerate().skip(number + 1);
    rest.take_while(|(_, item)| item.at == items[number].at)
        .filter(|(_, item)| same(item))
        .map(|(other, _)| other)
        .collect()
}

/// What stands at an arrow.
pub(super) fn arrow_text(arrow: &Arrow) -> String {
    let mut text = arrow.label.clone();
    if let Some(fields) = &arrow.fields
        && let Some((_, kind)) = fields.rsplit_once(" typ ")
    {
        text.push(' ');
        text.push_str(kind.split(' ').next().unwrap_or_default());
    }
    if arrow.count > 1 {
        text = format!("{text} ×{}", arrow.count);
    }
    match (&arrow.dropped, arrow.travel) {
        (Some(dropped), _) => format!("{text} ✕ {}", dropped.cause),
        (None, Some(travel)) if travel >= Duration::from_millis(300) => {
            format!("{text}, {} on its way", lasting(travel))
        }
        _ => text,
    }
}

fn cut(text: String) -> String {
    if text.chars().count() <= LETTERS_MAX {
        return text;
    }
    let begin: String = text.chars().take(LETTERS_MAX - 1).collect();
    format!("{begin}…")
}

#[cfg(test)]
mod tests {
    use super::super::super::model::content::Topic;
    use super::*;
    use crate::scenario::Scenario;

    /// Seven columns, between which these arrows go: when, from and to.
    fn model(arrows: &[(u64, f64, f64)]) -> Model<'static> {
        const TEXT: &str = "about = \"Two.\"\n[network.a]\n[network.b]\n[peer.alice]\nnetwork = \"a\"\n\
                            [peer.bob]\nnetwork = \"b\"\n";
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/x.toml");
        let scenario = Scenario::parse(&file, TEXT).unwrap_or_else(|error| panic!("{error:?}"));
        let mut model = Model::of(&scenario, &[]);
        model.ladder.items = arrows
            .iter()
            .enumerate()
            .map(|(index, (at, from, to))| Item {
                index,
                at: Duration::from_millis(*at),
                what: What::Arrow(Arrow {
                    topic: Topic::Checks,
                    label: "check".to_owned(),
                    from: *from,
                    to: *to,
                    count: 1,
                    last: Duration::from_millis(*at),
                    travel: None,
                    dropped: None,
                    fields: None,
                    journeys: Vec::new(),
                }),
            })
            .collect();
        model
    }

    fn rows(arrows: &[(u64, f64, f64)]) -> Vec<f64> {
        let layout = Layout::of(&model(arrows));
        layout.placed.iter().map(|placed| placed.y).collect()
    }

    #[test]
    fn arrows_of_one_moment_share_a_row_where_they_do_not_cover_each_other() {
        let rows = rows(&[(0, 0.0, 1.0), (0, 3.0, 2.0), (0, 0.0, 2.0)]);
        assert!((rows[0] - rows[1]).abs() < 1e-9, "{rows:?}");
        assert!(rows[2] > rows[0], "{rows:?}");
    }

    #[test]
    fn what_is_later_stands_lower() {
        let rows = rows(&[(0, 0.0, 1.0), (5, 0.0, 1.0), (70_000, 0.0, 1.0)]);
        assert!(rows[0] < rows[1] && rows[1] < rows[2], "{rows:?}");
    }

    #[test]
    fn a_pause_is_marked_and_costs_little_room() {
        let layout = Layout::of(&model(&[(0, 0.0, 1.0), (70_000, 0.0, 1.0)]));
        let [pause] = layout.pauses.as_slice() else {
            panic!("{:?}", layout.pauses);
        };
        assert_eq!(pause.lasting, Duration::from_secs(70));
        assert!(layout.height < 200.0, "{}", layout.height);
        let half = layout.y_of(Duration::from_secs(35));
        let placed = &layout.placed;
        assert!(placed[0].y < half && half < placed[1].y, "{half}");
    }
}
