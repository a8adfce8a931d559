//! Carries the client's and the servers' log lines into the trace.

use std::fmt::Write as _;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event as Line, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Recorder;
use super::event::{EventKind, HostName};

/// A `tracing` layer that records every line of our own crates at `DEBUG` and above.
///
/// What is recorded depends on nothing outside the run: not on `RUST_LOG`, not on `-v`.
pub struct TraceLayer<H> {
    recorder: Recorder,
    here: H,
}

impl<H> TraceLayer<H>
where
    H: Fn() -> (Duration, HostName) + 'static,
{
    /// Records into `recorder`; `here` says the virtual time and the host that is running.
    pub fn new(recorder: Recorder, here: H) -> Self {
        Self { recorder, here }
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
    H: Fn() -> (Duration, HostName) + 'static,
{
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_event()
            && *metadata.level() <= Level::DEBUG
            && metadata.target().starts_with("ringtrue")
    }

    fn on_event(&self, line: &Line<'_>, _: Context<'_, S>) {
        let mut text = LineText::default();
        line.record(&mut text);
        let (at, host) = (self.here)();
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
