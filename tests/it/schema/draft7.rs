//! As much of JSON Schema, draft 7, as the schema of scenarios uses. A keyword that it does not know is
//! an error, so that none goes unchecked.

use regex::Regex;
use serde_json::{Map, Value};

/// What is wrong with `value` by `schema`, each with its place; nothing where it is valid.
#[track_caller]
pub(super) fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Validator { root: schema }.check(schema, value, "", &mut found);
    found
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    #[track_caller]
    fn check(&self, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
        let Value::Object(schema) = schema else {
            if *schema == Value::Bool(false) {
                found.push(format!("{place}: there is no such key"));
            }
            return;
        };
        for (keyword, argument) in schema {
            self.check_keyword(keyword, argument, schema, value, place, found);
        }
    }

    #[track_caller]
    fn check_keyword(
        &self,
        keyword: &str,
        argument: &Value,
        schema: &Map<String, Value>,
        value: &Value,
        place: &str,
        found: &mut Vec<String>,
    ) {
        let mut refuse = |what: String| found.push(format!("{place}: {value} {what}"));
        match keyword {
            "$schema" | "title" | "description" | "definitions" => {}
            "$ref" => {
                let pointer = text(argument)
                    .strip_prefix('#')
                    .expect("a reference inside");
                let target = self.root.pointer(pointer).expect("the definition is there");
                self.check(target, value, place, found);
            }
            "allOf" => {
                for schema in list(argument) {
                    self.check(schema, value, place, found);
                }
            }
            "anyOf" => {
                let is_valid = |schema: &Value| {
                    let mut inner = Vec::new();
                    self.check(schema, value, place, &mut inner);
                    inner.is_empty()
                };
                if !list(argument).iter().any(is_valid) {
                    refuse("is none of the choices".to_owned());
                }
            }
            "type" => {
                if !is_of_type(value, text(argument)) {
                    refuse(format!("is no {argument}"));
                }
            }
            "enum" => {
                if !list(argument).contains(value) {
                    refuse(format!("is not in {argument}"));
                }
            }
            "minimum" => {
                if value.as_i64() < argument.as_i64() {
                    refuse(format!("is under {argument}"));
                }
            }
            "maximum" => {
                if value.as_i64() > argument.as_i64() {
                    refuse(format!("is over {argument}"));
                }
            }
            "pattern" => {
                let pattern = Regex::new(text(argument)).expect("a pattern");
                if value.as_str().is_some_and(|value| !pattern.is_match(value)) {
                    refuse(format!("is not like {argument}"));
                }
            }
            "minItems" | "minProperties" => {
                let items = value.as_array().map(Vec::len);
                let count = items.or(value.as_object().map(Map::len));
                if count.is_some_and(|count| Some(count as u64) < argument.as_u64()) {
                    refuse(format!("has less than {argument}"));
                }
            }
            "uniqueItems" => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let is_repeated = |(index, item)| items[..index].contains(item);
                if items.iter().enumerate().any(is_repeated) {
                    refuse("has something twice".to_owned());
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(argument, item, &format!("{place}[{index}]"), found);
                }
            }
            "required" => {
                let Some(table) = value.as_object() else {
                    return;
                };
                let missing = list(argument).iter().map(text);
                let missing = missing.filter(|key| !table.contains_key(*key));
                found.extend(missing.map(|key| format!("{place}.{key} is missing")));
            }
            "propertyNames" => {
                for key in value.as_object().into_iter().flat_map(Map::keys) {
                    self.check(argument, &Value::from(key.as_str()), place, found);
                }
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = argument.get(key) {
                        self.check(schema, value, &format!("{place}.{key}"), found);
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties");
                for (key, value) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| known.get(key).is_none()) {
                        self.check(argument, value, &format!("{place}.{key}"), found);
                    }
                }
            }
            other => panic!("{place}: the keyword {other:?} is not checked here"),
        }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the type {other:?} is not checked here"),
    }
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[track_caller]
fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}
