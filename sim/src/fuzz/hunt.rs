//! A campaign whose failures are sorted by cause and made small.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use thiserror::Error;

use super::campaign::{Campaign, CaseResult};
use super::cause::Cause;
use super::record;
use super::seed_string::SeedString;
use super::shrink::{Budget, Failing, shrink};
use super::summary::{self, Finding, Summary};
use crate::endpoint::Endpoint;
use crate::report::Report;
use crate::scenario::model::ClientName;
use crate::scenario::{Scenario, schema};
use crate::seed::Seed;
use crate::world::run::{RunOptions, SetupError, run};

/// A campaign, and what is done with what it finds.
#[derive(Debug, Clone)]
pub struct Hunt {
    /// The campaign.
    pub campaign: Campaign,
    /// The name under which its client is written down.
    pub client: ClientName,
    /// Where files are written; `None` for nowhere.
    pub out: Option<PathBuf>,
    /// How long the first case of each cause is made smaller; zero leaves all as they are.
    pub shrink_for: Duration,
}

/// What a hunt tells while it goes on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A case is done, as the summary has it now.
    Case(&'a Summary),
    /// One failed for a cause that is new, and was made small.
    Found {
        /// The cause.
        cause: &'a Cause,
        /// What is known of it.
        finding: &'a Finding,
        /// The report of the case as it was made.
        report: &'a Report,
    },
}

/// Why a hunt could not go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HuntError {
    /// A case has no world.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Hunt {
    /// Runs the campaign, and tells how it goes.
    ///
    /// # Errors
    ///
    /// [`HuntError`].
    ///
    /// # Panics
    ///
    /// Never: a summary is always JSON.
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a campaign takes is told and goes into nothing that it finds"
    )]
    pub fn run(&self, mut tell: impl FnMut(Progress<'_>)) -> Result<Summary, HuntError> {
        let started = Instant::now();
        let mut summary = Summary {
            out: self.out.clone(),
            ..Summary::default()
        };
        let mut found: Vec<(Cause, CaseResult)> = Vec::new();
        self.campaign.run(|result| {
            summary.cases += 1;
            summary.coverage.add(&result.coverage);
            if let Some(cause) = Cause::of(&result.scenario, &result.report) {
                summary.failed += 1;
                summary.cases_to_first_failure.get_or_insert(summary.cases);
                let finding = summary.causes.entry(cause.clone()).or_default();
                finding.cases += 1;
                if finding.cases == 1 {
                    finding.first = result.number;
                    finding.seed = result.seed.number();
                    found.push((cause, result));
                }
            }
            tell(Progress::Case(&summary));
        })?;
        let wall = started.elapsed().as_secs_f64();
        summary.wall_s = wall;
        summary.cases_per_s = summary.cases as f64 / wall.max(f64::EPSILON);
        for (cause, result) in &found {
            if let Some(finding) = summary.causes.get_mut(cause) {
                self.hold_on_to(cause, result, finding)?;
                tell(Progress::Found {
                    cause,
                    finding,
                    report: &result.report,
                });
            }
        }
        if let Some(directory) = &self.out {
            let text = serde_json::to_string_pretty(&summary).expect("a summary is always JSON");
            write(directory, summary::FILE, &text)?;
        }
        Ok(summary)
    }

    /// Makes a case small and writes it down.
    fn hold_on_to(
        &self,
        cause: &Cause,
        result: &CaseResult,
        finding: &mut Finding,
    ) -> Result<(), HuntError> {
        let text = self.made_small(cause, result);
        let name = format!("{}-{}.toml", cause.kind(), result.number);
        let file = self.out.as_ref().map(|directory| directory.join(&name));
        let path = file.clone().unwrap_or_else(|| PathBuf::from(&name));
        let scenario = Scenario::parse_alone(&path, &text).expect("only valid scenarios are kept");
        let report = run(&scenario, result.seed, self.options())?;
        let says = report.failures.first().or(result.report.failures.first());
        finding.says = says.map_or_else(String::new, |failure| failure.message.clone());
        finding.faults_left = Some(scenario.faults.len() + scenario.perturbations.len());
        let recorded = record::write(&text, &scenario, &report, cause, &self.client, &path);
        let recorded = recorded.unwrap_or(text);
        finding.replay = SeedString::new(&recorded, result.seed, self.client.clone())
            .ok()
            .map(|word| word.to_string());
        if let Some(directory) = &self.out {
            write(directory, &name, &schema::referring(&path, &recorded))?;
            finding.file = file;
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how long the user wants to wait is real time"
    )]
    fn made_small(&self, cause: &Cause, result: &CaseResult) -> String {
        let path = result.scenario.path.clone();
        let end = Instant::now() + self.shrink_for;
        let failing = Failing {
            text: &result.text,
            read: &|text| Scenario::parse_alone(&path, text),
            seed: result.seed,
            cause,
        };
        let budget = Budget {
            runs_max: usize::MAX,
            is_over: &|| Instant::now() >= end,
        };
        let jobs = NonZero::new(self.campaign.jobs).unwrap_or(NonZero::<usize>::MIN);
        let fails = |scenario: &Scenario, seed: Seed| {
            // What cannot be run does not fail in the same way.
            let report = run(scenario, seed, self.options()).ok()?;
            Cause::of(scenario, &report)
        };
        match shrink(failing, budget, jobs, &fails) {
            Ok(shrunk) => shrunk.text,
            Err(_) => result.text.clone(),
        }
    }

    fn options(&self) -> RunOptions {
        let endpoint: Arc<dyn Endpoint> = Arc::clone(&self.campaign.endpoint);
        RunOptions {
            endpoint,
            ..RunOptions::default()
        }
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), HuntError> {
    let path = directory.join(name);
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, text))
        .map_err(|source| HuntError::Unwritable { path, source })
}
