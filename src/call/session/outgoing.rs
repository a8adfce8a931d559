//! What is said to the other side, and what comes of it.

use std::pin::Pin;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Session;
use crate::call::state::Input;
use crate::signaling::client::SendError;
use crate::signaling::message::{CallId, CallMessage, Envelope, PeerName};

/// A message on its way to the other side.
pub(super) type Sending = Pin<Box<dyn Future<Output = Sent> + Send>>;

/// Messages on their way to the server, and who waits for that.
pub(super) type Flushing = Pin<Box<dyn Future<Output = oneshot::Sender<()>> + Send>>;

/// What came of a message.
pub(super) struct Sent {
    call: CallId,
    kind: &'static str,
    need: Need,
    outcome: Result<(), SendError>,
}

/// What a message is to its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Without it there is no call, or no other path.
    Offer,
    /// Without it the offer that it answers leads nowhere.
    Answer,
    /// One of several.
    Other,
}

impl Session {
    /// Sends to the other side of the current call.
    pub(super) fn send(&mut self, body: CallMessage) {
        if let Some(call) = &self.call {
            let (to, id) = (call.peer.clone(), call.id.clone());
            self.send_to(to, id, body);
        }
    }

    pub(super) fn send_to(&mut self, to: PeerName, call: CallId, body: CallMessage) {
        let need = match &body {
            CallMessage::Offer { .. } => Need::Offer,
            CallMessage::Answer { .. } => Need::Answer,
            _ => Need::Other,
        };
        let kind = body.kind();
        let pending = self.signaling.send(Envelope {
            from: self.name.clone(),
            to,
            call: call.clone(),
            body,
        });
        self.sending.push(Box::pin(async move {
            let outcome = pending.await;
            Sent {
                call,
                kind,
                need,
                outcome,
            }
        }));
    }

    /// A call that cannot be set up, because the other side is not reached, is over. One in which both
    /// talk needs no signaling.
    pub(super) fn sent(&mut self, sent: Sent) {
        let Sent {
            call,
            kind,
            need,
            outcome,
        } = sent;
        let is_present = self.call.as_ref().is_some_and(|present| present.id == call);
        let error = match outcome {
            Ok(()) if is_present => return self.delivered(need),
            Ok(()) => return,
            Err(SendError::Closed) if !is_present => {
                return debug!(%call, kind, "a message of a call that is over");
            }
            Err(error) => error,
        };
        warn!(%call, kind, %error, "message not sent");
        if need != Need::Other && is_present {
            self.note_cause(format!("the {kind} was not delivered: {error}"));
            self.input(Input::Undelivered);
            if need == Need::Offer && self.recovery().is_some() {
                self.attempt_failed();
            }
        }
    }

    /// A device of the other side has a message of the present call.
    fn delivered(&mut self, need: Need) {
        let now = Instant::now();
        if let Some(recovery) = self.recovery() {
            match need {
                Need::Offer => recovery.handle_offer_delivered(now),
                Need::Answer => recovery.handle_answer_delivered(now),
                Need::Other => recovery.handle_peer_heard(now),
            }
        }
    }

    pub(super) fn flush(&mut self, reply: oneshot::Sender<()>) {
        let flushed = self.signaling.flushed();
        self.flushing.push(Box::pin(async move {
            flushed.await;
            reply
        }));
    }

    pub(super) fn flushed(&mut self, waiting: oneshot::Sender<()>) {
        self.flushed.push(waiting);
        self.answer_flushed();
    }

    pub(super) fn answer_flushed(&mut self) {
        if self.closing.is_empty() {
            for waiting in self.flushed.drain(..) {
                let _ = waiting.send(());
            }
        }
    }

    /// Nothing more is said in this call, nor heard.
    pub(super) fn forget_call(&mut self, call: &CallId) {
        self.candidates.forget(call);
        self.signaling.close_call(call.clone());
    }
}
