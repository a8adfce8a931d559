//! The JSON Schema of a scenario file, by which editors complete and check it.
//!
//! It comes from the document that serde reads, so that it has the same keys. What a schema cannot say,
//! such as names that stand for nothing and settings that contradict each other, only the loader knows.

use std::borrow::Cow;
use std::fs;
use std::path::{Component, Path};

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use super::document::Document;
use super::value::{Choice, names_of};

/// The schema of scenario files: draft 7, which is the newest that all editors know.
#[must_use]
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft07().with_transform(ForEditors);
    settings.into_generator().into_root_schema_for::<Document>()
}

/// The same as text, as `scenarios/schema.json` has it.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", Value::from(schema()))
}

/// `scenario`, the text of a file at `file`, with a first line by which editors find the schema. Without it
/// where no directory above holds the schema of this version.
#[must_use]
pub fn referring(file: &Path, scenario: &str) -> String {
    match path_to_schema(file) {
        Some(path) => format!("#:schema {path}\n{scenario}"),
        None => scenario.to_owned(),
    }
}

/// The schema of a value that is read from a text: what errors say is expected, and its form.
pub(super) fn of_text(expected: &str, pattern: &str) -> Schema {
    json_schema!({ "type": "string", "description": sentence(expected), "pattern": pattern })
}

/// The schema of a whole number within bounds.
pub(super) fn of_number(expected: &str, least: i64, most: i64) -> Schema {
    json_schema!({
        "type": "integer",
        "description": sentence(expected),
        "minimum": least,
        "maximum": most,
    })
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    let sentence = first.into_iter().chain(characters).chain(['.']);
    sentence.collect()
}

impl<T: for<'de> Deserialize<'de>> JsonSchema for Choice<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Choice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": names_of::<T>() })
    }
}

/// Takes out what editors would show and TOML has not.
#[derive(Debug, Clone)]
struct ForEditors;

impl Transform for ForEditors {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        without_null(schema);
        // A table that is left out is one without keys, which says nothing to a reader.
        schema.remove("default");
        // What `u32` and the like are called is nothing to a reader either.
        schema.remove("format");
        if let Some(Value::String(description)) = schema.get_mut("description") {
            // The lines of a comment in the source are none of the text's.
            *description = description.replace('\n', " ");
        }
    }
}

/// Takes out the `null` that a Rust `Option` can be: TOML has none, and a key that may be missing
/// already is one that is not required.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(names)) = schema.get_mut("enum") {
        names.retain(|name| !name.is_null());
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [_] = choices.as_slice()
            && let Some(only) = schema.remove("anyOf")
        {
            schema.insert("allOf".to_owned(), only);
        }
    }
}

/// How often `..` leads from the directory of `file` to one that holds the schema of this version, and by
/// which way on from there.
fn path_to_schema(file: &Path) -> Option<String> {
    let file = std::path::absolute(file).ok()?;
    // Beyond a link, `..` leads to another place than the text says.
    let is_plain = |part: Component<'_>| !matches!(part, Component::ParentDir);
    if !file.components().all(is_plain) {
        return None;
    }
    let text = text();
    let is_schema = |path: &Path| fs::read_to_string(path).is_ok_and(|found| found == text);
    let directories = file.ancestors().skip(1).enumerate();
    let places = directories.flat_map(|(up, directory)| {
        ["schema.json", "scenarios/schema.json"].map(|place| (up, directory.join(place), place))
    });
    let mut schemas = places.filter(|(_, path, _)| is_schema(path));
    let (up, _, place) = schemas.next()?;
    Some("../".repeat(up) + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, expected: &str) {
        let directory = tempfile::tempdir().expect("a new directory");
        let scenarios = directory.path().join("scenarios");
        fs::create_dir(&scenarios).expect("a new directory");
        fs::write(scenarios.join("schema.json"), text()).expect("it can be written");
        fs::write(directory.path().join("schema.json"), "{}").expect("it can be written");
        let referring = referring(&directory.path().join(file), "about = \"A call.\"\n");
        assert_eq!(referring, format!("{expected}about = \"A call.\"\n"));
    }

    #[test]
    fn a_file_refers_to_the_schema_above_it_or_beside_its_ancestors() {
        check("scenarios/a.toml", "#:schema schema.json\n");
        check("scenarios/nat/a.toml", "#:schema ../schema.json\n");
        check(
            "fixtures/found/a.toml",
            "#:schema ../../scenarios/schema.json\n",
        );
    }

    #[test]
    fn a_file_whose_way_is_not_sure_refers_to_nothing() {
        check("found/../a.toml", "");
        let alone = tempfile::tempdir().expect("a new directory");
        let text = "about = \"A call.\"\n";
        assert_eq!(referring(&alone.path().join("a.toml"), text), text);
    }
}
