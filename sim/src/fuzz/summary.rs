//! What came of a campaign: one JSON object, which can be joined with those of its other parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cause::Cause;
use super::coverage::Coverage;

/// The file in a campaign's directory that holds its summary.
pub const FILE: &str = "campaign.json";

/// What came of a campaign, or of several parts of one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many cases ran.
    pub cases: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many cases it took until one failed, that one included; `None` where none did. Of several
    /// parts it is the least: they ran side by side.
    pub cases_to_first_failure: Option<u64>,
    /// The failures by cause.
    pub causes: BTreeMap<Cause, Finding>,
    /// What the cases met.
    pub coverage: Coverage,
    /// How long it took, in seconds. Of several parts it is the longest.
    pub wall_s: f64,
    /// How many cases ran in a second.
    pub cases_per_s: f64,
    /// Where the files of the failures are.
    pub out: Option<PathBuf>,
}

/// The cases that failed for one cause.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// How many they are.
    pub cases: u64,
    /// The first one's number.
    pub first: u64,
    /// The seed of its run.
    pub seed: u64,
    /// What its report says.
    pub says: String,
    /// The first one made small, as a string to replay; `None` where it fits into none.
    pub replay: Option<String>,
    /// The same as a file.
    pub file: Option<PathBuf>,
    /// How many faults and perturbations are left in it.
    pub faults_left: Option<usize>,
}

/// Why summaries cannot be joined.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There is none to be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is there is none.
    #[error("{path} is no summary of a campaign: {source}")]
    Malformed {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Summary {
    /// Reads the summary in a campaign's directory.
    ///
    /// # Errors
    ///
    /// [`MergeError`].
    pub fn read(directory: &Path) -> Result<Self, MergeError> {
        let path = directory.join(FILE);
        let text = fs::read_to_string(&path).map_err(|source| MergeError::Unreadable {
            path: path.clone(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|source| MergeError::Malformed { path, source })
    }

    /// Adds what came of another part of the same campaign. Of a cause that both have, the case with the
    /// lesser number is kept.
    pub fn merge(&mut self, other: Self) {
        self.cases += other.cases;
        self.failed += other.failed;
        let firsts = [self.cases_to_first_failure, other.cases_to_first_failure];
        self.cases_to_first_failure = firsts.into_iter().flatten().min();
        for (cause, finding) in other.causes {
            match self.causes.get_mut(&cause) {
                None => {
                    self.causes.insert(cause, finding);
                }
                Some(known) => {
                    let cases = known.cases + finding.cases;
                    if finding.first < known.first {
                        *known = finding;
                    }
                    known.cases = cases;
                }
            }
        }
        self.coverage.merge(&other.coverage);
        self.wall_s = self.wall_s.max(other.wall_s);
        self.cases_per_s += other.cases_per_s;
        self.out = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(cases: u64, first_failure: Option<u64>, findings: &[(&str, u64)]) -> Summary {
        let finding = |(cause, first): &(&str, u64)| {
            let cause: Cause = cause.parse().expect("a cause");
            let finding = Finding {
                cases: 1,
                first: *first,
                ..Finding::default()
            };
            (cause, finding)
        };
        Summary {
            cases,
            failed: findings.len() as u64,
            cases_to_first_failure: first_failure,
            causes: findings.iter().map(finding).collect(),
            wall_s: cases as f64,
            cases_per_s: 1.0,
            ..Summary::default()
        }
    }

    const SILENT: &str = "wrong-outcome: no audio both ways";
    const PANIC: &str = "panic: it broke";

    #[test]
    fn parts_are_joined_cause_by_cause() {
        let mut whole = part(10, Some(7), &[(SILENT, 6)]);
        whole.merge(part(12, Some(3), &[(SILENT, 2), (PANIC, 11)]));
        assert_eq!((whole.cases, whole.failed), (22, 3));
        assert_eq!(whole.cases_to_first_failure, Some(3));
        let found: Vec<_> = whole
            .causes
            .iter()
            .map(|(cause, finding)| (cause.to_string(), finding.cases, finding.first))
            .collect();
        assert_eq!(
            found,
            [(SILENT.to_owned(), 2, 2), (PANIC.to_owned(), 1, 11)]
        );
        assert_eq!((whole.wall_s, whole.cases_per_s), (12.0, 2.0));
    }

    #[test]
    fn a_summary_reads_back_what_it_writes() {
        let whole = part(10, None, &[(SILENT, 6)]);
        let text = serde_json::to_string(&whole).expect("a summary is always JSON");
        let read: Summary = serde_json::from_str(&text).expect("it was written so");
        assert_eq!(read, whole);
    }
}
