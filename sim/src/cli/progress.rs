//! A progress bar on standard error, where that is a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over `length` pieces of work, each one a `noun`. Hidden where nobody watches.
pub(super) fn bar(length: u64, noun: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg} ({per_sec}, {eta} left)")
        .expect("the template is valid");
    let bar = ProgressBar::with_draw_target(Some(length), target)
        .with_style(style)
        .with_message(format!("{noun}s"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
