//! Whether each candidate that a client finds is sent.
//!
//! RFC 8838 section 9 has every candidate conveyed as it is found. One that is lost before it was sent, while
//! signaling was away, is missed by nobody: the other side does not know of it, and the call may find
//! another way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Told, field};
use crate::trace::{Event, EventKind, HostName};

/// How much later than a candidate another message must be to have overtaken it: the client posts both at
/// once, and writes them in the order in which they were posted.
const OVERTAKEN_BY: Duration = Duration::from_secs(1);

/// How long after what has overtaken it a candidate may be sent yet.
const SENT_WITHIN: Duration = Duration::from_secs(2);

/// Who writes down what is sent: the client that ships, and the endpoints of others.
const SIGNALING: [&str; 2] = ["ringtrue::signaling", "ringtrue_sim::endpoint"];

/// What was found, and how much of it was sent.
#[derive(Debug, Clone, Default)]
pub struct DepartureWatch {
    calls: BTreeMap<(HostName, String), Call>,
    seen: usize,
    told: Told,
}

#[derive(Debug, Clone, Default)]
struct Call {
    /// When each candidate was found.
    found: Vec<Duration>,
    sent: usize,
    /// When something was last sent that shows that signaling is there, and is not yet judged.
    proof: Option<Duration>,
}

impl DepartureWatch {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        let EventKind::Log { target, text, .. } = &event.kind else {
            return;
        };
        self.judge(event);
        if target.starts_with("ringtrue::call") {
            self.note_call(event, text);
        } else if SIGNALING.iter().any(|part| target.starts_with(part))
            && let Some(fields) = text.strip_prefix("signaling message sent kind=")
        {
            self.note_sent(event, fields);
        }
    }

    /// How many candidates were found that were sent.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// What was not sent, oldest first.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.told.messages.clone()
    }

    fn note_sent(&mut self, event: &Event, fields: &str) {
        let Some(name) = field(fields, "call") else {
            return;
        };
        let key = (event.host.clone(), name.to_owned());
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if fields.starts_with("candidate ") {
            call.sent += 1;
            self.seen += 1;
        }
        // Whoever hangs up has no use for candidates any more.
        if fields.starts_with("hang-up ") {
            self.calls.remove(&key);
        } else {
            call.proof.get_or_insert(event.at);
        }
    }

    fn note_call(&mut self, event: &Event, text: &str) {
        let call = |name: Option<&str>| Some((event.host.clone(), name?.to_owned()));
        if text.starts_with("local candidate found ") {
            if let Some(key) = call(field(text, "call")) {
                self.calls.entry(key).or_default().found.push(event.at);
            }
        } else if text.starts_with("the call goes on under another id ") {
            call(field(text, "was")).and_then(|key| self.calls.remove(&key));
        } else if text.starts_with("call ") && field(text, "to") == Some("ended") {
            call(field(text, "call")).and_then(|key| self.calls.remove(&key));
        }
    }

    fn judge(&mut self, event: &Event) {
        for ((host, _), call) in &mut self.calls {
            let Some(proof) = call.proof.filter(|_| *host == event.host) else {
                continue;
            };
            if event.at <= proof + SENT_WITHIN {
                continue;
            }
            call.proof = None;
            let overtaken = call.found.iter().filter(|at| **at + OVERTAKEN_BY <= proof);
            let (found, sent) = (overtaken.count(), call.sent);
            if sent < found {
                let what = format!(
                    "has sent {sent} candidates of a call, and had found {found} long before what else it sent"
                );
                self.told.tell(event, "not sent", what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::line;
    use super::*;

    const LINE: &str = "ringtrue::signaling::message::line";
    const SESSION: &str = "ringtrue::call::session::media";

    #[track_caller]
    fn check(lines: &[(u64, &'static str, &str)], is_broken: &str) {
        let mut watch = DepartureWatch::default();
        let tick = (60_000, SESSION, "the clock ticks");
        for (at_ms, target, text) in lines.iter().chain([&tick]) {
            watch.note(&line(*at_ms, "alice", target, text));
        }
        let told = watch.broken().join(" ");
        assert_eq!(told.is_empty(), is_broken.is_empty(), "{told}");
        assert!(told.contains(is_broken), "{told}");
    }

    fn found(at_ms: u64) -> (u64, &'static str, &'static str) {
        (at_ms, SESSION, "local candidate found call=c1 ufrag=u1")
    }

    fn sent(at_ms: u64, fields: &'static str) -> (u64, &'static str, &'static str) {
        (at_ms, LINE, fields)
    }

    const CANDIDATE: &str = "signaling message sent kind=candidate call=c1 ufrag=u1 candidate=x";
    const OFFER: &str = "signaling message sent kind=offer call=c1";
    const LOST: &str = "has sent 1 candidates of a call, and had found 2";

    #[test]
    fn what_is_overtaken_is_to_be_sent() {
        let one_of_two = [found(0), found(100), sent(100, CANDIDATE)];
        check(&one_of_two, "");
        check(&[&one_of_two[..], &[sent(8000, OFFER)]].concat(), LOST);
        let both = [&one_of_two[..], &[sent(7999, CANDIDATE), sent(8000, OFFER)]].concat();
        check(&both, "");
        let soon = [&one_of_two[..], &[sent(8000, OFFER), sent(9000, CANDIDATE)]].concat();
        check(&soon, "");
        let late = [
            &one_of_two[..],
            &[sent(8000, OFFER), sent(11_000, CANDIDATE)],
        ]
        .concat();
        check(&late, LOST);
    }

    #[test]
    fn what_is_found_together_with_another_message_is_not_overtaken() {
        check(&[found(0), sent(500, OFFER)], "");
    }

    #[test]
    fn a_call_that_is_over_needs_no_candidates() {
        let two = [found(0), found(100), sent(100, CANDIDATE)];
        let ends = [
            (7000, SESSION, "call call=c1 from=talking to=ended input=X"),
            (
                7000,
                SESSION,
                "the call goes on under another id was=c1 call=c2",
            ),
            sent(7000, "signaling message sent kind=hang-up call=c1"),
        ];
        for end in ends {
            check(&[&two[..], &[end, sent(8000, OFFER)]].concat(), "");
        }
        let other = (7000, SESSION, "call call=c2 from=talking to=ended input=X");
        check(&[&two[..], &[other, sent(8000, OFFER)]].concat(), LOST);
    }
}
