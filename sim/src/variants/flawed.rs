//! A signaling channel whose client makes mistakes with what it carries.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use ringtrue::signaling::channel::{PendingSend, SendOutcome, SignalingChannel};
use ringtrue::signaling::client::SignalingEvent;
use ringtrue::signaling::message::{CallId, Envelope};
use tokio::sync::mpsc;

use super::flaw::{Flaw, Passage};

/// Mistakes, the one nearest to the network first. Clones are the same.
#[derive(Debug, Clone)]
struct Flaws(Arc<Mutex<Vec<Box<dyn Flaw>>>>);

/// Another channel, seen through [`Flaw`]s.
#[derive(Debug)]
pub(super) struct FlawedChannel {
    below: Box<dyn SignalingChannel>,
    flaws: Flaws,
    /// What reaches the client because of what it sends.
    flushed: mpsc::UnboundedSender<Envelope>,
    /// Messages that are never sent, so that nothing ever comes of them.
    unsaid: Mutex<Vec<SendOutcome>>,
}

impl FlawedChannel {
    /// Sees `below` through `flaws`; must be called inside a tokio runtime.
    pub(super) fn over(
        below: Box<dyn SignalingChannel>,
        mut received: mpsc::Receiver<SignalingEvent>,
        flaws: Vec<Box<dyn Flaw>>,
    ) -> (Self, mpsc::Receiver<SignalingEvent>) {
        let flaws = Flaws(Arc::new(Mutex::new(flaws)));
        let (events, reported) = mpsc::channel(64);
        let (flushed, mut released) = mpsc::unbounded_channel();
        let incoming = flaws.clone();
        tokio::spawn(async move {
            loop {
                let passing = tokio::select! {
                    biased;
                    Some(envelope) = released.recv() => vec![SignalingEvent::Message(envelope)],
                    event = received.recv() => match event {
                        Some(SignalingEvent::Message(envelope)) => incoming.incoming(envelope),
                        Some(event) => vec![event],
                        None => return,
                    },
                };
                for event in passing {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
        });
        let channel = Self {
            below,
            flaws,
            flushed,
            unsaid: Mutex::default(),
        };
        (channel, reported)
    }
}

impl SignalingChannel for FlawedChannel {
    fn send(&self, envelope: Envelope) -> PendingSend {
        let (passage, flushed) = self.flaws.outgoing(&envelope);
        let pending = match passage {
            Passage::Goes => self.below.send(envelope),
            Passage::Unsaid => {
                let (outcome, pending) = PendingSend::pair();
                let mut unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
                unsaid.push(outcome);
                pending
            }
        };
        for envelope in flushed {
            // The task ends with the channel below, and then nobody waits for it.
            let _ = self.flushed.send(envelope);
        }
        pending
    }

    fn close_call(&self, call: CallId) {
        self.below.close_call(call);
    }

    fn check_path(&self) {
        self.below.check_path();
    }

    fn network_changed(&self) {
        self.below.network_changed();
    }

    fn keep_turn_credentials(&self) {
        self.below.keep_turn_credentials();
    }

    fn flushed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.below.flushed()
    }
}

impl Flaws {
    fn incoming(&self, envelope: Envelope) -> Vec<SignalingEvent> {
        let mut flaws = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passing = flaws.iter_mut().fold(vec![envelope], |passing, flaw| {
            passing
                .into_iter()
                .flat_map(|each| flaw.incoming(each))
                .collect()
        });
        passing.into_iter().map(SignalingEvent::Message).collect()
    }

    fn outgoing(&self, envelope: &Envelope) -> (Passage, Vec<Envelope>) {
        let mut flaws = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut flushed = Vec::new();
        for flaw in flaws.iter_mut() {
            let (passage, mut ready) = flaw.outgoing(envelope);
            flushed.append(&mut ready);
            if passage == Passage::Unsaid {
                return (passage, flushed);
            }
        }
        (Passage::Goes, flushed)
    }
}
