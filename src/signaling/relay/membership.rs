//! Which calls there are, and who belongs to them (pure).
//!
//! The first frame of a call that the relay does not know makes its sender and its receiver the
//! members. It may be any frame: a relay that was restarted knows nothing, and calls go on. Ids are
//! 128 random bits, so nobody but the two can name a call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::config::RelayConfig;
use super::refusal::Refusal;
use crate::signaling::message::PeerName;

/// The calls, by id.
#[derive(Debug)]
pub(super) struct Calls {
    per_user_max: usize,
    max: usize,
    idle: Duration,
    by_id: BTreeMap<String, Call>,
    /// The same calls by when they were used last.
    by_age: BTreeSet<(Instant, String)>,
    /// How many calls each user has begun.
    begun: BTreeMap<PeerName, usize>,
}

#[derive(Debug)]
struct Call {
    /// Who began it, and whom it was for.
    members: [PeerName; 2],
    used: Instant,
}

impl Calls {
    pub(super) fn new(config: &RelayConfig) -> Self {
        Self {
            per_user_max: config.calls_per_user_max,
            max: config.calls_max,
            idle: config.call_idle,
            by_id: BTreeMap::new(),
            by_age: BTreeSet::new(),
            begun: BTreeMap::new(),
        }
    }

    /// Whether `from` may send to `to` in this call, which begins here where it is not known.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        id: &str,
        from: &str,
        to: &str,
    ) -> Result<(), Refusal> {
        if let Some(call) = self.by_id.get_mut(id) {
            let members = [call.members[0].as_str(), call.members[1].as_str()];
            if members != [from, to] && members != [to, from] {
                return Err(Refusal::NotAMember);
            }
            let before = std::mem::replace(&mut call.used, now);
            self.by_age.remove(&(before, id.to_owned()));
        } else {
            if self.by_id.len() >= self.max {
                return Err(Refusal::TooManyCalls { max: self.max });
            }
            if self.begun.get(from).copied().unwrap_or_default() >= self.per_user_max {
                return Err(Refusal::TooManyCallsOfUser {
                    max: self.per_user_max,
                });
            }
            *self.begun.entry(from.to_owned()).or_default() += 1;
            let call = Call {
                members: [from.to_owned(), to.to_owned()],
                used: now,
            };
            self.by_id.insert(id.to_owned(), call);
        }
        self.by_age.insert((now, id.to_owned()));
        Ok(())
    }

    /// Forgets what was not used for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((used, _)) = self.by_age.first()
            && now.saturating_duration_since(*used) >= self.idle
            && let Some((_, id)) = self.by_age.pop_first()
        {
            self.forget(&id);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    fn forget(&mut self, id: &str) {
        let Some(call) = self.by_id.remove(id) else {
            return;
        };
        let [beginner, _] = call.members;
        if let Some(begun) = self.begun.get_mut(&beginner) {
            *begun -= 1;
            if *begun == 0 {
                self.begun.remove(&beginner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calls() -> Calls {
        Calls::new(&RelayConfig {
            calls_per_user_max: 2,
            calls_max: 3,
            ..RelayConfig::default()
        })
    }

    #[test]
    fn a_call_is_between_its_two_members() {
        let (mut calls, now) = (calls(), Instant::now());
        assert_eq!(calls.pass(now, "1", "anna", "boris"), Ok(()));
        assert_eq!(calls.pass(now, "1", "boris", "anna"), Ok(()));
        for (from, to) in [
            ("carla", "anna"),
            ("carla", "boris"),
            ("anna", "carla"),
            ("anna", "anna"),
            ("boris", "boris"),
        ] {
            let refused = calls.pass(now, "1", from, to);
            assert_eq!(refused, Err(Refusal::NotAMember), "{from} to {to}");
        }
    }

    #[test]
    fn a_user_may_call_itself() {
        let (mut calls, now) = (calls(), Instant::now());
        assert_eq!(calls.pass(now, "1", "anna", "anna"), Ok(()));
        assert_eq!(calls.pass(now, "1", "anna", "anna"), Ok(()));
        let refused = calls.pass(now, "1", "anna", "boris");
        assert_eq!(refused, Err(Refusal::NotAMember));
    }

    #[test]
    fn calls_are_limited_for_who_begins_them_and_in_all() {
        let (mut calls, now) = (calls(), Instant::now());
        assert_eq!(calls.pass(now, "1", "anna", "boris"), Ok(()));
        assert_eq!(calls.pass(now, "2", "anna", "boris"), Ok(()));
        let refused = calls.pass(now, "3", "anna", "boris");
        assert_eq!(refused, Err(Refusal::TooManyCallsOfUser { max: 2 }));
        assert_eq!(calls.pass(now, "3", "boris", "anna"), Ok(()));
        let refused = calls.pass(now, "4", "carla", "anna");
        assert_eq!(refused, Err(Refusal::TooManyCalls { max: 3 }));
    }

    #[test]
    fn a_call_is_forgotten_when_it_is_idle_and_not_before() {
        let (mut calls, start) = (calls(), Instant::now());
        let minutes = |minutes| start + Duration::from_mins(minutes);
        assert_eq!(calls.pass(start, "1", "anna", "boris"), Ok(()));
        calls.expire(minutes(9));
        assert_eq!(calls.pass(minutes(9), "1", "boris", "anna"), Ok(()));
        calls.expire(minutes(18));
        assert_eq!(calls.len(), 1);
        calls.expire(minutes(19));
        assert_eq!(calls.len(), 0);
        assert!(calls.by_age.is_empty() && calls.begun.is_empty());
        assert_eq!(calls.pass(minutes(19), "1", "carla", "anna"), Ok(()));
    }

    proptest! {
        /// Whatever is sent: who is let through is a member, the limits hold, and nothing is left.
        #[test]
        fn the_books_are_kept(
            frames in proptest::collection::vec((0_u64..400, 0_u8..5, 0_u8..3, 0_u8..3), 1..100),
        ) {
            let (mut calls, start) = (calls(), Instant::now());
            let mut now = start;
            for (wait, id, from, to) in frames {
                now += Duration::from_secs(wait);
                calls.expire(now);
                let (id, from, to) = (id.to_string(), from.to_string(), to.to_string());
                let passed = calls.pass(now, &id, &from, &to).is_ok();
                let member = calls.by_id.get(&id).is_some_and(|call| {
                    call.members.contains(&from) && call.members.contains(&to)
                        && (from != to || call.members[0] == call.members[1])
                });
                prop_assert_eq!(passed, member);
                prop_assert!(calls.len() <= 3 && calls.begun.values().all(|begun| *begun <= 2));
                prop_assert_eq!(calls.begun.values().sum::<usize>(), calls.len());
                prop_assert_eq!(calls.by_age.len(), calls.len());
            }
            calls.expire(now + Duration::from_mins(10));
            prop_assert!(calls.by_id.is_empty() && calls.begun.is_empty() && calls.by_age.is_empty());
        }
    }
}
