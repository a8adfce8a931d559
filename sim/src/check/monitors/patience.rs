//! Whether a client gives a call's paths the time that they may need.
//!
//! RFC 8863 section 4 has an agent wait for 39.5 s before it says that ICE has failed, since checks that nobody
//! answers yet may be answered by then. It counts from the answer, or from when the other side was last heard:
//! whoever loses a path looks for another one.

use std::collections::BTreeMap;
use std::time::Duration;

use ringtrue::client::EndReason;

use super::Told;
use crate::trace::{AppEvent, Event, EventKind, HostName};

/// Section 4.
const PATIENCE: Duration = Duration::from_millis(39_500);

/// Since when each host waits for audio.
#[derive(Debug, Clone, Default)]
pub struct PatienceWatch {
    waits_since: BTreeMap<HostName, Duration>,
    seen: usize,
    told: Told,
}

impl PatienceWatch {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        let EventKind::App(app) = &event.kind else {
            return;
        };
        match app {
            // An app that is started again knows of no call, or takes one up with paths that are all new.
            AppEvent::Started => {
                self.waits_since.remove(&event.host);
            }
            AppEvent::Answered => {
                self.seen += 1;
                self.waits_since.insert(event.host.clone(), event.at);
            }
            AppEvent::Resumed | AppEvent::Heard => {
                self.waits_since.insert(event.host.clone(), event.at);
            }
            AppEvent::Ended {
                reason: EndReason::Unreachable { .. },
            } => {
                let since = self.waits_since.remove(&event.host);
                let waited = since.map(|since| event.at.saturating_sub(since));
                if let Some(waited) = waited.filter(|waited| *waited < PATIENCE) {
                    let what = format!(
                        "gave its call up after {waited:?} without audio, not {PATIENCE:?} (RFC 8863 section 4)"
                    );
                    self.told.tell(event, "RFC 8863 section 4", what);
                }
            }
            _ => {}
        }
    }

    /// How many calls were answered.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Who was not patient, oldest first.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.told.messages.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;

    fn gave_up() -> AppEvent {
        let cause = "no relay".into();
        let reason = EndReason::Unreachable { cause };
        AppEvent::Ended { reason }
    }

    #[track_caller]
    fn check(events: &[(u64, AppEvent)], said: &[&str]) {
        let mut watch = PatienceWatch::default();
        for (at_ms, app) in events {
            watch.note(&event(*at_ms, "alice", EventKind::App(app.clone())));
        }
        assert_eq!(watch.broken(), said);
    }

    #[test]
    fn a_call_without_a_path_is_given_39_and_a_half_seconds() {
        let answered = (1000, AppEvent::Answered);
        check(&[answered.clone(), (40_500, gave_up())], &[]);
        let said = "alice at 40.499s gave its call up after 39.499s without audio, not 39.5s (RFC 8863 section 4)";
        check(&[answered, (40_499, gave_up())], &[said]);
    }

    #[test]
    fn whoever_was_heard_is_waited_for_anew() {
        let heard = [
            (1000, AppEvent::Answered),
            (30_000, AppEvent::Heard),
            (60_000, gave_up()),
        ];
        let said =
            "alice at 60s gave its call up after 30s without audio, not 39.5s (RFC 8863 section 4)";
        check(&heard, &[said]);
    }

    #[test]
    fn who_hangs_up_has_no_need_for_patience() {
        let reason = EndReason::HungUp;
        let hung_up = AppEvent::Ended { reason };
        check(&[(0, AppEvent::Answered), (10, hung_up)], &[]);
        check(&[(10, gave_up())], &[]);
    }
}
