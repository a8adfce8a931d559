//! Puts a [`Model`] on a page.

mod charts;
mod details;
mod head;
mod ladder;
mod lanes;
mod layout;
mod markup;
mod tables;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::model::Model;
use crate::report::Report;
use crate::scenario::Scenario;
use layout::Layout;
use markup::{escape, fill};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole page.
pub(crate) fn page(report: &Report, scenario: &Scenario, model: &Model<'_>) -> String {
    let layout = Layout::of(model);
    // Nothing but this very script runs, and nothing is fetched from anywhere, whatever a scenario says.
    let hash = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    );
    let verdict = if report.passed { "passed" } else { "failed" };
    fill(
        PAGE,
        &[
            ("policy", policy),
            ("title", escape(&format!("{} {verdict}", report.scenario))),
            ("style", STYLE.to_owned()),
            ("script", SCRIPT.to_owned()),
            ("verdict", verdict.to_owned()),
            ("head", head::head(report, scenario)),
            ("facts", head::facts(report)),
            ("failures", head::failures(report)),
            ("again", head::again(report, scenario)),
            ("filters", ladder::filters(model)),
            ("ladder", ladder::ladder(model, &layout)),
            ("summarised", ladder::summarised(model)),
            ("ladder-table", tables::ladder(model)),
            ("pairs", tables::pairs(model)),
            ("lanes", lanes::lanes(model)),
            ("charts", charts::charts(model)),
            ("timeline", tables::timeline(model)),
            ("details", details::details(model)),
        ],
    )
}
