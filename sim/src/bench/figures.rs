//! What was measured, for people and for programs. The keys of the JSON object are the fields here, and
//! `docs/profiling.md` lists them.

use std::fmt;

use serde::Serialize;

use super::memory::Resident;
use super::samples::{Sample, quantile};
use crate::report::text::count;

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// What depends little on the machine.
    pub ratios: Ratios,
    /// Whether the compiler optimized what was measured.
    pub build: Build,
    /// A complete call of two homes behind full cones, with 1 s of talk, from two applications that start to the
    /// end of the world. It uses one core.
    pub call: Cost,
    /// The same with 60 s of talk.
    pub talk_60s: Cost,
    /// The call with 1 s of talk on plain turmoil 0.7: the same client, servers and delays, without the NATs,
    /// which turmoil does not have.
    pub turmoil_call: Cost,
    /// The same with 60 s of talk.
    pub turmoil_talk_60s: Cost,
    /// Worlds with more and more hosts, of which two talk and the others are connected to the signaling server.
    pub idle_hosts: Vec<Crowd>,
    /// Worlds with more and more hosts, all of which talk in pairs at the same time.
    pub talking_hosts: Vec<Crowd>,
    /// Cases by chance, as `ringtrue fuzz` runs them.
    pub campaign: Vec<Throughput>,
    /// The memory of the process, over calls one after the other.
    pub memory: Memory,
}

/// What depends little on the machine, since both sides of it do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratios {
    /// How many times as long the call takes on turmoil 0.7: the median there by the median here, measured in
    /// turn.
    pub turmoil_to_ringtrue_call: f64,
    /// The same of the call with 60 s of talk.
    pub turmoil_to_ringtrue_talk_60s: f64,
    /// What a call costs in the largest world, which has 64 hosts (16 where little is measured), by what it costs
    /// in one of 8, where two talk.
    pub hosts_most_to_8_idle: f64,
    /// The same where all talk in pairs.
    pub hosts_most_to_8_talking: f64,
    /// How many cases run in a second with a job for each core, by how many with one job.
    pub jobs_most_to_one: f64,
}

/// How the program was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Build {
    /// For debugging: its figures are no figures of the release.
    Debug,
    /// As it is released.
    Release,
}

/// What a run costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// How many runs were measured, each with a seed of its own.
    pub samples: usize,
    /// The median of the time that a run takes, in milliseconds.
    pub wall_median_ms: f64,
    /// The time that 95 % of the runs do not exceed, in milliseconds.
    pub wall_p95_ms: f64,
    /// The median of the virtual time that a run lasts, in milliseconds.
    pub virtual_ms: f64,
    /// How many times as fast as real time it is: `virtual_ms` by `wall_median_ms`.
    pub real_time_factor: f64,
}

/// What a world of so many hosts costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Crowd {
    /// How many clients there are.
    pub hosts: usize,
    /// How many calls there are at the same time.
    pub calls: usize,
    /// The median of the time that the run takes, by the number of calls, in milliseconds.
    pub wall_per_call_ms: f64,
    /// The whole run.
    pub run: Cost,
}

/// How many cases by chance run in a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Throughput {
    /// How many run at the same time.
    pub jobs: usize,
    /// How many ran in all.
    pub cases: u64,
    /// How many ran in a second.
    pub cases_per_s: f64,
}

/// The memory of the process before and after many calls. A KiB is 1024 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// How many calls there were between; some more were before, for what is kept once and for all.
    pub calls: u64,
    /// What the process had before, `VmRSS`.
    pub resident_before_kib: u64,
    /// What it had after.
    pub resident_after_kib: u64,
    /// The difference; less than nothing where memory was given back.
    pub growth_kib: i64,
    /// The difference by the number of calls, in bytes.
    pub growth_per_call_bytes: f64,
    /// The most that it ever had before, `VmHWM`.
    pub peak_before_kib: u64,
    /// The most that it ever had after.
    pub peak_after_kib: u64,
}

impl Build {
    /// How this program was built.
    pub const CURRENT: Self = if cfg!(debug_assertions) {
        Self::Debug
    } else {
        Self::Release
    };
}

impl Cost {
    pub(super) fn of(samples: &[Sample]) -> Self {
        let wall = |share| quantile(samples.iter().map(|sample| sample.wall), share);
        let virtual_time = quantile(samples.iter().map(|sample| sample.virtual_time), 0.5);
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
        let (median, virtual_ms) = (milliseconds(wall(0.5)), milliseconds(virtual_time));
        Self {
            samples: samples.len(),
            wall_median_ms: median,
            wall_p95_ms: milliseconds(wall(0.95)),
            virtual_ms,
            real_time_factor: virtual_ms / median,
        }
    }
}

impl Cost {
    /// How many times as much this is as `other`, by the median.
    pub(super) fn to(&self, other: &Self) -> f64 {
        self.wall_median_ms / other.wall_median_ms
    }
}

impl Crowd {
    pub(super) fn new(hosts: usize, calls: usize, run: Cost) -> Self {
        Self {
            hosts,
            calls,
            wall_per_call_ms: run.wall_median_ms / calls as f64,
            run,
        }
    }

    /// The cost of a call in the largest of these worlds by that in the second.
    pub(super) fn last_to_second(crowds: &[Self]) -> f64 {
        let [_, second, .., last] = crowds else {
            unreachable!("three sizes or more are measured");
        };
        last.wall_per_call_ms / second.wall_per_call_ms
    }
}

impl Throughput {
    /// That with the most jobs by that with the least.
    pub(super) fn last_to_first(throughputs: &[Self]) -> f64 {
        let (Some(first), Some(last)) = (throughputs.first(), throughputs.last()) else {
            unreachable!("one job at least is measured");
        };
        last.cases_per_s / first.cases_per_s
    }
}

impl Memory {
    pub(super) fn between(calls: u64, before: Resident, after: Resident) -> Self {
        let kib = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let growth_kib = kib(after.now_kib) - kib(before.now_kib);
        Self {
            calls,
            resident_before_kib: before.now_kib,
            resident_after_kib: after.now_kib,
            growth_kib,
            growth_per_call_bytes: growth_kib as f64 * 1024.0 / calls as f64,
            peak_before_kib: before.peak_kib,
            peak_after_kib: after.peak_kib,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ratios {
            turmoil_to_ringtrue_call,
            turmoil_to_ringtrue_talk_60s,
            hosts_most_to_8_idle,
            hosts_most_to_8_talking,
            jobs_most_to_one,
        } = self.ratios;
        let most_jobs = self.campaign.last().map_or(1, |most| most.jobs);
        writeln!(out, "ratios, which depend little on the machine")?;
        let ratio = |name: &str, value: f64| format!("  {name:<58}{value:>8.2}");
        let jobs = format!("cases/s with {} to cases/s with 1", count(most_jobs, "job"));
        let most_hosts = self.idle_hosts.last().map_or(0, |most| most.hosts);
        let among = |who| format!("a call among {most_hosts} hosts to one among 8, {who}");
        for (name, value) in [
            (
                "a call on turmoil 0.7 to the same call here",
                turmoil_to_ringtrue_call,
            ),
            (
                "a call with 60 s of talk on turmoil 0.7 to it here",
                turmoil_to_ringtrue_talk_60s,
            ),
            (&among("of which two talk"), hosts_most_to_8_idle),
            (&among("all of which talk"), hosts_most_to_8_talking),
            (&jobs, jobs_most_to_one),
        ] {
            writeln!(out, "{}", ratio(name, value))?;
        }
        let build = match self.build {
            Build::Debug => ", in a build for debugging, which says little",
            Build::Release => "",
        };
        writeln!(out, "\none core of this machine{build}")?;
        writeln!(out, "{}", Row::HEAD)?;
        for (name, cost) in [
            ("a complete call, 1 s of talk", self.call),
            ("a call with 60 s of talk", self.talk_60s),
            (
                "the call with 1 s of talk on turmoil 0.7",
                self.turmoil_call,
            ),
        ] {
            writeln!(out, "{}", Row(name, cost))?;
        }
        for crowd in self.idle_hosts.iter().chain(&self.talking_hosts) {
            let (hosts, calls) = (count(crowd.hosts, "host"), count(crowd.calls, "call"));
            let name = format!("{hosts}, {calls}: {:.1} ms a call", crowd.wall_per_call_ms);
            writeln!(out, "{}", Row(&name, crowd.run))?;
        }
        writeln!(out, "\ncases by chance")?;
        for Throughput {
            jobs, cases_per_s, ..
        } in &self.campaign
        {
            writeln!(
                out,
                "  {:<10}{cases_per_s:>10.1} cases/s",
                count(*jobs, "job")
            )?;
        }
        write!(out, "\n{}", self.memory)
    }
}

/// A line of the table of costs.
struct Row<'a>(&'a str, Cost);

impl Row<'_> {
    const HEAD: &'static str = "                                               median        95 %    virtual   × real time";
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, cost) = self;
        write!(
            out,
            "  {name:<42}{:>8.1} ms {:>8.1} ms {:>8.2} s {:>13.0}",
            cost.wall_median_ms,
            cost.wall_p95_ms,
            cost.virtual_ms / 1000.0,
            cost.real_time_factor
        )
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |kib: u64| kib as f64 / 1024.0;
        writeln!(out, "memory over {} calls one after the other", self.calls)?;
        write!(
            out,
            "  {:.1} MiB before, {:.1} MiB after: {:+.0} bytes a call; at most {:.1} MiB",
            mebibytes(self.resident_before_kib),
            mebibytes(self.resident_after_kib),
            self.growth_per_call_bytes,
            mebibytes(self.peak_after_kib)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cost(wall_ms: u64) -> Cost {
        Cost::of(&[Sample {
            wall: Duration::from_millis(wall_ms),
            virtual_time: Duration::from_secs(4),
        }])
    }

    #[test]
    fn a_cost_is_the_median_and_how_often_it_fits_into_real_time() {
        let samples = [30, 10, 20].map(|wall_ms| Sample {
            wall: Duration::from_millis(wall_ms),
            virtual_time: Duration::from_secs(4),
        });
        let cost = Cost::of(&samples);
        assert_eq!(cost.samples, 3);
        let is = |value: f64, expected: f64| (value - expected).abs() < 1e-9;
        assert!(is(cost.wall_median_ms, 20.0) && is(cost.wall_p95_ms, 30.0));
        assert!(is(cost.real_time_factor, 200.0));
    }

    #[test]
    fn crowds_are_compared_by_the_call() {
        let crowds = [(2, 1, 10), (8, 4, 40), (16, 8, 100), (64, 32, 480)];
        let crowds = crowds.map(|(hosts, calls, wall)| Crowd::new(hosts, calls, cost(wall)));
        assert!((Crowd::last_to_second(&crowds) - 1.5).abs() < 1e-9);
    }

    #[test]
    fn memory_that_was_given_back_is_less_than_nothing() {
        let resident = |now_kib| Resident {
            now_kib,
            peak_kib: 3000,
        };
        let memory = Memory::between(10, resident(2000), resident(1990));
        assert_eq!(memory.growth_kib, -10);
        assert!((memory.growth_per_call_bytes + 1024.0).abs() < 1e-9);
    }
}
