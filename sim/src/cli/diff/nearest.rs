//! Of the runs that are like a failing one, the nearest that passes.

use std::num::NonZero;
use std::time::Duration;

use super::super::case::Case;
use super::super::{CliError, progress};
use super::{Other, Ran, recorded};
use crate::report::difference::Comparison;
use crate::report::text;
use crate::scenario::model::ClientName;
use crate::seed::Seed;

/// Looks for a run like `case`, whose run `failing` is, that passes: by seed first, then by what goes wrong in
/// it, then by its client.
pub(super) fn passing(
    case: &Case,
    failing: &Ran,
    seeds: NonZero<u32>,
    tolerance: Duration,
) -> Result<Option<Other>, CliError> {
    if let Some(found) = by_seed(case, failing, seeds, tolerance)? {
        return Ok(Some(found));
    }
    let none = format!(
        "chosen because none of the next {} passes",
        text::count(seeds.get() as usize, "seed")
    );
    for (what, calmer) in calmer(case) {
        // A scenario may be none without its fault, which is no reason to stop.
        let Ok(ran) = recorded(&calmer) else { continue };
        if ran.report.passed {
            return Ok(Some(Other {
                ran,
                chosen: Some(format!("B is A without {what}, {none}")),
            }));
        }
    }
    if case.client == ClientName::production() {
        return Ok(None);
    }
    let ran = recorded(&case.clone().by(ClientName::production())?)?;
    Ok(ran.report.passed.then(|| Other {
        ran,
        chosen: Some(format!(
            "B is A by the client that ships, {none}, with or without faults"
        )),
    }))
}

/// Of the next seeds that pass, the one whose run is the same for longest; of equals the least.
fn by_seed(
    case: &Case,
    failing: &Ran,
    seeds: NonZero<u32>,
    tolerance: Duration,
) -> Result<Option<Other>, CliError> {
    let from = case.seed.number();
    let until = from.saturating_add(seeds.get().into());
    let bar = progress::bar(until - from, "seed");
    let mut best: Option<(usize, Ran)> = None;
    let mut passed = 0;
    for seed in (from..until).map(|seed| seed + 1) {
        let mut case = case.clone();
        case.seed = Seed::new(seed);
        let ran = recorded(&case)?;
        bar.inc(1);
        if !ran.report.passed {
            continue;
        }
        passed += 1;
        let same = Comparison::of(&failing.events, &ran.events, tolerance).same();
        if best.as_ref().is_none_or(|(longest, _)| same > *longest) {
            best = Some((same, ran));
        }
    }
    bar.finish_and_clear();
    Ok(best.map(|(same, ran)| Other {
        chosen: Some(format!(
            "chosen because {passed} of the next {} pass, and this one is the same for longest: {}",
            text::count(seeds.get() as usize, "seed"),
            text::count(same, "milestone")
        )),
        ran,
    }))
}

/// The same case without each thing that goes wrong in it, one at a time, and without all of them; each
/// with what it is without.
fn calmer(case: &Case) -> Vec<(String, Case)> {
    let mut calmer = Vec::new();
    let faults = case.scenario.faults.iter().enumerate();
    for (index, fault) in faults {
        let mut less = case.clone();
        less.scenario.faults.remove(index);
        calmer.push((format!("its fault {}", fault.kind), less));
    }
    let perturbations = case.scenario.perturbations.iter().enumerate();
    for (index, perturbation) in perturbations {
        let mut less = case.clone();
        less.scenario.perturbations.remove(index);
        calmer.push((format!("what happens to {perturbation}"), less));
    }
    if calmer.len() > 1 {
        let mut least = case.clone();
        least.scenario.faults.clear();
        least.scenario.perturbations.clear();
        calmer.push(("anything going wrong".to_owned(), least));
    }
    calmer
}
