//! The scenario of a bundle, and what its peers play.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

use super::{BundleError, cannot};
use crate::fuzz::record;
use crate::report::Report;
use crate::scenario::model::ClientName;
use crate::scenario::{Scenario, TONES};

/// What the file is called from where it stands, so that a bundle can be moved.
const FILE: &str = "scenario.toml";

/// The text of the scenario as it was run. A failure is held on to, so that `ringtrue replay` sees it again.
pub(super) fn text(report: &Report, scenario: &Scenario) -> Result<String, BundleError> {
    let client = report.client.clone();
    let client = client.map_or_else(ClientName::production, ClientName);
    record::of_run(
        text_of(scenario)?,
        scenario,
        report,
        &client,
        Path::new(FILE),
    )
    .map_err(|source| BundleError::Scenario {
        scenario: scenario.name.clone(),
        source,
    })
}

/// The files that the peers play, by the names that the scenario has for them.
pub(super) fn fixtures(scenario: &Scenario) -> Result<BTreeMap<String, Vec<u8>>, BundleError> {
    let names = names_played(text_of(scenario)?);
    let mut fixtures = BTreeMap::new();
    for path in scenario.tracks.keys() {
        let name = names.iter().find(|name| path.ends_with(name));
        let name = name.expect("a scenario plays what its text names, or the tones");
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            // A scenario that stands nowhere plays what the program holds.
            Err(error) => match TONES.iter().find(|(tone, _)| path == Path::new(tone)) {
                Some((_, bytes)) => bytes.to_vec(),
                None => return Err(cannot("read", path)(error)),
            },
        };
        fixtures.insert(name.clone(), bytes);
    }
    Ok(fixtures)
}

fn text_of(scenario: &Scenario) -> Result<&str, BundleError> {
    scenario.text.as_deref().ok_or_else(|| BundleError::NoText {
        scenario: scenario.name.clone(),
    })
}

/// Everything that a peer might play: what the text says, and what is played where it says nothing.
fn names_played(text: &str) -> BTreeSet<String> {
    let tones = TONES.iter().map(|(tone, _)| (*tone).to_owned());
    let table: Table = text.parse().unwrap_or_default();
    let peers = table.get("peer").and_then(Value::as_table);
    let peers = peers.into_iter().flat_map(Table::values);
    let plays = peers.filter_map(|peer| peer.get("plays")?.as_str());
    tones.chain(plays.map(str::to_owned)).collect()
}
