//! What signaling brings.

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{ActiveCall, Session};
use crate::call::state::{CallState, Input, transition};
use crate::candidates::Pushed;
use crate::client::{ClientEvent, EndReason};
use crate::peer::sdp::{SdpError, SessionDescription};
use crate::peer::{IceRole, PeerError};
use crate::redaction;
use crate::signaling::client::SignalingEvent;
use crate::signaling::message::{
    CallId, CallMessage, Envelope, HangUpReason, PeerName, TrickledCandidate,
};

impl Session {
    pub(super) fn signaling(&mut self, event: SignalingEvent) {
        match event {
            SignalingEvent::Connected => self.report(ClientEvent::SignalingConnected),
            SignalingEvent::Disconnected { reason } => self.report(ClientEvent::SignalingLost {
                reason: reason.to_string(),
            }),
            SignalingEvent::ConnectFailed { error } if error.is_final() => {
                self.report(ClientEvent::SignalingRejected {
                    message: error.to_string(),
                });
            }
            SignalingEvent::ConnectFailed { error } => {
                debug!(%error, "signaling is not up yet");
            }
            SignalingEvent::Reconnecting { .. } => {}
            SignalingEvent::GaveUp { attempts } => self.report(ClientEvent::SignalingRejected {
                message: format!("{attempts} attempts to reconnect failed"),
            }),
            SignalingEvent::TurnCredentials(given) => self.turn_credentials = Some(given),
            SignalingEvent::Rejected { message } => {
                // It ends up in the logs of the application.
                let message = redaction::scrubbed(message).to_string();
                self.report(ClientEvent::SignalingRejected { message });
            }
            SignalingEvent::Message(envelope) => self.message(envelope),
        }
    }

    fn message(&mut self, envelope: Envelope) {
        let Envelope {
            from, call, body, ..
        } = envelope;
        let current = self.call.as_ref().is_some_and(|ours| ours.id == call);
        match body {
            CallMessage::Offer { sdp } => self.offer(from, call, &sdp),
            CallMessage::Candidate(candidate) => self.candidate(&from, &call, candidate),
            CallMessage::EndOfCandidates { ufrag } => {
                let end = TrickledCandidate {
                    candidate: String::new(),
                    sdp_mid: String::new(),
                    username_fragment: ufrag,
                };
                self.candidate(&from, &call, end);
            }
            _ if !current => debug!(%call, %from, "message of a call that is not ours"),
            CallMessage::Unknown => debug!(%call, %from, "message of a kind that is not known"),
            CallMessage::Ringing => self.input(Input::RemoteRinging),
            CallMessage::Answer { sdp } => self.answer(&sdp),
            CallMessage::HangUp { reason } => {
                self.set_end(EndReason::Remote(reason));
                self.input(Input::RemoteHangUp);
            }
        }
    }

    /// A candidate of the other side. It passes on arrival, and before its offer too: the buffer
    /// keeps what has no description to go with.
    fn candidate(&mut self, from: &str, call: &CallId, candidate: TrickledCandidate) {
        let now = Instant::now();
        for lost in self.candidates.handle_timeout(now) {
            warn!(call = %lost.call, from = %lost.from, ufrag = lost.ufrag,
                candidates = lost.candidates, "remote candidates dropped: no description came");
        }
        match self.candidates.push(now, from, call, candidate) {
            Ok(Pushed::Ready(candidate)) => self.add_remote_candidate(&candidate),
            Ok(outcome) => debug!(%call, ?outcome, "remote candidate not added now"),
            // One bad candidate must not cost the call: the others may work.
            Err(error) => warn!(%call, %error, "remote candidate refused"),
        }
    }

    fn offer(&mut self, from: PeerName, call: CallId, sdp: &str) {
        if let Some(current) = &self.call {
            if current.id != call {
                self.refuse(from, &call, HangUpReason::Busy);
            }
            return;
        }
        let remote: SessionDescription = match sdp.parse() {
            Ok(remote) => remote,
            Err(error) => {
                warn!(%call, %from, %error, "refusing a call whose offer makes no sense");
                return self.refuse(from, &call, HangUpReason::Rejected);
            }
        };
        let made = self.make_call(
            call.clone(),
            from.clone(),
            CallState::Incoming,
            IceRole::Controlled,
        );
        match made {
            Ok(active) => self.call = Some(active),
            Err(error) => {
                warn!(%call, %error, "refusing a call for which no media can be set up");
                return self.refuse(from, &call, HangUpReason::Unreachable);
            }
        }
        if let Err(error) = self.apply_remote_description(remote) {
            warn!(%call, %from, %error, "refusing a call whose offer cannot be answered");
            self.call = None;
            return self.refuse(from, &call, HangUpReason::Rejected);
        }
        if self.config.ice.candidate_pool_size > 0
            && let Some(active) = &self.call
        {
            active.connection.start_gathering();
        }
        self.send(CallMessage::Ringing);
        self.report(ClientEvent::Incoming { call, from });
    }

    fn refuse(&mut self, caller: PeerName, call: &CallId, reason: HangUpReason) {
        self.send_to(caller, call.clone(), CallMessage::HangUp { reason });
        self.forget_call(call);
    }

    fn answer(&mut self, sdp: &str) {
        let waits =
            |call: &ActiveCall| transition(call.state, Input::RemoteAnswer).next != call.state;
        if !self.call.as_ref().is_some_and(waits) {
            debug!("an answer that nobody waits for");
            return;
        }
        let applied = match sdp.parse() {
            Ok(remote) => self
                .apply_remote_description(remote)
                .map_err(|error| error.to_string()),
            Err(error) => Err(SdpError::to_string(&error)),
        };
        match applied {
            Ok(()) => self.input(Input::RemoteAnswer),
            Err(error) => {
                warn!(%error, "the answer cannot be used");
                self.set_end(EndReason::Unreachable {
                    cause: format!("the answer cannot be used: {error}"),
                });
                self.input(Input::MediaFailed);
            }
        }
    }

    /// Hands the other side's description to the media peer, and then every candidate that came
    /// before it.
    fn apply_remote_description(&mut self, remote: SessionDescription) -> Result<(), PeerError> {
        let Some(call) = self.call.as_mut() else {
            return Ok(());
        };
        let ufrag = remote.credentials.ufrag().to_owned();
        call.connection.set_remote(remote)?;
        let now = Instant::now();
        let released = self.candidates.ready(now, &call.peer, &call.id, &ufrag);
        let waiting = released.candidates;
        if !waiting.is_empty() {
            info!(call = %call.id, "🧊 Processing {} pending ICE candidates", waiting.len());
        }
        for candidate in &waiting {
            self.add_remote_candidate(candidate);
        }
        Ok(())
    }

    fn add_remote_candidate(&self, candidate: &TrickledCandidate) {
        if let Some(call) = &self.call
            && let Err(error) = call.connection.add_remote_candidate(candidate)
        {
            warn!(call = %call.id, %error, "remote candidate refused");
        }
    }
}
