//! Gathers what is wrong with a file, so that all of it is said at once.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use miette::NamedSource;
use toml::de::DeTable;

use super::error::{InvalidScenario, Problem, ProblemKind};
use super::place;

/// Gathers what is wrong with one file.
#[derive(Debug)]
pub(super) struct Problems<'text> {
    file: String,
    text: &'text str,
    table: DeTable<'text>,
    list: Vec<Problem>,
}

impl<'text> Problems<'text> {
    /// More problems than this are not gathered: nobody reads them, and a hostile file could make
    /// each cost a reading of the whole.
    const MOST: usize = 32;

    pub(super) fn new(file: &Path, text: &'text str, table: DeTable<'text>) -> Self {
        Self {
            file: file.display().to_string(),
            text,
            table,
            list: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn are_many(&self) -> bool {
        self.list.len() >= Self::MOST
    }

    /// Notes what is wrong with the key or value at `span`.
    pub(super) fn push(&mut self, span: Range<usize>, kind: ProblemKind) {
        let place = place::find(&self.table, &span);
        let value = place.as_ref().and_then(|place| place.value.clone());
        let value = value.and_then(|value| self.text.get(value));
        let value = value.filter(|value| !value.is_empty()).map(shortened);
        // What is there already was not taken into the table, so it has a name but no place there.
        let written = self.text.get(span.clone()).map(str::to_owned);
        let written = written.filter(|_| matches!(kind, ProblemKind::Duplicate { .. }));
        self.add(span, place.map(|place| place.key).or(written), value, kind);
    }

    /// Notes that what stands at `span`, a table, lacks `key`.
    pub(super) fn push_missing(&mut self, span: Range<usize>, key: &str, allowed: &'static str) {
        let key = match place::find(&self.table, &span) {
            Some(place) => format!("{}.{key}", place.key),
            None => key.to_owned(),
        };
        self.add(span, Some(key), None, ProblemKind::Missing { allowed });
    }

    /// The line of the file on which `span` begins, counted from 1.
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    /// The problems as an error, in the order of the file.
    pub(super) fn into_error(mut self) -> InvalidScenario {
        self.list.sort_by_key(|problem| problem.span.offset());
        InvalidScenario {
            text: NamedSource::new(&self.file, Arc::from(self.text)),
            problems: self.list,
        }
    }

    fn add(
        &mut self,
        span: Range<usize>,
        key: Option<String>,
        value: Option<String>,
        kind: ProblemKind,
    ) {
        if self.are_many() {
            return;
        }
        let line = self.line_of(&span);
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        self.list.push(Problem {
            file: self.file.clone(),
            line,
            column: before[line_start..].chars().count() + 1,
            key,
            value,
            kind,
            span: span.into(),
        });
    }
}

/// The first line of `value`, as far as it helps to recognize it.
fn shortened(value: &str) -> String {
    const MOST_CHARACTERS: usize = 60;
    let line = value.lines().next().unwrap_or_default();
    if line.len() == value.len() && line.chars().count() <= MOST_CHARACTERS {
        return line.to_owned();
    }
    line.chars().take(MOST_CHARACTERS).chain(['…']).collect()
}
