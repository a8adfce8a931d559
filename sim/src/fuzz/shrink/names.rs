//! Networks and peers: without those that are not needed, and on fewer networks.

use toml::{Table, Value};

use super::Edit;

/// Without a peer and whatever happens to it, and without a network that nobody needs.
pub(super) fn without_one(table: &Table) -> Vec<Edit> {
    let mut edits = Vec::new();
    for peer in names(table, "peer") {
        edits.extend(Edit::of(table, format!("without peer {peer}"), |table| {
            remove(table, "peer", &peer);
            for list in ["script", "fault", "message"] {
                remove_entries_that_name(table, list, &peer);
            }
        }));
    }
    for network in names(table, "network") {
        let what = format!("without network {network}");
        edits.extend(Edit::of(table, what, |table| {
            remove(table, "network", &network);
            remove_entries_that_name(table, "fault", &network);
        }));
    }
    edits
}

/// With everything that is on one network on another one.
pub(super) fn with_two_as_one(table: &Table) -> Vec<Edit> {
    let networks = names(table, "network");
    let mut edits = Vec::new();
    for gone in &networks {
        for other in networks.iter().filter(|other| *other != gone) {
            let what = format!("with network {other} in place of {gone}");
            edits.extend(Edit::of(table, what, |table| {
                remove(table, "network", gone);
                rename(table, gone, other);
            }));
        }
    }
    edits
}

fn names(table: &Table, section: &str) -> Vec<String> {
    let named = table.get(section).and_then(Value::as_table);
    named.map_or_else(Vec::new, |named| named.keys().cloned().collect())
}

fn remove(table: &mut Table, section: &str, name: &str) {
    if let Some(Value::Table(named)) = table.get_mut(section) {
        named.remove(name);
    }
}

fn remove_entries_that_name(table: &mut Table, list: &str, name: &str) {
    let Some(Value::Array(entries)) = table.get_mut(list) else {
        return;
    };
    let names_it = |entry: &Value| {
        let mut values = entry.as_table().into_iter().flat_map(Table::values);
        values.any(|value| {
            let words = value.as_str().map(str::split_whitespace);
            words.is_some_and(|mut words| words.any(|word| word == name))
        })
    };
    entries.retain(|entry| !names_it(entry));
    if entries.is_empty() {
        table.remove(list);
    }
}

/// Writes `to` wherever the network `from` is named.
fn rename(table: &mut Table, from: &str, to: &str) {
    let mut rename_in = |section: &str, key: &str| {
        let entries: Vec<&mut Value> = match table.get_mut(section) {
            Some(Value::Array(entries)) => entries.iter_mut().collect(),
            Some(Value::Table(named)) => named.iter_mut().map(|(_, entry)| entry).collect(),
            _ => return,
        };
        for entry in entries {
            if let Some(value) = entry.get_mut(key)
                && value.as_str() == Some(from)
            {
                *value = Value::String(to.to_owned());
            }
        }
    };
    rename_in("peer", "network");
    rename_in("network", "behind");
    rename_in("fault", "network");
    rename_in("fault", "to");
}
