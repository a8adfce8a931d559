//! Every interleaving of what can happen to the buffer, against a model that is a plain list.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const LIMITS: CandidateLimits = CandidateLimits {
    per_generation_max: 6,
    per_call_max: 12,
    per_sender_max: 18,
    total_max: 30,
    wait_max: Duration::from_secs(10),
    refusal: Duration::from_secs(20),
};

/// Whose, which call, which generation.
type Place = (u8, u8, u8);

#[derive(Debug, Clone)]
enum Step {
    Push { place: Place, port: u16 },
    End { place: Place },
    Ready { place: Place },
    Retire { place: Place },
    Expect { place: Place },
    Forget { call: u8 },
    Pass { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || (0..3u8, 0..3u8, 0..3u8);
    let step = prop_oneof![
        12 => (place(), 1..9u16).prop_map(|(place, port)| Step::Push { place, port }),
        2 => place().prop_map(|place| Step::End { place }),
        4 => place().prop_map(|place| Step::Ready { place }),
        1 => place().prop_map(|place| Step::Retire { place }),
        1 => place().prop_map(|place| Step::Expect { place }),
        1 => (0..3u8).prop_map(|call| Step::Forget { call }),
        2 => (0..8u64).prop_map(|seconds| Step::Pass { seconds }),
    ];
    prop::collection::vec(step, 0..200)
}

/// What is known of one generation from outside.
#[derive(Debug, Default)]
struct Known {
    is_ready: bool,
    waiting: Vec<TrickledCandidate>,
    delivered: BTreeSet<TrickledCandidate>,
}

/// The model: what must come out of the buffer.
#[derive(Default)]
struct Model {
    known: BTreeMap<Place, Known>,
    /// What was retired.
    retired: BTreeSet<Place>,
    /// What waited in vain, and until when it is refused.
    expired: BTreeMap<Place, Instant>,
}

fn names((sender, number, generation): Place) -> (String, CallId, String) {
    let sender = format!("sender{sender}");
    let call = call(&format!("call{number}"));
    (sender, call, format!("generation{generation}"))
}

impl Model {
    /// The candidate is refused if its generation is over, and only then or for a bound.
    fn pushed(
        &mut self,
        now: Instant,
        place: Place,
        candidate: TrickledCandidate,
        outcome: Result<Pushed, CandidateError>,
    ) -> Result<(), TestCaseError> {
        self.expired.retain(|_, until| *until > now);
        if self.retired.contains(&place) {
            let ufrag = candidate.username_fragment;
            prop_assert_eq!(outcome, Err(CandidateError::Stale { ufrag }));
            return Ok(());
        }
        if self.expired.contains_key(&place) {
            let refusal = CandidateError::UnknownGeneration {
                ufrag: candidate.username_fragment,
                waited: LIMITS.wait_max,
            };
            prop_assert_eq!(outcome, Err(refusal));
            return Ok(());
        }
        let known = self.known.entry(place).or_default();
        match outcome {
            Ok(Pushed::Held { waiting }) => {
                prop_assert!(!known.is_ready);
                prop_assert!(!known.waiting.contains(&candidate));
                known.waiting.push(candidate);
                prop_assert_eq!(known.waiting.len(), waiting);
            }
            Ok(Pushed::Ready(out)) => {
                prop_assert!(known.is_ready);
                prop_assert_eq!(&out, &candidate);
                prop_assert!(known.delivered.insert(out), "handed over twice");
            }
            Ok(Pushed::Duplicate) => prop_assert!(
                known.waiting.contains(&candidate) || known.delivered.contains(&candidate)
            ),
            Ok(Pushed::EndOfCandidates) => prop_assert!(false, "a candidate is no end"),
            Err(
                CandidateError::GenerationFull { .. }
                | CandidateError::CallFull { .. }
                | CandidateError::SenderFull { .. }
                | CandidateError::BufferFull { .. },
            ) => prop_assert!(!known.waiting.contains(&candidate)),
            Err(error) => prop_assert!(false, "{error}"),
        }
        Ok(())
    }

    fn released(&mut self, place: Place, released: Released) -> Result<(), TestCaseError> {
        let is_ready = self.known.get(&place).is_some_and(|known| known.is_ready);
        if is_ready {
            prop_assert_eq!(released, Released::default());
            return Ok(());
        }
        self.retired.remove(&place);
        self.expired.remove(&place);
        let known = self.known.entry(place).or_default();
        known.is_ready = true;
        prop_assert_eq!(&released.candidates, &known.waiting);
        known.waiting.clear();
        known.delivered.extend(released.candidates);
        Ok(())
    }

    /// Whether a generation of this place's sender and call is ready.
    fn has_ready(&self, (sender, call, _): Place) -> bool {
        (0..3).any(|generation| {
            let known = self.known.get(&(sender, call, generation));
            known.is_some_and(|known| known.is_ready)
        })
    }

    fn retire(&mut self, place: Place) {
        self.known.remove(&place);
        self.expired.remove(&place);
        self.retired.insert(place);
    }

    fn expire(&mut self, now: Instant, place: Place) {
        self.known.remove(&place);
        self.expired.insert(place, now + LIMITS.refusal);
    }

    fn forget(&mut self, call: u8) {
        self.known.retain(|place, _| place.1 != call);
        self.retired.retain(|place| place.1 != call);
        self.expired.retain(|place, _| place.1 != call);
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_misplaced(steps in steps()) {
        let mut fixture = Fixture::new(LIMITS);
        let mut model = Model::default();
        let mut expected_calls = BTreeSet::new();
        for step in steps {
            match step {
                Step::Push { place, port } => {
                    let (sender, call, ufrag) = names(place);
                    let each = candidate(&ufrag, port);
                    let outcome = fixture.buffer.push(fixture.now, &sender, &call, each.clone());
                    model.pushed(fixture.now, place, each, outcome)?;
                }
                Step::End { place } => {
                    let (sender, call, ufrag) = names(place);
                    // What comes of it does not depend on candidates, nor they on it.
                    let _ = fixture.buffer.push(fixture.now, &sender, &call, end(&ufrag));
                }
                Step::Ready { place } => {
                    let (sender, call, ufrag) = names(place);
                    let released = fixture.buffer.ready(fixture.now, &sender, &call, &ufrag);
                    model.released(place, released)?;
                    expected_calls.remove(&(place.0, place.1));
                }
                Step::Retire { place } => {
                    let (sender, call, ufrag) = names(place);
                    fixture.buffer.retire(&sender, &call, &ufrag);
                    model.retire(place);
                }
                Step::Expect { place } => {
                    let (sender, call, _) = names(place);
                    fixture.buffer.expect(&sender, &call);
                    if !model.has_ready(place) {
                        expected_calls.insert((place.0, place.1));
                    }
                }
                Step::Forget { call: number } => {
                    fixture.buffer.forget(&call(&format!("call{number}")));
                    model.forget(number);
                    expected_calls.retain(|(_, each)| *each != number);
                }
                Step::Pass { seconds } => {
                    for lost in fixture.pass(Duration::from_secs(seconds)) {
                        let place = place_of(&lost);
                        prop_assert!(!expected_calls.contains(&(place.0, place.1)));
                        let known = model.known.get(&place);
                        prop_assert!(known.is_none_or(|known| !known.is_ready));
                        prop_assert_eq!(known.map_or(0, |known| known.waiting.len()), lost.candidates);
                        model.expire(fixture.now, place);
                    }
                    prop_assert!(fixture.buffer.poll_timeout().is_none_or(|at| at > fixture.now));
                }
            }
            prop_assert!(fixture.buffer.places() <= LIMITS.total_max);
        }

        for number in 0..3 {
            fixture.buffer.forget(&call(&format!("call{number}")));
        }
        prop_assert!(fixture.buffer.is_empty());
    }
}

fn place_of(lost: &Expired) -> Place {
    let digit = |text: &str| text.bytes().last().expect("a name ends in its number") - b'0';
    (digit(&lost.from), digit(&lost.call.0), digit(&lost.ufrag))
}
