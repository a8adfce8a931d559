//! Carries the client's and the servers' log lines into the trace.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event as Line, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::Recorder;
use super::event::{EventKind, HostName};

/// A `tracing` layer that records every line of our own crates at `DEBUG` and above.
///
/// What is recorded depends on nothing outside the run: not on `RUST_LOG`, not on `-v`.
pub struct TraceLayer<H> {
    recorder: Recorder,
    here: H,
}

/// Wants what every [`TraceLayer`] wants, and records nothing.
struct Interest;

impl<H> TraceLayer<H>
where
    H: Fn() -> Option<(Duration, HostName)> + 'static,
{
    /// Records into `recorder`; `here` says the virtual time and the host that is running, or `None` for
    /// lines that nobody writes.
    pub fn new(recorder: Recorder, here: H) -> Self {
        keep_interest();
        Self { recorder, here }
    }
}

/// Keeps a subscriber for as long as the process lives that is nobody's.
///
/// Of each line `tracing` remembers for the whole process whether anybody wants it. While there is one
/// subscriber only, it asks that of the thread that comes to the line first, so that a thread without
/// subscriber could switch the line off for a run on another thread. With this one there are always two.
fn keep_interest() {
    static KEPT: OnceLock<Dispatch> = OnceLock::new();
    KEPT.get_or_init(|| Dispatch::new(tracing_subscriber::registry().with(Interest)));
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && *metadata.level() <= Level::DEBUG
        && metadata.target().starts_with("ringtrue")
}

impl<S: Subscriber> Layer<S> for Interest {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_wanted(metadata)
    }
}

impl<H> std::fmt::Debug for TraceLayer<H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TraceLayer").finish_non_exhaustive()
    }
}

impl<S, H> Layer<S> for TraceLayer<H>
where
    S: Subscriber,
    H: Fn() -> Option<(Duration, HostName)> + 'static,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_wanted(metadata)
    }

    fn on_event(&self, line: &Line<'_>, _: Context<'_, S>) {
        let Some((at, host)) = (self.here)() else {
            return;
        };
        let mut text = LineText::default();
        line.record(&mut text);
        self.recorder.record(
            at,
            &host,
            EventKind::Log {
                level: *line.metadata().level(),
                target: line.metadata().target(),
                text: text.finish(),
            },
        );
    }
}

/// Gathers a line's message first and its fields after.
#[derive(Default)]
struct LineText {
    message: String,
    fields: String,
}

impl LineText {
    fn finish(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for LineText {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string cannot fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            let _ = write!(self.fields, " {}={value}", field.name());
        }
    }
}
