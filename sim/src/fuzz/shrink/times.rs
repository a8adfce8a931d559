//! Times: shorter, rounder, and fixed instead of drawn from a span.

use std::time::Duration;

use toml::{Table, Value};

use super::Edit;
use super::path::below;
use crate::scenario::value::{format_duration, parse_duration};

/// Where times are. What is expected of the call is not among them.
const SECTIONS: [&str; 6] = ["talk", "script", "fault", "message", "network", "servers"];

/// With a shorter or rounder time, each of those that a value has, or with an end of a span.
pub(super) fn shorter(table: &Table) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (path, value) in below(table, &SECTIONS) {
        let Value::String(text) = value else {
            continue;
        };
        for simpler in simpler_texts(text) {
            let what = format!("with {path} = {simpler:?}");
            edits.extend(Edit::of(table, what, |table| {
                path.replace(table, Value::String(simpler.clone()));
            }));
        }
    }
    edits
}

/// The text with one of its times shorter, the shortest first; the ends of a span before all others.
fn simpler_texts(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split(' ').collect();
    let mut simpler = Vec::new();
    if let [from, "to", to] = words[..] {
        simpler.extend([from.to_owned(), to.to_owned()]);
    }
    for (index, word) in words.iter().enumerate() {
        let Ok(time) = parse_duration(word) else {
            continue;
        };
        for shorter in shorter_times(time) {
            let shorter = format_duration(shorter);
            let mut words = words.clone();
            words[index] = &shorter;
            simpler.push(words.join(" "));
        }
    }
    simpler
}

/// Shorter times to try, the shortest first: none, a half, three quarters, and the time itself
/// without its last digits.
fn shorter_times(time: Duration) -> Vec<Duration> {
    let Ok(milliseconds) = u64::try_from(time.as_millis()) else {
        return Vec::new();
    };
    let down_to = |unit: u64| milliseconds - milliseconds % unit;
    let mut shorter = vec![
        0,
        round(milliseconds / 2),
        round(milliseconds / 4 * 3),
        down_to(10_000),
        down_to(1_000),
        down_to(100),
        down_to(10),
    ];
    shorter.retain(|shorter| *shorter < milliseconds);
    shorter.sort_unstable();
    shorter.dedup();
    shorter.into_iter().map(Duration::from_millis).collect()
}

/// Down to a number that is easily read.
fn round(milliseconds: u64) -> u64 {
    let unit = match milliseconds {
        2_000.. => 1_000,
        200.. => 100,
        20.. => 10,
        _ => 1,
    };
    milliseconds - milliseconds % unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_becomes_shorter_and_rounder() {
        let texts = |text| simpler_texts(text).join(", ");
        assert_eq!(texts("7312ms"), "0s, 3s, 5s, 7s, 7s300ms, 7s310ms");
        assert_eq!(texts("1s"), "0s, 500ms, 700ms");
        assert_eq!(texts("1ms"), "0s");
        assert_eq!(texts("0s"), "");
    }

    #[test]
    fn times_within_a_text_become_shorter_each() {
        let texts = |text| simpler_texts(text).join(", ");
        assert_eq!(texts("audio + 2ms"), "audio + 0s, audio + 1ms");
        assert_eq!(
            texts("1ms to 2ms"),
            "1ms, 2ms, 0s to 2ms, 1ms to 0s, 1ms to 1ms"
        );
        assert_eq!(texts("alice sends candidate 3"), "");
        assert_eq!(texts("5% in bursts of 4"), "");
    }
}
