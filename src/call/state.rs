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
    /// We are called and ring.
    Incoming,
    /// The call is answered; media comes up.
    Connecting,
    /// Audio flows.
    Talking,
    /// The call is over. Nothing leads out of this state.
    Ended,
}

/// What can happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// The other side says that it rings.
    RemoteRinging,
    /// The other side's answer arrived.
    RemoteAnswer,
    /// The other side hung up or refused.
    RemoteHangUp,
    /// The user answers.
    LocalAnswer,
    /// The user hangs up, refuses or gives up.
    LocalHangUp,
    /// Audio arrives.
    AudioConnected,
    /// No path for audio was found, or it is lost for good.
    MediaFailed,
}

/// What the session has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Tell the user that the other side rings.
    ReportRinging,
    /// Send our session description as the answer.
    SendAnswer,
    /// Begin connectivity checks.
    StartMedia,
    /// Tell the user that audio is up.
    ReportAudio,
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
    pub const ALL: [Self; 6] = [
        Self::Calling,
        Self::RemoteRinging,
        Self::Incoming,
        Self::Connecting,
        Self::Talking,
        Self::Ended,
    ];
}

impl Input {
    /// Every input.
    pub const ALL: [Self; 7] = [
        Self::RemoteRinging,
        Self::RemoteAnswer,
        Self::RemoteHangUp,
        Self::LocalAnswer,
        Self::LocalHangUp,
        Self::AudioConnected,
        Self::MediaFailed,
    ];
}

/// What `input` does to a call in `state`. A pair that makes no sense changes nothing: signaling
/// may deliver late and twice, and a late message must never harm a call.
#[must_use]
pub fn transition(state: CallState, input: Input) -> Transition {
    use Action::{
        CloseMedia, ReportAudio, ReportEnded, ReportRinging, SendAnswer, SendHangUp, StartMedia,
    };
    use CallState::{Calling, Connecting, Ended, Incoming, RemoteRinging, Talking};

    let (next, actions): (CallState, &'static [Action]) = match (state, input) {
        (Calling, Input::RemoteRinging) => (RemoteRinging, &[ReportRinging]),
        // The answer may overtake the ringing message, so it counts in both states.
        (Calling | RemoteRinging, Input::RemoteAnswer) => (Connecting, &[StartMedia]),
        (Incoming, Input::LocalAnswer) => (Connecting, &[SendAnswer, StartMedia]),
        (Connecting, Input::AudioConnected) => (Talking, &[ReportAudio]),
        (Ended, _) => (Ended, &[]),
        (_, Input::LocalHangUp | Input::MediaFailed) => {
            (Ended, &[SendHangUp, ReportEnded, CloseMedia])
        }
        (_, Input::RemoteHangUp) => (Ended, &[ReportEnded, CloseMedia]),
        _ => (state, &[]),
    };
    Transition { next, actions }
}

impl fmt::Display for CallState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Calling => "calling",
            Self::RemoteRinging => "remote ringing",
            Self::Incoming => "incoming",
            Self::Connecting => "connecting",
            Self::Talking => "talking",
            Self::Ended => "ended",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
