//! The head of a page: what came of the run, and how to see it again.

use std::fmt::Write as _;
use std::fs;

use super::markup::{escape, lasting};
use crate::fuzz::seed_string::SeedString;
use crate::report::Report;
use crate::report::failure::{Account, Line, account};
use crate::report::text::{clock, outcome_name};
use crate::scenario::Scenario;
use crate::scenario::model::ClientName;
use crate::seed::Seed;

/// Name, what is asked, and the verdict.
pub(super) fn head(report: &Report, scenario: &Scenario) -> String {
    let (mark, verdict) = if report.passed {
        ("✓", "passed")
    } else {
        ("✗", "failed")
    };
    let mut html = format!(
        "<p class=\"verdict {verdict}\"><span aria-hidden=\"true\">{mark}</span> {verdict}</p>\n\
         <div class=\"title\"><h1>{}</h1>\n<p class=\"about\">{}</p></div>\n",
        escape(&report.scenario),
        escape(&scenario.about)
    );
    if let Some(story) = &scenario.story {
        let _ = writeln!(
            html,
            "<details class=\"story\"><summary>What happened in the field</summary><p>{}</p></details>",
            escape(story)
        );
    }
    if let Some(source) = &scenario.source {
        let _ = writeln!(html, "<p class=\"source\">Source: {}</p>", escape(source));
    }
    html
}

/// What came of the run, as a list of terms.
pub(super) fn facts(report: &Report) -> String {
    let mut facts: Vec<(&str, String)> = vec![("Outcome", outcome_name(report).to_owned())];
    if let Some(cause) = &report.cause {
        facts.push(("Cause", escape(cause)));
    }
    if let Some(time) = report.time_to_audio() {
        facts.push(("Answer to audio", lasting(time)));
    }
    for (peer, kind) in &report.selected {
        facts.push((
            "Selected candidate",
            format!("<b>{kind}</b> <span>of {}</span>", escape(peer)),
        ));
    }
    facts.push(("Seed", report.seed.to_string()));
    if let Some(client) = &report.client {
        facts.push(("Client", escape(client)));
    }
    let virtual_time = std::time::Duration::from_millis(report.virtual_ms);
    facts.push(("Virtual length", lasting(virtual_time)));
    // The only thing on the page that differs when a run is repeated, in an element of its own.
    facts.push((
        "Real length",
        format!(
            "<data id=\"real-time\" value=\"{0}\">{0} ms</data>",
            report.wall_ms
        ),
    ));
    let mut html = String::from("<dl class=\"facts\">\n");
    for (term, value) in facts {
        let _ = writeln!(html, "<div><dt>{term}</dt><dd>{value}</dd></div>");
    }
    html.push_str("</dl>\n");
    html
}

/// What was expected and what happened, where the two differ, and what led there.
pub(super) fn failures(report: &Report) -> String {
    if report.failures.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<section class=\"failures\" aria-labelledby=\"failures\"><h2 id=\"failures\">What failed</h2>\n<ul>\n",
    );
    for failure in &report.failures {
        let _ = writeln!(
            html,
            "<li><code>{}</code> {}</li>",
            failure.cause,
            escape(&failure.message)
        );
    }
    html.push_str("</ul>\n");
    let Account { lines, .. } = account(report);
    if !lines.is_empty() {
        html.push_str("<h3>What led there</h3>\n<table class=\"led\"><tbody>\n");
    }
    for Line { at, host, text } in &lines {
        let (at, host, text) = (clock(*at), escape(host), escape(text));
        let _ = writeln!(
            html,
            "<tr><td>{at}</td><th scope=\"row\">{host}</th><td>{text}</td></tr>"
        );
    }
    if !lines.is_empty() {
        html.push_str("</tbody></table>\n");
    }
    html.push_str("</section>\n");
    html
}

/// How to see the run again: the command, and the seed string, which needs no file.
pub(super) fn again(report: &Report, scenario: &Scenario) -> String {
    let mut html = copied("command", "Command", &report.replay_command());
    if let Some(word) = seed_string(report, scenario) {
        html += &copied("seed-string", "Seed string", &word);
    }
    html += &copied("digest", "Digest", &report.digest);
    html
}

/// A text with a button that copies it.
fn copied(id: &str, name: &str, text: &str) -> String {
    format!(
        "<div class=\"copied\"><span class=\"name\" id=\"{id}-name\">{name}</span><code id=\"{id}\">{}</code>\
         <button type=\"button\" data-copy=\"{id}\" aria-describedby=\"{id}-name\">Copy</button></div>\n",
        escape(text)
    )
}

/// The run as one word, where its scenario fits into one and can still be read.
fn seed_string(report: &Report, scenario: &Scenario) -> Option<String> {
    let path = report.file.to_str()?;
    let text = if SeedString::is_meant(path) {
        path.parse::<SeedString>().ok()?.text().to_owned()
    } else {
        fs::read_to_string(&scenario.path).ok()?
    };
    let client = report.client.clone();
    let client = client.map_or_else(ClientName::production, ClientName);
    let word = SeedString::new(&text, Seed::new(report.seed), client).ok()?;
    Some(word.to_string())
}
