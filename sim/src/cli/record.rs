//! `ringtrue record`: what `meta` runs in each of its two processes.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;

use super::{CliError, EXIT_EXPECTED};
use crate::determinism::{Plug, Plugs};
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::trace::digest::Chain;
use crate::trace::{Event, Observer};
use crate::world::run::{RunOptions, run};

/// Run one scenario and write down every event
#[derive(Debug, Args)]
pub(super) struct Arguments {
    scenario: PathBuf,
    #[arg(long)]
    seed: Seed,
    /// Where to write the events
    #[arg(long)]
    events: PathBuf,
    /// Leave out a protection
    #[arg(long)]
    unplug: Vec<Plug>,
    /// Whether the process first does what should not matter
    #[arg(long, value_enum, default_value = "calm")]
    surroundings: Surroundings,
}

/// What a process does before the run and beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Surroundings {
    /// Nothing.
    Calm,
    /// Made threads, runtimes and tasks, moved the heap: everything that counts in a process has counted, and
    /// the numbers of tasks go on counting.
    Busy,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let scenario = Scenario::load(&arguments.scenario)?;
    if arguments.surroundings == Surroundings::Busy {
        disturb();
    }
    let file = File::create(&arguments.events).map_err(CliError::cannot(format!(
        "write {}",
        arguments.events.display()
    )))?;
    let plugs = arguments
        .unplug
        .iter()
        .fold(Plugs::all(), |plugs, plug| plugs.without(*plug));
    let writer = EventWriter::new(file);
    let options = RunOptions {
        plugs,
        observers: vec![Box::new(writer.clone())],
        ..RunOptions::default()
    };
    match arguments.surroundings {
        Surroundings::Calm => run(&scenario, arguments.seed, options).map(drop)?,
        Surroundings::Busy => beside_tasks(|| run(&scenario, arguments.seed, options).map(drop))?,
    }
    writer.finish().map_err(CliError::cannot(format!(
        "write {}",
        arguments.events.display()
    )))?;
    Ok(EXIT_EXPECTED)
}

/// Moves on every count that a process keeps and no run may depend on.
#[expect(
    clippy::disallowed_methods,
    reason = "it happens before the run, which must not notice"
)]
fn disturb() {
    for count in 1..=3 {
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let memory = vec![0_u8; 4096 * count];
            for _ in 0..count {
                runtime.as_ref().map(|runtime| runtime.spawn(async {})).ok();
            }
            (runtime.is_ok(), memory.len())
        })
        .join();
    }
}

/// Calls `run` while another thread makes tasks, so that those of the run have no numbers in a row.
#[expect(
    clippy::disallowed_methods,
    reason = "it happens beside the run, which must not notice"
)]
fn beside_tasks<T>(run: impl FnOnce() -> T) -> T {
    /// The run makes some thousand tasks in a second.
    const BETWEEN_TASKS: Duration = Duration::from_micros(200);

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
                return;
            };
            while !over.load(Ordering::Relaxed) {
                drop(runtime.spawn(async {}));
                runtime.block_on(tokio::task::yield_now());
                std::thread::sleep(BETWEEN_TASKS);
            }
        });
        let result = run();
        over.store(true, Ordering::Relaxed);
        result
    })
}

/// Writes a line for each event: virtual nanoseconds, host, kind, and the chain after it. Clones
/// write to one file.
#[derive(Clone)]
struct EventWriter(Arc<Mutex<EventFile>>);

struct EventFile {
    file: BufWriter<File>,
    /// The first thing that went wrong.
    outcome: io::Result<()>,
}

impl EventWriter {
    fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(EventFile {
            file: BufWriter::new(file),
            outcome: Ok(()),
        })))
    }

    /// Whether every event was written: a record that ends early would be compared as if the run had.
    fn finish(&self) -> io::Result<()> {
        let mut events = self.lock();
        std::mem::replace(&mut events.outcome, Ok(()))?;
        events.file.flush()
    }

    fn lock(&self) -> MutexGuard<'_, EventFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for EventWriter {
    fn observe(&mut self, _index: u64, event: &Event, chain: &Chain) {
        let mut events = self.lock();
        let written = writeln!(
            events.file,
            "{}\t{}\t{}\t{}",
            event.at.as_nanos(),
            event.host,
            event.kind.name(),
            chain.digest()
        );
        if events.outcome.is_ok() {
            events.outcome = written;
        }
    }
}
