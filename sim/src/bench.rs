//! What calls cost, in time and memory, on the machine that this runs on.
//!
//! Each figure says what it is. How fast a machine is, and what else it does meanwhile, is in all of them but
//! the [ratios](figures::Ratios): what these compare is measured in turn, so that both sides meet the same
//! machine.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use self::figures::{Build, Cost, Crowd, Figures, Memory, Ratios, Throughput};
use self::samples::Sample;
use crate::check::facts::FactCollector;
use crate::endpoint::RingtrueEndpoint;
use crate::fuzz::campaign::{Campaign, CaseKind, Limit, OnFailure, Shard};
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::trace::AppEvent;
use crate::world::run::{RunOptions, SetupError, run};

pub mod figures;

mod memory;
mod samples;
mod turmoil;
mod workload;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Each thing once or twice: what comes of it says little, and that it comes is what tests ask.
    Quick,
    /// Enough that a figure differs little from one time to the next, which takes a minute or two.
    Standard,
    /// The same, with 10,000 calls for the memory.
    Long,
}

/// Why there are no figures.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A scenario has no world.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A call did not come about, so that its cost means nothing.
    #[error("the call {scenario} failed with seed {seed}: {message}")]
    Call {
        /// What was measured.
        scenario: String,
        /// The seed.
        seed: Seed,
        /// What is wrong.
        message: String,
    },
    /// The operating system does not tell how much memory the process has.
    #[error("cannot read {path}: {message}", path = memory::PATH)]
    Memory {
        /// What is wrong.
        message: String,
    },
}

/// How many of each there are.
struct Counts {
    calls: u64,
    long_calls: u64,
    crowds: u64,
    cases: u64,
    memory: u64,
}

impl Scale {
    fn counts(self) -> Counts {
        let standard = Counts {
            calls: 41,
            long_calls: 11,
            crowds: 7,
            cases: 200,
            memory: 500,
        };
        match self {
            Self::Quick => Counts {
                calls: 2,
                long_calls: 1,
                crowds: 1,
                cases: 2,
                memory: 3,
            },
            Self::Standard => standard,
            Self::Long => Counts {
                memory: 10_000,
                ..standard
            },
        }
    }

    /// How many hosts there are in one world. The ratios need the second and the last.
    fn crowds(self) -> &'static [usize] {
        match self {
            Self::Quick => &[2, 8, 16],
            Self::Standard | Self::Long => &[2, 8, 16, 32, 64],
        }
    }
}

/// Measures everything. `ran` is called after each run.
///
/// # Errors
///
/// [`BenchError`] where a call fails, or something cannot be measured.
pub fn measure(scale: Scale, mut ran: impl FnMut()) -> Result<Figures, BenchError> {
    let counts = scale.counts();
    let short = workload::two_homes(workload::SHORT_TALK);
    let long = workload::two_homes(workload::LONG_TALK);
    // First, while nothing else has been in the memory.
    let memory = memory_of(&short, counts.memory, &mut ran)?;

    let (call, turmoil_call) = compared(&short, counts.calls, &mut ran)?;
    let (talk_60s, turmoil_talk_60s) = compared(&long, counts.long_calls, &mut ran)?;
    let idle_hosts = crowds(scale, |_| 1, &mut ran)?;
    let talking_hosts = crowds(scale, |hosts| hosts / 2, &mut ran)?;
    let campaign = throughputs(counts.cases, &mut ran)?;

    Ok(Figures {
        ratios: Ratios {
            turmoil_to_ringtrue_call: turmoil_call.to(&call),
            turmoil_to_ringtrue_talk_60s: turmoil_talk_60s.to(&talk_60s),
            hosts_most_to_8_idle: Crowd::last_to_second(&idle_hosts),
            hosts_most_to_8_talking: Crowd::last_to_second(&talking_hosts),
            jobs_most_to_one: Throughput::last_to_first(&campaign),
        },
        build: Build::CURRENT,
        call,
        talk_60s,
        turmoil_call,
        turmoil_talk_60s,
        idle_hosts,
        talking_hosts,
        campaign,
        memory,
    })
}

/// What a call costs here and on turmoil, measured in turn.
fn compared(
    scenario: &Scenario,
    samples: u64,
    ran: &mut impl FnMut(),
) -> Result<(Cost, Cost), BenchError> {
    let (mut here, mut on_turmoil) = (Vec::new(), Vec::new());
    for seed in (1..=samples).map(Seed::new) {
        here.push(sample(scenario, seed)?);
        on_turmoil.push(turmoil::sample(scenario, seed)?);
        ran();
    }
    Ok((Cost::of(&here), Cost::of(&on_turmoil)))
}

/// How long a run takes, and how long it is in virtual time.
fn sample(scenario: &Scenario, seed: Seed) -> Result<Sample, BenchError> {
    let (report, wall) = timed(|| run(scenario, seed, RunOptions::default()));
    let report = report?;
    if let Some(failure) = report.failures.first() {
        return Err(BenchError::Call {
            scenario: scenario.about.clone(),
            seed,
            message: failure.message.clone(),
        });
    }
    Ok(Sample {
        wall,
        virtual_time: Duration::from_millis(report.virtual_ms),
    })
}

/// The cost of worlds with more and more hosts, each with as many calls as `calls` says. They are measured in
/// turn.
fn crowds(
    scale: Scale,
    calls: impl Fn(usize) -> usize,
    ran: &mut impl FnMut(),
) -> Result<Vec<Crowd>, BenchError> {
    let sizes = scale.crowds();
    let worlds = sizes.iter().map(|&hosts| (hosts, calls(hosts)));
    let worlds: Vec<(usize, usize, Scenario)> = worlds
        .map(|(hosts, calls)| (hosts, calls, workload::crowd(hosts, calls)))
        .collect();
    for (hosts, calls, scenario) in &worlds {
        all_talk(scenario, *hosts, *calls)?;
        ran();
    }
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); worlds.len()];
    for seed in 1..=scale.counts().crowds {
        for ((_, _, scenario), samples) in worlds.iter().zip(&mut samples) {
            samples.push(sample(scenario, Seed::new(seed))?);
            ran();
        }
    }
    let crowds = worlds.iter().zip(&samples);
    Ok(crowds
        .map(|((hosts, calls, _), samples)| Crowd::new(*hosts, *calls, Cost::of(samples)))
        .collect())
}

/// A run is judged by its last call alone, so that of the others it is seen here that they come about.
fn all_talk(scenario: &Scenario, hosts: usize, calls: usize) -> Result<(), BenchError> {
    const SEED: Seed = Seed::new(1);
    let facts = FactCollector::default();
    let options = RunOptions {
        observers: vec![Box::new(facts.clone())],
        ..RunOptions::default()
    };
    run(scenario, SEED, options)?;
    let connected = facts.with(|facts| {
        let connected = |event: &AppEvent| *event == AppEvent::AudioConnected;
        facts
            .app
            .iter()
            .filter(|fact| connected(&fact.event))
            .count()
    });
    if connected == calls * 2 {
        return Ok(());
    }
    Err(BenchError::Call {
        scenario: scenario.about.clone(),
        seed: SEED,
        message: format!(
            "{connected} of {hosts} hosts hear somebody, and {} talk",
            calls * 2
        ),
    })
}

/// How many cases by chance run in a second, with one job, then with twice as many each time, up to one for
/// each core.
fn throughputs(cases: u64, ran: &mut impl FnMut()) -> Result<Vec<Throughput>, BenchError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let doubled = std::iter::successors(Some(1), |jobs| Some(jobs * 2));
    let jobs = doubled.take_while(|jobs| *jobs < cores).chain([cores]);
    let mut throughputs = Vec::new();
    for jobs in jobs {
        let campaign = Campaign {
            seed: Seed::new(1),
            limit: Limit::Cases(cases),
            shard: Shard::ALL,
            jobs,
            on_failure: OnFailure::GoOn,
            kind: CaseKind::Faulty,
            endpoint: Arc::new(RingtrueEndpoint),
        };
        let (ended, wall) = timed(|| campaign.run(|_| ran()));
        ended?;
        throughputs.push(Throughput {
            jobs,
            cases,
            cases_per_s: cases as f64 / wall.as_secs_f64(),
        });
    }
    Ok(throughputs)
}

fn memory_of(
    scenario: &Scenario,
    calls: u64,
    ran: &mut impl FnMut(),
) -> Result<Memory, BenchError> {
    let mut call = |seed| {
        ran();
        sample(scenario, Seed::new(seed)).map(drop)
    };
    // What the process keeps once and for all comes with the first calls.
    let warm_up = (calls / 10).max(1);
    (1..=warm_up).try_for_each(&mut call)?;
    let before = memory::read()?;
    (1..=calls).try_for_each(&mut call)?;
    Ok(Memory::between(calls, before, memory::read()?))
}

/// What `work` gives, and how long it took.
#[expect(
    clippy::disallowed_methods,
    reason = "real time is what is measured here, and it goes into no run"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed())
}
