//! Where the time of a call goes, from the answer to audio.

use std::collections::BTreeMap;
use std::time::Duration;

use super::datagram::Datagram;
use super::facts::Facts;
use crate::net::flow::Protocol;
use crate::trace::{AppEvent, PacketSummary};

/// The moments at which one peer first did or saw what only packets show. What goes over TCP to a
/// relay is not seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketMoments {
    /// It sent a check.
    pub check_sent: Option<Duration>,
    /// A check of its was answered.
    pub check_answered: Option<Duration>,
    /// It sent audio, for which DTLS has to be done.
    pub audio_sent: Option<Duration>,
}

/// How long after the answer each thing had happened at both peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// The caller had the answer.
    pub answer_delivered: Option<Duration>,
    /// Both had sent a check.
    pub checked: Option<Duration>,
    /// Both had a pair that works.
    pub valid: Option<Duration>,
    /// Both had selected a pair, for the first time.
    pub selected: Option<Duration>,
    /// Both had sent audio.
    pub secured: Option<Duration>,
    /// Both had heard a first packet.
    pub heard: Option<Duration>,
    /// Both heard steadily.
    pub audio: Option<Duration>,
}

impl PacketMoments {
    /// Remembers when a peer first sent what this packet carries.
    pub fn note_sent(&mut self, at: Duration, packet: &PacketSummary) {
        if packet.protocol != Protocol::Udp || self.audio_sent.is_some() {
            return;
        }
        match Datagram::read(&packet.payload).carried() {
            Datagram::Media => self.audio_sent = Some(at),
            check if self.check_sent.is_none() && check.is_check() => self.check_sent = Some(at),
            _ => {}
        }
    }

    /// Remembers when a peer was first handed what this packet carries.
    pub fn note_delivered(&mut self, at: Duration, packet: &PacketSummary) {
        if packet.protocol == Protocol::Udp
            && self.check_answered.is_none()
            && Datagram::read(&packet.payload)
                .carried()
                .is_answer_to_check()
        {
            self.check_answered = Some(at);
        }
    }
}

impl Timings {
    /// The timings of the only call of a run, between these peers.
    #[must_use]
    pub fn of(facts: &Facts, peers: &[String]) -> Self {
        let answered = facts
            .app
            .iter()
            .filter(|fact| fact.event == AppEvent::Answered);
        let Some(answer) = answered.clone().map(|fact| fact.at).min() else {
            return Self::default();
        };
        let since = |at: Duration| at.checked_sub(answer);
        let packets = |moment: fn(&PacketMoments) -> Option<Duration>| {
            let at = |peer: &String| moment(facts.packets.get(peer.as_str())?);
            since(later(peers.iter().map(at))?)
        };
        let first = |is: fn(&AppEvent) -> bool| {
            let mut first: BTreeMap<&str, Duration> = BTreeMap::new();
            for fact in facts.app.iter().filter(|fact| is(&fact.event)) {
                first.entry(&fact.peer).or_insert(fact.at);
            }
            since(later(
                peers.iter().map(|peer| first.get(peer.as_str()).copied()),
            )?)
        };
        let heard = |peer: &String| facts.heard.get(peer.as_str())?.first().copied();
        Self {
            answer_delivered: first(|event| *event == AppEvent::Answered),
            checked: packets(|moments| moments.check_sent),
            valid: packets(|moments| moments.check_answered),
            selected: first(|event| matches!(event, AppEvent::PathSelected { .. })),
            secured: packets(|moments| moments.audio_sent),
            heard: later(peers.iter().map(heard)).and_then(since),
            audio: first(|event| *event == AppEvent::AudioConnected),
        }
    }

    /// Each thing by its name, in the order in which they happen.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<Duration>); 7] {
        [
            ("answer", self.answer_delivered),
            ("checked", self.checked),
            ("valid", self.valid),
            ("selected", self.selected),
            ("secured", self.secured),
            ("heard", self.heard),
            ("audio", self.audio),
        ]
    }
}

/// The latest of the moments; `None` where one is missing.
fn later(moments: impl Iterator<Item = Option<Duration>>) -> Option<Duration> {
    moments.collect::<Option<Vec<_>>>()?.into_iter().max()
}
