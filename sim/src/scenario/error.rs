//! What is wrong with a scenario file: where, what is written there, and what is allowed.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceSpan,
};
use thiserror::Error;

/// Why scenarios could not be loaded: one entry for each path or file, never empty.
#[derive(Debug, Error)]
#[error("{}", self.render(Rendering::Plain).trim_end())]
pub struct LoadErrors(pub(super) Vec<LoadError>);

/// Why a path or a file gave no scenario.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No path was given at all.
    #[error("no scenario is named; name files or directories, such as scenarios/")]
    NothingNamed,
    /// There is nothing at the path.
    #[error("{}: there is no such file or directory", .0.display())]
    Missing(PathBuf),
    /// The path is a device, a socket or another thing that is neither file nor directory.
    #[error("{}: this is neither a file nor a directory", .0.display())]
    NotAFile(PathBuf),
    /// The directory, with all below it, holds no `*.toml`.
    #[error("{}: the directory holds no scenario (no *.toml file)", .0.display())]
    EmptyDirectory(PathBuf),
    /// The operating system refused.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is no text.
    #[error("{}:{line}: the line is not UTF-8 text, which TOML must be", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first line that is no text, counted from 1.
        line: usize,
    },
    /// The file is no scenario.
    #[error(transparent)]
    Invalid(#[from] InvalidScenario),
}

/// A file that is no scenario, with everything that is wrong with it.
#[derive(Debug, Clone, Error, Diagnostic)]
#[error("{} is not a valid scenario", text.name())]
pub struct InvalidScenario {
    #[source_code]
    pub(super) text: NamedSource<Arc<str>>,
    #[related]
    pub(super) problems: Vec<Problem>,
}

/// One thing that is wrong with a scenario file.
#[derive(Debug, Clone)]
pub struct Problem {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) kind: ProblemKind,
    pub(super) span: SourceSpan,
}

/// What is wrong; the [`Problem`] names the key and the value it is about.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The text is not TOML, or a key or value is none of a scenario's.
    #[error("{message}{}", did_you_mean(suggestion.as_deref()))]
    Toml {
        /// What is wrong.
        message: String,
        /// What is allowed, where that can be said.
        allowed: Option<String>,
        /// The key or value that is most like the one written, if any is.
        suggestion: Option<String>,
    },
    /// A key or a table that is there already.
    #[error("this is there already{}", on_line(*first_line))]
    Duplicate {
        /// The line where it stands first, counted from 1, where that is sure.
        first_line: Option<usize>,
    },
    /// A key that must be there is not.
    #[error("this key is missing")]
    Missing {
        /// What to write.
        allowed: &'static str,
    },
    /// A text without content, or of more than one line.
    #[error("this is not one line of text")]
    NotALine {
        /// What to write.
        allowed: &'static str,
    },
    /// A text without content, or with characters that no text has.
    #[error("this is no text")]
    NotLines {
        /// What to write.
        allowed: &'static str,
    },
    /// A name that cannot be a host's.
    #[error("this cannot name a host or a network")]
    BadName,
    /// A call needs two.
    #[error("a call needs two peers and the file has {count}")]
    TooFewPeers {
        /// How many the file has.
        count: usize,
    },
    /// A name that stands for nothing.
    #[error("there is no such {what}{}", did_you_mean(suggestion.as_deref()))]
    Unknown {
        /// `network` or `peer`.
        what: &'static str,
        /// The name that is most like it, if any is.
        suggestion: Option<String>,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A fixture file that is not there.
    #[error("there is no such file in {directory}")]
    MissingFixture {
        /// Where it was looked for.
        directory: String,
        /// The files that are there.
        known: Vec<String>,
    },
    /// A fixture file that cannot be played.
    #[error("this fixture cannot be played: {reason}")]
    UnplayableFixture {
        /// What is wrong with it.
        reason: String,
    },
    /// Two settings that contradict each other, or a step that cannot be taken.
    #[error("{message}")]
    Contradiction {
        /// What contradicts what.
        message: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

/// How errors are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// One line for each problem, then what is allowed: for files, pipes and greps.
    Plain,
    /// With the lines of the file and a pointer into them.
    Graphical,
    /// The same with colour.
    GraphicalColoured,
}

impl Rendering {
    /// What suits standard error: graphical on a terminal, coloured unless `NO_COLOR` is set.
    #[must_use]
    pub fn for_stderr() -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match (io::stderr().is_terminal(), forbidden) {
            (false, _) => Self::Plain,
            (true, true) => Self::Graphical,
            (true, false) => Self::GraphicalColoured,
        }
    }
}

impl LoadErrors {
    /// The errors, by path.
    #[must_use]
    pub fn errors(&self) -> &[LoadError] {
        &self.0
    }

    /// The errors as text, which ends with a line break.
    #[must_use]
    pub fn render(&self, rendering: Rendering) -> String {
        self.0.iter().map(|error| error.render(rendering)).collect()
    }
}

impl LoadError {
    /// The error as text, which ends with a line break.
    #[must_use]
    pub fn render(&self, rendering: Rendering) -> String {
        match self {
            Self::Invalid(invalid) => invalid.render(rendering),
            other => format!("{other}\n"),
        }
    }
}

impl InvalidScenario {
    /// What is wrong, in the order in which it stands in the file; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems as text, which ends with a line break.
    #[must_use]
    pub fn render(&self, rendering: Rendering) -> String {
        let theme = match rendering {
            Rendering::Plain => return self.render_plain(),
            Rendering::Graphical => GraphicalTheme::unicode_nocolor(),
            Rendering::GraphicalColoured => GraphicalTheme::unicode(),
        };
        let mut text = String::new();
        match GraphicalReportHandler::new_themed(theme).render_report(&mut text, self) {
            Ok(()) => text,
            Err(fmt::Error) => self.render_plain(),
        }
    }

    fn render_plain(&self) -> String {
        let lines = self.problems.iter().map(|problem| {
            let allowed = problem.kind.allowed();
            let allowed = allowed.map(|allowed| format!("    allowed: {allowed}\n"));
            let allowed = allowed.unwrap_or_default();
            format!("{}: {problem}\n{allowed}", problem.place())
        });
        lines.collect()
    }
}

impl Problem {
    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The whole key, such as `network.home-a.uplink.loss`; `None` where the file is no TOML.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The value as it is written in the file, quotes included.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &ProblemKind {
        &self.kind
    }

    /// Where it stands, in the form that editors and compilers agree on: `file:line:column`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for Problem {
    /// Key, value and what is wrong, without the [place](Self::place).
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(formatter, "{key} = {value}: ")?,
            (Some(key), None) => write!(formatter, "{key}: ")?,
            (None, _) => {}
        }
        write!(formatter, "{}", self.kind)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let allowed = self.kind.allowed()?;
        Some(Box::new(format!("allowed: {allowed}")))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some(self.kind.to_string()), self.span);
        Some(Box::new(std::iter::once(label)))
    }
}

impl ProblemKind {
    /// What may be written instead, where that can be said.
    #[must_use]
    pub fn allowed(&self) -> Option<String> {
        match self {
            Self::Toml { allowed, .. } => allowed.clone(),
            Self::Missing { allowed }
            | Self::NotALine { allowed }
            | Self::NotLines { allowed }
            | Self::Contradiction { allowed, .. } => Some((*allowed).to_owned()),
            Self::Duplicate { .. } => Some("each name and each key once".to_owned()),
            Self::BadName => Some(
                "1 to 32 lower-case letters, digits and hyphens, with a letter first".to_owned(),
            ),
            Self::TooFewPeers { .. } => Some("two or more tables `[peer.NAME]`".to_owned()),
            Self::Unknown { known, .. } | Self::MissingFixture { known, .. } => Some(one_of(known)),
            Self::UnplayableFixture { .. } => {
                Some("an Ogg Opus file, mono, in packets of 20 ms".to_owned())
            }
        }
    }

    /// Takes apart what the TOML reader says: "what is wrong, expected what is allowed".
    pub(super) fn from_toml(message: &str) -> Self {
        let (message, allowed) = match message.split_once(", expected ") {
            Some((message, allowed)) => (message, Some(allowed.to_owned())),
            None => (message, None),
        };
        let written = message.split('`').nth(1).unwrap_or_default();
        let of_key = message.starts_with("unknown field ");
        let of_value = message.starts_with("unknown variant ");
        let names = allowed
            .iter()
            .flat_map(|allowed| allowed.split('`').skip(1).step_by(2));
        let suggestion = (of_key || of_value)
            .then(|| nearest(written, names))
            .flatten();
        let (message, allowed) = match (message, allowed.as_deref()) {
            _ if of_key => ("there is no such key", allowed),
            _ if of_value => ("there is no such value", allowed),
            ("invalid type: map", Some("a sequence")) => (
                "this is one table, and here is a list of them",
                Some("two brackets around the name, such as `[[fault]]`".to_owned()),
            ),
            ("invalid basic string", Some("`\"`")) => (
                "this text has no end in its line",
                Some("a text in quotes".to_owned()),
            ),
            _ => (message, allowed),
        };
        Self::Toml {
            message: message.to_owned(),
            allowed,
            suggestion,
        }
    }

    /// `name` stands for nothing among `known`.
    pub(super) fn unknown<'a>(
        what: &'static str,
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        Self::Unknown {
            what,
            suggestion: nearest(name, known.clone()),
            known: known.map(str::to_owned).collect(),
        }
    }
}

/// The name that was most likely meant, if any is near enough to be a slip of the hand.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let longest_slip = written.chars().count().div_ceil(3);
    names
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, _)| *distance <= longest_slip)
        .min()
        .map(|(_, name)| name.to_owned())
}

fn on_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", on line {line}"))
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn one_of(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing, for there is none".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
