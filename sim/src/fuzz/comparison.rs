//! Two clients in the same cases: what it is worth to have mended the one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::campaign::{Campaign, CaseKind, Limit, OnFailure, Shard};
use crate::check::call::LastCall;
use crate::check::facts::Facts;
use crate::check::opinion::opinions;
use crate::endpoint::Endpoint;
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::trace::AppEvent;
use crate::world::run::SetupError;

/// What came of many calls of one client.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// The client.
    pub client: String,
    /// How many cases ran.
    pub cases: u64,
    /// In how many of them the call was as its networks allow once everything was over.
    pub settled: u64,
    /// In how many there was audio both ways at some time.
    pub connected: u64,
    /// How often signaling was lost, in an hour of call.
    pub signaling_lost_per_hour: f64,
    /// From the answer to audio both ways, of those that had it: the median, in milliseconds.
    pub time_to_audio_median_ms: u64,
    /// What 95 % of them do not exceed.
    pub time_to_audio_p95_ms: u64,
    /// The mean opinion (E-model, see [`ringtrue::audio::mos`]) of both sides, from when they heard each other
    /// to the end, interruptions included; 1 where they never did.
    pub mean_opinion: f64,
}

/// Runs the same cases with a client.
///
/// # Errors
///
/// [`SetupError`] where a case has no world.
pub fn results(
    client: &str,
    endpoint: Arc<dyn Endpoint>,
    seed: Seed,
    cases: u64,
    jobs: usize,
) -> Result<Results, SetupError> {
    let campaign = Campaign {
        seed,
        limit: Limit::Cases(cases),
        shard: Shard::ALL,
        jobs,
        on_failure: OnFailure::GoOn,
        kind: CaseKind::Faulty,
        endpoint,
    };
    let mut tally = Tally::default();
    campaign.run_watched(|result, facts| {
        tally.settled += u64::from(result.report.passed);
        facts.with(|facts| tally.count(&result.scenario, facts));
    })?;
    Ok(tally.results(client))
}

#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    settled: u64,
    connected: u64,
    lost: u64,
    in_call: Duration,
    times: Vec<Duration>,
    opinions: Vec<f64>,
}

impl Tally {
    fn count(&mut self, scenario: &Scenario, facts: &Facts) {
        self.cases += 1;
        let call = LastCall::of(scenario, facts);
        let begun = facts
            .app
            .iter()
            .find_map(|fact| matches!(fact.event, AppEvent::Calling { .. }).then_some(fact.at));
        let over = call.over.unwrap_or(facts.last);
        let in_call = |at: Duration| begun.is_some_and(|begun| (begun..over).contains(&at));
        let lost = facts.app.iter().filter(|fact| {
            in_call(fact.at) && matches!(fact.event, AppEvent::SignalingLost { .. })
        });
        self.lost += lost.count() as u64;
        self.in_call += over.saturating_sub(begun.unwrap_or(over));
        if call.audio_at.len() == 2 {
            self.connected += 1;
            self.times.extend(call.time_to_audio());
        }
        let sound = opinions(&call, facts);
        if sound.is_empty() {
            self.opinions.push(1.0);
        }
        self.opinions.extend(sound.into_values());
    }

    fn results(mut self, client: &str) -> Results {
        self.times.sort_unstable();
        let at = |percent: usize| {
            let last = self.times.len().saturating_sub(1);
            let time = self.times.get((last * percent + 50) / 100);
            time.map_or(0, |time| {
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
            })
        };
        let hours = self.in_call.as_secs_f64() / 3600.0;
        Results {
            client: client.to_owned(),
            cases: self.cases,
            settled: self.settled,
            connected: self.connected,
            signaling_lost_per_hour: self.lost as f64 / hours.max(f64::EPSILON),
            time_to_audio_median_ms: at(50),
            time_to_audio_p95_ms: at(95),
            mean_opinion: self.opinions.iter().sum::<f64>() / self.opinions.len().max(1) as f64,
        }
    }
}

impl fmt::Display for Results {
    /// A row of a table in Markdown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |count: u64| 100.0 * count as f64 / self.cases.max(1) as f64;
        write!(
            formatter,
            "| {} | {:.1} % | {:.1} % | {:.0} | {} ms | {} ms | {:.2} |",
            self.client,
            share(self.settled),
            share(self.connected),
            self.signaling_lost_per_hour,
            self.time_to_audio_median_ms,
            self.time_to_audio_p95_ms,
            self.mean_opinion,
        )
    }
}

/// The head of the table of which [`Results`] are rows.
pub const HEAD: &str = "| client | settled | audio both ways | signaling lost in an hour of call | \
                        audio after, median | p95 | MOS |\n|---|---|---|---|---|---|---|";
