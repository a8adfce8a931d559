//! Entries of lists: faults, perturbed messages and steps of the script, from all of them at once to
//! one by one (delta debugging, after Zeller and Hildebrandt).

use toml::{Table, Value};

use super::Edit;

const LISTS: [&str; 3] = ["fault", "message", "script"];

/// Without any entry of a list.
pub(super) fn all(table: &Table) -> Vec<Edit> {
    without_parts(table, |length| length)
}

/// Without half of a list.
pub(super) fn halves(table: &Table) -> Vec<Edit> {
    without_parts(table, |length| length.div_ceil(2))
}

/// Without a quarter of a list.
pub(super) fn quarters(table: &Table) -> Vec<Edit> {
    without_parts(table, |length| length.div_ceil(4))
}

/// Without one entry of a list.
pub(super) fn singles(table: &Table) -> Vec<Edit> {
    without_parts(table, |_| 1)
}

/// Without each part of the length that `size` gives for a list's.
fn without_parts(table: &Table, size: impl Fn(usize) -> usize) -> Vec<Edit> {
    let mut edits = Vec::new();
    for list in LISTS {
        let length = table
            .get(list)
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        if length == 0 {
            continue;
        }
        let size = size(length);
        for first in (0..length).step_by(size) {
            let last = (first + size).min(length);
            let what = if last - first == 1 {
                format!("without {list} {last}")
            } else {
                format!("without {list} {} to {last}", first + 1)
            };
            edits.extend(Edit::of(table, what, |table| {
                remove(table, list, first..last);
            }));
        }
    }
    edits
}

/// Takes entries out of a list, and out of the file the list that would be empty.
fn remove(table: &mut Table, list: &str, range: std::ops::Range<usize>) {
    if let Some(Value::Array(entries)) = table.get_mut(list) {
        entries.drain(range);
        if !entries.is_empty() {
            return;
        }
    }
    table.remove(list);
    if list == "fault" {
        // It says how soon audio is back after a fault, and is refused where there is none.
        remove_key(table, "expect", "back_within");
    }
}

fn remove_key(table: &mut Table, section: &str, key: &str) {
    if let Some(Value::Table(inner)) = table.get_mut(section) {
        inner.remove(key);
        if inner.is_empty() {
            table.remove(section);
        }
    }
}
