//! Texts in HTML.

use std::fmt::Write as _;
use std::time::Duration;

/// A text as it can stand in an element or in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A template with each `{{name}}` replaced. What is put in is not looked at again, so that no text of a
/// scenario can name another value.
pub(super) fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after
            .split_once("}}")
            .expect("the template closes what it opens");
        let (_, value) = values
            .iter()
            .find(|(key, _)| *key == name)
            .expect("the template names values that there are");
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// Seconds with the three decimals that the world counts in.
pub(super) fn clock(at: Duration) -> String {
    format!("{:.3}", at.as_secs_f64())
}

/// A duration for people: `25 ms`, `4.6 s`.
pub(super) fn lasting(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        let milliseconds = duration.as_secs_f64() * 1000.0;
        format!("{} ms", number((milliseconds * 10.0).round() / 10.0))
    } else {
        let seconds = duration.as_secs_f64();
        format!("{} s", number((seconds * 1000.0).round() / 1000.0))
    }
}

/// A number without decimals that say nothing.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A table with a caption for who does not see it, its head, and rows of cells that are HTML. Each cell knows
/// the name of its column, for narrow pages.
pub(super) fn table(caption: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = format!(
        "<table><caption class=\"unseen\">{}</caption><thead><tr>",
        escape(caption)
    );
    for name in head {
        let _ = write!(html, "<th scope=\"col\">{name}</th>");
    }
    html.push_str("</tr></thead><tbody>\n");
    for cells in rows {
        html.push_str("<tr>");
        for (cell, name) in cells.iter().zip(head) {
            let _ = write!(html, "<td data-label=\"{name}\">{cell}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            escape("<script>alert('&\"')</script>"),
            "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;"
        );
    }

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        let values = [("a", "{{b}}".to_owned()), ("b", "no".to_owned())];
        assert_eq!(fill("<p>{{a}}</p>{{b}}", &values), "<p>{{b}}</p>no");
    }

    #[test]
    fn durations_are_short() {
        let text = |milliseconds| lasting(Duration::from_millis(milliseconds));
        assert_eq!(text(25), "25 ms");
        assert_eq!(text(4600), "4.6 s");
        assert_eq!(lasting(Duration::from_micros(1250)), "1.3 ms");
    }
}
