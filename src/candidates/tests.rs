mod properties;

use std::time::Duration;

use tokio::time::Instant;

use super::*;

const ANNA: &str = "anna";
const BORIS: &str = "boris";

fn call(name: &str) -> CallId {
    CallId(name.into())
}

fn candidate(ufrag: &str, port: u16) -> TrickledCandidate {
    TrickledCandidate {
        candidate: format!("candidate:1 1 udp 2130706431 192.0.2.1 {port} typ host"),
        sdp_mid: "0".into(),
        username_fragment: ufrag.into(),
    }
}

fn end(ufrag: &str) -> TrickledCandidate {
    TrickledCandidate {
        candidate: String::new(),
        sdp_mid: "0".into(),
        username_fragment: ufrag.into(),
    }
}

/// A buffer with a clock that tests set.
struct Fixture {
    buffer: CandidateBuffer,
    now: Instant,
}

impl Fixture {
    fn new(limits: CandidateLimits) -> Self {
        Self {
            buffer: CandidateBuffer::new(limits),
            now: Instant::now(),
        }
    }

    fn push(
        &mut self,
        from: &str,
        name: &str,
        candidate: TrickledCandidate,
    ) -> Result<Pushed, CandidateError> {
        self.buffer.push(self.now, from, &call(name), candidate)
    }

    /// How many candidates come out when the generation becomes ready.
    fn ready(&mut self, from: &str, name: &str, ufrag: &str) -> usize {
        let released = self.buffer.ready(self.now, from, &call(name), ufrag);
        released.candidates.len()
    }

    /// Lets time pass, and says what expires at its end.
    fn pass(&mut self, time: Duration) -> Vec<Expired> {
        self.now += time;
        self.buffer.handle_timeout(self.now)
    }
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new(CandidateLimits::default())
    }
}

fn stale(ufrag: &str) -> CandidateError {
    CandidateError::Stale {
        ufrag: ufrag.into(),
    }
}

#[test]
fn candidates_that_overtake_the_description_wait_for_it() {
    let mut fixture = Fixture::default();
    let pushed = fixture.push(ANNA, "a", candidate("gen1", 1));
    assert_eq!(pushed, Ok(Pushed::Held { waiting: 1 }));

    let released = fixture.buffer.ready(fixture.now, ANNA, &call("a"), "gen1");
    assert_eq!(released.candidates, [candidate("gen1", 1)]);
    assert_eq!(fixture.ready(ANNA, "a", "gen1"), 0);

    let late = candidate("gen1", 2);
    assert_eq!(
        fixture.push(ANNA, "a", late.clone()),
        Ok(Pushed::Ready(late.clone()))
    );
    assert_eq!(fixture.push(ANNA, "a", late), Ok(Pushed::Duplicate));
}

#[test]
fn another_senders_candidates_never_come_out() {
    let mut fixture = Fixture::default();
    assert!(fixture.push("mallory", "a", candidate("gen1", 1)).is_ok());
    assert_eq!(fixture.ready(ANNA, "a", "gen1"), 0);
    assert_eq!(
        fixture.push("mallory", "a", candidate("gen1", 2)),
        Ok(Pushed::Held { waiting: 2 })
    );
    assert!(matches!(
        fixture.push(ANNA, "a", candidate("gen1", 1)),
        Ok(Pushed::Ready(_))
    ));
}

#[test]
fn the_empty_candidate_ends_its_generation_only() {
    let mut fixture = Fixture::default();
    let complete =
        |fixture: &Fixture, ufrag: &str| fixture.buffer.is_complete(ANNA, &call("a"), ufrag);
    assert_eq!(
        fixture.push(ANNA, "a", end("gen1")),
        Ok(Pushed::EndOfCandidates)
    );
    assert_eq!(fixture.push(ANNA, "a", end("gen1")), Ok(Pushed::Duplicate));
    assert!(complete(&fixture, "gen1"));
    assert!(!complete(&fixture, "gen2"));

    let mut ready = || {
        fixture
            .buffer
            .ready(fixture.now, ANNA, &call("a"), "gen1")
            .end_of_candidates
    };
    assert!(ready());
    assert!(!ready());
}

#[test]
fn a_candidate_that_the_end_overtook_is_taken() {
    let mut fixture = Fixture::default();
    assert!(fixture.push(ANNA, "a", end("gen1")).is_ok());
    assert_eq!(
        fixture.push(ANNA, "a", candidate("gen1", 1)),
        Ok(Pushed::Held { waiting: 1 })
    );
    assert_eq!(fixture.ready(ANNA, "a", "gen1"), 1);
}

#[track_caller]
fn check_same(one: &str, other: &str) {
    let mut fixture = Fixture::default();
    let mut push = |text: &str| {
        let candidate = TrickledCandidate {
            candidate: text.into(),
            sdp_mid: "0".into(),
            username_fragment: "gen1".into(),
        };
        fixture.push(ANNA, "a", candidate)
    };
    assert_eq!(push(one), Ok(Pushed::Held { waiting: 1 }));
    assert_eq!(push(other), Ok(Pushed::Duplicate));
}

#[test]
fn one_candidate_in_two_spellings_is_one_candidate() {
    let plain = "candidate:1 1 udp 1 2001:db8::1 9 typ srflx raddr 10.0.0.1 rport 9";
    check_same(
        plain,
        " a=CANDIDATE:1  1 UDP 1 2001:0DB8:0::1 9 TYP SRFLX RADDR 10.0.0.1\tRPORT 9 ",
    );
    check_same(plain, &format!("{plain} ufrag gen1"));
    check_same(
        &format!("{plain} generation 0 network-cost 10"),
        &format!("{plain} network-cost 10 generation 0"),
    );
    check_same(
        "candidate:1 1 udp 1 9b36eaac.local 9 typ host",
        "candidate:1 1 udp 1 9B36EAAC.Local 9 typ host",
    );
}

#[test]
fn candidates_that_differ_in_an_address_are_two() {
    let mut fixture = Fixture::default();
    for (address, related, waiting) in [
        ("192.0.2.1", "10.0.0.1", 1),
        ("192.0.2.2", "10.0.0.1", 2),
        ("192.0.2.2", "10.0.0.2", 3),
        ("2001:db8::1", "2001:db8::2", 4),
        ("one.local", "0.0.0.0", 5),
        ("other.local", "0.0.0.0", 6),
    ] {
        let candidate = TrickledCandidate {
            candidate: format!("candidate:1 1 udp 1 {address} 9 typ srflx raddr {related} rport 9"),
            ..candidate("gen1", 9)
        };
        let held = Ok(Pushed::Held { waiting });
        assert_eq!(fixture.push(ANNA, "a", candidate), held);
    }
    assert!(!fixture.buffer.is_empty());
}

#[test]
fn a_malformed_candidate_is_reported_and_the_next_one_works() {
    let mut fixture = Fixture::default();
    let mut broken = candidate("gen1", 1);
    broken.candidate = "candidate:nonsense".into();
    let error = fixture.push(ANNA, "a", broken).expect_err("malformed");
    assert_eq!(
        error.to_string(),
        "malformed candidate: candidate has no component"
    );
    assert!(fixture.buffer.is_empty());
    assert!(fixture.push(ANNA, "a", candidate("gen1", 1)).is_ok());
}

#[test]
fn a_candidate_without_fragment_is_placed_by_its_own_extension() {
    let mut fixture = Fixture::default();
    let mut bare = candidate("", 1);
    assert_eq!(
        fixture.push(ANNA, "a", bare.clone()),
        Err(CandidateError::NoGeneration)
    );
    bare.candidate.push_str(" ufrag gen1");
    assert!(fixture.push(ANNA, "a", bare).is_ok());
    assert_eq!(fixture.ready(ANNA, "a", "gen1"), 1);
}

#[test]
fn a_fragment_that_no_description_can_have_is_refused_at_once() {
    let mut fixture = Fixture::default();
    for ufrag in ["abc", "gen 1", &"a".repeat(257)] {
        assert_eq!(
            fixture.push(ANNA, "a", candidate(ufrag, 1)),
            Err(CandidateError::InvalidGeneration { bytes: ufrag.len() })
        );
    }
    assert!(fixture.buffer.is_empty());
}

#[test]
fn generations_of_a_restart_live_beside_each_other_until_one_is_retired() {
    let mut fixture = Fixture::default();
    assert_eq!(fixture.ready(ANNA, "a", "gen1"), 0);
    assert!(fixture.push(ANNA, "a", candidate("gen2", 1)).is_ok());
    assert!(matches!(
        fixture.push(ANNA, "a", candidate("gen1", 1)),
        Ok(Pushed::Ready(_))
    ));
    assert_eq!(fixture.ready(ANNA, "a", "gen2"), 1);
    for ufrag in ["gen1", "gen2"] {
        assert!(matches!(
            fixture.push(ANNA, "a", candidate(ufrag, 2)),
            Ok(Pushed::Ready(_))
        ));
    }
    fixture.buffer.retire(ANNA, &call("a"), "gen1");
    assert_eq!(
        fixture.push(ANNA, "a", candidate("gen1", 3)),
        Err(stale("gen1"))
    );
    assert_eq!(fixture.push(ANNA, "a", end("gen1")), Err(stale("gen1")));
}

#[test]
fn a_generation_can_be_retired_before_its_candidates_come() {
    let mut fixture = Fixture::default();
    fixture.buffer.retire(ANNA, &call("a"), "gen1");
    assert_eq!(
        fixture.push(ANNA, "a", candidate("gen1", 1)),
        Err(stale("gen1"))
    );
    assert!(fixture.push(ANNA, "b", candidate("gen1", 1)).is_ok());
    assert!(fixture.push(BORIS, "a", candidate("gen1", 1)).is_ok());

    assert!(fixture.push(ANNA, "a", candidate("gen2", 1)).is_ok());
    fixture.buffer.retire(ANNA, &call("a"), "gen2");
    assert_eq!(fixture.ready(ANNA, "a", "gen2"), 0);
}

#[test]
fn a_generation_whose_description_does_not_come_is_named_and_then_refused() {
    let limits = CandidateLimits::default();
    let mut fixture = Fixture::default();
    assert!(fixture.push(ANNA, "a", candidate("gen1", 1)).is_ok());
    assert_eq!(
        fixture.buffer.poll_timeout(),
        Some(fixture.now + limits.wait_max)
    );
    let nearly = limits.wait_max.saturating_sub(Duration::from_millis(1));
    assert_eq!(fixture.pass(nearly), []);
    let lost = Expired {
        from: ANNA.into(),
        call: call("a"),
        ufrag: "gen1".into(),
        candidates: 1,
    };
    assert_eq!(fixture.pass(Duration::from_millis(1)), [lost]);
    assert_eq!(
        fixture.push(ANNA, "a", candidate("gen1", 2)),
        Err(CandidateError::UnknownGeneration {
            ufrag: "gen1".into(),
            waited: limits.wait_max,
        })
    );

    assert_eq!(
        fixture.buffer.poll_timeout(),
        Some(fixture.now + limits.refusal)
    );
    assert_eq!(fixture.pass(limits.refusal), []);
    assert!(fixture.buffer.is_empty());
    assert_eq!(fixture.buffer.poll_timeout(), None);
}

#[test]
fn a_description_that_comes_after_all_begins_its_generation_anew() {
    let mut fixture = Fixture::default();
    assert!(fixture.push(ANNA, "a", candidate("gen1", 1)).is_ok());
    assert_eq!(fixture.pass(Duration::from_mins(2)).len(), 1);
    assert_eq!(fixture.ready(ANNA, "a", "gen1"), 0);
    assert!(matches!(
        fixture.push(ANNA, "a", candidate("gen1", 1)),
        Ok(Pushed::Ready(_))
    ));
}

#[test]
fn a_callee_may_let_its_phone_ring_for_minutes() {
    let mut fixture = Fixture::default();
    fixture.buffer.expect(BORIS, &call("a"));
    for device in ["gen1", "gen2"] {
        assert!(fixture.push(BORIS, "a", candidate(device, 1)).is_ok());
    }
    assert_eq!(fixture.pass(Duration::from_mins(3)), []);
    assert_eq!(fixture.buffer.poll_timeout(), None);

    // Now that one device answered, the other's candidates are of no more use.
    assert_eq!(fixture.ready(BORIS, "a", "gen1"), 1);
    assert_eq!(fixture.pass(Duration::from_secs(119)), []);
    assert_eq!(fixture.pass(Duration::from_secs(1)).len(), 1);
}

#[test]
fn every_bound_holds_and_names_itself() {
    let mut fixture = Fixture::new(CandidateLimits {
        per_generation_max: 2,
        per_call_max: 4,
        per_sender_max: 5,
        total_max: 8,
        ..CandidateLimits::default()
    });
    for port in 1..=2 {
        assert!(fixture.push(ANNA, "a", candidate("gen1", port)).is_ok());
    }
    assert_eq!(
        fixture.push(ANNA, "a", candidate("gen1", 3)),
        Err(CandidateError::GenerationFull {
            ufrag: "gen1".into(),
            bound: 2
        })
    );
    assert_eq!(
        fixture.push(ANNA, "a", candidate("gen2", 1)),
        Err(CandidateError::CallFull { bound: 4 })
    );
    assert!(fixture.push(ANNA, "b", candidate("gen1", 1)).is_ok());
    for flood in [candidate("gen1", 2), end("gen2")] {
        assert_eq!(
            fixture.push(ANNA, "b", flood),
            Err(CandidateError::SenderFull { bound: 5 }),
        );
    }
    assert!(fixture.push(BORIS, "c", candidate("gen1", 1)).is_ok());
    assert!(fixture.push("clara", "d", end("gen1")).is_ok());
    assert_eq!(
        fixture.push("clara", "d", candidate("gen1", 1)),
        Err(CandidateError::BufferFull { bound: 8 })
    );
    fixture.buffer.forget(&call("a"));
    assert!(fixture.push("clara", "d", candidate("gen1", 1)).is_ok());
}

#[test]
fn a_call_takes_all_its_places_and_no_more() {
    let mut fixture = Fixture::new(CandidateLimits {
        per_call_max: 4,
        ..CandidateLimits::default()
    });
    for port in 1..=2 {
        assert!(fixture.push(ANNA, "a", candidate("gen1", port)).is_ok());
    }
    let ended = fixture.push(ANNA, "a", end("gen2"));
    assert_eq!(ended, Ok(Pushed::EndOfCandidates), "the fourth place");
    assert_eq!(
        fixture.push(ANNA, "a", candidate("gen2", 1)),
        Err(CandidateError::CallFull { bound: 4 })
    );
    let known = fixture.push(ANNA, "a", candidate("gen1", 1));
    assert_eq!(known, Ok(Pushed::Duplicate), "what is known needs no place");
}

#[test]
fn one_senders_flood_leaves_anothers_call_alone() {
    let mut fixture = Fixture::default();
    let mut refused = 0;
    for number in 0..2000 {
        let name = format!("flood{number}");
        for port in 1..=3 {
            let flood = candidate(&format!("gen{port}"), port);
            refused += u32::from(fixture.push("mallory", &name, flood).is_err());
        }
    }
    assert!(refused > 0);
    for port in 1..=100 {
        assert!(fixture.push(ANNA, "a", candidate("gen1", port)).is_ok());
    }
    assert_eq!(fixture.ready(ANNA, "a", "gen1"), 100);
}

#[test]
fn nothing_is_left_of_a_flood_when_its_time_is_over() {
    let limits = CandidateLimits::default();
    let mut fixture = Fixture::default();
    for number in 0..2000 {
        // Most are refused.
        let _ = fixture.push("mallory", &number.to_string(), end("gen1"));
    }
    assert_eq!(fixture.pass(limits.wait_max).len(), limits.per_sender_max);
    assert_eq!(fixture.pass(limits.refusal), []);
    assert!(fixture.buffer.is_empty());
}
