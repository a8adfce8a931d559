//! What an offer means to a client, given the call that it is in (pure).
//!
//! Most offers call, and ring or find the line busy. Others belong to the call that is there: they look
//! for another path for it, or come from an app that was started again and takes its call up under a
//! new id. And two people may call each other at the same moment: exactly one of the two calls goes on,
//! and both sides choose the same.

use super::state::CallState;
use crate::signaling::message::{CallId, HangUpReason, OfferAim, PeerName};

/// What of an offer decides what it means.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Who offers.
    pub from: &'a PeerName,
    /// The call that is offered.
    pub call: &'a CallId,
    /// What for.
    pub aim: OfferAim,
    /// The call in whose place it comes.
    pub replaces: Option<&'a CallId>,
}

/// What of the present call decides what an offer means.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// The other side.
    pub peer: &'a PeerName,
    /// The call.
    pub call: &'a CallId,
    /// The ids that it had before.
    pub formerly: &'a [CallId],
    /// How far it has come.
    pub state: CallState,
}

/// What an offer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Somebody calls: ring.
    Ring,
    /// The offer of the call that was announced.
    Awaited,
    /// The present call goes on with this description.
    Renegotiate,
    /// The call that rings goes on ringing under the new id.
    ReplaceRinging,
    /// The present call goes on under the new id: answer without asking anybody.
    Replace,
    /// Both called at once, and this one goes on: drop our own, and answer without asking anybody.
    Yield,
    /// Ours goes on, under the id that it has: both called at once, or the other side does not know yet
    /// that this app was started again. It will see that.
    Insist,
    /// Say no.
    Refuse(HangUpReason),
}

/// What an offer means to a client that is in this call, or in none.
#[must_use]
pub fn admit(present: Option<Present<'_>>, offered: Offered<'_>) -> Admission {
    let Some(present) = present else {
        return match offered.aim {
            OfferAim::Call => Admission::Ring,
            // The call that it belongs to is over on this side.
            OfferAim::Restart | OfferAim::Upgrade | OfferAim::Unknown => {
                Admission::Refuse(HangUpReason::Normal)
            }
        };
    };
    let is_same_user = offered.from == present.peer;
    if offered.call == present.call && is_same_user {
        return match present.state {
            CallState::Announced | CallState::Accepted => Admission::Awaited,
            _ => Admission::Renegotiate,
        };
    }
    if is_same_user && present.formerly.contains(offered.call) {
        // It crossed the offer by which the call goes on under its new id.
        return Admission::Insist;
    }
    if offered.replaces == Some(present.call) && is_same_user {
        return match present.state {
            // What the app that died had answered cannot be known here, and the user is asked again.
            CallState::Announced | CallState::Incoming => Admission::ReplaceRinging,
            _ => Admission::Replace,
        };
    }
    if is_same_user && present.state == CallState::Calling {
        // A call that only calls yet has had another id if, and only if, it takes up that call. It goes
        // before a fresh one, which may be no more than a late message of the time before: of two calls
        // that crossed, the one that the other side has dropped.
        let takes_up = (!present.formerly.is_empty(), offered.replaces.is_some());
        let goes_on_as_offered = match takes_up {
            (true, false) => false,
            (false, true) => true,
            // Ids are random, so neither side has the better chance.
            (true, true) | (false, false) => offered.call < present.call,
        };
        return if goes_on_as_offered {
            Admission::Yield
        } else {
            Admission::Insist
        };
    }
    Admission::Refuse(HangUpReason::Busy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(name: &str) -> CallId {
        CallId(name.into())
    }

    fn check(
        present: Option<(&str, &str, CallState)>,
        offered: (&str, &str, OfferAim, Option<&str>),
    ) -> Admission {
        check_with(&[], present, offered)
    }

    fn check_with(
        formerly: &[&str],
        present: Option<(&str, &str, CallState)>,
        offered: (&str, &str, OfferAim, Option<&str>),
    ) -> Admission {
        let present = present.map(|(peer, id, state)| (peer.to_owned(), call(id), state));
        let (from, id, aim, replaces) = offered;
        let (from, id, replaces) = (from.to_owned(), call(id), replaces.map(call));
        let formerly: Vec<CallId> = formerly.iter().map(|former| call(former)).collect();
        admit(
            present.as_ref().map(|(peer, call, state)| Present {
                peer,
                call,
                formerly: &formerly,
                state: *state,
            }),
            Offered {
                from: &from,
                call: &id,
                aim,
                replaces: replaces.as_ref(),
            },
        )
    }

    #[test]
    fn a_client_without_a_call_rings_and_takes_nothing_up() {
        let offered = |aim| check(None, ("boris", "1", aim, None));
        assert_eq!(offered(OfferAim::Call), Admission::Ring);
        for aim in [OfferAim::Restart, OfferAim::Upgrade, OfferAim::Unknown] {
            assert_eq!(offered(aim), Admission::Refuse(HangUpReason::Normal));
        }
        let again = check(None, ("boris", "2", OfferAim::Call, Some("1")));
        assert_eq!(again, Admission::Ring, "its first offer may have been lost");
    }

    #[test]
    fn a_stranger_finds_the_line_busy_whatever_he_names() {
        for state in CallState::ALL {
            for (id, replaces) in [("1", None), ("2", Some("1")), ("0", None)] {
                for aim in [OfferAim::Call, OfferAim::Restart] {
                    let admission =
                        check(Some(("boris", "1", state)), ("carla", id, aim, replaces));
                    assert_eq!(
                        admission,
                        Admission::Refuse(HangUpReason::Busy),
                        "{state} {id}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_app_that_was_started_again_takes_its_call_up() {
        let resumed = |state| {
            check(
                Some(("boris", "1", state)),
                ("boris", "2", OfferAim::Restart, Some("1")),
            )
        };
        assert_eq!(resumed(CallState::Incoming), Admission::ReplaceRinging);
        for state in [
            CallState::RemoteRinging,
            CallState::Connecting,
            CallState::Talking,
            CallState::Interrupted,
        ] {
            assert_eq!(resumed(state), Admission::Replace, "{state}");
        }
    }

    #[test]
    fn an_offer_for_the_id_that_a_call_had_before_is_overtaken() {
        for state in CallState::ALL {
            for aim in [OfferAim::Call, OfferAim::Restart, OfferAim::Upgrade] {
                let offered = ("boris", "former", aim, None);
                let admission = check_with(&["former"], Some(("boris", "zzz", state)), offered);
                assert_eq!(admission, Admission::Insist, "{state}");
            }
        }
    }

    /// Of two calls that crossed, the other side had dropped this one; then our app was killed.
    #[test]
    fn a_late_offer_does_not_end_the_call_that_is_taken_up() {
        for late in ["0", "9"] {
            let calls = Some(("boris", "5", CallState::Calling));
            let admission = check_with(&["1"], calls, ("boris", late, OfferAim::Call, None));
            assert_eq!(admission, Admission::Insist, "{late}");
        }
    }

    proptest! {
        /// Whoever calls whom first, and whoever takes up an older call by it: one call goes on, and both
        /// sides mean the same.
        #[test]
        fn calls_that_cross_leave_exactly_one(
            ours in "[0-9a-f]{1,4}",
            theirs in "[0-9a-f]{1,4}",
            we_take_up in proptest::option::of(Just("former")),
            they_take_up in proptest::option::of(Just("former")),
        ) {
            prop_assume!(ours != theirs);
            let at_anna = check_with(
                we_take_up.as_slice(),
                Some(("boris", &ours, CallState::Calling)),
                ("boris", &theirs, OfferAim::Call, they_take_up),
            );
            let at_boris = check_with(
                they_take_up.as_slice(),
                Some(("anna", &theirs, CallState::Calling)),
                ("anna", &ours, OfferAim::Call, we_take_up),
            );
            let both = [at_anna, at_boris];
            prop_assert!(both == [Admission::Yield, Admission::Insist]
                || both == [Admission::Insist, Admission::Yield]);
        }
    }
}
