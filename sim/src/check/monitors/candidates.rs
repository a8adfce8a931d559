//! Whether each candidate goes its way exactly once (RFC 8838 sections 13, 14 and 17).

use std::collections::BTreeSet;

use super::{Told, field};
use crate::trace::{Event, EventKind, HostName};

/// The generation of a sender in a call: host, call and user name fragment.
type Generation = (HostName, String, String);

/// What was said and added of candidates, and what of it was against the rules.
#[derive(Debug, Clone, Default)]
pub struct CandidateWatch {
    sent: BTreeSet<(Generation, String)>,
    complete: BTreeSet<Generation>,
    /// By host, and by the fragments of the generations on both sides.
    added: BTreeSet<(HostName, String, String)>,
    told: Told,
}

impl CandidateWatch {
    /// Sees the next event.
    pub fn note(&mut self, event: &Event) {
        let EventKind::Log { target, text, .. } = &event.kind else {
            return;
        };
        if target.starts_with("ringtrue::peer") {
            self.note_added(event, text);
        } else if target.starts_with("ringtrue::signaling")
            && let Some(fields) = text.strip_prefix("signaling message sent kind=")
        {
            self.note_sent(event, fields);
        }
    }

    /// How many candidates were sent, and how many added: the lesser number.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.sent.len().min(self.added.len())
    }

    /// What was against the rules, oldest first.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.told.messages.clone()
    }

    fn note_added(&mut self, event: &Event, text: &str) {
        let fields = text.strip_prefix("✅ Added remote ICE candidate candidate=");
        let Some((candidate, generations)) = fields.and_then(|fields| fields.split_once(" local="))
        else {
            return;
        };
        let key = (
            event.host.clone(),
            generations.to_owned(),
            candidate.to_owned(),
        );
        if !self.added.insert(key) {
            let what = format!("added a candidate twice: {candidate}");
            self.told.tell(event, "added twice", what);
        }
    }

    fn note_sent(&mut self, event: &Event, fields: &str) {
        let (Some(call), Some(ufrag)) = (field(fields, "call"), field(fields, "ufrag")) else {
            return;
        };
        let generation = (event.host.clone(), call.to_owned(), ufrag.to_owned());
        if fields.starts_with("end-of-candidates ") {
            if !self.complete.insert(generation) {
                let what = "said twice that its candidates are complete";
                self.told.tell(event, "complete twice", what);
            }
            return;
        }
        let Some((_, candidate)) = fields.split_once(" candidate=") else {
            return;
        };
        if self.complete.contains(&generation) {
            let what = format!("sent a candidate after the end of candidates: {candidate}");
            self.told.tell(event, "sent after the end", what);
        }
        if !self.sent.insert((generation, candidate.to_owned())) {
            let what = format!("sent a candidate twice: {candidate}");
            self.told.tell(event, "sent twice", what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::line;
    use super::*;

    const OUTGOING: &str = "ringtrue::signaling::mailbox::outgoing";
    const PEER: &str = "ringtrue::peer::connection::actor";
    const HOST: &str = "candidate:1 1 udp 2130706431 192.168.1.2 49153 typ host";

    #[track_caller]
    fn check(lines: &[(&'static str, String)], said: &[&str]) {
        let mut watch = CandidateWatch::default();
        for (target, text) in lines {
            watch.note(&line(1000, "alice", target, text));
        }
        assert_eq!(watch.broken(), said);
    }

    fn sent(ufrag: &str) -> (&'static str, String) {
        let fields = format!("kind=candidate call=c1 ufrag={ufrag} candidate={HOST}");
        (OUTGOING, format!("signaling message sent {fields}"))
    }

    fn complete(ufrag: &str) -> (&'static str, String) {
        let fields = format!("kind=end-of-candidates call=c1 ufrag={ufrag}");
        (OUTGOING, format!("signaling message sent {fields}"))
    }

    fn added(local: &str) -> (&'static str, String) {
        let fields = format!("candidate={HOST} local={local} remote=r1");
        (PEER, format!("✅ Added remote ICE candidate {fields}"))
    }

    #[test]
    fn a_candidate_is_sent_once_for_each_generation() {
        check(&[sent("u1"), sent("u2")], &[]);
        let said = format!("alice at 1s sent a candidate twice: {HOST}");
        check(&[sent("u1"), sent("u1")], &[&said]);
    }

    #[test]
    fn nothing_is_sent_of_a_generation_that_is_complete() {
        check(&[sent("u1"), complete("u1"), sent("u2")], &[]);
        let said = format!("alice at 1s sent a candidate after the end of candidates: {HOST}");
        check(&[complete("u1"), sent("u1")], &[&said]);
        let said = "alice at 1s said twice that its candidates are complete";
        check(&[complete("u1"), complete("u1")], &[said]);
    }

    #[test]
    fn a_candidate_is_added_once_for_each_generation() {
        check(&[added("l1"), added("l2")], &[]);
        let said = format!("alice at 1s added a candidate twice: {HOST}");
        check(&[added("l1"), added("l1")], &[&said]);
    }

    #[test]
    fn lines_of_others_are_not_taken_for_the_clients() {
        let (_, text) = sent("u1");
        let foreign = || ("ringtrue_sim::server", text.clone());
        check(&[foreign(), foreign()], &[]);
    }
}
