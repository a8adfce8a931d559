//! The least scenario that still fails for the same cause.
//!
//! A failing scenario is made smaller edit by edit: parts are taken out, what stays is made simpler. An
//! edit is kept where the scenario is still valid and still fails for the cause that is held on to; what
//! is expected of the call is never touched. The edits come in passes, from those that take out the
//! most to those that only make numbers rounder, and all passes are repeated until none of them helps.
//!
//! What comes out depends on the scenario, the seed, the cause and the number of runs that are allowed,
//! and not on the number of threads: of the edits that could be kept the first one in order always is.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZero;
use std::thread;

use thiserror::Error;
use toml::Table;

use super::canonical::{self, Spacing};
use super::cause::Cause;
use crate::scenario::{InvalidScenario, Scenario};
use crate::seed::Seed;

mod entries;
mod names;
mod path;
mod settings;
mod times;

/// A scenario that fails.
#[derive(Clone, Copy)]
pub struct Failing<'a> {
    /// The scenario's text.
    pub text: &'a str,
    /// Reads a text as that one is to be read: [`Scenario::parse`] with the path of its file, or
    /// [`Scenario::parse_alone`].
    pub read: &'a (dyn Fn(&str) -> Result<Scenario, InvalidScenario> + Sync),
    /// The seed with which it fails. It stays as it is.
    pub seed: Seed,
    /// The cause to hold on to.
    pub cause: &'a Cause,
}

impl fmt::Debug for Failing<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Failing")
            .field("text", &self.text)
            .field("seed", &self.seed)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

/// How long to go on. What is there by then is the result.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// The most runs, the first one included, which shows that the scenario fails at all.
    pub runs_max: usize,
    /// Asked before each run, or each few that go at once: whether the time is over. Where that
    /// depends on the clock, so does what comes out.
    pub is_over: &'a dyn Fn() -> bool,
}

impl fmt::Debug for Budget<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Budget")
            .field("runs_max", &self.runs_max)
            .finish_non_exhaustive()
    }
}

/// What is left of a failing scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The scenario, without comments and without `[fails]`.
    pub text: String,
    /// How many runs it took, without those that went beside one that was kept.
    pub runs: usize,
    /// What was done to it, in order, each in a few words.
    pub edits: Vec<String>,
    /// Why it was left at that.
    pub ended: Ended,
}

/// Why a scenario was not made smaller still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// No edit that is known makes it smaller.
    Least,
    /// The budget is used up.
    BudgetUsed,
}

/// Why a scenario cannot be made smaller at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShrinkError {
    /// The text is no TOML.
    #[error("the scenario is no TOML: {0}")]
    NotToml(#[from] toml::de::Error),
    /// It is no scenario.
    #[error("the scenario is not valid")]
    Invalid(#[from] InvalidScenario),
    /// It does not fail, or not for the cause to hold on to.
    #[error("with seed {seed} the scenario does not fail for the cause {expected:?}: {}", found.as_ref().map_or_else(|| "it passes".to_owned(), ToString::to_string))]
    FailsNot {
        /// The seed.
        seed: Seed,
        /// The cause to hold on to.
        expected: String,
        /// Why it fails; `None` where it passes.
        found: Option<Cause>,
    },
}

/// Makes a scenario as small as it can be while it fails for its cause, on up to `jobs` threads.
///
/// `run` says why a scenario fails with a seed, and `None` where it passes.
///
/// # Errors
///
/// [`ShrinkError`] where there is nothing to begin with.
pub fn shrink(
    failing: Failing<'_>,
    budget: Budget<'_>,
    jobs: NonZero<usize>,
    run: &(dyn Fn(&Scenario, Seed) -> Option<Cause> + Sync),
) -> Result<Shrunk, ShrinkError> {
    let mut table: Table = failing.text.parse()?;
    // Whoever writes the result down writes anew which failure it holds on to.
    table.remove("fails");
    let scenario = (failing.read)(&canonical::write(&table, Spacing::Tight))?;
    let found = run(&scenario, failing.seed);
    if found.as_ref() != Some(failing.cause) {
        return Err(ShrinkError::FailsNot {
            seed: failing.seed,
            expected: failing.cause.to_string(),
            found,
        });
    }
    let mut search = Search {
        failing,
        budget,
        jobs,
        run,
        refused: BTreeSet::new(),
        runs: 1,
        is_over: false,
    };
    let edits = search.exhaust(&mut table);
    Ok(Shrunk {
        text: canonical::write(&table, Spacing::Tight),
        runs: search.runs,
        edits,
        ended: if search.is_over {
            Ended::BudgetUsed
        } else {
            Ended::Least
        },
    })
}

/// What could be done to a scenario.
struct Edit {
    /// What it does, in a few words.
    what: String,
    /// The scenario after it.
    table: Table,
}

impl Edit {
    /// `change` of `table`, where it changes anything.
    fn of(table: &Table, what: String, change: impl FnOnce(&mut Table)) -> Option<Self> {
        let mut changed = table.clone();
        change(&mut changed);
        (changed != *table).then_some(Self {
            what,
            table: changed,
        })
    }
}

/// The edits of one kind that a scenario offers, the boldest first. Each makes it smaller or simpler by
/// a measure of its own that no other pass undoes, so that the search ends.
type Pass = fn(&Table) -> Vec<Edit>;

const PASSES: [Pass; 10] = [
    entries::all,
    entries::halves,
    entries::quarters,
    entries::singles,
    names::without_one,
    names::with_two_as_one,
    settings::without_one,
    settings::with_simpler_nat,
    settings::with_smaller_count,
    times::shorter,
];

struct Search<'a> {
    failing: Failing<'a>,
    budget: Budget<'a>,
    jobs: NonZero<usize>,
    run: &'a (dyn Fn(&Scenario, Seed) -> Option<Cause> + Sync),
    /// Texts that are no scenario, or that do not fail for the cause.
    refused: BTreeSet<String>,
    runs: usize,
    is_over: bool,
}

/// A scenario that is not known yet.
struct Candidate {
    index: usize,
    text: String,
    scenario: Scenario,
}

impl Search<'_> {
    /// Applies all passes until none helps or the budget is used up. Gives what was done.
    fn exhaust(&mut self, table: &mut Table) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let before = done.len();
            for pass in PASSES {
                self.apply(pass, table, &mut done);
            }
            if done.len() == before || self.is_over {
                return done;
            }
        }
    }

    /// Keeps edits of one pass until none of those that it offers can be kept.
    fn apply(&mut self, pass: Pass, table: &mut Table, done: &mut Vec<String>) {
        let mut start = 0;
        loop {
            let mut edits = pass(table);
            // What comes before was refused a moment ago, so it is tried last.
            let start_here = start.min(edits.len());
            let order = (start_here..edits.len()).chain(0..start_here);
            let Some(index) = self.first_to_keep(&edits, order) else {
                return;
            };
            let edit = edits.swap_remove(index);
            *table = edit.table;
            done.push(edit.what);
            start = index;
        }
    }

    /// The first of the edits, in this order, after which the scenario still fails for the cause.
    fn first_to_keep(
        &mut self,
        edits: &[Edit],
        order: impl Iterator<Item = usize>,
    ) -> Option<usize> {
        let mut waiting: Vec<Candidate> = Vec::new();
        for index in order {
            let text = canonical::write(&edits[index].table, Spacing::Tight);
            let is_known =
                self.refused.contains(&text) || waiting.iter().any(|other| other.text == text);
            if is_known {
                continue;
            }
            let Ok(scenario) = (self.failing.read)(&text) else {
                self.refused.insert(text);
                continue;
            };
            waiting.push(Candidate {
                index,
                text,
                scenario,
            });
            if waiting.len() == self.jobs.get() {
                match self.first_that_fails(&mut waiting) {
                    None if self.is_over => return None,
                    None => {}
                    index => return index,
                }
            }
        }
        self.first_that_fails(&mut waiting)
    }

    /// Runs the candidates at once and gives the first one that fails for the cause. Those after it
    /// do not count, since one thread would not have run them.
    fn first_that_fails(&mut self, candidates: &mut Vec<Candidate>) -> Option<usize> {
        let left = self.budget.runs_max.saturating_sub(self.runs);
        if candidates.is_empty() {
            return None;
        }
        if self.is_over || left == 0 || (self.budget.is_over)() {
            self.is_over = true;
            return None;
        }
        candidates.truncate(left);
        let fails = self.run_at_once(candidates);
        for (candidate, fails) in candidates.drain(..).zip(fails) {
            self.runs += 1;
            if fails {
                return Some(candidate.index);
            }
            self.refused.insert(candidate.text);
        }
        None
    }

    fn run_at_once(&self, candidates: &[Candidate]) -> Vec<bool> {
        let (run, seed, cause) = (self.run, self.failing.seed, self.failing.cause);
        let fails = |candidate: &Candidate| run(&candidate.scenario, seed).as_ref() == Some(cause);
        let Some((first, others)) = candidates.split_first() else {
            return Vec::new();
        };
        thread::scope(|scope| {
            let others: Vec<_> = others
                .iter()
                .map(|candidate| scope.spawn(move || fails(candidate)))
                .collect();
            let first = fails(first);
            let others = others.into_iter().map(|thread| {
                let result = thread.join();
                result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            std::iter::once(first).chain(others).collect()
        })
    }
}

#[cfg(test)]
mod tests;
