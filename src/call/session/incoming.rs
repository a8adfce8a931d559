//! What signaling brings.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Session;
use super::active::RingingOffer;
use crate::call::admission::{Admission, Offered, Present, admit};
use crate::call::negotiation::{OnAnswer, OnOffer, Side};
use crate::call::recovery::{Aim, Signaling};
use crate::call::state::{CallState, Input, transition};
use crate::candidates::Pushed;
use crate::client::{ClientEvent, EndReason};
use crate::config::TransportPolicy;
use crate::peer::sdp::SessionDescription;
use crate::redaction;
use crate::signaling::client::SignalingEvent;
use crate::signaling::message::{
    CallId, CallMessage, Envelope, HangUpReason, OfferAim, PeerName, TrickledCandidate,
};

/// How long other devices may still answer a call that one has refused before any has rung.
const OTHER_DEVICES_LIMIT: Duration = Duration::from_secs(3);

impl Session {
    pub(super) fn signaling(&mut self, event: SignalingEvent) {
        match event {
            SignalingEvent::Connected => {
                self.signaling_is(Signaling::Up);
                self.report(ClientEvent::SignalingConnected);
            }
            SignalingEvent::Disconnected { reason } => {
                self.signaling_is(Signaling::Down);
                self.report(ClientEvent::SignalingLost {
                    reason: reason.to_string(),
                });
            }
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
        // Nobody else speaks in a call, even who knows its id.
        let is_present = self
            .call
            .as_ref()
            .is_some_and(|present| present.id == call && present.peer == from);
        if is_present {
            self.peer_heard();
        }
        match body {
            CallMessage::Offer { sdp, aim, replaces } => {
                self.offer(from, call, &sdp, aim, replaces.as_ref());
            }
            CallMessage::Candidate(candidate) => self.candidate(&from, &call, candidate),
            CallMessage::EndOfCandidates { ufrag } => {
                let end = TrickledCandidate {
                    candidate: String::new(),
                    sdp_mid: String::new(),
                    username_fragment: ufrag,
                };
                self.candidate(&from, &call, end);
            }
            _ if !is_present => debug!(%call, %from, "message of a call that is not ours"),
            CallMessage::Unknown => debug!(%call, %from, "message of a kind that is not known"),
            CallMessage::Ringing => self.input(Input::RemoteRinging),
            CallMessage::Answer { sdp, offer } => self.answer(&sdp, offer.as_deref()),
            CallMessage::HangUp { reason } => self.hang_up(reason),
        }
    }

    /// One device says no. While nobody has answered, only a person who refuses speaks for the others.
    fn hang_up(&mut self, reason: HangUpReason) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let is_of_one_device = matches!(
            reason,
            HangUpReason::Busy | HangUpReason::Unreachable | HangUpReason::Unanswered
        );
        let has_rung = call.state == CallState::RemoteRinging;
        // An idle device knows nothing of a call that is taken up.
        let is_unknown_there = call.state == CallState::Calling && reason == HangUpReason::Normal;
        if call.state == CallState::Calling && (is_of_one_device || is_unknown_there) {
            call.refused.get_or_insert(reason);
            let until = Instant::now() + OTHER_DEVICES_LIMIT;
            call.rings_until = call.rings_until.map(|at| at.min(until));
            return self.input(Input::RemoteBusy);
        }
        if has_rung && is_of_one_device {
            return self.input(Input::RemoteBusy);
        }
        call.end = EndReason::Remote(reason);
        self.input(Input::RemoteHangUp);
    }

    /// A candidate of the other side. It passes on arrival, and before its offer too: the buffer
    /// keeps what has no description to go with.
    fn candidate(&mut self, from: &PeerName, call: &CallId, candidate: TrickledCandidate) {
        let ufrag = candidate.username_fragment.clone();
        match self.candidates.push(Instant::now(), from, call, candidate) {
            Ok(Pushed::Ready(candidate)) => self.add_remote_candidate(&candidate),
            Ok(outcome) => debug!(%call, ?outcome, "remote candidate not added now"),
            // One bad candidate must not cost the call: the others may work.
            Err(error) => warn!(%call, %from, ufrag, %error, "remote candidate refused"),
        }
    }

    fn offer(
        &mut self,
        from: PeerName,
        call: CallId,
        sdp: &str,
        aim: OfferAim,
        replaces: Option<&CallId>,
    ) {
        let remote: SessionDescription = match sdp.parse() {
            Ok(remote) => remote,
            Err(error) => {
                warn!(%call, %from, %error, "this offer makes no sense");
                let is_new = self.call.as_ref().is_none_or(|present| present.id != call);
                if is_new {
                    self.refuse(from, &call, HangUpReason::Rejected);
                }
                return;
            }
        };
        let present = self.call.as_ref().map(|present| Present {
            peer: &present.peer,
            call: &present.id,
            formerly: &present.formerly,
            state: present.state,
        });
        let offered = Offered {
            from: &from,
            call: &call,
            aim,
            replaces,
        };
        let admission = admit(present, offered);
        debug!(%call, %from, ?aim, ?admission, "offer");
        match admission {
            Admission::Ring => self.accept(from, &call, CallState::Announced, remote),
            Admission::Awaited => self.take_offer(remote),
            Admission::Renegotiate => self.renegotiate(remote, aim),
            Admission::ReplaceRinging => self.replace(from, &call, CallState::Announced, remote),
            Admission::Replace => self.replace(from, &call, CallState::Accepted, remote),
            Admission::Yield => {
                // The other side insists on its own call and drops this one by itself. Should it have
                // given that up meanwhile, it must not ring for ours.
                self.send(CallMessage::HangUp {
                    reason: HangUpReason::Normal,
                });
                self.replace(from, &call, CallState::Accepted, remote);
            }
            Admission::Insist => {
                self.candidates.forget(&call);
                self.signaling.close_call(call);
            }
            Admission::Refuse(reason) => self.refuse(from, &call, reason),
        }
    }

    /// Goes on with another call in the place of the present one.
    fn replace(
        &mut self,
        from: PeerName,
        call: &CallId,
        state: CallState,
        remote: SessionDescription,
    ) {
        let mut formerly = Vec::new();
        if let Some(present) = &self.call {
            let was = present.id.clone();
            info!(%was, %call, "the call goes on under another id");
            formerly.clone_from(&present.formerly);
            formerly.push(was.clone());
            self.report(ClientEvent::Replaced {
                was,
                call: call.clone(),
            });
        }
        self.drop_call();
        self.accept(from, call, state, remote);
        if let Some(present) = self.call.as_mut() {
            present.formerly = formerly;
        }
    }

    /// Begins a call that the other side offers.
    fn accept(
        &mut self,
        from: PeerName,
        call: &CallId,
        state: CallState,
        remote: SessionDescription,
    ) {
        match self.make_call(call.clone(), from.clone(), state, Side::Callee) {
            Ok(active) => {
                self.call = Some(active);
                self.take_offer(remote);
            }
            Err(error) => {
                warn!(%call, %error, "refusing a call for which no media can be set up");
                self.refuse(from, call, HangUpReason::Unreachable);
            }
        }
    }

    /// Takes the first offer of the present call.
    fn take_offer(&mut self, remote: SessionDescription) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        call.negotiation.handle_offer(remote.credentials.ufrag());
        call.pinned = Some(remote.fingerprint);
        call.ringing = Some(RingingOffer {
            description: remote.clone(),
            candidates: Vec::new(),
        });
        if let Err(error) = self.make_answering_leg(remote, OfferAim::Call) {
            warn!(%error, "refusing a call whose offer cannot be answered");
            self.set_end(EndReason::Unreachable {
                cause: format!("the offer cannot be answered: {error}"),
            });
            return self.input(Input::MediaFailed);
        }
        self.input(Input::RemoteOffer);
    }

    /// The other side offers again in a call that has begun.
    fn renegotiate(&mut self, remote: SessionDescription, aim: OfferAim) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        if call
            .pinned
            .is_some_and(|pinned| pinned != remote.fingerprint)
        {
            return warn!(call = %call.id, "an offer with another certificate is not taken");
        }
        if aim == OfferAim::Upgrade && self.config.ice.policy == TransportPolicy::RelayOnly {
            return debug!(call = %call.id, "this side talks by relays only");
        }
        let verdict = call.negotiation.handle_offer(remote.credentials.ufrag());
        debug!(call = %call.id, ?aim, ?verdict, "offer in a call");
        if !matches!(verdict, OnOffer::Answer { .. }) {
            return;
        }
        self.abandon_coming();
        let is_ringing = self
            .call
            .as_ref()
            .is_some_and(|call| !call.state.is_answered());
        if is_ringing && let Some(call) = self.call.as_mut() {
            call.ringing = Some(RingingOffer {
                description: remote.clone(),
                candidates: Vec::new(),
            });
        }
        if let Err(error) = self.make_answering_leg(remote, aim) {
            return warn!(%error, "an offer that cannot be answered");
        }
        if !is_ringing {
            // What rang, and was gathered anew meanwhile, waits for its candidates as long as any first offer.
            if aim != OfferAim::Call
                && let Some(recovery) = self.recovery()
            {
                let aim = match aim {
                    OfferAim::Upgrade => Aim::Upgrade,
                    OfferAim::Call | OfferAim::Restart | OfferAim::Unknown => Aim::Restart,
                };
                recovery.handle_remote_attempt(Instant::now(), aim);
            }
            self.send_answer();
            self.start_coming();
        }
    }

    fn refuse(&mut self, caller: PeerName, call: &CallId, reason: HangUpReason) {
        self.send_to(caller, call.clone(), CallMessage::HangUp { reason });
        // Whoever names our call without being in it must not end it.
        if self.call.as_ref().is_none_or(|present| present.id != *call) {
            self.forget_call(call);
        }
    }

    fn answer(&mut self, sdp: &str, offer: Option<&str>) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let is_first = transition(call.state, Input::RemoteAnswer).next != call.state;
        if !is_first && !call.state.is_answered() {
            return debug!(call = %call.id, "an answer to a call that is not ours");
        }
        let applied = match call.negotiation.handle_answer(offer) {
            OnAnswer::Apply => self.apply_answer(sdp),
            // It still says that the other side accepted. The answer to the offer that counts follows.
            OnAnswer::Late => Ok(()),
        };
        match applied {
            Ok(()) if is_first => self.input(Input::RemoteAnswer),
            Ok(()) => self.start_coming(),
            Err(cause) => {
                warn!(%cause, "the answer cannot be used");
                if is_first {
                    self.set_end(EndReason::Unreachable {
                        cause: format!("the answer cannot be used: {cause}"),
                    });
                    return self.input(Input::MediaFailed);
                }
                self.attempt_failed();
            }
        }
    }

    fn apply_answer(&mut self, sdp: &str) -> Result<(), String> {
        let remote: SessionDescription = sdp
            .parse()
            .map_err(|error: crate::peer::sdp::SdpError| error.to_string())?;
        let Some(call) = self.call.as_mut() else {
            return Ok(());
        };
        let pinned = call.pinned.get_or_insert(remote.fingerprint);
        if *pinned != remote.fingerprint {
            return Err("its certificate is another one than before".into());
        }
        self.set_remote_of_coming(remote)
            .map_err(|error| error.to_string())
    }
}
