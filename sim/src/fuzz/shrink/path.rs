//! Ways to values in a scenario, such as `network.home.uplink.loss` or `fault[2].at`.

use std::fmt;

use toml::{Table, Value};

/// Where a value is, from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    /// The keys of the way, from the top.
    pub(super) fn keys(&self) -> Vec<&str> {
        let keys = self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        keys.collect()
    }

    /// Takes the value away, with its key.
    pub(super) fn remove(&self, table: &mut Table) {
        let Some((Step::Key(last), way)) = self.0.split_last() else {
            return;
        };
        if way.is_empty() {
            table.remove(last);
        } else if let Some(Value::Table(inner)) = find(table, way) {
            inner.remove(last);
        }
    }

    /// Puts another value there.
    pub(super) fn replace(&self, table: &mut Table, value: Value) {
        if let Some(there) = find(table, &self.0) {
            *there = value;
        }
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Path {
    /// Entries of lists are counted from 1, as people do.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => formatter.write_str(key)?,
                Step::Key(key) => write!(formatter, ".{key}")?,
                Step::Index(index) => write!(formatter, " {}", index + 1)?,
            }
        }
        Ok(())
    }
}

/// Every value below the top keys `tops`, with those that hold others before what they hold.
pub(super) fn below<'a>(table: &'a Table, tops: &[&str]) -> Vec<(Path, &'a Value)> {
    let mut found = Vec::new();
    for top in tops {
        if let Some(value) = table.get(*top) {
            found.push((Path(vec![Step::Key((*top).to_owned())]), value));
        }
    }
    let mut next = 0;
    while let Some((path, value)) = found.get(next).cloned() {
        next += 1;
        match value {
            Value::Table(inner) => {
                for (key, value) in inner {
                    found.push((path.then(Step::Key(key.clone())), value));
                }
            }
            Value::Array(entries) => {
                for (index, value) in entries.iter().enumerate() {
                    found.push((path.then(Step::Index(index)), value));
                }
            }
            _ => {}
        }
    }
    found
}

fn find<'a>(table: &'a mut Table, way: &[Step]) -> Option<&'a mut Value> {
    let (first, rest) = way.split_first()?;
    let Step::Key(key) = first else {
        return None;
    };
    let mut value = table.get_mut(key)?;
    for step in rest {
        value = match (step, value) {
            (Step::Key(key), Value::Table(inner)) => inner.get_mut(key)?,
            (Step::Index(index), Value::Array(entries)) => entries.get_mut(*index)?,
            _ => return None,
        };
    }
    Some(value)
}
