//! `ringtrue bench`: that every figure is there and can be one. What they come to is for an idle machine.

use std::fs;

use serde_json::Value;

use crate::support::{ringtrue, root, stdout};

/// Every number of a value, with the way to it.
fn numbers(value: &Value, place: &str, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().expect("it is not that great");
            found.push((place.to_owned(), number));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                numbers(item, &format!("{place}[{index}]"), found);
            }
        }
        Value::Object(table) => {
            for (key, value) in table {
                numbers(value, &format!("{place}.{key}"), found);
            }
        }
        _ => {}
    }
}

/// Every key of a value, of whatever depth.
fn keys(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Object(table) => {
            for (key, value) in table {
                found.push(key.clone());
                keys(value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_figure_is_measured_and_every_key_documented() {
    let output = ringtrue(&["bench", "--quick", "--json"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let figures: Value = serde_json::from_str(&stdout(&output)).expect("one JSON object");

    let mut all = Vec::new();
    numbers(&figures, "", &mut all);
    for (place, number) in &all {
        // Memory can be given back.
        let is_positive = *number > 0.0 || place.starts_with(".memory.growth");
        assert!(is_positive && number.is_finite(), "{place} = {number}");
    }
    let count = |of: &str| {
        all.iter()
            .filter(|(place, _)| place.starts_with(of))
            .count()
    };
    assert_eq!(count(".ratios."), 5);
    for cost in [
        ".call.",
        ".talk_60s.",
        ".turmoil_call.",
        ".turmoil_talk_60s.",
    ] {
        assert_eq!(count(cost), 5, "{cost}");
    }

    for cost in ["call", "talk_60s"] {
        let turmoil = format!("turmoil_{cost}");
        let ratio = &figures["ratios"][format!("turmoil_to_ringtrue_{cost}")];
        let wall = |cost: &str| figures[cost]["wall_median_ms"].as_f64().expect("a number");
        let expected = wall(&turmoil) / wall(cost);
        let difference = ratio.as_f64().expect("a number") - expected;
        assert!(difference.abs() < 1e-6, "{ratio} is not {expected}");
    }
    for (crowds, hosts_a_call) in [("idle_hosts", None), ("talking_hosts", Some(2))] {
        for crowd in figures[crowds].as_array().expect("a list") {
            let number = |key: &str| crowd[key].as_u64().expect("a number");
            let expected = hosts_a_call.map_or(1, |each| number("hosts") / each);
            assert_eq!(number("calls"), expected, "{crowds}");
        }
    }

    let mut names = Vec::new();
    keys(&figures, &mut names);
    let reference = fs::read_to_string(root().join("docs/profiling.md")).expect("it is there");
    for name in names {
        assert!(
            reference.contains(&format!("`{name}`")),
            "{name} is not documented"
        );
    }
}
