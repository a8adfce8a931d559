//! Mistakes that applications make between signaling and the peer connection (pure).
//!
//! Each looks at the messages on their way, and says what a client that makes it would still see of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ringtrue::candidates::CandidateAttribute;
use ringtrue::peer::sdp::SessionDescription;
use ringtrue::signaling::message::{
    CallId, CallMessage, Envelope, HangUpReason, OfferAim, PeerName,
};

/// One mistake, over all calls of a client.
pub(super) trait Flaw: fmt::Debug + Send {
    /// The client sends a message. What it returns reaches the client now; see [`Passage`] for the message.
    fn outgoing(&mut self, envelope: &Envelope) -> (Passage, Vec<Envelope>) {
        let _ = envelope;
        (Passage::Goes, Vec::new())
    }

    /// A message arrives. What it returns reaches the client.
    fn incoming(&mut self, envelope: Envelope) -> Vec<Envelope> {
        vec![envelope]
    }
}

/// What becomes of a message that the client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// It goes its way.
    Goes,
    /// The client never says it.
    Unsaid,
}

/// Hands each candidate to the peer connection as it comes, which rejects it where no description of its
/// generation is set (W3C `addIceCandidate`).
#[derive(Debug, Default)]
pub(super) struct NoBuffer {
    described: BTreeSet<(CallId, String)>,
}

/// Keeps candidates, and hands them over when the call is answered: on the side that answers, that is
/// after the offer was set, and all is well. On the other side it is an instant before the answer is set,
/// and whatever came before the answer is lost.
#[derive(Debug, Default)]
pub(super) struct FlushedTooEarly {
    answered: BTreeSet<CallId>,
    waiting: BTreeMap<CallId, Vec<Envelope>>,
}

/// Adds each candidate to the newest description there is, whichever it belongs to.
#[derive(Debug, Default)]
pub(super) struct GenerationIgnored {
    newest: BTreeMap<CallId, String>,
}

/// Lets the error of a candidate that cannot be added end the call.
#[derive(Debug, Default)]
pub(super) struct BadCandidateFatal;

/// Never offers another path for a call that is set up.
#[derive(Debug, Default)]
pub(super) struct NoRestart;

/// Registers the handler for its own candidates after the description was set, by which time the first
/// one, the host's own, has been found.
#[derive(Debug, Default)]
pub(super) struct LateHandler {
    missed: BTreeSet<(CallId, String)>,
}

/// Comes into a state that it never leaves when a candidate comes before its description: from then on no
/// candidate of any call is taken.
#[derive(Debug, Default)]
pub(super) struct EarlyCandidateWedges {
    described: BTreeSet<(CallId, String)>,
    is_wedged: bool,
}

/// Sees that the other side describes itself while its own offer is out, and takes that for the answer.
/// Both have offered then, and both control.
#[derive(Debug, Default)]
pub(super) struct CrossedOffers {
    /// The call that each user is being called with.
    calling: BTreeMap<PeerName, CallId>,
    /// What the client calls a call that the other side began.
    ours: BTreeMap<CallId, CallId>,
}

impl Flaw for NoBuffer {
    fn incoming(&mut self, envelope: Envelope) -> Vec<Envelope> {
        if let Some(ufrag) = described_by(&envelope.body) {
            self.described.insert((envelope.call.clone(), ufrag));
        }
        if let CallMessage::Candidate(candidate) = &envelope.body {
            let generation = (envelope.call.clone(), candidate.username_fragment.clone());
            if !self.described.contains(&generation) {
                tracing::debug!(call = %envelope.call, "a candidate before its description is lost");
                return Vec::new();
            }
        }
        vec![envelope]
    }
}

impl Flaw for FlushedTooEarly {
    fn outgoing(&mut self, envelope: &Envelope) -> (Passage, Vec<Envelope>) {
        let mut flushed = Vec::new();
        if matches!(envelope.body, CallMessage::Answer { .. }) {
            self.answered.insert(envelope.call.clone());
            flushed = self.waiting.remove(&envelope.call).unwrap_or_default();
        }
        (Passage::Goes, flushed)
    }

    fn incoming(&mut self, envelope: Envelope) -> Vec<Envelope> {
        let call = envelope.call.clone();
        match &envelope.body {
            CallMessage::Candidate(_) if !self.answered.contains(&call) => {
                self.waiting.entry(call).or_default().push(envelope);
                return Vec::new();
            }
            CallMessage::Answer { .. } if self.answered.insert(call.clone()) => {
                let lost = self.waiting.remove(&call).unwrap_or_default().len();
                if lost > 0 {
                    tracing::debug!(%call, lost, "candidates are flushed before the answer is set");
                }
            }
            _ => {}
        }
        vec![envelope]
    }
}

impl Flaw for GenerationIgnored {
    fn incoming(&mut self, mut envelope: Envelope) -> Vec<Envelope> {
        if let Some(ufrag) = described_by(&envelope.body) {
            self.newest.insert(envelope.call.clone(), ufrag);
        }
        let newest = self.newest.get(&envelope.call);
        match (&mut envelope.body, newest) {
            (CallMessage::Candidate(candidate), Some(newest)) => {
                candidate.username_fragment.clone_from(newest);
            }
            (CallMessage::EndOfCandidates { ufrag }, Some(newest)) => ufrag.clone_from(newest),
            _ => {}
        }
        vec![envelope]
    }
}

impl Flaw for BadCandidateFatal {
    fn incoming(&mut self, mut envelope: Envelope) -> Vec<Envelope> {
        if let CallMessage::Candidate(candidate) = &envelope.body
            && candidate.candidate.parse::<CandidateAttribute>().is_err()
        {
            tracing::debug!(call = %envelope.call, "a bad candidate ends the call");
            // To the client it is as if the other side had gone.
            envelope.body = CallMessage::HangUp {
                reason: HangUpReason::Other,
            };
        }
        vec![envelope]
    }
}

impl Flaw for LateHandler {
    fn outgoing(&mut self, envelope: &Envelope) -> (Passage, Vec<Envelope>) {
        let passage = match &envelope.body {
            CallMessage::Candidate(candidate) => {
                let generation = (envelope.call.clone(), candidate.username_fragment.clone());
                if self.missed.insert(generation) {
                    Passage::Unsaid
                } else {
                    Passage::Goes
                }
            }
            _ => Passage::Goes,
        };
        (passage, Vec::new())
    }
}

impl Flaw for EarlyCandidateWedges {
    fn incoming(&mut self, envelope: Envelope) -> Vec<Envelope> {
        if let Some(ufrag) = described_by(&envelope.body) {
            self.described.insert((envelope.call.clone(), ufrag));
        }
        if let CallMessage::Candidate(candidate) = &envelope.body {
            let generation = (envelope.call.clone(), candidate.username_fragment.clone());
            self.is_wedged |= !self.described.contains(&generation);
            if self.is_wedged {
                tracing::debug!(call = %envelope.call, "the agent takes no candidate any more");
                return Vec::new();
            }
        }
        vec![envelope]
    }
}

impl Flaw for CrossedOffers {
    fn outgoing(&mut self, envelope: &Envelope) -> (Passage, Vec<Envelope>) {
        let (peer, call) = (&envelope.to, &envelope.call);
        match envelope.body {
            CallMessage::Offer {
                aim: OfferAim::Call,
                ..
            } => {
                self.calling.insert(peer.clone(), call.clone());
            }
            CallMessage::HangUp { .. } => {
                self.calling.remove(peer);
            }
            _ => {}
        }
        (Passage::Goes, Vec::new())
    }

    fn incoming(&mut self, mut envelope: Envelope) -> Vec<Envelope> {
        let calling = self.calling.get(&envelope.from);
        if let (
            CallMessage::Offer {
                sdp,
                aim: OfferAim::Call,
                ..
            },
            Some(ours),
        ) = (&envelope.body, calling)
            && *ours != envelope.call
        {
            tracing::debug!(call = %envelope.call, "an offer is taken for an answer");
            self.ours.insert(envelope.call.clone(), ours.clone());
            // An answer has to choose a role, and this one never gets as far as to need it.
            let sdp = sdp.replace("a=setup:actpass", "a=setup:active");
            envelope.body = CallMessage::answer(sdp);
        }
        if let Some(ours) = self.ours.get(&envelope.call) {
            envelope.call = ours.clone();
        }
        vec![envelope]
    }
}

impl Flaw for NoRestart {
    fn outgoing(&mut self, envelope: &Envelope) -> (Passage, Vec<Envelope>) {
        let passage = match envelope.body {
            CallMessage::Offer {
                aim: OfferAim::Restart | OfferAim::Upgrade,
                ..
            } => Passage::Unsaid,
            _ => Passage::Goes,
        };
        (passage, Vec::new())
    }
}

/// The user name fragment of the generation that a message describes.
fn described_by(body: &CallMessage) -> Option<String> {
    let (CallMessage::Offer { sdp, .. } | CallMessage::Answer { sdp, .. }) = body else {
        return None;
    };
    let description: SessionDescription = sdp.parse().ok()?;
    Some(description.credentials.ufrag().to_owned())
}

#[cfg(test)]
mod tests;
