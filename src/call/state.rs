//! The states of a call, as one table (pure).
//!
//! [`transition`] is the whole table: what a call does on every input in every state. It holds no
//! data and does no work; [`session`](super::session) carries out the [`Action`]s.
//!
//! ```
//! use ringtrue::call::state::{transition, Action, CallState, Input};
//!
//! let answered = transition(CallState::Incoming, Input::LocalAnswer);
//! assert_eq!(answered.next, CallState::Connecting);
//! assert_eq!(answered.actions, [Action::SendAnswer, Action::StartMedia]);
//! ```

use std::fmt;

/// Where a call stands, seen from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallState {
    /// We called; nothing came back yet.
    Calling,
    /// We called; the other side rings.
    RemoteRinging,
    /// We know that we are called, from a push message or from before our app was started again; the
    /// offer is on its way.
    Announced,
    /// The same, and the user has answered already.
    Accepted,
    /// We are called and ring.
    Incoming,
    /// The call is answered; media comes up.
    Connecting,
    /// Audio flows.
    Talking,
    /// Audio flowed and does not now; a path for it is looked for.
    Interrupted,
    /// The call is over. Nothing leads out of this state.
    Ended,
}

/// What can happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// The other side says that it rings.
    RemoteRinging,
    /// The offer of an announced call arrived.
    RemoteOffer,
    /// The other side's answer arrived.
    RemoteAnswer,
    /// One device of the other side cannot take the call, and speaks for itself only.
    RemoteBusy,
    /// The other side hung up or refused.
    RemoteHangUp,
    /// The user answers.
    LocalAnswer,
    /// The user hangs up, refuses or gives up.
    LocalHangUp,
    /// Nobody has answered for as long as it may ring, or an announced offer does not come.
    Unanswered,
    /// Audio arrives.
    AudioConnected,
    /// No audio arrives any more.
    AudioSilent,
    /// The other side is not reached, so the call cannot be set up.
    Undelivered,
    /// No path for audio was found, or it is lost for good.
    MediaFailed,
}

/// What the session has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Tell the user that the other side rings.
    ReportRinging,
    /// Tell the other side that we ring.
    SendRinging,
    /// Tell the user that somebody calls.
    ReportIncoming,
    /// Send our session description as the answer.
    SendAnswer,
    /// Begin connectivity checks.
    StartMedia,
    /// Tell the user that audio is up.
    ReportAudio,
    /// Tell the user that audio is interrupted.
    ReportInterrupted,
    /// Tell the other side that the call is over.
    SendHangUp,
    /// Close the media peer and release what it holds.
    CloseMedia,
    /// Tell the user that the call is over.
    ReportEnded,
}

/// One cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state afterwards.
    pub next: CallState,
    /// What to do, in this order.
    pub actions: &'static [Action],
}

impl CallState {
    /// Every state, in the order in which a call passes them.
    pub const ALL: [Self; 9] = [
        Self::Calling,
        Self::RemoteRinging,
        Self::Announced,
        Self::Accepted,
        Self::Incoming,
        Self::Connecting,
        Self::Talking,
        Self::Interrupted,
        Self::Ended,
    ];

    /// Whether both sides have agreed to talk, as far as this side knows.
    #[must_use]
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Connecting | Self::Talking | Self::Interrupted)
    }

    /// Whether this side is called and has not answered.
    #[must_use]
    pub fn is_ringing_here(self) -> bool {
        matches!(self, Self::Announced | Self::Incoming)
    }
}

impl Input {
    /// Every input.
    pub const ALL: [Self; 12] = [
        Self::RemoteRinging,
        Self::RemoteOffer,
        Self::RemoteAnswer,
        Self::RemoteBusy,
        Self::RemoteHangUp,
        Self::LocalAnswer,
        Self::LocalHangUp,
        Self::Unanswered,
        Self::AudioConnected,
        Self::AudioSilent,
        Self::Undelivered,
        Self::MediaFailed,
    ];
}

/// What `input` does to a call in `state`. A pair that makes no sense changes nothing: signaling
/// may deliver late and twice, and a late message must never harm a call.
#[must_use]
pub fn transition(state: CallState, input: Input) -> Transition {
    use Action::{
        CloseMedia, ReportAudio, ReportEnded, ReportIncoming, ReportInterrupted, ReportRinging,
        SendAnswer, SendHangUp, SendRinging, StartMedia,
    };
    use CallState::{
        Accepted, Announced, Calling, Connecting, Ended, Incoming, Interrupted, RemoteRinging,
        Talking,
    };

    let (next, actions): (CallState, &'static [Action]) = match (state, input) {
        (Ended, _) => (Ended, &[]),
        (Calling, Input::RemoteRinging) => (RemoteRinging, &[ReportRinging]),
        // The answer may overtake the ringing message, so it counts in both states.
        (Calling | RemoteRinging, Input::RemoteAnswer) => (Connecting, &[StartMedia]),
        (Announced, Input::RemoteOffer) => (Incoming, &[SendRinging, ReportIncoming]),
        (Announced, Input::LocalAnswer) => (Accepted, &[]),
        (Accepted, Input::RemoteOffer) | (Incoming, Input::LocalAnswer) => {
            (Connecting, &[SendAnswer, StartMedia])
        }
        (Connecting | Interrupted, Input::AudioConnected) => (Talking, &[ReportAudio]),
        (Talking, Input::AudioSilent) => (Interrupted, &[ReportInterrupted]),
        // A call in which both talk needs no signaling, and where one device says no others may ring.
        (Talking | Interrupted, Input::Undelivered)
        | (Calling | RemoteRinging, Input::RemoteBusy) => (state, &[]),
        // Whatever device a person refuses on, the others of that user must not ring on.
        (Calling | RemoteRinging, Input::RemoteHangUp)
        | (Calling | RemoteRinging | Accepted | Incoming, Input::Unanswered)
        | (_, Input::LocalHangUp | Input::MediaFailed | Input::Undelivered) => {
            (Ended, &[SendHangUp, ReportEnded, CloseMedia])
        }
        // Who was only told of a call does not end it for the devices that ring.
        (Announced, Input::Unanswered) | (_, Input::RemoteBusy | Input::RemoteHangUp) => {
            (Ended, &[ReportEnded, CloseMedia])
        }
        _ => (state, &[]),
    };
    Transition { next, actions }
}

impl fmt::Display for CallState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Calling => "calling",
            Self::RemoteRinging => "remote ringing",
            Self::Announced => "announced",
            Self::Accepted => "accepted",
            Self::Incoming => "incoming",
            Self::Connecting => "connecting",
            Self::Talking => "talking",
            Self::Interrupted => "interrupted",
            Self::Ended => "ended",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_whole_table() {
        let mut table = String::new();
        for state in CallState::ALL {
            writeln!(table, "{state}").expect("writing to a text");
            for input in Input::ALL {
                let Transition { next, actions } = transition(state, input);
                let told = match (next == state, actions) {
                    (true, []) => "-".to_owned(),
                    (true, actions) => format!("{actions:?}"),
                    (false, actions) => format!("{next} {actions:?}"),
                };
                writeln!(table, "    {:<15} {told}", format!("{input:?}"))
                    .expect("writing to a text");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[track_caller]
    fn check(holds: impl Fn(CallState) -> bool, expected: &[CallState]) {
        let found: Vec<_> = CallState::ALL
            .into_iter()
            .filter(|state| holds(*state))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_call_is_answered_from_its_answer_to_its_end() {
        use CallState::{Connecting, Interrupted, Talking};
        check(CallState::is_answered, &[Connecting, Talking, Interrupted]);
    }

    #[test]
    fn who_is_called_rings_until_the_answer_even_before_the_offer_is_there() {
        use CallState::{Announced, Incoming};
        check(CallState::is_ringing_here, &[Announced, Incoming]);
    }

    #[test]
    fn nothing_leads_out_of_an_ended_call() {
        for input in Input::ALL {
            let transition = transition(CallState::Ended, input);
            assert_eq!(transition.next, CallState::Ended);
            assert!(
                transition.actions.is_empty(),
                "{input:?} acts on an ended call"
            );
        }
    }

    #[test]
    fn every_way_to_the_end_closes_the_media_once() {
        for state in CallState::ALL {
            for input in Input::ALL {
                let transition = transition(state, input);
                let closes = transition
                    .actions
                    .iter()
                    .filter(|action| **action == Action::CloseMedia)
                    .count();
                let ends = transition.next == CallState::Ended && state != CallState::Ended;
                assert_eq!(closes, usize::from(ends), "{state:?} on {input:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_comes_twice_is_applied_once() {
        let first = transition(CallState::RemoteRinging, Input::RemoteAnswer);
        assert!(first.actions.contains(&Action::StartMedia));
        assert!(
            transition(first.next, Input::RemoteAnswer)
                .actions
                .is_empty()
        );
    }
}
