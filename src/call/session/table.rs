//! Feeds the table of states and does what it says.

use tokio::time::Instant;
use tracing::{debug, info};

use super::Session;
use crate::call::recovery::{Recovery, Signaling};
use crate::call::state::{Action, CallState, Input, transition};
use crate::client::{ClientEvent, EndReason};
use crate::signaling::message::{CallMessage, HangUpReason};

impl Session {
    /// Feeds the table and does what it says.
    pub(super) fn input(&mut self, input: Input) {
        let now = Instant::now();
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let before = call.state;
        let step = transition(before, input);
        call.enter(now, step.next, &self.config.ringing);
        debug!(call = %call.id, from = %before, to = %step.next, ?input, "call");
        if input == Input::Unanswered && step.next == CallState::Ended {
            call.end = match (&call.refused, before) {
                (Some(reason), _) => EndReason::Remote(*reason),
                (None, CallState::Accepted) => EndReason::Unreachable {
                    cause: "the offer of the call did not come".to_owned(),
                },
                (None, _) => EndReason::Unanswered,
            };
        }
        match input {
            Input::RemoteRinging => call.refused = None,
            Input::LocalHangUp if before.is_ringing_here() => call.end = EndReason::Refused,
            // Whatever was wrong on the way, it is not why the call ends.
            Input::LocalHangUp | Input::AudioConnected => call.end = EndReason::HungUp,
            _ => {}
        }
        for action in step.actions {
            self.perform(now, *action);
        }
    }

    fn perform(&mut self, now: Instant, action: Action) {
        let Some(call) = self.call.as_mut() else {
            return;
        };
        let id = call.id.clone();
        match action {
            Action::ReportRinging => self.report(ClientEvent::RemoteRinging { call: id }),
            Action::SendRinging => self.send(CallMessage::Ringing),
            Action::ReportIncoming => {
                let from = call.peer.clone();
                self.report(ClientEvent::Incoming { call: id, from });
            }
            Action::SendAnswer => self.send_answer(),
            Action::StartMedia => {
                let (config, side) = (self.config.recovery.clone(), call.negotiation.side());
                let signaling = self.signaling_state.unwrap_or(Signaling::Down);
                call.recovery = Some(Recovery::new(config, side, now, signaling));
                call.ringing = None;
                self.start_coming();
                self.report(ClientEvent::Answered { call: id });
            }
            Action::ReportAudio => {
                info!(call = %id, "✅ AUDIO CONNECTION ESTABLISHED");
                self.report(ClientEvent::AudioConnected { call: id });
            }
            Action::ReportInterrupted => {
                self.report(ClientEvent::AudioInterrupted { call: id });
            }
            Action::SendHangUp => {
                let reason = match call.end {
                    EndReason::Unreachable { .. } => HangUpReason::Unreachable,
                    EndReason::Unanswered => HangUpReason::Unanswered,
                    EndReason::Refused => HangUpReason::Rejected,
                    EndReason::HungUp | EndReason::Remote(_) => HangUpReason::Normal,
                };
                self.send(CallMessage::HangUp { reason });
            }
            Action::CloseMedia => self.drop_call(),
            Action::ReportEnded => {
                let reason = call.end.clone();
                self.report(ClientEvent::Ended { call: id, reason });
            }
        }
    }

    /// Forgets the present call and closes its media.
    pub(super) fn drop_call(&mut self) {
        if let Some(call) = self.call.take() {
            self.forget_call(&call.id);
            for connection in call.legs.into_connections() {
                self.close(connection);
            }
        }
    }

    pub(super) fn set_end(&mut self, reason: EndReason) {
        if let Some(call) = self.call.as_mut() {
            call.end = reason;
        }
    }

    /// Says why the call will be unreachable, if it comes to that. The first cause is the one that
    /// explains; what fails after it fails because of it.
    pub(super) fn note_cause(&mut self, cause: String) {
        if let Some(call) = self.call.as_mut()
            && call.state != CallState::Talking
            && !matches!(call.end, EndReason::Unreachable { .. })
        {
            call.end = EndReason::Unreachable { cause };
        }
    }
}
