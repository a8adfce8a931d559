//! How messages show in the log.

use tracing::debug;
use tracing::field::display;

use super::{CallId, CallMessage};
use crate::candidates::CandidateAttribute;
use crate::redaction;

/// What a client does with a message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Passing {
    /// It sends it, for the first time.
    Sent,
    /// It has received it, and hands it on.
    Received,
}

/// Tells of a message, and of which generation a candidate or the end of candidates is.
pub(crate) fn log(passing: Passing, body: &CallMessage, call: &CallId) {
    let kind = body.kind();
    let passed = match passing {
        Passing::Sent => "signaling message sent",
        Passing::Received => "signaling message received",
    };
    match body {
        CallMessage::Candidate(candidate) => {
            let ufrag = &candidate.username_fragment;
            let attribute: Option<CandidateAttribute> = candidate.candidate.parse().ok();
            let candidate = attribute.as_ref().map(redaction::candidate).map(display);
            debug!(kind, %call, ufrag, candidate, "{passed}");
        }
        CallMessage::EndOfCandidates { ufrag } => debug!(kind, %call, ufrag, "{passed}"),
        _ => debug!(kind, %call, "{passed}"),
    }
}
