//! Whether clients come back to a signaling server when they may: not so soon that they hammer it, and
//! not so late that a call goes without it.

use std::collections::BTreeMap;
use std::time::Duration;

use ringtrue::config::SignalingConfig;
use ringtrue::signaling::backoff::Jitter;

use super::field;
use crate::trace::{AppEvent, Event, EventKind, HostName};

/// Timers tick in whole milliseconds.
const TICK: Duration = Duration::from_millis(1);

/// A wait may be so much longer than it was meant: a step of the world, in which an application notices
/// what ended.
const LATE_MAX: Duration = Duration::from_millis(100);

/// The attempts of each host, and how the ones before them ended.
#[derive(Debug, Clone, Default)]
pub struct RetryWatch {
    hosts: BTreeMap<HostName, Link>,
    retries: Vec<Retry>,
    /// When something of the scenario last struck or ended.
    struck: Option<Duration>,
    /// The latest moment so far. What an application that stood still says in the moment of its
    /// awakening bears the time at which it fell asleep.
    now: Duration,
}

/// What is known of the signaling of one host.
#[derive(Debug, Clone, Default)]
struct Link {
    ended: Option<(Duration, End)>,
    /// It was of use since the last attempt.
    was_connected: bool,
    /// The last attempt, as long as nobody has said what it is for.
    tried: Option<Attempt>,
    /// When the network was last another one.
    changed: Option<Duration>,
}

/// One attempt.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    at: Duration,
    /// As the client counts it.
    number: u32,
    /// What was before was of use.
    was_connected: bool,
}

/// How a connection or an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It broke, or was not made.
    Broken,
    /// It was there, and nothing came over it: the client asked, and nobody answered.
    Silent,
    /// The server sent the client away.
    Dismissed,
    /// The network is another one.
    NetworkChanged,
}

/// One attempt that followed an end.
#[derive(Debug, Clone)]
struct Retry {
    host: HostName,
    attempt: Attempt,
    waited: Duration,
    end: End,
    /// Something of the scenario struck or ended meanwhile.
    is_struck: bool,
}

impl RetryWatch {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        self.now = self.now.max(event.at);
        match &event.kind {
            EventKind::App(AppEvent::Started) => {
                self.hosts.insert(event.host.clone(), Link::default());
            }
            EventKind::Fault(_) => self.struck = Some(self.now),
            EventKind::Log { target, text, .. } if target.starts_with("ringtrue::") => {
                self.note_line(&event.host, target, text);
            }
            _ => {}
        }
    }

    /// How many attempts followed a loss or a failure.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.retries.len()
    }

    /// Which attempts came too soon or too late for a client with these settings, oldest first.
    #[must_use]
    pub fn broken(&self, config: &SignalingConfig) -> Vec<String> {
        let retries = self.retries.iter();
        let wrong = retries.filter_map(|retry| Some((retry, retry.wrong(config)?)));
        wrong
            .map(|(retry, wrong)| {
                let Attempt { at, number, .. } = retry.attempt;
                let Retry {
                    host, waited, end, ..
                } = retry;
                format!(
                    "{host} tried to reach the signaling server again at {at:?} after {waited:?} (attempt \
                     {number}, {end:?} before), {wrong}"
                )
            })
            .collect()
    }

    fn note_line(&mut self, host: &HostName, target: &str, text: &str) {
        let of_signaling = target.starts_with("ringtrue::signaling::client")
            || target.starts_with("ringtrue::signaling::manager");
        let now = self.now;
        let link = self.hosts.entry(host.clone()).or_default();
        if text.starts_with("this host's addresses are others") {
            link.ended = Some((now, End::NetworkChanged));
            link.changed = Some(now);
        } else if of_signaling && text.starts_with("signaling connected") {
            link.was_connected = true;
            link.ended = None;
        } else if of_signaling && text.starts_with("signaling disconnected") {
            // An attempt that is made at once is told of before the loss that it is for.
            let tried = link.tried.filter(|tried| tried.at == now);
            if let Some(tried) = tried {
                self.note_retry(host, tried, now, End::of(text));
            } else {
                link.end(now, End::of(text));
            }
        } else if of_signaling && text.starts_with("signaling attempt failed") {
            link.end(now, End::of(text));
        } else if of_signaling
            && let Some(fields) = text.strip_prefix("🔌 WebSocket connecting ")
            && let Some(number) = field(fields, "attempt").and_then(|number| number.parse().ok())
        {
            let tried = Attempt {
                at: now,
                number,
                was_connected: link.was_connected,
            };
            let before = std::mem::take(link);
            link.changed = before.changed;
            link.tried = before.ended.is_none().then_some(tried);
            if let Some((ended, end)) = before.ended {
                self.note_retry(host, tried, ended, end);
            }
        }
    }

    fn note_retry(&mut self, host: &HostName, attempt: Attempt, ended: Duration, end: End) {
        let changed = self.hosts.get(host).and_then(|link| link.changed);
        // What is tried in the moment in which the network changes is tried for that reason, whatever else
        // ends then: an attempt that begins a moment before is begun anew.
        let end = if changed == Some(attempt.at) {
            End::NetworkChanged
        } else {
            end
        };
        self.retries.push(Retry {
            host: host.clone(),
            attempt,
            waited: attempt.at.saturating_sub(ended),
            end,
            is_struck: self.struck.is_some_and(|struck| struck >= ended),
        });
    }
}

impl Link {
    /// It broke, unless that is what the change of the network did.
    fn end(&mut self, now: Duration, end: End) {
        if self.ended != Some((now, End::NetworkChanged)) {
            self.ended = Some((now, end));
        }
    }
}

impl End {
    fn of(text: &str) -> Self {
        let says = |words: &str| text.contains(words);
        if says("the network changed") {
            Self::NetworkChanged
        } else if says("showed no sign of life") {
            Self::Silent
        } else if says("the server disconnected this socket") {
            Self::Dismissed
        } else {
            Self::Broken
        }
    }
}

impl Retry {
    fn wrong(&self, config: &SignalingConfig) -> Option<String> {
        let may_be_at_once = match self.end {
            End::NetworkChanged => true,
            // What was of use is replaced at once, and only once.
            End::Silent => self.attempt.was_connected,
            // Attempts are counted from the loss on; one that is no retry is the application's wish.
            End::Broken => self.attempt.number == 0,
            End::Dismissed => false,
        };
        let (least, greatest) = if self.end == End::Dismissed {
            // The wait grows with how often that happened, which has no number.
            (config.reconnection_delay, config.reconnection_delay_max)
        } else {
            waits(config, self.attempt.number)
        };
        if self.waited + TICK < least && !may_be_at_once {
            return Some(format!("which is under {least:?}"));
        }
        // A process that stands still waits longer, and so does one whose network comes back late.
        let is_late = self.waited > greatest.saturating_add(LATE_MAX);
        (is_late && !self.is_struck && self.end != End::NetworkChanged)
            .then(|| format!("which is over {greatest:?}"))
    }
}

/// The least and the greatest wait before an attempt, which doubles from one to the next up to a ceiling.
fn waits(config: &SignalingConfig, attempt: u32) -> (Duration, Duration) {
    let doublings = attempt.saturating_sub(1).min(31);
    let grown = config.reconnection_delay.saturating_mul(1 << doublings);
    let capped = grown.min(config.reconnection_delay_max);
    let share = config.randomization_factor.clamp(0.0, 1.0);
    match config.jitter {
        Jitter::AfterCap => (capped.mul_f64(1.0 - share), capped),
        Jitter::BeforeCap => (
            grown
                .mul_f64(1.0 - share)
                .min(config.reconnection_delay_max),
            grown
                .mul_f64(1.0 + share)
                .min(config.reconnection_delay_max),
        ),
        Jitter::BeforeBounds => (
            config.reconnection_delay,
            grown
                .mul_f64(1.0 + share)
                .min(config.reconnection_delay_max)
                .max(config.reconnection_delay),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{event, line};
    use super::*;
    use crate::trace::{FaultEvent, FaultPhase};

    const CLIENT: &str = "ringtrue::signaling::client::driver";
    const MANAGER: &str = "ringtrue::signaling::manager::driver";
    const LOST: &str = "signaling disconnected reason=the transport ended";
    const SILENT: &str =
        "signaling disconnected reason=the server showed no sign of life within 3s";
    const FAILED: &str = "signaling attempt failed error=refused";

    fn tries(at_ms: u64, attempt: u32) -> Event {
        let text = format!("🔌 WebSocket connecting url=http://s attempt={attempt}");
        line(at_ms, "alice", MANAGER, &text)
    }

    fn said(at_ms: u64, text: &str) -> Event {
        line(at_ms, "alice", CLIENT, text)
    }

    /// How many attempts are said to be mistimed by the client that ships.
    #[track_caller]
    fn check(events: &[Event], wrong: usize) {
        let mut watch = RetryWatch::default();
        for event in events {
            watch.note(event);
        }
        let broken = watch.broken(&SignalingConfig::default());
        assert_eq!(broken.len(), wrong, "{broken:?}");
    }

    #[test]
    fn waits_are_between_half_and_the_whole_of_what_has_grown() {
        for (attempt, least, greatest) in [(1, 1000, 2000), (2, 2000, 4000), (9, 5000, 10_000)] {
            let after = |wait: u64| [said(1000, FAILED), tries(1000 + wait, attempt)];
            check(&after(least - 2), 1);
            check(&after(least), 0);
            check(&after(greatest), 0);
            check(&after(greatest + 101), 1);
        }
    }

    #[test]
    fn a_silent_path_is_replaced_at_once_where_it_was_of_use() {
        let connected = said(0, "signaling connected user=alice waiting=0");
        let told_late = [connected.clone(), tries(1000, 1), said(1000, SILENT)];
        check(&told_late, 0);
        check(&[connected.clone(), said(1000, SILENT), tries(1000, 1)], 0);
        check(&[connected.clone(), said(1000, LOST), tries(1000, 1)], 1);
        check(&[connected, tries(1000, 1), said(1000, LOST)], 1);
        check(&[said(1000, SILENT), tries(1000, 1)], 1);
    }

    #[test]
    fn a_second_attempt_at_once_needs_a_connection_between() {
        let connected = said(0, "signaling connected user=alice waiting=0");
        let twice = [
            connected,
            tries(1000, 1),
            said(1000, SILENT),
            tries(5000, 2),
            said(5000, SILENT),
        ];
        check(&twice, 1);
    }

    #[test]
    fn another_network_is_tried_at_once() {
        let others = line(
            1000,
            "alice",
            "ringtrue::call::session::media",
            "this host's addresses are others change=Back",
        );
        check(&[said(500, FAILED), others.clone(), tries(1000, 1)], 0);
        check(&[others.clone(), tries(1000, 1), said(1000, LOST)], 0);
        // The path is given up in the same moment, which the client tells of last.
        let connected = said(0, "signaling connected user=alice waiting=0");
        let [first, second] = [tries(1000, 1), tries(1000, 1)];
        let lost = said(1000, SILENT);
        check(&[connected, others, first, second, lost.clone()], 0);
        check(&[tries(1000, 1), tries(1000, 1), lost], 1);
    }

    #[test]
    fn who_is_sent_away_comes_back_after_the_first_wait_at_least() {
        let away = "signaling disconnected reason=the server disconnected this socket";
        check(&[said(1000, away), tries(3000, 0)], 0);
        check(&[said(1000, away), tries(2500, 0)], 1);
    }

    #[test]
    fn who_is_struck_may_be_late_and_not_early() {
        let fault = FaultEvent {
            fault: 0,
            name: "app-suspend alice".into(),
            phase: FaultPhase::Ends,
        };
        let fault = event(1500, "fault", EventKind::Fault(fault));
        check(&[said(1000, FAILED), fault.clone(), tries(60_000, 1)], 0);
        check(&[said(1000, FAILED), fault, tries(1600, 1)], 1);
    }
}
