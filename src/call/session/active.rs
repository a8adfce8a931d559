//! The one call that a client is in.

use std::time::Duration;

use tokio::time::{Instant, Interval};

use super::Session;
use crate::audio::sink::AudioSink;
use crate::audio::source::AudioSource;
use crate::call::legs::Legs;
use crate::call::negotiation::{Negotiation, Side};
use crate::call::recovery::Recovery;
use crate::call::saved::{SavedCall, SavedStage};
use crate::call::state::CallState;
use crate::client::{ClientError, EndReason};
use crate::config::RingingConfig;
use crate::peer::MediaIdentity;
use crate::peer::sdp::{Fingerprint, SessionDescription};
use crate::signaling::message::{CallId, HangUpReason, PeerName, TrickledCandidate};

/// Everything of a call.
pub(super) struct ActiveCall {
    pub(super) id: CallId,
    /// The ids that it went by before. An application that has not read yet that the call goes on under
    /// another one may still use them.
    pub(super) formerly: Vec<CallId>,
    pub(super) peer: PeerName,
    pub(super) state: CallState,
    pub(super) negotiation: Negotiation,
    pub(super) identity: MediaIdentity,
    pub(super) legs: Legs,
    /// The fingerprint of the other side, which holds for the whole call.
    pub(super) pinned: Option<Fingerprint>,
    /// The offer that rings, to be taken up again if this host's network changes before it is answered.
    pub(super) ringing: Option<RingingOffer>,
    pub(super) rings_until: Option<Instant>,
    /// What a device of the other side refused the call with, while others may ring yet.
    pub(super) refused: Option<HangUpReason>,
    /// From the moment that the call is answered.
    pub(super) recovery: Option<Recovery>,
    /// Runs from the moment that SRTP keys are there.
    pub(super) audio_clock: Option<Interval>,
    pub(super) source: AudioSource,
    pub(super) sink: AudioSink,
    pub(super) end: EndReason,
}

/// An offer and the candidates that belong to it.
pub(super) struct RingingOffer {
    pub(super) description: SessionDescription,
    pub(super) candidates: Vec<TrickledCandidate>,
}

impl ActiveCall {
    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let recovery = self.recovery.as_ref().and_then(Recovery::poll_timeout);
        [
            self.legs.poll_timeout(),
            self.rings_until,
            recovery.map(|(at, _)| at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What the application stores of it.
    pub(super) fn saved(&self) -> SavedCall {
        SavedCall {
            call: self.id.clone(),
            peer: self.peer.clone(),
            side: self.negotiation.side(),
            stage: if self.state.is_answered() || self.state == CallState::Accepted {
                SavedStage::Answered
            } else {
                SavedStage::Ringing
            },
        }
    }

    /// Moves on to a state, and starts the clock that goes with it.
    pub(super) fn enter(&mut self, now: Instant, state: CallState, config: &RingingConfig) {
        let before = std::mem::replace(&mut self.state, state);
        if before != state {
            self.rings_until = ringing_limit(state, config).map(|limit| now + limit);
        }
    }
}

impl Session {
    pub(super) fn make_call(
        &mut self,
        id: CallId,
        peer: PeerName,
        state: CallState,
        side: Side,
    ) -> Result<ActiveCall, ClientError> {
        let identity =
            MediaIdentity::generate().map_err(|error| ClientError::Media(error.to_string()))?;
        let now = Instant::now();
        // The clock of the addresses runs faster in a call.
        self.look_at_addresses = now;
        Ok(ActiveCall {
            id,
            formerly: Vec::new(),
            peer,
            state,
            negotiation: Negotiation::new(side),
            identity,
            legs: Legs::default(),
            pinned: None,
            ringing: None,
            rings_until: ringing_limit(state, &self.config.ringing).map(|limit| now + limit),
            refused: None,
            recovery: None,
            audio_clock: None,
            source: AudioSource::new(self.voice.clone(), &mut self.random),
            sink: AudioSink::any(),
            end: EndReason::HungUp,
        })
    }
}

/// How long a call may stay in a state in which somebody waits for somebody.
fn ringing_limit(state: CallState, config: &RingingConfig) -> Option<Duration> {
    match state {
        // The offer has a limit of its own until it has arrived.
        CallState::Calling => Some(config.limit + config.offer_limit),
        CallState::RemoteRinging => Some(config.limit),
        CallState::Announced | CallState::Accepted => Some(config.offer_limit),
        CallState::Incoming => Some(config.incoming_limit),
        CallState::Connecting | CallState::Talking | CallState::Interrupted | CallState::Ended => {
            None
        }
    }
}
