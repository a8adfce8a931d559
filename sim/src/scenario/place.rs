//! From a place in the text to the key that stands there.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key of the file and where its value is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The whole key: `network.home-a.uplink.loss`; `script[0].at` for steps, counted from 0.
    pub(super) key: String,
    /// Where its value stands; `None` for tables and arrays, which are too long to repeat.
    pub(super) value: Option<Range<usize>>,
}

/// The key or value that stands exactly at `span`: the innermost one, since a table that is only
/// implied by `[a.b]` has the span of the header too.
pub(super) fn find(table: &DeTable<'_>, span: &Range<usize>) -> Option<Place> {
    find_in_table(table, span, "")
}

/// Takes the entry that stands at `span` out of `table`; false where there is none.
pub(super) fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    for (_, value) in table.iter_mut() {
        if remove_inside(value, span) {
            return true;
        }
    }
    let found = table
        .iter()
        .find(|(key, value)| key.span() == *span || value.span() == *span)
        .map(|(key, _)| key.get_ref().to_string());
    found.is_some_and(|key| table.remove(key.as_str()).is_some())
}

fn remove_inside(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => remove(table, span),
        DeValue::Array(array) => {
            if array.iter_mut().any(|element| remove_inside(element, span)) {
                return true;
            }
            let length_before = array.len();
            let kept = array.iter().filter(|element| element.span() != *span);
            *array = kept.cloned().collect();
            array.len() < length_before
        }
        _ => false,
    }
}

fn find_in_table(table: &DeTable<'_>, span: &Range<usize>, prefix: &str) -> Option<Place> {
    let qualified = |key: &str| {
        let key = if is_bare(key) {
            key.to_owned()
        } else {
            format!("{key:?}")
        };
        if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        }
    };
    let inside = table
        .iter()
        .find_map(|(key, value)| find_in_value(value, span, &qualified(key.get_ref())));
    inside.or_else(|| {
        let (key, value) = table
            .iter()
            .find(|(key, value)| key.span() == *span || value.span() == *span)?;
        Some(place(qualified(key.get_ref()), value))
    })
}

fn find_in_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>, key: &str) -> Option<Place> {
    match value.get_ref() {
        DeValue::Table(table) => find_in_table(table, span, key),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, element)| {
            let key = format!("{key}[{index}]");
            find_in_value(element, span, &key)
                .or_else(|| (element.span() == *span).then(|| place(key, element)))
        }),
        _ => None,
    }
}

fn place(key: String, value: &Spanned<DeValue<'_>>) -> Place {
    let is_short = !value.get_ref().is_table() && !value.get_ref().is_array();
    Place {
        key,
        value: is_short.then(|| value.span()),
    }
}

/// Whether TOML lets the key stand without quotes.
fn is_bare(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !key.is_empty() && key.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[network.a]\nuplink = { loss = \"1%\" }\n[[script]]\nat = \"1s\"\n";

    fn span_of(part: &str) -> Range<usize> {
        let start = TEXT.find(part).expect("the part is in the text");
        start..start + part.len()
    }

    #[test]
    fn a_place_is_named_by_its_whole_key() {
        let table = DeTable::parse(TEXT).expect("valid TOML");
        let key = |part| find(table.get_ref(), &span_of(part)).map(|place| place.key);
        assert_eq!(key("\"1%\"").as_deref(), Some("network.a.uplink.loss"));
        assert_eq!(key("loss").as_deref(), Some("network.a.uplink.loss"));
        assert_eq!(key("\"1s\"").as_deref(), Some("script[0].at"));
        assert_eq!(key("[network.a]").as_deref(), Some("network.a"));
        assert_eq!(key("= "), None);
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_else() {
        let mut table = DeTable::parse(TEXT).expect("valid TOML");
        assert!(remove(table.get_mut(), &span_of("\"1%\"")));
        assert!(!remove(table.get_mut(), &span_of("\"1%\"")));
        assert!(find(table.get_ref(), &span_of("\"1s\"")).is_some());
        assert!(remove(table.get_mut(), &span_of("[[script]]")));
        assert!(find(table.get_ref(), &span_of("\"1s\"")).is_none());
    }
}
