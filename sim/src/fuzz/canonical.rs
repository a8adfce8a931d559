//! The one way in which a scenario is written that no hand has written: values first, a header for
//! each network, peer and entry of a list, and everything deeper in one line. Comments are gone.

use std::fmt::Write as _;

use toml::{Table, Value};

/// What stands between the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spacing {
    /// Nothing: for what nobody reads.
    Tight,
    /// An empty line.
    Airy,
}

/// `table` as text that reads back as the same table. Whatever has no header of its own stands before
/// the first header, so the order may be another one at the top.
pub(super) fn write(table: &Table, spacing: Spacing) -> String {
    let mut text = String::new();
    for (key, value) in table.iter().filter(|(_, value)| !has_header(value)) {
        write_value(&mut text, key, value);
    }
    for (key, value) in table {
        let key = written_key(key);
        match value {
            Value::Array(entries) if has_header(value) => {
                for entry in entries.iter().filter_map(Value::as_table) {
                    write_section(&mut text, spacing, &format!("[[{key}]]"), entry);
                }
            }
            Value::Table(named) if are_tables(named) => {
                for (name, inner) in named {
                    if let Value::Table(inner) = inner {
                        let header = format!("[{key}.{}]", written_key(name));
                        write_section(&mut text, spacing, &header, inner);
                    }
                }
            }
            Value::Table(inner) => write_section(&mut text, spacing, &format!("[{key}]"), inner),
            _ => {}
        }
    }
    text
}

/// A table, or a list of tables.
fn has_header(value: &Value) -> bool {
    match value {
        Value::Table(_) => true,
        Value::Array(entries) => !entries.is_empty() && entries.iter().all(Value::is_table),
        _ => false,
    }
}

fn are_tables(table: &Table) -> bool {
    !table.is_empty() && table.values().all(Value::is_table)
}

fn write_section(text: &mut String, spacing: Spacing, header: &str, table: &Table) {
    if spacing == Spacing::Airy && !text.is_empty() {
        text.push('\n');
    }
    text.push_str(header);
    text.push('\n');
    for (key, value) in table {
        write_value(text, key, value);
    }
}

fn write_value(text: &mut String, key: &str, value: &Value) {
    writeln!(text, "{} = {value}", written_key(key)).expect("a String takes every text");
}

/// The key, in quotes where it could not stand without (TOML 1.0, "Keys").
fn written_key(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(is_bare) {
        return key.to_owned();
    }
    Value::String(key.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[track_caller]
    fn check(text: &str) -> String {
        let table: Table = text.parse().expect("the text is TOML");
        let written = write(&table, Spacing::Airy);
        let again: Table = written.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again, table, "{written}");
        let tight: Table = write(&table, Spacing::Tight).parse().expect("TOML");
        assert_eq!(tight, table);
        written
    }

    #[test]
    fn a_scenario_is_written_in_one_way() {
        let text = "# why\nabout = 'a \"b\"'\nstory = \"one\\ntwo\"\n\n[network.a]\nnat = 'home' # what\n\
            [network.a.uplink]\nloss = '5%'\n[network.a.uplink.up]\nrate = '1Mbps'\n\
            [network.b]\n[servers]\nturn = 'down'\n[[fault]]\nkind = 'rebinding'\n[[fault]]\nat = '1s'\n\
            [expect.selected]\nalice = 'host'\n";
        insta::assert_snapshot!(check(text));
    }

    #[test]
    fn whatever_toml_can_say_reads_back() {
        for text in [
            "",
            "a = []\n[b]\n[c.d]\ne = [{}, {f = 1.5}]\n",
            "'a b' = '''x\ny'''\n['c.d'.'\u{e9}']\n",
            "a = [[1, 2], [\"\\u0007\"]]\nb = true\nc = 1979-05-27T07:32:00Z\n",
            "[a]\nb = 1\n[a.c]\nd = 2\n",
        ] {
            check(text);
        }
    }

    #[test]
    fn every_scenario_of_the_checkout_reads_back() {
        let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")];
        let mut scenarios = 0;
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    directories.push(path);
                } else if path
                    .extension()
                    .is_some_and(|extension| extension == "toml")
                {
                    check(&fs::read_to_string(path).expect("a text"));
                    scenarios += 1;
                }
            }
        }
        assert!(scenarios > 50);
    }
}
