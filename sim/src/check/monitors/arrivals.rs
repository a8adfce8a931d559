//! Whether each candidate that arrives is added to the generation that it is of.
//!
//! W3C `addIceCandidate` (WebRTC section 4.4.1.4) rejects a candidate whose description is not set yet. So
//! the application has to keep it until then, and must not lose it, nor add it to another generation. A
//! call may do without the candidate, or be healed by a search for another path many seconds later: what
//! came of it does not show the mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Told, field};
use crate::trace::{Event, EventKind, FaultEvent, HostName};

/// How long a client may take to add what it has. It takes no virtual time, but a process that is kept from
/// running is behind.
const ADDED_WITHIN: Duration = Duration::from_secs(2);

/// What arrived, and what became of it.
#[derive(Debug, Clone, Default)]
pub struct ArrivalWatch {
    hosts: BTreeMap<HostName, Client>,
    added: usize,
    told: Told,
}

#[derive(Debug, Clone, Default)]
struct Client {
    /// The call of each generation whose description is set, by user name fragment.
    described: BTreeMap<String, String>,
    /// What has not been added, by call, generation and candidate.
    waiting: BTreeMap<(String, String, String), Duration>,
    /// What has been added or is of no use, by generation and candidate. It says nothing when that comes again.
    settled: BTreeSet<(String, String)>,
}

impl ArrivalWatch {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Fault(fault) => self.note_fault(event, fault),
            EventKind::Log { target, text, .. } if target.starts_with("ringtrue::") => {
                self.note_line(event, target, text);
                self.judge(event);
            }
            _ => {}
        }
    }

    /// How many candidates were added that had arrived.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.added
    }

    /// What was lost, oldest first.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.told.messages.clone()
    }

    /// A process that stands still, or is gone, adds nothing.
    fn note_fault(&mut self, event: &Event, fault: &FaultEvent) {
        if fault.name.starts_with("app-") {
            for client in self.hosts.values_mut() {
                for since in client.waiting.values_mut() {
                    *since = (*since).max(event.at);
                }
            }
        }
        if fault.name.starts_with("app-kill") {
            let killed = |host: &HostName| fault.name.split(' ').any(|word| word == host.as_ref());
            self.hosts.retain(|host, _| !killed(host));
        }
    }

    fn note_line(&mut self, event: &Event, target: &str, text: &str) {
        let client = self.hosts.entry(event.host.clone()).or_default();
        if target.starts_with("ringtrue::signaling") {
            if let Some(fields) = text.strip_prefix("signaling message received kind=candidate ") {
                client.arrives(event.at, fields);
            }
        } else if target.starts_with("ringtrue::peer") {
            if let Some(fields) = text.strip_prefix("✅ Added remote ICE candidate candidate=") {
                self.added += usize::from(client.adds(fields));
            } else if let Some(fields) = text.strip_prefix("remote candidate not used candidate=") {
                client.rejects(fields);
            }
        } else if let Some(fields) = text.strip_prefix("remote description set ") {
            client.describes(event.at, fields);
        } else if text.starts_with("a connection is of no use any more") {
            client.closes(text);
        } else if text.starts_with("remote candidate refused") {
            // It says why, as a warning.
            let ufrag = field(text, "ufrag").unwrap_or_default();
            client.forgets(|_, generation, _| generation == ufrag);
        } else if text.starts_with("a media connection failed") {
            client.ends(field(text, "call"));
        } else if text.starts_with("the call goes on under another id ") {
            client.ends(field(text, "was"));
        } else if text.starts_with("call ") && field(text, "to") == Some("ended") {
            client.ends(field(text, "call"));
        }
    }

    fn judge(&mut self, event: &Event) {
        let Some(client) = self.hosts.get_mut(&event.host) else {
            return;
        };
        let described = &client.described;
        let overdue = client.waiting.extract_if(.., |(_, generation, _), since| {
            described.contains_key(generation) && *since + ADDED_WITHIN < event.at
        });
        for ((_, generation, candidate), since) in overdue {
            let what = format!(
                "has not added a candidate that it has had since {since:?} (ufrag={generation}): \
                 {candidate}"
            );
            self.told.tell(event, "not added", what);
        }
    }
}

impl Client {
    fn arrives(&mut self, at: Duration, fields: &str) {
        let Some((generation, candidate)) = fields.split_once(" candidate=") else {
            return;
        };
        let (Some(call), Some(ufrag)) = (field(generation, "call"), field(generation, "ufrag"))
        else {
            return;
        };
        let is_known = self
            .settled
            .contains(&(ufrag.to_owned(), candidate.to_owned()));
        if !is_known {
            let key = (call.to_owned(), ufrag.to_owned(), candidate.to_owned());
            self.waiting.entry(key).or_insert(at);
        }
    }

    /// Whether it had arrived.
    fn adds(&mut self, fields: &str) -> bool {
        let Some((candidate, generations)) = fields.split_once(" local=") else {
            return false;
        };
        let Some((_, ufrag)) = generations.split_once(" remote=") else {
            return false;
        };
        self.settled
            .insert((ufrag.to_owned(), candidate.to_owned()));
        let before = self.waiting.len();
        self.forgets(|_, generation, waiting| generation == ufrag && waiting == candidate);
        before > self.waiting.len()
    }

    /// The line does not tell the generation: the candidate is of no use in any.
    fn rejects(&mut self, fields: &str) {
        let rejected = self.waiting.extract_if(.., |(_, _, candidate), _| {
            fields.starts_with(candidate.as_str())
        });
        self.settled
            .extend(rejected.map(|((_, generation, candidate), _)| (generation, candidate)));
    }

    fn describes(&mut self, at: Duration, fields: &str) {
        if let (Some(call), Some(ufrag)) = (field(fields, "call"), field(fields, "remote")) {
            self.described.insert(ufrag.to_owned(), call.to_owned());
            for ((_, generation, _), since) in &mut self.waiting {
                if generation == ufrag {
                    *since = (*since).max(at);
                }
            }
        }
    }

    fn closes(&mut self, text: &str) {
        if let Some(ufrag) = field(text, "remote") {
            self.described.remove(ufrag);
            self.forgets(|_, generation, _| generation == ufrag);
        }
    }

    fn ends(&mut self, ended: Option<&str>) {
        if let Some(ended) = ended {
            self.described.retain(|_, call| call != ended);
            self.forgets(|call, _, _| call == ended);
        }
    }

    fn forgets(&mut self, is_settled: impl Fn(&str, &str, &str) -> bool) {
        self.waiting
            .retain(|(call, generation, candidate), _| !is_settled(call, generation, candidate));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{event, line};
    use super::*;
    use crate::trace::FaultPhase;

    const HOST: &str = "candidate:1 1 udp 2130706431 192.168.1.2 49153 typ host";
    const SESSION: &str = "ringtrue::call::session::offering";

    /// What is said of alice, once the last line of hers is written after these.
    #[track_caller]
    fn check(events: &[Event], expected: &[&str]) {
        let mut watch = ArrivalWatch::default();
        let tick = line(60_000, "alice", SESSION, "the clock ticks");
        for event in events.iter().chain([&tick]) {
            watch.note(event);
        }
        let told: Vec<String> = watch.broken();
        let found: Vec<&str> = told
            .iter()
            .filter_map(|told| told.split_once("(ufrag=")?.1.split_once(')'))
            .map(|(generation, _)| generation)
            .collect();
        assert_eq!(found, expected, "{told:?}");
    }

    fn arrives(at_ms: u64, ufrag: &str) -> Event {
        let text = format!(
            "signaling message received kind=candidate call=c1 ufrag={ufrag} candidate={HOST}"
        );
        line(at_ms, "alice", "ringtrue::signaling::message::line", &text)
    }

    fn added(at_ms: u64, ufrag: &str) -> Event {
        let text =
            format!("✅ Added remote ICE candidate candidate={HOST} local=l1 remote={ufrag}");
        line(at_ms, "alice", "ringtrue::peer::connection::actor", &text)
    }

    fn says(at_ms: u64, text: &str) -> Event {
        line(at_ms, "alice", SESSION, text)
    }

    fn described(at_ms: u64, ufrag: &str) -> Event {
        says(
            at_ms,
            &format!("remote description set call=c1 remote={ufrag}"),
        )
    }

    #[test]
    fn what_comes_before_or_after_its_description_is_to_be_added() {
        check(&[arrives(0, "u1"), described(900, "u1")], &["u1"]);
        check(&[described(0, "u1"), arrives(900, "u1")], &["u1"]);
        check(
            &[arrives(0, "u1"), described(900, "u1"), added(900, "u1")],
            &[],
        );
        check(
            &[described(0, "u1"), arrives(900, "u1"), added(900, "u1")],
            &[],
        );
    }

    #[test]
    fn a_candidate_belongs_to_its_own_generation() {
        let both = [described(0, "u1"), described(0, "u2"), arrives(10, "u1")];
        check(&[&both[..], &[added(10, "u2")]].concat(), &["u1"]);
        check(&[&both[..], &[added(10, "u1")]].concat(), &[]);
    }

    #[test]
    fn what_has_no_description_waits_for_as_long_as_it_likes() {
        check(&[arrives(0, "u1"), described(0, "u2")], &[]);
    }

    #[test]
    fn who_comes_twice_is_added_once() {
        let twice = [
            described(0, "u1"),
            arrives(10, "u1"),
            added(10, "u1"),
            arrives(500, "u1"),
        ];
        check(&twice, &[]);
    }

    #[test]
    fn what_is_of_no_use_is_of_none_when_it_comes_again() {
        let text =
            format!("remote candidate not used candidate={HOST} reason=names are not resolved");
        let not_used = line(10, "alice", "ringtrue::peer::connection::actor", &text);
        let again = [
            described(0, "u1"),
            arrives(10, "u1"),
            not_used,
            arrives(500, "u1"),
        ];
        check(&again, &[]);
        check(
            &[&again[..], &[described(0, "u2"), arrives(600, "u2")]].concat(),
            &["u2"],
        );
    }

    #[test]
    fn what_is_over_or_refused_needs_no_candidates() {
        let over = [
            "a connection is of no use any more remote=u1",
            "remote candidate refused call=c1 from=bob ufrag=u1 error=generation \"u1\" is over",
            "a media connection failed call=c1 leg=LegId(0)",
            "the call goes on under another id was=c1 call=c2",
            "call call=c1 from=talking to=ended input=RemoteHangUp",
        ];
        for line in over {
            check(
                &[arrives(0, "u1"), described(0, "u1"), says(1000, line)],
                &[],
            );
        }
        let other = "call call=c2 from=talking to=ended input=RemoteHangUp";
        check(
            &[arrives(0, "u1"), described(0, "u1"), says(1000, other)],
            &["u1"],
        );
    }

    #[test]
    fn a_process_that_stands_still_or_is_gone_adds_nothing() {
        let fault = |at_ms, name: &str, phase| {
            let name = name.into();
            let fault = FaultEvent {
                fault: 0,
                name,
                phase,
            };
            event(at_ms, "fault", EventKind::Fault(fault))
        };
        let before = [arrives(0, "u1"), described(0, "u1")];
        let slept = fault(59_000, "app-suspend alice", FaultPhase::Ends);
        check(&[&before[..], &[slept]].concat(), &[]);
        let killed = fault(1000, "app-kill alice", FaultPhase::Begins);
        check(&[&before[..], std::slice::from_ref(&killed)].concat(), &[]);
        let of_another = fault(1000, "app-kill bob", FaultPhase::Begins);
        check(&[&before[..], &[of_another]].concat(), &["u1"]);
    }
}
