//! The last call of a run, put together from what its two peers saw.

use std::collections::BTreeMap;
use std::time::Duration;

use ringtrue::client::EndReason;

use super::facts::{Fact, Facts};
use crate::report::Outcome;
use crate::scenario::model::{CandidateType, Scenario};
use crate::trace::AppEvent;

/// The device of a user that a call is with: the one that talks, of those that answered it. Where none
/// did, the first one.
fn device_of(scenario: &Scenario, user: &str, facts: &[Fact]) -> String {
    let was = |device: &str, is: &dyn Fn(&AppEvent) -> bool| {
        let mut of_device = facts.iter().filter(|fact| *fact.peer == *device);
        of_device.any(|fact| is(&fact.event))
    };
    let talks = |device: &&str| was(device, &|event| *event == AppEvent::AudioConnected);
    let answered = |device: &&str| was(device, &|event| *event == AppEvent::Answered);
    let mut devices = scenario.devices_of(user);
    let first = scenario.devices_of(user).next();
    let device = scenario
        .devices_of(user)
        .find(talks)
        .or_else(|| devices.find(answered))
        .or(first);
    device.unwrap_or(user).to_owned()
}

/// The last call of a run. A run that kills a peer in mid-call and calls again is judged by the
/// call that came after.
#[derive(Debug, Default, Clone)]
pub struct LastCall {
    /// Caller and callee; empty where nobody called.
    pub peers: Vec<String>,
    /// When the callee answered.
    pub answered: Option<Duration>,
    /// When each peer heard the other side's tone steadily.
    pub audio_at: BTreeMap<String, Duration>,
    /// The kind of each peer's local candidate in the selected pair.
    pub selected: BTreeMap<String, CandidateType>,
    /// When each peer heard the packets that it heard.
    pub heard: BTreeMap<String, Vec<Duration>>,
    /// Why it ended, by peer.
    pub ended: BTreeMap<String, EndReason>,
    /// When it ended first, at either peer.
    pub over: Option<Duration>,
}

impl LastCall {
    /// Puts together the last call of a run.
    #[must_use]
    pub fn of(scenario: &Scenario, facts: &Facts) -> Self {
        let begin = facts
            .app
            .iter()
            .rposition(|fact| matches!(fact.event, AppEvent::Calling { .. }));
        let mut call = Self::default();
        let Some(begin) = begin else {
            return call;
        };
        for fact in &facts.app[begin..] {
            let peer = fact.peer.to_string();
            if let AppEvent::Calling { callee } = &fact.event {
                let device = device_of(scenario, callee, &facts.app[begin..]);
                call.peers = vec![peer.clone(), device];
            }
            if call.peers.contains(&peer) && scenario.peers.contains_key(&peer) {
                call.note(fact, peer);
            }
        }
        let called = facts.app[begin].at;
        for (peer, times) in &facts.heard {
            let times = times.iter().copied().filter(|at| *at >= called);
            call.heard.insert(peer.to_string(), times.collect());
        }
        call
    }

    /// What came of the call.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let hears = |peer: &String| self.audio_at.contains_key(peer);
        if !self.peers.is_empty() && self.peers.iter().all(hears) {
            Outcome::AudioConnected
        } else if self.cause().is_some() {
            Outcome::Unreachable
        } else {
            Outcome::Failed
        }
    }

    /// The cause that a client named for finding no way.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        self.ended.values().find_map(|reason| match reason {
            EndReason::Unreachable { cause } => Some(cause.clone()),
            EndReason::HungUp
            | EndReason::Refused
            | EndReason::Unanswered
            | EndReason::Remote(_) => None,
        })
    }

    /// The time from the answer until both sides heard each other.
    #[must_use]
    pub fn time_to_audio(&self) -> Option<Duration> {
        let last = self.audio_at.values().max()?;
        last.checked_sub(self.answered?)
    }

    fn note(&mut self, fact: &Fact, peer: String) {
        match &fact.event {
            AppEvent::Answered => {
                self.answered.get_or_insert(fact.at);
            }
            AppEvent::PathSelected { local, .. } => {
                self.selected.insert(peer, *local);
            }
            AppEvent::AudioConnected => {
                self.audio_at.entry(peer).or_insert(fact.at);
            }
            AppEvent::Ended { reason } => {
                self.over.get_or_insert(fact.at);
                self.ended.insert(peer, reason.clone());
            }
            AppEvent::Killed => {
                self.over.get_or_insert(fact.at);
            }
            // It was not over after all.
            AppEvent::Resumed if self.ended.is_empty() => self.over = None,
            _ => {}
        }
    }
}
