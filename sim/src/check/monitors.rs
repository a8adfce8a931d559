//! What no run may do, whatever its scenario: rules that are watched over every event.
//!
//! Each monitor reads the trace alone, and knows the rule from its source (an RFC, or a table of its own)
//! and not from the client's code. An endpoint that does not log what a monitor reads is not judged by it.

pub mod addressees;
pub mod arrivals;
pub mod candidates;
pub mod checks;
pub mod departures;
pub mod patience;
pub mod relay_only;
pub mod retries;
pub mod states;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use self::addressees::AddresseeWatch;
use self::arrivals::ArrivalWatch;
use self::candidates::CandidateWatch;
use self::checks::CheckWatch;
use self::departures::DepartureWatch;
use self::patience::PatienceWatch;
use self::relay_only::LeakWatch;
use self::retries::RetryWatch;
use self::states::StateWatch;
use crate::report::{Failure, FailureCause};
use crate::scenario::model::Scenario;
use crate::trace::{Event, HostName};

/// All monitors of a run.
#[derive(Debug, Clone, Default)]
pub struct Monitors {
    addressees: AddresseeWatch,
    arrivals: ArrivalWatch,
    candidates: CandidateWatch,
    checks: CheckWatch,
    departures: DepartureWatch,
    leaks: LeakWatch,
    patience: PatienceWatch,
    retries: RetryWatch,
    states: StateWatch,
}

impl Monitors {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        self.addressees.note(event);
        self.arrivals.note(event);
        self.candidates.note(event);
        self.checks.note(event);
        self.departures.note(event);
        self.leaks.note(event);
        self.patience.note(event);
        self.retries.note(event);
        self.states.note(event);
    }

    /// How much each monitor has had to judge, by its name: one that reads lines which nobody writes any
    /// more finds nothing wrong.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<&'static str, usize> {
        [
            ("addressees", self.addressees.seen()),
            ("arrivals", self.arrivals.seen()),
            ("candidates", self.candidates.seen()),
            ("checks", self.checks.seen()),
            ("departures", self.departures.seen()),
            ("patience", self.patience.seen()),
            ("relay-only", self.leaks.seen()),
            ("retries", self.retries.seen()),
            ("states", self.states.seen()),
        ]
        .into()
    }
}

/// A failure for each rule and host that broke it: what follows is mostly the same again.
#[must_use]
pub fn broken(scenario: &Scenario, monitors: &Monitors) -> Vec<Failure> {
    let signaling = scenario.client_config().signaling;
    let told = [
        (
            FailureCause::MediaToOthers,
            monitors.addressees.broken(scenario),
        ),
        (FailureCause::AddressLeaked, monitors.leaks.broken(scenario)),
        (FailureCause::CandidateLost, monitors.arrivals.broken()),
        (FailureCause::CandidateLost, monitors.departures.broken()),
        (
            FailureCause::CandidateRepeated,
            monitors.candidates.broken(),
        ),
        (FailureCause::IllegalState, monitors.states.broken()),
        (FailureCause::IceRuleBroken, monitors.checks.broken()),
        (FailureCause::IceRuleBroken, monitors.patience.broken()),
        (
            FailureCause::RetryMistimed,
            monitors.retries.broken(&signaling),
        ),
    ];
    let failures = told.into_iter().flat_map(|(cause, messages)| {
        let failure = move |message| Failure::new(cause, message);
        messages.into_iter().map(failure)
    });
    failures.collect()
}

/// What was against the rules: for each host and rule the first time.
#[derive(Debug, Clone, Default)]
struct Told {
    known: BTreeSet<(HostName, &'static str)>,
    messages: Vec<String>,
}

impl Told {
    /// Tells what a host did, which goes on after its name and the time.
    fn tell(&mut self, event: &Event, rule: &'static str, what: impl fmt::Display) {
        if self.known.insert((event.host.clone(), rule)) {
            let Event { at, host, .. } = event;
            self.messages.push(format!("{host} at {at:?} {what}"));
        }
    }
}

/// What was noted lately. Packets are on their way for seconds, and a run of hours sends millions.
#[derive(Debug, Clone)]
struct Recent<K, V> {
    since: Duration,
    new: BTreeMap<K, V>,
    old: BTreeMap<K, V>,
}

/// For so long at least, and for twice as long at most, something is [`Recent`].
const RECENT: Duration = Duration::from_mins(1);

impl<K: Ord, V> Recent<K, V> {
    /// Notes what is not noted yet.
    fn note(&mut self, now: Duration, key: K, value: V) {
        if now.saturating_sub(self.since) > RECENT {
            self.since = now;
            self.old = std::mem::take(&mut self.new);
        }
        if !self.old.contains_key(&key) {
            self.new.entry(key).or_insert(value);
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.old.get(key).or_else(|| self.new.get(key))
    }
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            since: Duration::ZERO,
            new: BTreeMap::new(),
            old: BTreeMap::new(),
        }
    }
}

/// The value of a field of a log line, up to the next space: `field("a=1 b=2", "b")` is `2`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.split(' ').filter_map(|field| field.split_once('='));
    fields.find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
pub(super) mod tests {
    //! What the tests of the monitors share.

    use std::net::SocketAddr;
    use std::time::Duration;

    use ringtrue::net::TrafficClass;
    use tracing::Level;

    use crate::net::flow::Protocol;
    use crate::trace::event::TcpSummary;
    use crate::trace::{Event, EventKind, PacketSummary};

    /// A log line of a host, at a time in milliseconds.
    pub(super) fn line(at_ms: u64, host: &str, target: &'static str, text: &str) -> Event {
        event(
            at_ms,
            host,
            EventKind::Log {
                level: Level::DEBUG,
                target,
                text: text.to_owned(),
            },
        )
    }

    /// A UDP packet between two hosts.
    pub(in crate::check) fn packet(payload: &[u8]) -> PacketSummary {
        let address = |last| SocketAddr::from(([10, 0, 0, last], 5000));
        PacketSummary {
            protocol: Protocol::Udp,
            source: address(1),
            destination: address(2),
            class: TrafficClass::BestEffort,
            tcp: TcpSummary::default(),
            payload: payload.to_vec().into(),
        }
    }

    pub(in crate::check) fn event(at_ms: u64, host: &str, kind: EventKind) -> Event {
        Event {
            at: Duration::from_millis(at_ms),
            host: host.into(),
            kind,
        }
    }
}
