//! What the cases of a campaign have met.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::Level;

use crate::fault::FaultName;
use crate::net::nat::{Filtering, Mapping};
use crate::scenario::Scenario;
use crate::trace::digest::Chain;
use crate::trace::{AppEvent, Event, EventKind, FaultPhase, HostName, Observer};

/// What the cases of a campaign have met so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// How many cases there were.
    pub cases: u64,
    /// How many virtual milliseconds they took together.
    pub virtual_ms: u64,
    /// In how many of them a candidate reached a peer before any description did.
    pub candidate_before_description: u64,
    /// The NATs of caller and callee, and in how many cases.
    pub nat_pairs: BTreeMap<String, u64>,
    /// The inputs that the call's state machine met in each state.
    pub transitions: BTreeSet<String>,
    /// In how many cases each kind of fault struck before there was audio.
    pub faults_before_audio: BTreeMap<String, u64>,
    /// In how many cases each kind of fault struck at all.
    pub faults: BTreeMap<String, u64>,
    /// The kinds of candidates that were selected at the two ends of a path, and in how many cases.
    pub selected: BTreeMap<String, u64>,
}

impl Coverage {
    /// Counts one more case.
    pub fn add(&mut self, case: &CaseCoverage) {
        let count = |map: &mut BTreeMap<String, u64>, keys: &BTreeSet<String>| {
            for key in keys {
                *map.entry(key.clone()).or_default() += 1;
            }
        };
        self.cases += 1;
        self.virtual_ms += u64::try_from(case.lasted.as_millis()).unwrap_or(u64::MAX);
        self.candidate_before_description += u64::from(case.candidate_before_description);
        count(&mut self.nat_pairs, &BTreeSet::from([case.nats.clone()]));
        self.transitions.extend(case.transitions.iter().cloned());
        count(&mut self.faults_before_audio, &case.faults_before_audio);
        count(&mut self.faults, &case.faults);
        count(&mut self.selected, &case.selected);
    }

    /// Adds what another part of the campaign has met.
    pub fn merge(&mut self, other: &Self) {
        let sum = |map: &mut BTreeMap<String, u64>, other: &BTreeMap<String, u64>| {
            for (key, count) in other {
                *map.entry(key.clone()).or_default() += count;
            }
        };
        self.cases += other.cases;
        self.virtual_ms += other.virtual_ms;
        self.candidate_before_description += other.candidate_before_description;
        sum(&mut self.nat_pairs, &other.nat_pairs);
        self.transitions.extend(other.transitions.iter().cloned());
        sum(&mut self.faults_before_audio, &other.faults_before_audio);
        sum(&mut self.faults, &other.faults);
        sum(&mut self.selected, &other.selected);
    }
}

/// What one case has met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseCoverage {
    /// How long it lasted in virtual time.
    pub lasted: Duration,
    /// Whether a candidate reached a peer before any description did.
    pub candidate_before_description: bool,
    /// The NATs of caller and callee.
    pub nats: String,
    /// State and input, for each step of the call's state machine.
    pub transitions: BTreeSet<String>,
    /// The kinds of faults that struck before there was audio.
    pub faults_before_audio: BTreeSet<String>,
    /// The kinds of faults that struck.
    pub faults: BTreeSet<String>,
    /// The kinds of candidates at the two ends of each path that was selected.
    pub selected: BTreeSet<String>,
}

/// Watches a run for what it covers. Clones share what they see.
#[derive(Debug, Clone)]
pub struct CoverageWatch(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    seen: CaseCoverage,
    kinds: Vec<FaultName>,
    described: BTreeSet<HostName>,
    hears: BTreeSet<HostName>,
}

impl CoverageWatch {
    /// Watches one run of `scenario`.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let nats: Vec<String> = scenario
            .peers
            .values()
            .map(|peer| nats_of(scenario, &peer.network))
            .collect();
        Self(Arc::new(Mutex::new(State {
            seen: CaseCoverage {
                nats: nats.join(" - "),
                ..CaseCoverage::default()
            },
            kinds: scenario
                .faults
                .iter()
                .map(|each| each.kind.name())
                .collect(),
            described: BTreeSet::new(),
            hears: BTreeSet::new(),
        })))
    }

    /// What was seen.
    #[must_use]
    pub fn seen(&self) -> CaseCoverage {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen.clone()
    }
}

impl Observer for CoverageWatch {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen.lasted = state.seen.lasted.max(event.at);
        match &event.kind {
            EventKind::App(AppEvent::AudioConnected) => {
                state.hears.insert(event.host.clone());
            }
            EventKind::App(AppEvent::PathSelected { local, remote }) => {
                state.seen.selected.insert(format!("{local} - {remote}"));
            }
            EventKind::Fault(fault) if fault.phase == FaultPhase::Begins => {
                if let Some(kind) = state.kinds.get(fault.fault) {
                    let kind = kind.to_string();
                    if state.hears.len() < 2 {
                        state.seen.faults_before_audio.insert(kind.clone());
                    }
                    state.seen.faults.insert(kind);
                }
            }
            EventKind::Log {
                level: Level::DEBUG,
                target,
                text,
            } => state.note_line(&event.host, target, text),
            _ => {}
        }
    }
}

impl State {
    fn note_line(&mut self, host: &HostName, target: &str, text: &str) {
        if target.starts_with("ringtrue::signaling")
            && let Some(fields) = text.strip_prefix("signaling message received kind=")
        {
            match fields.split(' ').next() {
                Some("offer" | "answer") => {
                    self.described.insert(host.clone());
                }
                Some("candidate") if !self.described.contains(host) => {
                    self.seen.candidate_before_description = true;
                }
                _ => {}
            }
        } else if target.starts_with("ringtrue::call::session")
            && let Some(fields) = text.strip_prefix("call ")
        {
            let field = |name: &str| {
                let mut fields = fields.split(' ').filter_map(|field| field.split_once('='));
                fields.find_map(|(key, value)| (key == name).then_some(value))
            };
            if let (Some(from), Some(input)) = (field("from"), field("input")) {
                self.seen.transitions.insert(format!("{from} × {input}"));
            }
        }
    }
}

/// The NATs between the hosts of a network and the core, by what they do.
fn nats_of(scenario: &Scenario, network: &str) -> String {
    let way = scenario.way_out(network);
    let nats: Vec<String> = way
        .iter()
        .filter_map(|(_, network)| network.nat.as_ref())
        .map(|nat| {
            format!(
                "{}/{}",
                mapping(nat.config.mapping),
                filtering(nat.config.filtering)
            )
        })
        .collect();
    if nats.is_empty() {
        "none".to_owned()
    } else {
        nats.join("+")
    }
}

fn mapping(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::EndpointIndependent => "independent",
        Mapping::AddressDependent => "address",
        Mapping::AddressAndPortDependent => "port",
    }
}

fn filtering(filtering: Filtering) -> &'static str {
    match filtering {
        Filtering::EndpointIndependent => "independent",
        Filtering::AddressDependent => "address",
        Filtering::AddressAndPortDependent => "port",
    }
}
