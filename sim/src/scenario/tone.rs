//! What peers play, and where it is found.

use std::path::{Component, Path, PathBuf};

use ringtrue::audio::track::OpusTrack;

use super::error::ProblemKind;

/// What the first two users play where the file says nothing, by name: different tones, so that nobody
/// takes an echo of their own for the other side. They are part of the program, so that a scenario
/// that comes without a directory can be run as well.
pub const TONES: [(&str, &[u8]); 2] = [
    (
        "tone-low.opus",
        include_bytes!("../../../fixtures/tone-low.opus"),
    ),
    (
        "tone-high.opus",
        include_bytes!("../../../fixtures/tone-high.opus"),
    ),
];

/// Where the files are that peers play.
#[derive(Debug)]
pub(super) enum Fixtures {
    /// In this directory, or in the program where it is a tone that the directory does not have.
    Directory(PathBuf),
    /// In the program: the tones and nothing else.
    BuiltIn,
}

impl Fixtures {
    /// The nearest directory `fixtures` beside or above the scenario; what is in the program where there is
    /// none. Found upwards, so that a scenario in any depth, and one that somebody else keeps in a project
    /// of their own, has its own.
    pub(super) fn of_file(scenario: &Path) -> Self {
        let above = |path: &Path| {
            let mut candidates = path
                .ancestors()
                .skip(1)
                .map(|directory| directory.join("fixtures"));
            candidates.find(|candidate| candidate.is_dir())
        };
        // A relative path is kept relative where possible, since it is shown in errors.
        let directory = above(scenario).or_else(|| above(&std::path::absolute(scenario).ok()?));
        directory.map_or(Self::BuiltIn, Self::Directory)
    }

    /// The file of this name, and what is in it or what is wrong with it.
    pub(super) fn read(&self, name: &str) -> (PathBuf, Result<OpusTrack, ProblemKind>) {
        let tone = TONES.iter().find(|(tone, _)| *tone == name);
        let (file, directory) = match self {
            Self::Directory(directory) => (directory.join(name), Some(directory)),
            Self::BuiltIn => (name.into(), None),
        };
        let stays_inside = Path::new(name)
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        let read = if directory.is_some() && stays_inside && file.is_file() {
            let bytes = std::fs::read(&file).map_err(|error| error.to_string());
            bytes.and_then(|bytes| track(&bytes)).map_err(unplayable)
        } else if let Some((_, bytes)) = tone {
            track(bytes).map_err(unplayable)
        } else {
            Err(missing(directory.map(PathBuf::as_path)))
        };
        (file, read)
    }
}

/// A file that is in neither place.
fn missing(directory: Option<&Path>) -> ProblemKind {
    match directory {
        Some(directory) => ProblemKind::MissingFixture {
            directory: directory.display().to_string(),
            known: files_in(directory),
        },
        None => ProblemKind::MissingFixture {
            directory: "the program, which is all that this scenario has".to_owned(),
            known: TONES.map(|(tone, _)| tone.to_owned()).to_vec(),
        },
    }
}

fn track(bytes: &[u8]) -> Result<OpusTrack, String> {
    OpusTrack::parse(bytes).map_err(|error| error.to_string())
}

fn unplayable(reason: String) -> ProblemKind {
    ProblemKind::UnplayableFixture { reason }
}

fn files_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| {
            let path = entry.path();
            path.is_file()
                && path
                    .extension()
                    .is_some_and(|extension| extension == "opus")
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
