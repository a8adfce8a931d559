//! What the media connections bring, and what is done when they fail.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::Session;
use crate::audio::sink::SinkEvent;
use crate::audio::source::AudioPacket;
use crate::call::address_watch::AddressChange;
use crate::call::legs::{Leg, LegId, Origin};
use crate::call::recovery::{Path, Recovery, RecoveryAction, Signaling, Trouble};
use crate::call::state::{CallState, Input};
use crate::client::{ClientEvent, EndReason};
use crate::peer::{PeerConnection, PeerEvent, PeerFailure};
use crate::signaling::message::{CallMessage, OfferAim};

/// How much audio one packet carries: the framing of RFC 7587 that every browser uses by default.
const PACKET_INTERVAL: Duration = Duration::from_millis(20);

/// How long a session does nothing in a call before it must have stood still: its slowest timer comes
/// every half second.
const SLEPT_AFTER: Duration = Duration::from_secs(3);

impl Session {
    pub(super) fn peer(&mut self, id: LegId, event: Option<PeerEvent>) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let Some(leg) = call.legs.get(id) else {
            return;
        };
        match event {
            Some(PeerEvent::LocalCandidate(candidate)) => {
                debug!(call = %call.id, ufrag = candidate.username_fragment, "local candidate found");
                self.send(CallMessage::Candidate(candidate));
            }
            Some(PeerEvent::LocalCandidatesComplete) => {
                let ufrag = leg.connection.local_ufrag().to_owned();
                self.send(CallMessage::EndOfCandidates { ufrag });
            }
            Some(PeerEvent::IceStateChanged(state)) => {
                debug!(call = %call.id, leg = ?id, ?state, "ICE state");
            }
            Some(PeerEvent::Selected { local, remote, .. }) => {
                leg.selected = Some((local, remote));
                // One beside the path in use may never be taken.
                if call.legs.in_use().is_none_or(|in_use| in_use.id == id) {
                    self.report_path(id);
                }
            }
            Some(PeerEvent::ClosedByPeer) => {
                debug!(call = %call.id, leg = ?id, "the other side closed the media");
            }
            Some(PeerEvent::SocketLost { .. }) => {
                debug!(call = %call.id, leg = ?id, "a socket died");
                let is_attempt = leg.origin == Origin::Attempt && !call.legs.is_in_use(id);
                let is_retired = call.legs.get(id).is_none_or(|leg| leg.is_retired());
                if is_attempt {
                    self.leg_failed(id, None);
                } else if !is_retired {
                    self.network_trouble(Instant::now(), Trouble::SocketLost);
                }
            }
            Some(PeerEvent::ConsentLost) => {
                debug!(call = %call.id, leg = ?id, "the other side's consent has expired");
                if call.legs.is_in_use(id) {
                    self.network_trouble(Instant::now(), Trouble::ConsentLost);
                }
            }
            Some(PeerEvent::DtlsConnected) => self.take_over(id),
            Some(PeerEvent::Audio(packet)) => self.hear(id, packet),
            Some(PeerEvent::Failed(failure)) => self.leg_failed(id, Some(failure)),
            None => self.leg_failed(id, None),
        }
    }

    /// Audio is sent over this connection from now on.
    fn take_over(&mut self, id: LegId) {
        let now = Instant::now();
        let Some(call) = self.call.as_mut() else {
            return;
        };
        if call.legs.get(id).is_none_or(|leg| leg.is_retired()) {
            return debug!(leg = ?id, "an older path works too, and is not needed");
        }
        call.audio_clock.get_or_insert_with(|| {
            let mut clock = tokio::time::interval(PACKET_INTERVAL);
            // A phone that slept sends live audio, not the backlog.
            clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
            clock
        });
        call.legs.take_over(id);
        debug!(call = %call.id, leg = ?id, "audio takes this connection");
        if let Some(recovery) = call.recovery.as_mut() {
            recovery.handle_taken_over(now);
        }
        self.report_path(id);
    }

    fn report_path(&mut self, id: LegId) {
        let may_be_direct = self.may_be_direct();
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let Some(leg) = call.legs.get(id) else {
            return;
        };
        let Some((local, remote)) = leg.selected else {
            return;
        };
        // A relay that was asked for is no reason to look for another path.
        let path = leg
            .path()
            .filter(|path| may_be_direct || *path == Path::Direct);
        if let Some(recovery) = call.recovery.as_mut() {
            recovery.handle_path(Instant::now(), path.unwrap_or(Path::Direct));
        }
        if call.legs.tell((local, remote)) {
            let call = call.id.clone();
            self.report(ClientEvent::PathSelected {
                call,
                local,
                remote,
            });
        }
    }

    fn hear(&mut self, id: LegId, packet: AudioPacket) {
        let now = Instant::now();
        let Some(call) = self.call.as_mut() else {
            return;
        };
        call.legs.handle_audio(now, id);
        if let Some(recovery) = call.recovery.as_mut() {
            recovery.handle_audio(now);
        }
        let AudioPacket {
            sequence_number,
            payload,
            ..
        } = packet;
        let connected = call
            .sink
            .received(self.started.elapsed(), sequence_number, &payload);
        let is_back = call.state == CallState::Interrupted;
        let id = call.id.clone();
        self.report(ClientEvent::Audio {
            call: id,
            sequence_number,
            payload,
        });
        if is_back || connected == Some(SinkEvent::AudioConnected) {
            self.input(Input::AudioConnected);
        }
    }

    pub(super) fn send_audio(&mut self) {
        if let Some(call) = self.call.as_mut() {
            let packet = call.source.next_packet();
            if let Err(error) = call.legs.send_audio(packet) {
                debug!(call = %call.id, %error, "audio packet not sent");
            }
        }
    }

    /// A connection cannot go on.
    fn leg_failed(&mut self, id: LegId, failure: Option<PeerFailure>) {
        let now = Instant::now();
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let was_in_use = call.legs.is_in_use(id);
        let Some(leg) = call.legs.remove(id) else {
            return;
        };
        call.negotiation.take_back(leg.connection.local_ufrag());
        let (origin, is_retired) = (leg.origin, leg.is_retired());
        self.close_leg(leg);
        if is_retired {
            return;
        }
        let is_forged = matches!(failure, Some(PeerFailure::FingerprintMismatch { .. }));
        let is_offline = matches!(failure, Some(PeerFailure::NoInterface(_)));
        let cause = failure.map_or_else(
            || "the media connection ended by itself".to_owned(),
            |failure| failure.to_string(),
        );
        let Some(call) = self.call.as_mut() else {
            return;
        };
        warn!(call = %call.id, leg = ?id, state = %call.state, cause, "a media connection failed");
        let Some(recovery) = call.recovery.as_mut() else {
            if is_offline {
                // It is made anew as soon as there is a network again.
                return;
            }
            self.set_end(EndReason::Unreachable { cause });
            return self.input(Input::MediaFailed);
        };
        if origin == Origin::Attempt && !was_in_use {
            recovery.handle_attempt_failed(now);
        } else {
            // This trouble begins no attempt anew that is under way.
            let _ = recovery.handle_trouble(now, Trouble::PathFailed);
        }
        let must_end = is_forged && call.legs.in_use().is_none();
        if must_end {
            // Whoever answers on the path is not who signaling says.
            self.set_end(EndReason::Unreachable { cause });
            return self.input(Input::MediaFailed);
        }
        self.note_cause(cause);
        self.recover(now);
    }

    /// The answer to our attempt cannot be used.
    pub(super) fn attempt_failed(&mut self) {
        self.abandon_coming();
        let now = Instant::now();
        if let Some(recovery) = self.recovery() {
            recovery.handle_attempt_failed(now);
        }
        self.recover(now);
    }

    /// Does what recovery says is due.
    pub(super) fn recover(&mut self, now: Instant) {
        while let Some(action) = self
            .recovery()
            .and_then(|recovery| recovery.handle_timeout(now))
        {
            self.perform_recovery(action);
        }
    }

    pub(super) fn perform_recovery(&mut self, action: RecoveryAction) {
        match action {
            RecoveryAction::Interrupted => self.input(Input::AudioSilent),
            RecoveryAction::CheckSignaling => self.signaling.check_path(),
            RecoveryAction::Abandon => self.abandon_coming(),
            RecoveryAction::Restart(Trouble::Silence) if self.awaits_first_answer() => {
                debug!("the first path may still come");
                if let Some(recovery) = self.recovery() {
                    recovery.handle_postponed(Instant::now());
                }
            }
            RecoveryAction::Restart(trouble) => {
                info!(?trouble, "looking for another path");
                self.offer_again(OfferAim::Restart);
            }
            RecoveryAction::Upgrade => {
                info!("looking for a direct path");
                self.offer_again(OfferAim::Upgrade);
            }
            RecoveryAction::GiveUp => {
                self.note_cause("no audio arrived".to_owned());
                self.input(Input::MediaFailed);
            }
        }
    }

    /// Whether no audio was heard yet, and an offer of ours is still to be answered: one that was made anew
    /// while it rang, on slow signaling.
    fn awaits_first_answer(&self) -> bool {
        self.call.as_ref().is_some_and(|call| {
            call.state == CallState::Connecting && call.negotiation.awaits_answer()
        })
    }

    fn offer_again(&mut self, aim: OfferAim) {
        if let Err(error) = self.send_offer(aim, None) {
            warn!(%error, "no other connection can be made");
            self.attempt_failed();
        }
    }

    /// Drops the connection that was begun in this state of the call and does not carry audio.
    pub(super) fn abandon_coming(&mut self) {
        if let Some(call) = self.call.as_mut()
            && let Some(leg) = call.legs.abandon_coming(origin_in(call.state))
        {
            call.negotiation.take_back(leg.connection.local_ufrag());
            self.close_leg(leg);
        }
    }

    /// Closes connections whose successor has carried audio for a while.
    pub(super) fn close_retired(&mut self, now: Instant) {
        while let Some(leg) = self.call.as_mut().and_then(|call| call.legs.retired(now)) {
            self.close_leg(leg);
        }
    }

    /// Closes a connection, and has no more use for candidates of its generation. Before the call is
    /// answered the same generation of the other side may be answered anew.
    fn close_leg(&mut self, leg: Leg) {
        debug!(
            remote = leg.remote_ufrag,
            "a connection is of no use any more"
        );
        if let (Some(call), Some(ufrag)) = (&self.call, &leg.remote_ufrag)
            && call.recovery.is_some()
        {
            self.candidates.retire(&call.peer, &call.id, ufrag);
        }
        self.close(leg.connection);
    }

    pub(super) fn close(&mut self, connection: PeerConnection) {
        self.closing.spawn(async move { connection.close().await });
    }

    /// The app may have stood still, as when its system froze it: then nothing is known of the network.
    pub(super) fn note_sleep(&mut self, now: Instant) {
        let awake = std::mem::replace(&mut self.awake_at, now);
        // In a call, its timers alone wake the session more often.
        let slept_after = SLEPT_AFTER.max(self.config.recovery.address_interval * 2);
        if self.call.is_none() || now.saturating_duration_since(awake) < slept_after {
            return;
        }
        info!("this app stood still for {:?}", now.duration_since(awake));
        self.signaling.check_path();
        if let Some(recovery) = self.recovery() {
            recovery.handle_awake(now);
        }
    }

    pub(super) fn signaling_is(&mut self, state: Signaling) {
        let before = self.signaling_state.replace(state);
        let now = Instant::now();
        let is_back = before == Some(Signaling::Down) && state == Signaling::Up;
        if is_back && self.recovery().is_none() {
            // What broke the connection may have been a network that is another one now.
            self.renew_ringing();
        }
        let action = self
            .recovery()
            .and_then(|recovery| recovery.handle_signaling(now, state));
        if let Some(action) = action {
            self.perform_recovery(action);
        }
        self.recover(now);
    }

    pub(super) fn peer_heard(&mut self) {
        if let Some(recovery) = self.recovery() {
            recovery.handle_peer_heard(Instant::now());
        }
    }

    /// Looks whether the host is still where it was.
    pub(super) fn look_at_addresses(&mut self, now: Instant) {
        let interval = match &self.call {
            Some(_) => self.config.recovery.address_interval,
            None => super::IDLE_ADDRESS_INTERVAL,
        };
        self.look_at_addresses = now + interval;
        let interfaces = match self.net.interfaces() {
            Ok(interfaces) => interfaces,
            Err(error) => return debug!(%error, "the interfaces cannot be listed"),
        };
        let addresses = interfaces.into_iter().map(|each| each.address);
        let change = self.addresses.handle(addresses.collect());
        if change == AddressChange::None {
            return;
        }
        info!(?change, "this host's addresses are others");
        if matches!(change, AddressChange::Lost | AddressChange::Back) {
            self.signaling.network_changed();
        }
        if matches!(change, AddressChange::Lost | AddressChange::Added) {
            self.network_trouble(now, Trouble::AddressesChanged);
        } else if self.recovery().is_none() {
            self.renew_ringing();
        }
    }

    /// What was gathered is of no use any more.
    fn network_trouble(&mut self, now: Instant, trouble: Trouble) {
        let Some(recovery) = self.recovery() else {
            return self.renew_ringing();
        };
        if let Some(action) = recovery.handle_trouble(now, trouble) {
            self.perform_recovery(action);
        }
        self.recover(now);
    }

    pub(super) fn recovery(&mut self) -> Option<&mut Recovery> {
        self.call.as_mut()?.recovery.as_mut()
    }
}

/// What a connection is made for in this state of a call.
pub(super) fn origin_in(state: CallState) -> Origin {
    if state.is_answered() {
        Origin::Attempt
    } else {
        Origin::Ringing
    }
}
