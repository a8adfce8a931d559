//! Settings: as they are by default, or simpler.

use toml::{Table, Value};

use super::Edit;
use super::path::{Path, below};

/// Where settings are. What is expected of the call is not among them.
const SECTIONS: [&str; 7] = [
    "client", "servers", "network", "peer", "talk", "fault", "message",
];

/// Keys of faults and messages without which more goes wrong, or for longer.
const LIMITS: [&str; 4] = ["for", "until", "which", "kind"];

/// NATs, the simplest first. No NAT at all is what is left without the setting.
const SIMPLE_NATS: [&str; 4] = [
    "full-cone",
    "address-restricted",
    "port-restricted",
    "symmetric",
];

/// Without a setting, so that it is as by default.
pub(super) fn without_one(table: &Table) -> Vec<Edit> {
    let paths = below(table, &SECTIONS).into_iter().map(|(path, _)| path);
    paths
        .filter(may_go)
        .filter_map(|path| Edit::of(table, format!("without {path}"), |table| path.remove(table)))
        .collect()
}

/// With a simpler NAT, by the order of [`SIMPLE_NATS`]; whatever is not in it is less simple.
pub(super) fn with_simpler_nat(table: &Table) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (path, value) in below(table, &["network"]) {
        let ["network", _, "nat"] = path.keys()[..] else {
            continue;
        };
        let name = value.as_str();
        let rank = SIMPLE_NATS.iter().position(|nat| name == Some(nat));
        let mut simpler: Vec<&str> = SIMPLE_NATS[..rank.unwrap_or(SIMPLE_NATS.len())].to_vec();
        simpler.extend(value.get("preset").and_then(Value::as_str));
        edits.extend(simpler.into_iter().filter_map(|nat| {
            let value = Value::String(nat.to_owned());
            Edit::of(table, format!("with {path} = {value}"), |table| {
                path.replace(table, value.clone());
            })
        }));
    }
    edits
}

/// With a smaller number of copies or losses, or an earlier message.
pub(super) fn with_smaller_count(table: &Table) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (path, value) in below(table, &["fault", "message"]) {
        let Value::Integer(number) = *value else {
            continue;
        };
        let mut smaller = vec![1, 2, number / 2, number - 1];
        smaller.retain(|smaller| (1..number).contains(smaller));
        smaller.sort_unstable();
        smaller.dedup();
        edits.extend(smaller.into_iter().filter_map(|smaller| {
            Edit::of(table, format!("with {path} = {smaller}"), |table| {
                path.replace(table, Value::Integer(smaller));
            })
        }));
    }
    edits
}

/// Whether the scenario is simpler without it. Networks, peers and entries of lists go elsewhere.
fn may_go(path: &Path) -> bool {
    match path.keys()[..] {
        ["network" | "peer" | "fault" | "message"] | ["network" | "peer", _] => false,
        ["fault" | "message", key] => !LIMITS.contains(&key),
        _ => true,
    }
}
