//! How a call sounded, by the E-model (see [`ringtrue::audio::mos`]).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use ringtrue::audio::mos::mean_opinion;

use super::call::LastCall;
use super::facts::Facts;

/// What a client plays in a second: one Opus packet each 20 ms.
const PACKETS_PER_SECOND: f64 = 50.0;

/// A packet's own length, and what a jitter buffer holds.
const DELAY_IN_HOSTS: Duration = Duration::from_millis(80);

/// How the other side sounded to each peer of a call, from when both heard each other to the end. Empty where
/// they never did.
#[must_use]
pub fn opinions(call: &LastCall, facts: &Facts) -> BTreeMap<String, f64> {
    if call.peers.is_empty() || call.audio_at.len() < call.peers.len() {
        return BTreeMap::new();
    }
    let begin = call.audio_at.values().max().copied().unwrap_or_default();
    let span = begin..call.over.unwrap_or(facts.last);
    let opinion = |peer: &String| (peer.clone(), opinion(call, facts, peer, &span));
    call.peers.iter().map(opinion).collect()
}

/// How the other side sounded to `peer` during `span`: by the packets that it heard of those that were
/// played, and by how long they took.
fn opinion(call: &LastCall, facts: &Facts, peer: &str, span: &Range<Duration>) -> f64 {
    let heard = call.heard.get(peer).map_or(0, |times| {
        times.iter().filter(|at| span.contains(*at)).count()
    });
    let length = span.end.saturating_sub(span.start).as_secs_f64();
    let played = (length * PACKETS_PER_SECOND).max(1.0);
    let lost = (1.0 - heard as f64 / played).clamp(0.0, 1.0);
    let on_the_way = facts.media_delays.mean(peer).unwrap_or_default();
    mean_opinion(lost, 1.0, on_the_way + DELAY_IN_HOSTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call of ten seconds from 1 s on, in which bob heard each packet but every n-th.
    fn call(without_every: usize) -> LastCall {
        let seconds = Duration::from_secs;
        let times = (0..500).filter(|number| number % without_every != 0);
        let times = times.map(|number| seconds(1) + Duration::from_millis(20 * number as u64));
        LastCall {
            peers: vec!["alice".to_owned(), "bob".to_owned()],
            audio_at: ["alice", "bob"]
                .map(|peer| (peer.to_owned(), seconds(1)))
                .into(),
            heard: [("bob".to_owned(), times.collect())].into(),
            over: Some(seconds(11)),
            ..LastCall::default()
        }
    }

    #[track_caller]
    fn check(call: &LastCall, expected: &[(&str, Range<f64>)]) {
        let opinions = opinions(call, &Facts::default());
        assert_eq!(opinions.len(), expected.len(), "{opinions:?}");
        for (peer, range) in expected {
            assert!(range.contains(&opinions[*peer]), "{opinions:?}");
        }
    }

    #[test]
    fn who_hears_everything_is_content_and_who_hears_nothing_is_not() {
        check(&call(500), &[("alice", 1.0..1.01), ("bob", 4.2..4.5)]);
        check(&call(2), &[("alice", 1.0..1.01), ("bob", 1.0..1.5)]);
        check(&call(20), &[("alice", 1.0..1.01), ("bob", 2.9..3.8)]);
    }

    #[test]
    fn a_call_without_audio_has_no_sound() {
        let mut silent = call(500);
        silent.audio_at.remove("alice");
        check(&silent, &[]);
    }
}
