use super::*;
use crate::seed::Seed;

const SECOND: Duration = Duration::from_secs(1);

fn perturbation(kind: MessageKind, which: Option<u32>) -> Perturbation {
    Perturbation {
        from: "alice".to_owned(),
        kind,
        which,
        lost: 0,
        delay: MessageDelay::Fixed(10 * SECOND),
        copies: 1,
        copy_delay: Duration::ZERO,
        until: None,
        beside: None,
        line: None,
    }
}

fn perturber(perturbations: &[Perturbation]) -> Perturber {
    Perturber::new(perturbations, |label| Seed::new(1).stream(label))
}

/// How far `now` is from the beginning, at which the paused clock of a test stands.
fn elapsed(now: Instant) -> Duration {
    now - Instant::now()
}

fn message(number: u64) -> Identity {
    Identity::of("alice", number)
}

/// For how long the message with this number waits, in seconds; `None` where it passes.
#[track_caller]
fn waits(perturber: &mut Perturber, now: Instant, number: u64, kind: &str) -> Option<u64> {
    match perturber.handle(now, elapsed(now), &message(number), kind) {
        Verdict::Pass => None,
        Verdict::Late(times, _) => Some((times[0] - now).as_secs()),
        Verdict::Lost(event) => panic!("{event}"),
    }
}

#[tokio::test(start_paused = true)]
async fn one_message_of_a_kind_is_meant_and_no_other() {
    let now = Instant::now();
    let mut second = perturber(&[perturbation(MessageKind::Candidate, Some(2))]);
    let kinds = ["candidate", "offer", "candidate", "candidate"];
    let waited: Vec<_> = (1..)
        .zip(kinds)
        .map(|(number, kind)| waits(&mut second, now, number, kind))
        .collect();
    assert_eq!(waited, [None, None, Some(10), None]);
    let mut third_of_all = perturber(&[perturbation(MessageKind::Any, Some(3))]);
    let waited: Vec<_> = (1..)
        .zip(kinds)
        .map(|(number, kind)| waits(&mut third_of_all, now, number, kind))
        .collect();
    assert_eq!(waited, [None, None, Some(10), None]);
}

#[tokio::test(start_paused = true)]
async fn a_repetition_waits_for_the_rest_and_counts_as_no_other_message() {
    let now = Instant::now();
    let mut perturber = perturber(&[perturbation(MessageKind::Answer, Some(1))]);
    assert_eq!(waits(&mut perturber, now, 1, "answer"), Some(10));
    assert_eq!(
        waits(&mut perturber, now + 3 * SECOND, 1, "answer"),
        Some(7)
    );
    assert_eq!(waits(&mut perturber, now + 10 * SECOND, 1, "answer"), None);
    assert_eq!(waits(&mut perturber, now + 10 * SECOND, 2, "answer"), None);
}

#[tokio::test(start_paused = true)]
async fn lost_deliveries_come_before_the_late_one() {
    let now = Instant::now();
    let mut perturber = perturber(&[Perturbation {
        lost: 2,
        copies: 2,
        copy_delay: 3 * SECOND,
        ..perturbation(MessageKind::Offer, None)
    }]);
    for _ in 0..2 {
        let verdict = perturber.handle(now, elapsed(now), &message(1), "offer");
        assert!(matches!(verdict, Verdict::Lost(_)), "{verdict:?}");
    }
    let verdict = perturber.handle(now + SECOND, elapsed(now + SECOND), &message(1), "offer");
    let Verdict::Late(times, event) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(times, [now + 11 * SECOND, now + 14 * SECOND]);
    assert_eq!(event.to_string(), "alice's offer 1 is held for 10s");
}

#[tokio::test(start_paused = true)]
async fn the_first_perturbation_that_is_for_a_message_counts() {
    let now = Instant::now();
    let soon = Perturbation {
        delay: MessageDelay::Fixed(SECOND),
        ..perturbation(MessageKind::Any, None)
    };
    let late = perturbation(MessageKind::Candidate, None);
    let mut narrow_first = perturber(&[late.clone(), soon.clone()]);
    assert_eq!(waits(&mut narrow_first, now, 1, "candidate"), Some(10));
    assert_eq!(waits(&mut narrow_first, now, 2, "offer"), Some(1));
    let mut wide_first = perturber(&[soon, late]);
    assert_eq!(waits(&mut wide_first, now, 1, "candidate"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn drawn_delays_repeat_and_stay_in_their_span() {
    let now = Instant::now();
    let (from, to) = (2 * SECOND, 5 * SECOND);
    let drawn = || {
        let mut perturber = perturber(&[Perturbation {
            delay: MessageDelay::Uniform { from, to },
            ..perturbation(MessageKind::Candidate, None)
        }]);
        let waits = (1..=50).map(|number| {
            match perturber.handle(now, elapsed(now), &message(number), "candidate") {
                Verdict::Late(times, _) => times[0] - now,
                other => panic!("{other:?}"),
            }
        });
        waits.collect::<Vec<_>>()
    };
    let waits = drawn();
    assert!(waits.iter().all(|wait| (from..=to).contains(wait)));
    assert!(waits.iter().any(|wait| *wait != waits[0]));
    assert_eq!(waits, drawn());
}
