//! Asking the network again beside a question that it has not answered.
//!
//! What is asked while a path is dead is lost, and comes again by the network's own timers, ever later:
//! a SYN after 1, 3, 7 and 15 s. A path that heals would stay unused for as long as it was broken. So
//! the question is asked anew at a steady pace, and the first answer counts.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// How long a question waits for its answer until it is asked again beside: longer than a round trip
/// over any link that carries a call.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How long the next of several ways waits for the one before it (RFC 8305 section 5).
pub(super) const NEXT_AFTER: Duration = Duration::from_millis(250);

/// The most questions that are out at once on one way: the oldest has been without an answer for eight
/// seconds then, and is dropped for the next.
const OUT_MAX: usize = 4;

/// One question that is out.
pub(super) type Asked<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Asks on every way, one after the other, and on each again and again. A way that fails is left, and
/// the next one taken at once. The first answer wins; the other questions are dropped before anything
/// can be made of theirs.
///
/// # Errors
///
/// What the last way failed with; `NotFound` where there is none.
pub(super) async fn race<'a, Way: Copy + Eq, T>(
    ways: impl IntoIterator<Item = Way>,
    mut ask: impl FnMut(Way) -> Asked<'a, T>,
) -> io::Result<T> {
    let mut pace = Pace::new(Instant::now(), ways);
    let mut out: VecDeque<(Way, Asked<'a, T>)> = VecDeque::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(next) = pace.poll_timeout() {
        let Ok((way, outcome)) = timeout_at(next, first(&mut out)).await else {
            if let Some(way) = pace.poll_ask(Instant::now()) {
                drop_oldest(&mut out, way);
                out.push_back((way, ask(way)));
            }
            continue;
        };
        match outcome {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                tracing::debug!(error = %crate::redaction::scrubbed(&error), "this way fails");
                pace.handle_failed(Instant::now(), way);
                out.retain(|(other, _)| *other != way);
                failure = error;
            }
        }
    }
    Err(failure)
}

/// When to ask on which way (pure).
#[derive(Debug)]
struct Pace<Way> {
    ways: Vec<Lane<Way>>,
}

#[derive(Debug)]
struct Lane<Way> {
    way: Way,
    ask_at: Instant,
    begun: Begun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Yes,
    No,
}

impl<Way: Copy + Eq> Pace<Way> {
    fn new(now: Instant, ways: impl IntoIterator<Item = Way>) -> Self {
        let mut ask_at = now;
        let mut lane = |way| {
            let lane = Lane {
                way,
                ask_at,
                begun: Begun::No,
            };
            ask_at += NEXT_AFTER;
            lane
        };
        Self {
            ways: ways.into_iter().map(&mut lane).collect(),
        }
    }

    /// The way on which to ask now, if there is one; those that come first go first.
    fn poll_ask(&mut self, now: Instant) -> Option<Way> {
        let lane = self.ways.iter_mut().min_by_key(|lane| lane.ask_at)?;
        if lane.ask_at > now {
            return None;
        }
        lane.ask_at = now + AGAIN_AFTER;
        lane.begun = Begun::Yes;
        Some(lane.way)
    }

    /// Leaves a way. The others do not wait for it.
    fn handle_failed(&mut self, now: Instant, way: Way) {
        self.ways.retain(|lane| lane.way != way);
        let next = self.ways.iter_mut().find(|lane| lane.begun == Begun::No);
        if let Some(next) = next {
            next.ask_at = now;
        }
    }

    /// When to ask next; `None` where every way has failed.
    fn poll_timeout(&self) -> Option<Instant> {
        self.ways.iter().map(|lane| lane.ask_at).min()
    }
}

/// Makes room for another question on this way.
fn drop_oldest<Way: Copy + Eq, T>(out: &mut VecDeque<(Way, Asked<'_, T>)>, way: Way) {
    let is_on_it = |(other, _): &&(Way, Asked<'_, T>)| *other == way;
    if out.iter().filter(is_on_it).count() >= OUT_MAX
        && let Some(oldest) = out.iter().position(|(other, _)| *other == way)
    {
        out.remove(oldest);
    }
}

/// Waits for the first answer, that to the oldest question where there are several.
async fn first<Way: Copy, T>(out: &mut VecDeque<(Way, Asked<'_, T>)>) -> (Way, io::Result<T>) {
    poll_fn(|context| {
        for (way, asked) in out.iter_mut() {
            if let Poll::Ready(outcome) = asked.as_mut().poll(context) {
                return Poll::Ready((*way, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::sync::Arc;

    /// Asks on these ways for so many seconds; gives each way asked on, with the millisecond of it, and
    /// how many questions were out at most.
    async fn asked(ways: &[char], seconds: u64) -> (Vec<(char, u128)>, usize) {
        let start = Instant::now();
        let mut asked = Vec::new();
        let token = Arc::new(());
        let mut most = 0;
        let race = race(ways.iter().copied(), |way| {
            asked.push((way, start.elapsed().as_millis()));
            let held = Arc::clone(&token);
            most = most.max(Arc::strong_count(&token) - 1);
            Box::pin(async move {
                let never = pending::<io::Result<()>>().await;
                drop(held);
                never
            })
        });
        let end = start + Duration::from_secs(seconds);
        assert!(timeout_at(end, race).await.is_err(), "an answer");
        assert_eq!(Arc::strong_count(&token), 1, "a question outlives the race");
        (asked, most)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_is_asked_again_every_two_seconds_and_four_times_at_once() {
        let (asked, most) = asked(&['a'], 29).await;
        let expected: Vec<_> = (0..15).map(|round| ('a', round * 2000)).collect();
        assert_eq!((asked, most), (expected, OUT_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn every_way_keeps_its_own_pace() {
        let (asked, most) = asked(&['a', 'b', 'c'], 20).await;
        let expected = [
            ('a', 0),
            ('b', 250),
            ('c', 500),
            ('a', 2000),
            ('b', 2250),
            ('c', 2500),
        ];
        assert_eq!(asked[..6], expected);
        assert_eq!(most, 3 * OUT_MAX);
    }

    /// What comes of a race in which each way answers, or fails, after so many milliseconds.
    async fn outcome(
        ways: &[(u64, Result<char, io::ErrorKind>)],
    ) -> (Result<char, io::ErrorKind>, u128) {
        let start = Instant::now();
        let outcome = race(
            ways.iter().copied().enumerate(),
            |(_, (milliseconds, answer))| {
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                    answer.map_err(io::Error::from)
                })
            },
        );
        let outcome = outcome.await.map_err(|error| error.kind());
        (outcome, start.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_wins() {
        let slow = outcome(&[(9000, Ok('a')), (100, Ok('b'))]).await;
        assert_eq!(slow, (Ok('b'), 350));
        let first = outcome(&[(300, Ok('a')), (100, Ok('b'))]).await;
        assert_eq!(first, (Ok('a'), 300));
        // An answer that takes long is not given up for asking again.
        let patient = outcome(&[(7900, Ok('a'))]).await;
        assert_eq!(patient, (Ok('a'), 7900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_fails_is_left_for_the_next_at_once() {
        const REFUSED: Result<char, io::ErrorKind> = Err(io::ErrorKind::ConnectionRefused);
        let next = outcome(&[(10, REFUSED), (100, Ok('b'))]).await;
        assert_eq!(next, (Ok('b'), 110));
        let none = outcome(&[(10, Err(io::ErrorKind::HostUnreachable)), (20, REFUSED)]).await;
        assert_eq!(none, (REFUSED, 30));
        assert_eq!(outcome(&[]).await, (Err(io::ErrorKind::NotFound), 0));
    }
}
