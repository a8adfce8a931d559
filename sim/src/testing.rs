//! For the tests of other people's calling apps: scenarios from files or [built](Builder) in place, run with
//! one seed or many, and failures that say how to see them again.
//!
//! ```
//! use ringtrue_sim::net::nat::NatPreset;
//! use ringtrue_sim::scenario::model::CallPath;
//! use ringtrue_sim::testing::{Builder, for_each_seed};
//!
//! let scenario = Builder::new("A home calls an office.")
//!     .network("home", NatPreset::Home)
//!     .network("office", NatPreset::Corporate)
//!     .peer("alice", "home")
//!     .peer("bob", "office")
//!     .build();
//! for_each_seed(0..4, |seed| {
//!     let report = scenario.run(seed);
//!     report.assert_passed();
//!     report.assert_path(CallPath::Relayed);
//! });
//! ```
//!
//! Where an assertion fails, its message has the seed and the command that repeats the run. These variables
//! of the environment change what is run, without a change to the test:
//!
//! | variable | what it does |
//! |---|---|
//! | `RINGTRUE_SEED` | runs that seed alone; of a campaign, it is the campaign's |
//! | `RINGTRUE_CASES` | runs so many seeds, or cases of a campaign |
//! | `RINGTRUE_JOBS` | runs so many at the same time; all cores by default |
//! | `RINGTRUE_OUT` | where the [bundles](crate::report::bundle) of failed runs go: `ringtrue` in the directory for temporary files by default |
//!
//! A client other than the one that ships is brought in by an [`Endpoint`](crate::endpoint::Endpoint), with
//! [`Builder::endpoint`] or [`Scenario::run_with`]. [`no_case_fails`] lets scenarios by chance look for what
//! nobody has thought of.

use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, thread};

mod builder;
mod kept;

pub use self::builder::Builder;
use crate::endpoint::{Endpoint, RingtrueEndpoint};
use crate::fuzz::campaign::{Campaign, CaseKind, Limit, OnFailure, Shard};
use crate::fuzz::hunt::{Hunt, Progress};
use crate::fuzz::summary::Summary;
use crate::report::text::{self, Colour};
use crate::report::{Failure, FailureCause, Outcome, Report};
use crate::scenario::Scenario;
use crate::scenario::model::{CallPath, ClientName};
use crate::scenario::value::format_duration;
use crate::seed::Seed;
use crate::world::run::{RunOptions, run};

/// How long the first case of each cause is made smaller in a test.
const SHRINK_FOR: Duration = Duration::from_secs(20);

/// Running a scenario in a test.
impl Scenario {
    /// Runs it with this seed, with the client that ships.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use ringtrue_sim::scenario::Scenario;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/nat/cone-cone.toml");
    /// let scenario = Scenario::load(&file)?;
    /// scenario.run(7).assert_passed();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Where the scenario has no world, as [`run`] says.
    #[must_use]
    #[track_caller]
    pub fn run(&self, seed: impl Into<Seed>) -> Report {
        self.run_with(&(Arc::new(RingtrueEndpoint) as Arc<dyn Endpoint>), seed)
    }

    /// Runs it with this seed, with another client.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    #[must_use]
    #[track_caller]
    pub fn run_with(&self, endpoint: &Arc<dyn Endpoint>, seed: impl Into<Seed>) -> Report {
        let seed = seed.into();
        let options = |observers| RunOptions {
            endpoint: Arc::clone(endpoint),
            observers,
            ..RunOptions::default()
        };
        match run(self, seed, options(Vec::new())) {
            Ok(report) if report.passed => report,
            // Few runs fail, so that the events are kept where one did and is run again.
            Ok(report) => kept::with_bundle(report, self, seed, options),
            Err(error) => panic!("{} cannot be run: {error}", self.name),
        }
    }
}

/// What a test can ask of a report.
impl Report {
    /// Everything came as the scenario expects.
    ///
    /// # Panics
    ///
    /// Otherwise, with what was expected, what happened, the events that led there, the seed and the command
    /// that repeats the run.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.passed, "{}", text::failure(self, Colour::Off));
    }

    /// The audio took this path.
    ///
    /// # Panics
    ///
    /// Where it took the other one, or there was none, with what [`assert_passed`](Self::assert_passed) says.
    #[track_caller]
    pub fn assert_path(&self, expected: CallPath) {
        let path = CallPath::of(&self.selected);
        if self.outcome != Outcome::AudioConnected {
            let message = format!("expected {expected} audio, and there is none");
            self.fail(FailureCause::WrongOutcome, message);
        } else if path != expected {
            let message = format!("expected {expected} audio, and it is {path}");
            self.fail(FailureCause::WrongPath, message);
        }
    }

    /// Audio was there both ways so soon after the answer.
    ///
    /// # Panics
    ///
    /// Where it came later, or never, with what [`assert_passed`](Self::assert_passed) says.
    #[track_caller]
    pub fn assert_audio_within(&self, limit: Duration) {
        let within = format_duration(limit);
        match self.time_to_audio() {
            Some(took) if took <= limit => {}
            Some(took) => {
                let took = format_duration(took);
                let message = format!(
                    "expected audio within {within} of the answer, and it came after {took}"
                );
                self.fail(FailureCause::TooLate, message);
            }
            None => {
                let message =
                    format!("expected audio within {within} of the answer, and there is none");
                self.fail(FailureCause::WrongOutcome, message);
            }
        }
    }

    /// Fails the test by what it expects of the run beside the scenario.
    #[track_caller]
    fn fail(&self, cause: FailureCause, message: String) -> ! {
        let mut failed = self.clone();
        failed.passed = false;
        failed.failures.insert(0, Failure::new(cause, message));
        panic!("{}", text::failure(&failed, Colour::Off));
    }
}

/// Runs `test` with every seed of `seeds`, on all cores.
///
/// # Panics
///
/// Where `test` does, with the message of the least seed that failed and how to run that one alone.
#[track_caller]
pub fn for_each_seed(seeds: Range<u64>, test: impl Fn(Seed) + Sync) {
    let seeds = match (number("RINGTRUE_SEED"), number("RINGTRUE_CASES")) {
        (Some(seed), _) => seed..seed.saturating_add(1),
        (None, Some(cases)) => seeds.start..seeds.start.saturating_add(cases),
        (None, None) => seeds,
    };
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..jobs() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(Seed::new(seed))))
                    else {
                        continue;
                    };
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|(known, _)| seed < *known) {
                        *failed = Some((seed, message(panic.as_ref())));
                    }
                    // Lesser seeds are all begun; the greater ones are of no interest any more.
                    next.store(seeds.end, Ordering::Relaxed);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some((seed, message)) = failed {
        panic!("{message}\nwith seed {seed}; to run it alone: RINGTRUE_SEED={seed} cargo test");
    }
}

/// Lets so many scenarios by chance be run with the client that ships, as `ringtrue fuzz` does. Gives what
/// came of it.
///
/// # Panics
///
/// Where one fails, with each cause, made small, and the string that repeats it.
#[track_caller]
#[expect(
    clippy::must_use_candidate,
    reason = "most tests ask for nothing more than that it returns"
)]
pub fn no_case_fails(cases: u64) -> Summary {
    no_case_fails_with(ClientName::production(), Arc::new(RingtrueEndpoint), cases)
}

/// The same with another client, under the name that it shall have in reports.
///
/// # Panics
///
/// As [`no_case_fails`].
#[track_caller]
pub fn no_case_fails_with(client: ClientName, endpoint: Arc<dyn Endpoint>, cases: u64) -> Summary {
    let hunt = Hunt {
        campaign: Campaign {
            seed: Seed::new(number("RINGTRUE_SEED").unwrap_or(1)),
            limit: Limit::Cases(number("RINGTRUE_CASES").unwrap_or(cases)),
            shard: Shard::ALL,
            jobs: jobs(),
            on_failure: OnFailure::GoOn,
            kind: CaseKind::Faulty,
            endpoint,
        },
        client,
        out: None,
        shrink_for: SHRINK_FOR,
    };
    let mut found = Vec::new();
    let summary = hunt.run(|progress| {
        if let Progress::Found {
            cause,
            finding,
            report,
        } = progress
        {
            let again = finding
                .replay
                .as_deref()
                .unwrap_or("nothing, since it is too long");
            found.push(format!(
                "{} of {cause}\n{}\n  made small: ringtrue replay {again}",
                text::count(usize::try_from(finding.cases).unwrap_or(usize::MAX), "case"),
                text::failure(report, Colour::Off),
            ));
        }
    });
    let summary = summary.unwrap_or_else(|error| panic!("the campaign stopped: {error}"));
    assert!(
        found.is_empty(),
        "{} of {} cases failed\n{}",
        summary.failed,
        summary.cases,
        found.join("\n")
    );
    summary
}

/// How many runs go at the same time.
#[must_use]
pub fn jobs() -> usize {
    let all_cores = || thread::available_parallelism().map_or(1, NonZero::get);
    number("RINGTRUE_JOBS").map_or_else(all_cores, |jobs| {
        usize::try_from(jobs.max(1)).unwrap_or(usize::MAX)
    })
}

/// A number that the environment has.
///
/// # Panics
///
/// Where the variable holds something else: a setting that is ignored would be worse.
#[track_caller]
fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!(
            "{variable} is {text:?}, and has to be a number from 0 to {}: {error}",
            u64::MAX
        ),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the test panicked").to_owned()
}

#[cfg(test)]
mod tests;
