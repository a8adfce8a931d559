//! Whose description counts, when both sides may offer at any time (pure).
//!
//! Each offer begins a generation on either side, and its answer completes it. Both sides may offer at
//! once, since both notice that audio is gone: then the caller's offer stands, the callee takes its own
//! back and answers. An answer names its offer, so that one which comes late, or to an offer that was
//! taken back, is told from the one that is waited for.

/// Who began the call. It decides whose offer stands where two cross.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// This side called.
    Caller,
    /// This side was called.
    Callee,
}

/// The offers of one call.
#[derive(Debug)]
pub struct Negotiation {
    side: Side,
    /// The user name fragment of our offer that is not answered.
    pending: Option<String>,
    /// That of the last offer of the other side that was taken.
    taken: Option<String>,
}

/// What becomes of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnOffer {
    /// Answer it, and drop everything of our own offer that crossed it.
    Answer {
        /// Our own offer, if there was one.
        taken_back: Option<String>,
    },
    /// Our own offer stands, and the other side answers that.
    Insist,
    /// It was taken before.
    Duplicate,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnAnswer {
    /// It completes our offer.
    Apply,
    /// It answers an offer that does not count any more.
    Late,
}

impl Negotiation {
    /// A call without any offer.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self {
            side,
            pending: None,
            taken: None,
        }
    }

    /// Who began the call.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// Whether an offer of ours is not answered yet.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        self.pending.is_some()
    }

    /// We offer, in place of any offer before that is not answered.
    pub fn offered(&mut self, ufrag: &str) {
        self.pending = Some(ufrag.to_owned());
    }

    /// Our offer with this user name fragment counts no longer.
    pub fn take_back(&mut self, ufrag: &str) {
        self.pending.take_if(|pending| pending == ufrag);
    }

    /// The other side offers.
    pub fn handle_offer(&mut self, ufrag: &str) -> OnOffer {
        if self.taken.as_deref() == Some(ufrag) {
            return OnOffer::Duplicate;
        }
        if self.pending.is_some() && self.side == Side::Caller {
            return OnOffer::Insist;
        }
        self.taken = Some(ufrag.to_owned());
        OnOffer::Answer {
            taken_back: self.pending.take(),
        }
    }

    /// The other side answers the offer with this user name fragment, or the only one there is.
    pub fn handle_answer(&mut self, offer: Option<&str>) -> OnAnswer {
        match (&self.pending, offer) {
            (Some(pending), Some(offer)) if pending != offer => OnAnswer::Late,
            (None, _) => OnAnswer::Late,
            (Some(_), _) => {
                self.pending = None;
                OnAnswer::Apply
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_to_an_offer_that_was_replaced_is_late() {
        let mut caller = Negotiation::new(Side::Caller);
        caller.offered("one");
        caller.offered("two");
        assert_eq!(caller.handle_answer(Some("one")), OnAnswer::Late);
        assert!(caller.awaits_answer());
        assert_eq!(caller.handle_answer(Some("two")), OnAnswer::Apply);
        assert!(!caller.awaits_answer());
        assert_eq!(caller.handle_answer(Some("two")), OnAnswer::Late);
    }

    #[test]
    fn an_offer_that_comes_twice_is_answered_once() {
        let mut callee = Negotiation::new(Side::Callee);
        let answer = OnOffer::Answer { taken_back: None };
        assert_eq!(callee.handle_offer("one"), answer);
        assert_eq!(callee.handle_offer("one"), OnOffer::Duplicate);
        assert_eq!(callee.handle_offer("two"), answer);
    }

    #[test]
    fn an_offer_that_was_taken_back_insists_on_nothing_and_its_answer_is_late() {
        let mut caller = Negotiation::new(Side::Caller);
        caller.offered("one");
        caller.take_back("another");
        assert_eq!(caller.handle_offer("theirs"), OnOffer::Insist);
        caller.take_back("one");
        assert_eq!(caller.handle_answer(Some("one")), OnAnswer::Late);
        let answer = OnOffer::Answer { taken_back: None };
        assert_eq!(caller.handle_offer("theirs"), answer);
    }

    #[test]
    fn where_offers_cross_the_callers_stands_and_the_callees_is_taken_back() {
        let mut calling = Negotiation::new(Side::Caller);
        calling.offered("callers");
        assert_eq!(calling.handle_offer("callees"), OnOffer::Insist);
        let mut called = Negotiation::new(Side::Callee);
        called.offered("callees");
        let taken_back = Some("callees".to_owned());
        assert_eq!(
            called.handle_offer("callers"),
            OnOffer::Answer { taken_back }
        );
        assert_eq!(called.handle_answer(Some("callees")), OnAnswer::Late);
        // Once its own offer is answered, the caller has nothing to insist on.
        assert_eq!(calling.handle_answer(Some("callers")), OnAnswer::Apply);
        let answer = OnOffer::Answer { taken_back: None };
        assert_eq!(calling.handle_offer("later"), answer);
    }

    /// One side with its mail on the way, which keeps its order.
    struct End {
        negotiation: Negotiation,
        inbox: VecDeque<Mail>,
        offers: u32,
        /// The generation pair that both sides use: offer, and who made it.
        agreed: Option<String>,
    }

    #[derive(Debug, Clone)]
    enum Mail {
        Offer(String),
        Answer(String),
    }

    impl End {
        fn new(side: Side) -> Self {
            Self {
                negotiation: Negotiation::new(side),
                inbox: VecDeque::new(),
                offers: 0,
                agreed: None,
            }
        }

        fn offer(&mut self) -> Mail {
            self.offers += 1;
            let ufrag = format!("{:?}{}", self.negotiation.side(), self.offers);
            self.negotiation.offered(&ufrag);
            Mail::Offer(ufrag)
        }

        fn read(&mut self) -> Option<Mail> {
            match self.inbox.pop_front()? {
                Mail::Offer(ufrag) => {
                    let OnOffer::Answer { .. } = self.negotiation.handle_offer(&ufrag) else {
                        return None;
                    };
                    self.agreed = Some(ufrag.clone());
                    Some(Mail::Answer(ufrag))
                }
                Mail::Answer(ufrag) => {
                    if self.negotiation.handle_answer(Some(&ufrag)) == OnAnswer::Apply {
                        self.agreed = Some(ufrag);
                    }
                    None
                }
            }
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Offer(Side),
        Read(Side),
    }

    fn step() -> impl Strategy<Value = Step> {
        let side = prop_oneof![Just(Side::Caller), Just(Side::Callee)];
        (any::<bool>(), side).prop_map(|(offers, side)| {
            if offers {
                Step::Offer(side)
            } else {
                Step::Read(side)
            }
        })
    }

    proptest! {
        /// However offers cross: once all is read, both sides use the same offer, and only one made it.
        #[test]
        fn both_sides_end_with_the_same_offer(steps in prop::collection::vec(step(), 1..40)) {
            let mut ends = [End::new(Side::Caller), End::new(Side::Callee)];
            let drain = (0..200).map(|turn| {
                Step::Read(if turn % 2 == 0 { Side::Caller } else { Side::Callee })
            });
            let mut offered = false;
            for step in steps.into_iter().chain(drain) {
                let (side, mail) = match step {
                    Step::Offer(side) => {
                        offered = true;
                        (side, Some(ends[side as usize].offer()))
                    }
                    Step::Read(side) => (side, ends[side as usize].read()),
                };
                if let Some(mail) = mail {
                    ends[1 - side as usize].inbox.push_back(mail);
                }
            }
            prop_assert!(ends.iter().all(|end| end.inbox.is_empty()));
            prop_assert_eq!(&ends[0].agreed, &ends[1].agreed);
            prop_assert_eq!(ends[0].agreed.is_some(), offered);
            prop_assert!(ends.iter().all(|end| end.negotiation.pending.is_none()));
        }
    }
}
