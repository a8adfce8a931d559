//! A progress bar on standard error, where that is a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over `length` pieces of work, each one a `noun`. Hidden where nobody watches.
pub(super) fn bar(length: u64, noun: &str) -> ProgressBar {
    let template = "{bar:32} {pos}/{len} {msg} ({per_sec}, {eta} left)";
    drawn(Some(length), template, noun)
}

/// A count of pieces of work, each one a `noun`, of which nobody knows how many there are. Hidden where
/// nobody watches.
pub(super) fn counter(noun: &str) -> ProgressBar {
    drawn(None, "{spinner} {pos} {msg} ({per_sec})", noun)
}

fn drawn(length: Option<u64>, template: &str, noun: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    let bar = ProgressBar::with_draw_target(length, target)
        .with_style(style)
        .with_message(format!("{noun}s"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
