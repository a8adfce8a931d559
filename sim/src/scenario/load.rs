//! From paths to scenarios.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::document;
use super::error::{InvalidScenario, LoadError, LoadErrors, ProblemKind};
use super::model::Scenario;
use super::problems::Problems;
use super::tone::Fixtures;
use super::validate;

impl Scenario {
    /// Loads one file.
    ///
    /// # Errors
    ///
    /// Where there is no readable file at `path`, or it is no valid scenario.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
        if !metadata.is_file() {
            return Err(LoadError::NotAFile(path.to_owned()));
        }
        let bytes = fs::read(path).map_err(|source| unreadable(path, source))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            LoadError::NotText {
                path: path.to_owned(),
                line: valid.split(|byte| *byte == b'\n').count(),
            }
        })?;
        Ok(Self::parse(path, &text)?)
    }

    /// Reads a scenario from text. `path` is where the text stands, or would stand: it names the
    /// scenario, and the fixtures are looked for from its directory upwards.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text, at once where one mistake does not hide another.
    pub fn parse(path: &Path, text: &str) -> Result<Self, InvalidScenario> {
        parse(path, text, &Fixtures::of_file(path))
    }

    /// Reads a scenario from text that stands in no directory, so that its peers can play the
    /// [`TONES`](super::TONES) and nothing else. `path` names the scenario.
    ///
    /// # Errors
    ///
    /// As of [`parse`](Self::parse).
    pub fn parse_alone(path: &Path, text: &str) -> Result<Self, InvalidScenario> {
        parse(path, text, &Fixtures::BuiltIn)
    }
}

fn parse(path: &Path, text: &str, fixtures: &Fixtures) -> Result<Scenario, InvalidScenario> {
    let (table, syntax_errors) = DeTable::parse_recoverable(text);
    let mut problems = Problems::new(path, text, table.get_ref().clone());
    note_syntax_errors(&syntax_errors, text, &mut problems);
    if !problems.is_empty() {
        return Err(problems.into_error());
    }
    let scenario = document::read(&table, &mut problems)
        .and_then(|document| validate::scenario(path, document, fixtures, &mut problems));
    let mut scenario = scenario.ok_or_else(|| problems.into_error())?;
    scenario.text = Some(text.into());
    Ok(scenario)
}

/// Loads files, and directories with all `*.toml` below them. The scenarios come sorted by path,
/// each file once.
///
/// # Errors
///
/// Everything that is wrong with any of the paths and files. A missing path, and a directory
/// without scenarios, are errors.
pub fn load_paths(paths: &[PathBuf]) -> Result<Vec<Scenario>, LoadErrors> {
    let mut files = BTreeSet::new();
    let mut errors = Vec::new();
    if paths.is_empty() {
        errors.push(LoadError::NothingNamed);
    }
    for path in paths {
        match files_at(path) {
            Ok(found) => files.extend(found),
            Err(error) => errors.push(error),
        }
    }
    let mut scenarios = Vec::new();
    for file in files {
        match Scenario::load(&file) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(scenarios)
    } else {
        Err(LoadErrors(errors))
    }
}

fn note_syntax_errors(errors: &[toml::de::Error], text: &str, problems: &mut Problems<'_>) {
    let mut end_of_repeated_table = 0;
    for error in errors {
        let span = error.span().unwrap_or_default();
        if error.message() != "duplicate key" {
            problems.push(span, ProblemKind::from_toml(error.message()));
            continue;
        }
        // The keys of a table that is written twice are there already too, which says nothing new.
        if span.start < end_of_repeated_table {
            continue;
        }
        let first_line = first_line_of_table(text, span.start);
        if first_line.is_some() {
            let rest = text.get(span.start..).unwrap_or_default();
            end_of_repeated_table = span.start + rest.find("\n[").unwrap_or(rest.len());
        }
        problems.push(span, ProblemKind::Duplicate { first_line });
    }
}

/// The line, counted from 1, that first has the table header around `position`; `None` where there
/// is no header.
fn first_line_of_table(text: &str, position: usize) -> Option<usize> {
    let line_start = text
        .get(..position)?
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    let header = text[line_start..].lines().next()?.trim();
    let mut lines_above = text[..line_start].lines();
    let first = lines_above.position(|line| line.trim() == header)?;
    header.starts_with('[').then_some(first + 1)
}

fn files_at(path: &Path) -> Result<BTreeSet<PathBuf>, LoadError> {
    if !path.is_dir() {
        return Ok(BTreeSet::from([path.to_owned()]));
    }
    let mut files = BTreeSet::new();
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).map_err(|source| unreadable(&directory, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| unreadable(&directory, source))?;
            let kind = entry
                .file_type()
                .map_err(|source| unreadable(&entry.path(), source))?;
            // A link to a directory is not followed: it may lead back up.
            if kind.is_dir() {
                directories.push(entry.path());
            } else if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                files.insert(entry.path());
            }
        }
    }
    if files.is_empty() {
        return Err(LoadError::EmptyDirectory(path.to_owned()));
    }
    Ok(files)
}

fn unreadable(path: &Path, source: std::io::Error) -> LoadError {
    if source.kind() == std::io::ErrorKind::NotFound {
        return LoadError::Missing(path.to_owned());
    }
    LoadError::Unreadable {
        path: path.to_owned(),
        source,
    }
}
