//! A run on disk: everything that there is to know of it, in a directory.
//!
//! | file | what is in it |
//! |---|---|
//! | `report.html` | the run as one page, for people: see [`html`] |
//! | `timeline.txt` | what happened, with packets, a line each |
//! | `trace.jsonl` | every event, one JSON object a line, for programs: see [`jsonl`] |
//! | `trace.pcapng` | every packet as each host saw it, for Wireshark: see [`pcapng`] |
//! | `report.json` | the [`Report`], as `ringtrue run --json` prints it |
//! | `scenario.toml` | the scenario in a form that runs the same anywhere |
//! | `fixtures/` | what its peers play |
//!
//! Nothing of the run depends on whether it is written: it is written when it is over, from its
//! [`Recording`](crate::trace::Recording).

mod directory;
pub mod jsonl;
pub mod pcapng;
mod scenario_file;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::directory::make_room;
pub use self::directory::{check_room, check_room_for_many};
use super::html;
use super::text::{self, Colour, Detail};
use super::timeline::entries_of;
use super::{PacketOrEvent, Report};
use crate::fuzz::record::RecordError;
use crate::scenario::Scenario;
use crate::trace::Event;
use crate::world::run::addresses;

/// The names of what a bundle holds.
pub const FILES: [&str; 7] = [
    "fixtures",
    "report.html",
    "report.json",
    "scenario.toml",
    "timeline.txt",
    "trace.jsonl",
    "trace.pcapng",
];

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFiles {
    /// Where it is.
    pub directory: PathBuf,
    /// Its files, by their paths below the directory, in order.
    pub files: Vec<PathBuf>,
}

/// Why a bundle cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file or directory cannot be made.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was to be done.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is something else already.
    #[error(
        "{} is no bundle: it holds {found:?}, which would be lost or mixed up with one. Name a directory \
         that is empty or not there, or one with a bundle of before",
        path.display()
    )]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// The first thing in it that belongs to no bundle.
        found: String,
    },
    /// There is one bundle already where several are to go, each into a directory of its own.
    #[error(
        "{} is one bundle: several runs get a directory each, for which one is needed that is empty, not \
         there, or holds such directories only",
        path.display()
    )]
    OneBundle {
        /// The directory.
        path: PathBuf,
    },
    /// The scenario was put together by a program and never written.
    #[error("the scenario {scenario:?} has no text, so that its bundle could not be run again")]
    NoText {
        /// The scenario's name.
        scenario: String,
    },
    /// The scenario cannot be written so that it runs again.
    #[error("the scenario {scenario:?} cannot be written: {source}")]
    Scenario {
        /// The scenario's name.
        scenario: String,
        /// Why not.
        source: RecordError,
    },
}

/// Writes the bundle of a run into `directory`, which is made where it is not there. A bundle that is there
/// already is replaced.
///
/// `events` are all of the run, in order: what a [`Recording`](crate::trace::Recording) has.
///
/// # Errors
///
/// [`BundleError`]. What was written until then stays.
pub fn write(
    directory: &Path,
    report: &Report,
    scenario: &Scenario,
    events: &[Event],
) -> Result<BundleFiles, BundleError> {
    let scenario_text = scenario_file::text(report, scenario)?;
    make_room(directory)?;
    let mut bundle = Bundle {
        directory,
        files: Vec::new(),
    };
    bundle.file("scenario.toml", |out| {
        out.write_all(scenario_text.as_bytes())
    })?;
    for (name, bytes) in scenario_file::fixtures(scenario)? {
        bundle.file(&format!("fixtures/{name}"), |out| out.write_all(&bytes))?;
    }
    bundle.file("report.json", |out| {
        serde_json::to_writer_pretty(&mut *out, report)?;
        out.write_all(b"\n")
    })?;
    bundle.file("timeline.txt", |out| {
        let entries = entries_of(events, PacketOrEvent::Packet);
        let timeline = text::timeline(&entries, Detail::Packets, Colour::Off);
        out.write_all(timeline.as_bytes())
    })?;
    bundle.file("trace.jsonl", |out| jsonl::write(out, events))?;
    bundle.file("trace.pcapng", |out| {
        // A scenario that was run has a world; names are a help and no more.
        let names = addresses(scenario).unwrap_or_default();
        pcapng::write(out, report, events, &names)
    })?;
    bundle.file("report.html", |out| {
        out.write_all(html::render(report, scenario, events).as_bytes())
    })?;
    bundle.files.sort();
    Ok(BundleFiles {
        directory: directory.to_owned(),
        files: bundle.files,
    })
}

/// A bundle that is being written.
struct Bundle<'a> {
    directory: &'a Path,
    files: Vec<PathBuf>,
}

impl Bundle<'_> {
    fn file(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), BundleError> {
        let path = self.directory.join(name);
        let above = path.parent().unwrap_or(self.directory);
        std::fs::create_dir_all(above).map_err(cannot("make the directory", above))?;
        let written = File::create(&path).and_then(|file| {
            let mut out = BufWriter::new(file);
            fill(&mut out)?;
            out.flush()
        });
        written.map_err(cannot("write", &path))?;
        self.files.push(PathBuf::from(name));
        Ok(())
    }
}

/// For `map_err`: what was to be done to which path.
fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    let path = path.to_owned();
    move |source| BundleError::System {
        action,
        path,
        source,
    }
}
