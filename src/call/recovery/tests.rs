use std::time::Duration;

use super::*;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A call whose time is told in seconds since it was answered.
struct Call {
    start: Instant,
    /// The time never goes back, though what is due may have been due before.
    now: Instant,
    recovery: Recovery,
}

impl Call {
    fn answered(side: Side) -> Self {
        let start = Instant::now();
        let recovery = Recovery::new(RecoveryConfig::default(), side, start, Signaling::Up);
        Self {
            start,
            now: start,
            recovery,
        }
    }

    fn talking(side: Side) -> Self {
        let mut call = Self::answered(side);
        call.hears(1.0);
        call
    }

    fn at(&mut self, at: f64) -> Instant {
        self.now = self.start + seconds(at);
        self.now
    }

    fn hears(&mut self, at: f64) {
        let now = self.at(at);
        self.recovery.handle_audio(now);
    }

    /// What is done until then but for doubts of the signaling path, and when.
    fn until(&mut self, end: f64) -> Vec<(f64, RecoveryAction)> {
        let mut done = Vec::new();
        let end = self.start + seconds(end);
        while let Some((at, _)) = self.recovery.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            if let Some(action) = self.recovery.handle_timeout(self.now) {
                if action == RecoveryAction::CheckSignaling {
                    continue;
                }
                let at = self.now.duration_since(self.start);
                done.push((at.as_secs_f64(), action));
                if action == RecoveryAction::GiveUp {
                    break;
                }
            }
        }
        done
    }
}

#[test]
fn silence_is_told_and_looks_for_another_path() {
    let mut call = Call::talking(Side::Callee);
    let done = call.until(5.0);
    let expected = [
        (3.0, RecoveryAction::Interrupted),
        (3.0, RecoveryAction::Restart(Trouble::Silence)),
    ];
    assert_eq!(done, expected);
}

#[test]
fn audio_that_comes_back_by_itself_ends_the_search() {
    let mut call = Call::talking(Side::Caller);
    let now = call.at(1.5);
    let down = call.recovery.handle_signaling(now, Signaling::Down);
    assert_eq!(down, None);
    assert_eq!(call.until(4.0), [(3.0, RecoveryAction::Interrupted)]);
    call.hears(4.5);
    let now = call.at(4.6);
    let up = call.recovery.handle_signaling(now, Signaling::Up);
    assert_eq!(up, None);
    assert_eq!(call.until(6.0), []);
}

#[test]
fn no_attempt_begins_without_signaling_and_one_does_when_it_is_back() {
    let mut call = Call::talking(Side::Caller);
    let now = call.at(2.0);
    call.recovery.handle_signaling(now, Signaling::Down);
    assert_eq!(call.until(30.0), [(3.0, RecoveryAction::Interrupted)]);
    let now = call.at(30.0);
    call.recovery.handle_signaling(now, Signaling::Up);
    let restart = RecoveryAction::Restart(Trouble::NetworkBack);
    assert_eq!(call.until(31.0), [(30.0, restart)]);
}

#[test]
fn what_was_gathered_on_another_network_is_dropped() {
    let mut call = Call::talking(Side::Caller);
    call.until(3.0);
    let now = call.at(3.5);
    let dropped = call.recovery.handle_trouble(now, Trouble::AddressesChanged);
    assert_eq!(dropped, Some(RecoveryAction::Abandon));
    let restart = RecoveryAction::Restart(Trouble::AddressesChanged);
    assert_eq!(call.until(4.0), [(3.5, restart)]);
}

#[test]
fn attempts_that_fail_come_at_growing_distances() {
    let mut call = Call::talking(Side::Caller);
    let mut begun = Vec::new();
    while begun.len() < 4 {
        let (at, timer) = call.recovery.poll_timeout().expect("more to come");
        let now = at.max(call.now);
        let action = call.recovery.handle_timeout(now);
        if let Some(RecoveryAction::Restart(_)) = action {
            begun.push(now.duration_since(call.start).as_secs_f64());
            call.recovery.handle_offer_delivered(now);
            call.recovery.handle_attempt_failed(now + seconds(1.0));
        }
        call.now = now;
        assert_ne!(timer, RecoveryTimer::GiveUp);
    }
    assert_eq!(begun, [3.0, 6.0, 11.0, 20.0]);
}

#[test]
fn an_attempt_whose_offer_arrived_has_a_limit() {
    let mut call = Call::talking(Side::Caller);
    call.until(3.0);
    let now = call.at(4.0);
    call.recovery.handle_offer_delivered(now);
    // The offer took a second, so the answer may take as long.
    assert_eq!(call.until(14.9), [(13.0, RecoveryAction::Abandon)]);
    let restart = RecoveryAction::Restart(Trouble::PathFailed);
    assert_eq!(call.until(15.0), [(15.0, restart)]);
}

#[test]
fn an_attempt_of_the_other_side_begins_when_it_has_our_answer() {
    let mut call = Call::talking(Side::Callee);
    let now = call.at(2.0);
    call.recovery.handle_remote_attempt(now, Aim::Restart);
    assert_eq!(call.until(11.0), [(3.0, RecoveryAction::Interrupted)]);
    let now = call.at(11.0);
    call.recovery.handle_answer_delivered(now);
    assert_eq!(call.until(19.5), [(19.0, RecoveryAction::Abandon)]);
}

#[test]
fn a_first_path_that_does_not_come_is_looked_for_anew_and_the_caller_goes_first() {
    for (side, at) in [(Side::Caller, 8.0), (Side::Callee, 11.0)] {
        let mut call = Call::answered(side);
        let restart = RecoveryAction::Restart(Trouble::Silence);
        assert_eq!(call.until(at + 0.5), [(at, restart)]);
        // An offer that is not answered yet must not be replaced.
        let now = call.at(at + 0.5);
        call.recovery.handle_postponed(now);
        assert_eq!(call.until(at + 9.0), [(at + 8.5, restart)]);
    }
}

#[test]
fn a_call_is_unreachable_only_while_the_other_side_is_there() {
    let mut call = Call::answered(Side::Caller);
    let mut given_up = None;
    while given_up.is_none() {
        let (at, _) = call.recovery.poll_timeout().expect("more to come");
        call.now = at.max(call.now);
        match call.recovery.handle_timeout(call.now) {
            Some(RecoveryAction::Restart(_)) => call.recovery.handle_offer_delivered(call.now),
            Some(RecoveryAction::GiveUp) => given_up = Some(call.now.duration_since(call.start)),
            _ => {}
        }
    }
    assert_eq!(given_up, Some(seconds(42.0)));

    // The offer that nobody acknowledges tells that the other side is away.
    let mut call = Call::answered(Side::Caller);
    let failed = call.at(38.0);
    call.recovery.handle_trouble(failed, Trouble::PathFailed);
    let restart = RecoveryAction::Restart(Trouble::PathFailed);
    assert_eq!(call.until(80.0), [(38.0, restart)]);
    // It comes back: there is time for a path again, as far as the whole limit allows.
    let now = call.at(80.0);
    call.recovery.handle_offer_delivered(now);
    let done = call.until(200.0);
    assert_eq!(done.last(), Some(&(90.0, RecoveryAction::GiveUp)));
}

#[test]
fn a_relayed_call_tries_to_be_direct_at_growing_distances_and_the_caller_first() {
    for (side, expected) in [(Side::Caller, 3), (Side::Callee, 2)] {
        let mut call = Call::talking(side);
        let now = call.at(1.0);
        call.recovery.handle_path(now, Path::Relayed);
        let mut upgrades = 0;
        for tenth in 10..400 {
            let now = f64::from(tenth) / 10.0;
            call.hears(now);
            let done = call.until(now);
            upgrades += done.len();
            assert!(
                done.iter()
                    .all(|(_, action)| *action == RecoveryAction::Upgrade),
                "{done:?}"
            );
            if !done.is_empty() {
                let now = call.at(now);
                call.recovery.handle_attempt_failed(now);
            }
        }
        assert_eq!(upgrades, expected, "{side:?}");
    }
}

#[test]
fn the_other_sides_attempt_takes_the_place_of_ours() {
    let mut call = Call::talking(Side::Callee);
    let now = call.at(2.5);
    call.recovery.handle_remote_attempt(now, Aim::Restart);
    assert_eq!(call.until(10.0), [(3.0, RecoveryAction::Interrupted)]);
    let now = call.at(10.0);
    call.recovery.handle_taken_over(now);
    call.hears(10.1);
    assert_eq!(call.until(12.0), []);
}

#[test]
fn an_app_that_stood_still_has_lost_nothing_yet() {
    let mut call = Call::talking(Side::Callee);
    let now = call.at(100.0);
    call.recovery.handle_awake(now);
    let expected = [
        (100.0, RecoveryAction::Interrupted),
        (100.0, RecoveryAction::Restart(Trouble::Silence)),
    ];
    assert_eq!(call.until(105.0), expected);
}

#[test]
fn signaling_is_doubted_while_no_audio_arrives() {
    let mut call = Call::answered(Side::Caller);
    let mut doubts = Vec::new();
    while let Some((at, timer)) = call.recovery.poll_timeout()
        && at < call.start + seconds(7.0)
    {
        let action = call.recovery.handle_timeout(at);
        if timer == RecoveryTimer::DoubtSignaling {
            assert_eq!(action, Some(RecoveryAction::CheckSignaling));
            doubts.push(at.duration_since(call.start).as_secs());
        }
    }
    assert_eq!(doubts, [2, 4, 6]);
}

#[test]
fn an_offer_that_did_not_get_out_is_dropped_with_what_was_gathered_for_it() {
    let mut call = Call::talking(Side::Caller);
    call.until(3.0);
    let now = call.at(5.0);
    call.recovery.handle_signaling(now, Signaling::Down);
    call.hears(9.0);
    let now = call.at(9.1);
    let dropped = call.recovery.handle_signaling(now, Signaling::Up);
    assert_eq!(dropped, Some(RecoveryAction::Abandon));
    call.hears(10.5);
    assert_eq!(call.until(11.0), []);
}

#[test]
fn lost_consent_begins_another_path_whatever_is_under_way() {
    let mut call = Call::talking(Side::Callee);
    let now = call.at(2.0);
    call.recovery.handle_remote_attempt(now, Aim::Restart);
    let now = call.at(2.5);
    let dropped = call.recovery.handle_trouble(now, Trouble::ConsentLost);
    assert_eq!(dropped, Some(RecoveryAction::Abandon));
    let restart = RecoveryAction::Restart(Trouble::ConsentLost);
    assert_eq!(call.until(2.9), [(2.5, restart)]);
}

#[test]
fn a_path_that_was_taken_and_carries_nothing_is_not_the_last_one() {
    let mut call = Call::answered(Side::Caller);
    let now = call.at(1.0);
    call.recovery.handle_taken_over(now);
    let restart = RecoveryAction::Restart(Trouble::Silence);
    assert_eq!(call.until(6.0), [(5.0, restart)]);
}

#[test]
fn trouble_does_not_wait_for_a_search_for_a_better_path() {
    let mut call = Call::talking(Side::Caller);
    let now = call.at(1.0);
    call.recovery.handle_path(now, Path::Relayed);
    call.hears(3.9);
    assert_eq!(call.until(4.0), [(4.0, RecoveryAction::Upgrade)]);
    let expected = [
        (5.9, RecoveryAction::Interrupted),
        (5.9, RecoveryAction::Restart(Trouble::Silence)),
    ];
    assert_eq!(call.until(6.5), expected);
}
