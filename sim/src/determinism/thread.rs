//! One OS thread a run, and what became of the run on it.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::thread;

use super::violation::{Violation, take_violations};

/// Room for the deep futures of unoptimised builds; pages that are not touched cost nothing.
const STACK_BYTES: usize = 8 * 1024 * 1024;

thread_local! {
    /// `None` on threads that are no run's.
    static PANICS: RefCell<Option<Vec<RunPanic>>> = const { RefCell::new(None) };
}

/// Why a run gave no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The operating system gave no thread for it.
    #[error("run `{name}` could not be started on a thread of its own")]
    NotStarted {
        /// The name of the run.
        name: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// It panicked, or did what no seed can repeat.
    #[error("run `{name}` failed: {}", first_cause(.violations, .panics))]
    Failed {
        /// The name of the run.
        name: String,
        /// What it did against the rules, oldest first. Where there is one, the panics usually
        /// follow from it.
        violations: Vec<Violation>,
        /// Its panics, oldest first. The first is the cause: a runtime that shuts down because of
        /// it panics again.
        panics: Vec<RunPanic>,
    },
}

/// A panic on the thread of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPanic {
    /// What the panic says.
    pub message: String,
    /// Where it was raised, as `file:line:column`.
    pub location: String,
}

impl fmt::Display for RunPanic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "panicked at {}: {}", self.location, self.message)
    }
}

/// Calls `run` on a fresh OS thread called `name` and waits for its result.
///
/// A fresh thread starts with fresh thread-locals: hash keys, generators of libraries, tokio's
/// context. Panics of the thread are kept for the error and not printed; those of other threads go
/// to the panic hook that was set before the first call.
///
/// # Errors
///
/// [`RunError::NotStarted`] without a thread; [`RunError::Failed`] if the thread panicked anywhere,
/// also where a task's panic was swallowed by its runtime, or if it left a [`Violation`]. Whoever
/// expects one takes it off the list within `run`, by [`take_panics`] or [`take_violations`].
pub fn run_on_own_thread<T: Send>(
    name: &str,
    run: impl FnOnce() -> T + Send,
) -> Result<T, RunError> {
    keep_panics_of_runs();
    let body = || {
        PANICS.set(Some(Vec::new()));
        let result = panic::catch_unwind(AssertUnwindSafe(run));
        (result.ok(), take_violations(), take_panics())
    };
    let builder = thread::Builder::new()
        .name(name.replace('\0', " "))
        .stack_size(STACK_BYTES);
    let ended = thread::scope(|scope| {
        let handle = builder.spawn_scoped(scope, body)?;
        Ok(handle
            .join()
            .unwrap_or_else(|_| (None, Vec::new(), Vec::new())))
    });
    match ended {
        Ok((Some(result), violations, panics)) if violations.is_empty() && panics.is_empty() => {
            Ok(result)
        }
        Ok((_, violations, panics)) => Err(RunError::Failed {
            name: name.to_owned(),
            violations,
            panics,
        }),
        Err(source) => Err(RunError::NotStarted {
            name: name.to_owned(),
            source,
        }),
    }
}

/// The panics of this run since the last call, oldest first; none on a thread that is no run's.
#[must_use]
pub fn take_panics() -> Vec<RunPanic> {
    PANICS.with_borrow_mut(|panics| panics.as_mut().map(mem::take).unwrap_or_default())
}

/// Whether this run has panicked: it has failed then, and what it does from here on is worth
/// nothing.
#[must_use]
pub fn has_panicked() -> bool {
    PANICS.with_borrow(|panics| panics.as_ref().is_some_and(|panics| !panics.is_empty()))
}

/// Puts a panic hook of ours before the one that is set, once a process.
fn keep_panics_of_runs() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !keep(info) {
                previous(info);
            }
        }));
    });
}

/// Keeps a panic of a run's thread. `false` on other threads.
fn keep(info: &PanicHookInfo<'_>) -> bool {
    PANICS
        .try_with(|panics| {
            let Ok(mut panics) = panics.try_borrow_mut() else {
                return false;
            };
            let Some(panics) = panics.as_mut() else {
                return false;
            };
            let message = info
                .payload_as_str()
                .unwrap_or("a value that is not text")
                .to_owned();
            let location = info
                .location()
                .map_or_else(|| "unknown".to_owned(), ToString::to_string);
            panics.push(RunPanic { message, location });
            true
        })
        .unwrap_or(false)
}

fn first_cause(violations: &[Violation], panics: &[RunPanic]) -> String {
    match (violations, panics) {
        ([violation, ..], _) => violation.to_string(),
        ([], [panic, ..]) => panic.to_string(),
        ([], []) => "its thread ended without a result".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_keeps_its_message_and_its_place() {
        let error = run_on_own_thread("falls", || panic!("no path to {}", "b"));
        let RunError::Failed { panics, .. } = error.expect_err("it panics") else {
            panic!("the thread was started");
        };
        assert_eq!(panics.len(), 1);
        assert_eq!(panics[0].message, "no path to b");
        assert!(
            panics[0]
                .location
                .starts_with("sim/src/determinism/thread.rs:"),
            "{panics:?}"
        );
    }

    #[test]
    fn a_panic_that_was_swallowed_still_fails_the_run() {
        let run = || {
            let _ = panic::catch_unwind(|| panic!("swallowed"));
        };
        let error = run_on_own_thread("swallows", run).expect_err("it panicked");
        assert!(error.to_string().contains("swallowed"), "{error}");
    }

    #[test]
    fn an_expected_panic_can_be_taken_off_the_list() {
        let run = || {
            let _ = panic::catch_unwind(|| panic!("expected"));
            take_panics().len()
        };
        assert_eq!(run_on_own_thread("expects", run).expect("taken"), 1);
    }
}
