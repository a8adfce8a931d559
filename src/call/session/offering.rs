//! Makes connections, and the descriptions that announce them.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Session;
use super::active::ActiveCall;
use super::media::origin_in;
use crate::call::legs::Leg;
use crate::call::negotiation::Side;
use crate::call::saved::{SavedCall, SavedStage};
use crate::call::state::CallState;
use crate::client::ClientError;
use crate::config::{IceConfig, IceServer, TransportPolicy};
use crate::peer::sdp::SessionDescription;
use crate::peer::{IceRole, PeerConnection, PeerError};
use crate::signaling::message::{CallId, CallMessage, OfferAim, PeerName, TrickledCandidate};

impl Session {
    pub(super) fn place_call(&mut self, callee: PeerName) -> Result<CallId, ClientError> {
        self.offer_call(callee, OfferAim::Call, None)
    }

    /// Takes up the call of an app that was killed.
    pub(super) fn resume(&mut self, saved: SavedCall) -> Result<CallId, ClientError> {
        let SavedCall {
            call,
            peer,
            side,
            stage,
        } = saved;
        match (stage, side) {
            (SavedStage::Answered, _) => self.offer_call(peer, OfferAim::Restart, Some(call)),
            (SavedStage::Ringing, Side::Caller) => {
                self.offer_call(peer, OfferAim::Call, Some(call))
            }
            (SavedStage::Ringing, Side::Callee) => {
                self.announce(call.clone(), peer)?;
                Ok(call)
            }
        }
    }

    /// Waits for the offer of a call that somebody else told of.
    pub(super) fn announce(&mut self, call: CallId, from: PeerName) -> Result<(), ClientError> {
        if let Some(current) = &self.call {
            if current.id == call {
                return Ok(());
            }
            return Err(ClientError::Busy {
                callee: from,
                current: current.id.clone(),
            });
        }
        let active = self.make_call(call, from, CallState::Announced, Side::Callee)?;
        self.call = Some(active);
        // The caller's mailbox learns of this device by it, and sends what it lacks.
        self.send(CallMessage::Ringing);
        Ok(())
    }

    fn offer_call(
        &mut self,
        callee: PeerName,
        aim: OfferAim,
        replaces: Option<CallId>,
    ) -> Result<CallId, ClientError> {
        if let Some(current) = &self.call {
            return Err(ClientError::Busy {
                callee,
                current: current.id.clone(),
            });
        }
        let id = self.draw_call_id();
        let mut call = self.make_call(id.clone(), callee, CallState::Calling, Side::Caller)?;
        self.candidates.expect(&call.peer, &id);
        call.formerly.extend(replaces.clone());
        self.call = Some(call);
        if let Err(error) = self.send_offer(aim, replaces) {
            self.drop_call();
            return Err(ClientError::Media(error.to_string()));
        }
        Ok(id)
    }

    /// Begins another generation on this side, and offers it.
    pub(super) fn send_offer(
        &mut self,
        aim: OfferAim,
        replaces: Option<CallId>,
    ) -> Result<(), PeerError> {
        self.abandon_coming();
        let Some(leg) = self.make_leg(IceRole::Controlling, aim) else {
            return Ok(());
        };
        let sdp = leg.connection.local_description()?.to_string();
        leg.connection.start_gathering();
        let ufrag = leg.connection.local_ufrag().to_owned();
        if let Some(call) = self.call.as_mut() {
            call.negotiation.offered(&ufrag);
        }
        self.send(CallMessage::Offer { sdp, aim, replaces });
        Ok(())
    }

    /// Answers the offer that the newest connection was made for. Where there is none, since it failed while this
    /// host had no network, another one is made: without an answer the other side would take no offer of ours
    /// either, by which the call gets a path once there is a network again.
    pub(super) fn send_answer(&mut self) {
        let has_none = |call: &mut ActiveCall| call.legs.coming().is_none();
        if self.call.as_mut().is_some_and(has_none)
            && let Err(error) = self.make_ringing_leg()
        {
            warn!(%error, "no other connection can be made");
        }
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let id = call.id.clone();
        let Some(leg) = call.legs.coming() else {
            return warn!(call = %id, "there is no offer to answer");
        };
        // Gathering began while ringing unless the candidate pool is switched off.
        leg.connection.start_gathering();
        let offer = leg.remote_ufrag.clone();
        match leg.connection.local_description() {
            Ok(description) => {
                let sdp = description.to_string();
                self.send(CallMessage::Answer { sdp, offer });
            }
            Err(error) => warn!(call = %id, %error, "no answer can be made"),
        }
    }

    /// Makes a connection for an offer, and begins to gather for it.
    pub(super) fn make_answering_leg(
        &mut self,
        remote: SessionDescription,
        aim: OfferAim,
    ) -> Result<(), PeerError> {
        if self.make_leg(IceRole::Controlled, aim).is_none() {
            return Ok(());
        }
        self.set_remote_of_coming(remote)?;
        let is_answered = self
            .call
            .as_ref()
            .is_some_and(|call| call.state.is_answered());
        if (is_answered || self.config.ice.candidate_pool_size > 0)
            && let Some(leg) = self.call.as_mut().and_then(|call| call.legs.coming())
        {
            leg.connection.start_gathering();
        }
        Ok(())
    }

    /// The network changed before the call was answered: what was gathered is of no use.
    pub(super) fn renew_ringing(&mut self) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        debug!(call = %call.id, state = %call.state, "gathering anew");
        let renewed = match call.state {
            CallState::Calling | CallState::RemoteRinging => {
                // The callee takes it for the offer that rings.
                self.send_offer(OfferAim::Call, None)
            }
            CallState::Incoming => self.make_ringing_leg(),
            _ => Ok(()),
        };
        if let Err(error) = renewed {
            warn!(%error, "no other connection can be made");
        }
    }

    /// Makes another connection for the offer that rang, if one did.
    fn make_ringing_leg(&mut self) -> Result<(), PeerError> {
        let Some(offer) = self.call.as_ref().and_then(|call| call.ringing.as_ref()) else {
            return Ok(());
        };
        let (remote, candidates) = (offer.description.clone(), offer.candidates.clone());
        self.abandon_coming();
        let made = self.make_answering_leg(remote, OfferAim::Call);
        if let Some(leg) = self.call.as_mut().and_then(|call| call.legs.coming()) {
            for candidate in &candidates {
                leg.add_candidate(candidate);
            }
        }
        made
    }

    /// Hands the other side's description to the newest connection, and then every candidate that came
    /// before it.
    pub(super) fn set_remote_of_coming(
        &mut self,
        remote: SessionDescription,
    ) -> Result<(), PeerError> {
        let Some(call) = self.call.as_mut() else {
            return Ok(());
        };
        let Some(leg) = call.legs.coming() else {
            return Ok(());
        };
        let ufrag = remote.credentials.ufrag().to_owned();
        leg.connection.set_remote(remote)?;
        leg.remote_ufrag = Some(ufrag.clone());
        debug!(call = %call.id, remote = ufrag, "remote description set");
        let released = self
            .candidates
            .ready(Instant::now(), &call.peer, &call.id, &ufrag);
        let waiting = released.candidates;
        if !waiting.is_empty() {
            info!(call = %call.id, "🧊 Processing {} pending ICE candidates", waiting.len());
        }
        for candidate in &waiting {
            self.add_remote_candidate(candidate);
        }
        Ok(())
    }

    pub(super) fn add_remote_candidate(&mut self, candidate: &TrickledCandidate) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        if let Some(ringing) = call.ringing.as_mut()
            && ringing.description.credentials.ufrag() == candidate.username_fragment
        {
            ringing.candidates.push(candidate.clone());
        }
        if let Some(leg) = call.legs.of_generation(&candidate.username_fragment) {
            leg.add_candidate(candidate);
        } else {
            debug!(call = %call.id, "a candidate of a generation that is gone");
        }
    }

    /// Begins to check pairs on the newest connection, if it knows the other side.
    pub(super) fn start_coming(&mut self) {
        if let Some(call) = self.call.as_mut()
            && let Some(leg) = call.legs.coming()
            && leg.remote_ufrag.is_some()
            && let Err(error) = leg.connection.start()
        {
            warn!(call = %call.id, %error, "media cannot start");
        }
    }

    fn make_leg(&mut self, role: IceRole, aim: OfferAim) -> Option<&mut Leg> {
        let mut ice = self.config.ice.clone();
        if let Some(given) = &self.turn_credentials {
            ice.servers = given.supply(Instant::now(), &ice.servers);
        }
        if aim == OfferAim::Upgrade {
            ice = without_relays(ice);
        }
        let call = self.call.as_mut()?;
        let made = PeerConnection::new(
            Arc::clone(&self.net),
            ice,
            &self.config.media,
            role,
            call.identity.clone(),
        );
        Some(call.legs.add(origin_in(call.state), made))
    }

    /// Whether this side's own configuration leaves a direct path open.
    pub(super) fn may_be_direct(&self) -> bool {
        self.config.ice.policy == TransportPolicy::All
    }
}

/// The same without TURN. A TURN server over UDP still tells a host its address, as every STUN server
/// does (RFC 8656 section 3).
fn without_relays(mut ice: IceConfig) -> IceConfig {
    let servers = ice.servers.into_iter();
    ice.servers = servers
        .filter_map(|server| match server.url.strip_prefix("turn:") {
            None if server.url.starts_with("stun:") => Some(server),
            Some(place) if !place.contains("transport=tcp") => {
                let place = place.split('?').next().unwrap_or_default();
                Some(IceServer {
                    url: format!("stun:{place}"),
                    credentials: None,
                })
            }
            _ => None,
        })
        .collect();
    ice
}
