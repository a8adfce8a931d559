//! What a run did that no seed can repeat, by the name of who did it.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;

thread_local! {
    static VIOLATIONS: RefCell<Vec<Violation>> = const { RefCell::new(Vec::new()) };
}

/// Something a run did that makes it unrepeatable, and that fails it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An OS thread was asked for. It was refused with `EAGAIN`.
    OsThread {
        /// The function that asked, as far as the symbols of the binary tell; where it asked
        /// through tokio (`spawn_blocking`, name resolution), tokio's entry function too.
        made_by: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OsThread { made_by } => {
                write!(
                    formatter,
                    "an OS thread was made inside the run by {made_by}"
                )
            }
        }
    }
}

/// What this thread has done against the rules since the last call, oldest first.
///
/// It stays readable after the [`Capture`](super::Capture) is gone.
#[must_use]
pub fn take_violations() -> Vec<Violation> {
    VIOLATIONS.take()
}

/// Makes the store of this thread ready, so that a hook never has to.
pub(super) fn prepare() {
    VIOLATIONS.with_borrow_mut(Vec::clear);
}

/// Records that the calling function asked for an OS thread.
///
/// Taking a backtrace reads files and allocates: the caller has seen to it that the thread is not
/// captured meanwhile.
pub(super) fn record_os_thread() {
    let made_by = maker(&Backtrace::force_capture().to_string());
    // A thread asked for while thread-locals are being destroyed has no run left to fail.
    let _ = VIOLATIONS.try_with(|violations| {
        if let Ok(mut violations) = violations.try_borrow_mut() {
            violations.push(Violation::OsThread { made_by });
        }
    });
}

/// The most useful function name in a printed backtrace: the innermost one that belongs neither to
/// the standard library nor to the hooks, nor, if there is another, to tokio.
fn maker(backtrace: &str) -> String {
    let mut functions = backtrace
        .lines()
        .filter_map(frame_function)
        .filter(|function| !is_plumbing(function));
    let Some(entry) = functions.next() else {
        return "a function without symbols".to_owned();
    };
    if !is_of_crate(&entry, "tokio") {
        return entry;
    }
    // The innermost tokio frame is its thread pool: the one nearest to the caller says more.
    let mut entry = entry;
    for function in functions {
        if is_of_crate(&function, "tokio") {
            entry = function;
        } else {
            return format!("{function} through {entry}");
        }
    }
    entry
}

/// The function of a line such as `  12: tokio::task::spawn::h0123456789abcdef`, without what the
/// compiler added to its name. Lines that give a file are none.
fn frame_function(line: &str) -> Option<String> {
    let (number, name) = line.trim_start().split_once(": ")?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let name = match name.rsplit_once("::") {
        Some((path, hash)) if is_symbol_hash(hash) => path,
        _ => name,
    };
    // Closures and async bodies: `{{closure}}` or `{closure#0}`, by the manner of mangling.
    let mut name = name;
    while let Some((outer, last)) = name.rsplit_once("::")
        && (last == "{{closure}}" || last.starts_with("{closure#"))
    {
        name = outer;
    }
    Some(name.to_owned())
}

fn is_symbol_hash(text: &str) -> bool {
    text.len() == 17
        && text.starts_with('h')
        && text.bytes().skip(1).all(|byte| byte.is_ascii_hexdigit())
}

fn is_plumbing(function: &str) -> bool {
    ["std", "core", "alloc"].into_iter().any(|library| is_of_crate(function, library))
        || function.contains("ringtrue_sim::determinism::")
        // Exported symbols carry no path: the hooks themselves, and the C start-up code.
        || !function.contains("::")
}

/// Whether the function's path, or the type it is implemented for, begins in `library`. The
/// compiler may write a disambiguator after the crate's name: `std[0123456789abcdef]::`.
fn is_of_crate(function: &str, library: &str) -> bool {
    function
        .trim_start_matches(['<', '&'])
        .strip_prefix(library)
        .is_some_and(|rest| rest.starts_with("::") || rest.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "   \
   0: std::backtrace_rs::backtrace::libunwind::trace
             at /rustc/library/std/src/../../backtrace/src/backtrace/libunwind.rs:117:9
   1: std::backtrace::Backtrace::create
   2: ringtrue_sim::determinism::violation::record_os_thread
   3: pthread_create
   4: std::sys::thread::unix::Thread::new
   5: std::thread::spawn
   6: some_library::resolver::start::{closure#0}::{{closure}}::h0123456789abcdef
   7: it::run
";

    #[test]
    fn the_innermost_function_outside_the_standard_library_made_the_thread() {
        assert_eq!(maker(PLAIN), "some_library::resolver::start");
    }

    #[test]
    fn a_thread_of_tokios_pool_is_named_by_its_caller_and_its_way() {
        let trace = "  4: std::thread::Builder::spawn
   5: tokio::runtime::blocking::pool::Spawner::spawn_thread
   6: tokio::task::blocking::spawn_blocking
   7: <app::Store as app::Load>::load
   8: tokio::runtime::task::core::Core<T,S>::poll";
        let expected =
            "<app::Store as app::Load>::load through tokio::task::blocking::spawn_blocking";
        assert_eq!(maker(trace), expected);
    }

    #[test]
    fn a_backtrace_without_symbols_still_gives_a_violation() {
        assert_eq!(
            maker("   0: <unknown>\n   1: <unknown>"),
            "a function without symbols"
        );
    }
}
