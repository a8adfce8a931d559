//! A campaign: cases from one seed, on as many cores as there are.
//!
//! Case *n* of a campaign follows from the campaign's seed and *n* alone, and what is told of it is told
//! in the order of the cases. So the same seed gives the same campaign, whatever the number of jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand_chacha::rand_core::Rng as _;

use super::case::Case;
use super::coverage::{CaseCoverage, CoverageWatch};
use super::strategy;
use crate::check::facts::FactCollector;
use crate::endpoint::Endpoint;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::trace::Observer;
use crate::world::run::{RunOptions, SetupError, run};

/// What a campaign runs.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The seed from which all cases follow.
    pub seed: Seed,
    /// When it is over.
    pub limit: Limit,
    /// Which of the cases are this one's.
    pub shard: Shard,
    /// How many cases run at the same time.
    pub jobs: usize,
    /// What comes after a case that fails.
    pub on_failure: OnFailure,
    /// What the cases are made by.
    pub kind: CaseKind,
    /// Who calls in them.
    pub endpoint: Arc<dyn Endpoint>,
}

/// When a campaign is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// After so many cases, those of all shards together.
    Cases(u64),
    /// After so much time of the clock on the wall.
    For(Duration),
}

/// A part of a campaign that is spread over several machines: every *count*-th case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part this is, counted from 1.
    pub index: u64,
    /// How many parts there are.
    pub count: u64,
}

/// What comes after a case that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing: the campaign is over.
    Stop,
    /// The next case.
    GoOn,
}

/// What cases are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseKind {
    /// [`strategy::scenarios`].
    Faulty,
    /// [`strategy::fault_free`].
    FaultFree,
}

/// What came of one case.
#[derive(Debug)]
pub struct CaseResult {
    /// Which case it was, counted from 0.
    pub number: u64,
    /// The seed of its run.
    pub seed: Seed,
    /// Its file.
    pub text: String,
    /// The same, read.
    pub scenario: Scenario,
    /// What came of its run.
    pub report: Report,
    /// What it covered.
    pub coverage: CaseCoverage,
}

impl Shard {
    /// The whole campaign.
    pub const ALL: Self = Self { index: 1, count: 1 };

    /// The number of its *n*-th case, counted from 0.
    const fn number(self, n: u64) -> u64 {
        n * self.count + self.index - 1
    }
}

impl Campaign {
    /// Case `number` and the seed of its run.
    #[must_use]
    pub fn case(&self, number: u64) -> (Case, Seed) {
        let key = self.seed.stream_key(&format!("case {number}"));
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
        let mut runner = TestRunner::new_with_rng(Config::default(), random);
        let case = match self.kind {
            CaseKind::Faulty => draw(&strategy::scenarios(), &mut runner),
            CaseKind::FaultFree => draw(&strategy::fault_free(), &mut runner),
        };
        // Short, so that it is easily told.
        let seed = self.seed.stream(&format!("run {number}")).next_u32();
        (case, Seed::new(u64::from(seed)))
    }

    /// Runs it, and hands over what came of each case in the order of the cases.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where a case has no world.
    pub fn run(&self, mut done: impl FnMut(CaseResult)) -> Result<(), SetupError> {
        self.drive(|_| Vec::new(), |result, _| done(result))
    }

    /// The same, with everything that the checkers remember of each case.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_watched(
        &self,
        done: impl FnMut(CaseResult, &FactCollector),
    ) -> Result<(), SetupError> {
        self.drive(|facts| vec![Box::new(facts.clone())], done)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a campaign may last so long on the clock on the wall; its cases know nothing of it"
    )]
    fn drive(
        &self,
        watch: fn(&FactCollector) -> Vec<Box<dyn Observer>>,
        mut done: impl FnMut(CaseResult, &FactCollector),
    ) -> Result<(), SetupError> {
        let started = Instant::now();
        let next = AtomicU64::new(0);
        let stopped = AtomicBool::new(false);
        let (results, finished) = mpsc::sync_channel(self.jobs * 4);
        let is_due = |number: u64| match self.limit {
            Limit::Cases(cases) => number < cases,
            Limit::For(time) => started.elapsed() < time,
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (results, next, stopped) = (results.clone(), &next, &stopped);
                scope.spawn(move || {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let number = self.shard.number(n);
                        if stopped.load(Ordering::Relaxed) || !is_due(number) {
                            return;
                        }
                        // A receiver that is gone wants no more.
                        if results.send((n, self.run_case(number, watch))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            let mut early = BTreeMap::new();
            let mut told = 0;
            for (n, result) in finished {
                early.insert(n, result?);
                while let Some((result, facts)) = early.remove(&told) {
                    told += 1;
                    let failed = !result.report.passed;
                    done(result, &facts);
                    if failed && self.on_failure == OnFailure::Stop {
                        stopped.store(true, Ordering::Relaxed);
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    fn run_case(
        &self,
        number: u64,
        watch: fn(&FactCollector) -> Vec<Box<dyn Observer>>,
    ) -> Result<(CaseResult, FactCollector), SetupError> {
        let (case, seed) = self.case(number);
        let text = case.to_toml();
        let path = PathBuf::from(format!("case-{number}.toml"));
        let scenario = Scenario::parse_alone(&path, &text)
            .unwrap_or_else(|invalid| panic!("case {number} is no scenario: {invalid}\n{text}"));
        let coverage = CoverageWatch::new(&scenario);
        let facts = FactCollector::default();
        let mut observers = watch(&facts);
        observers.push(Box::new(coverage.clone()));
        let options = RunOptions {
            observers,
            endpoint: Arc::clone(&self.endpoint),
            ..RunOptions::default()
        };
        let report = run(&scenario, seed, options)?;
        let result = CaseResult {
            number,
            seed,
            text,
            scenario,
            report,
            coverage: coverage.seen(),
        };
        Ok((result, facts))
    }
}

fn draw<T>(strategy: &impl Strategy<Value = T>, runner: &mut TestRunner) -> T {
    let tree = strategy.new_tree(runner);
    tree.expect("the strategies of scenarios reject nothing often")
        .current()
}
