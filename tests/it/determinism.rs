//! Nothing but its seed decides what a run sees: shown in two processes, the second one disturbed.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the probes do exactly what a run must not"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::env;
use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};
use ringtrue_sim::determinism::{
    self, Capture, Plug, Plugs, REALTIME_AT_START, RunError, Violation, canary, run_on_own_thread,
};
use ringtrue_sim::endpoint::RingtrueEndpoint;
use ringtrue_sim::fuzz::campaign::{Campaign, CaseKind, CaseResult, Limit, OnFailure, Shard};
use ringtrue_sim::seed::Seed;
use ringtrue_sim::trace::Recorder;
use ringtrue_sim::trace::log::TraceLayer;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{on_both_cores, report, scenario, seeds};

// Leak probes. Each names its source to the child process, see `Probe`.

#[test]
fn hash_map_order_follows_the_seed() {
    check("hash-map", Value::FollowsTheSeed);
}

#[test]
fn rand_0_8_follows_the_seed() {
    check("rand-0.8", Value::FollowsTheSeed);
}

#[test]
fn rand_0_9_follows_the_seed() {
    check("rand-0.9", Value::FollowsTheSeed);
}

#[test]
fn rand_0_10_follows_the_seed() {
    check("rand-0.10", Value::FollowsTheSeed);
}

#[test]
fn ring_follows_the_seed() {
    check("ring", Value::FollowsTheSeed);
}

#[test]
fn fastrand_follows_the_seed() {
    check("fastrand", Value::FollowsTheSeed);
}

#[test]
fn system_time_is_virtual() {
    check("system-time", Value::IsAlwaysTheSame);
}

#[test]
fn std_instant_is_virtual() {
    check("std-instant", Value::IsAlwaysTheSame);
}

#[test]
fn tokio_instant_is_virtual() {
    check("tokio-instant", Value::IsAlwaysTheSame);
}

#[test]
fn the_order_of_ready_select_branches_follows_the_seed() {
    check("select", Value::FollowsTheSeed);
}

#[test]
fn uuids_follow_the_seed() {
    check("uuid", Value::FollowsTheSeed);
}

#[test]
fn spawned_tasks_run_in_one_order() {
    check("spawn-order", Value::IsAlwaysTheSame);
}

// The canary, whole and with each plug pulled.

#[test]
fn the_canary_follows_the_seed() {
    check("canary", Value::FollowsTheSeed);
}

#[test]
fn without_the_entropy_plug_the_canary_differs() {
    check_leak(Plug::Entropy, &["hash-map", "rand", "ring", "uuid"]);
}

#[test]
fn without_the_clock_plug_the_canary_differs() {
    check_leak(Plug::Clock, &["system-time", "std-instant"]);
}

#[test]
fn without_the_select_seed_plug_the_canary_differs() {
    check_leak(Plug::SelectSeed, &["select"]);
}

#[test]
fn without_the_fastrand_plug_the_canary_differs() {
    check_leak(Plug::Fastrand, &["fastrand"]);
}

#[test]
fn without_the_threads_plug_the_canary_differs() {
    check_leak(Plug::Threads, &["os-thread"]);
}

// OS threads.

#[test]
fn an_os_thread_made_inside_a_run_fails_it_by_name() {
    check_thread_is_named("resolver_of_a_library", resolver_of_a_library);
}

#[test]
fn an_os_thread_fails_the_run_even_if_the_refusal_is_swallowed() {
    check_thread_is_named("careful_library", careful_library);
}

#[test]
fn spawn_blocking_inside_a_run_fails_it_by_name() {
    check_thread_is_named("spawn_blocking", || {
        let capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
        let runtime = capture.runtime("app", |_| {}).expect("a runtime");
        runtime.block_on(async {
            // The panic of the task shuts the runtime down, so this never ends by itself.
            let _ = tokio::spawn(reads_a_file()).await;
        });
    });
}

#[test]
fn runs_in_parallel_threads_see_what_runs_in_sequence_see() {
    let seeds = || (0..16).map(Seed::new);
    let in_sequence: Vec<String> = seeds().map(canary_of).collect();

    let queue = Mutex::new(seeds().enumerate());
    let in_parallel = Mutex::new(vec![String::new(); in_sequence.len()]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((index, seed)) = queue.lock().expect("no panic").next() else {
                        break;
                    };
                    let value = canary_of(seed);
                    in_parallel.lock().expect("no panic")[index] = value;
                }
            });
        }
    });
    assert_eq!(in_parallel.into_inner().expect("no panic"), in_sequence);
}

#[test]
fn other_threads_keep_the_real_clock_and_real_entropy() {
    let read = || (SystemTime::now(), rand::random::<u128>());
    let captured = || {
        run_on_own_thread("run", move || {
            let _capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
            read()
        })
        .expect("the run ends well")
    };
    let (virtual_time, seeded) = captured();
    assert_eq!(captured(), (virtual_time, seeded));
    let since_start = virtual_time
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    assert!(
        since_start < REALTIME_AT_START + Duration::from_micros(1),
        "{since_start:?}"
    );

    let (real_time, random) = read();
    assert_ne!(random, seeded);
    assert!(real_time > virtual_time);
}

// Whole runs.

/// Tokio numbers the tasks of the whole process, and drops those of a runtime in an order of these
/// numbers: a killed app would tell what other runs do beside it.
#[test]
fn killed_apps_end_the_same_beside_runs_that_make_tasks() {
    let scenario = scenario("calls/resumed-among-devices.toml");
    let seeds: Vec<u64> = (1..=8).collect();
    let digest = |seed: &u64| (*seed, report(&scenario, *seed).digest);
    let alone: BTreeMap<u64, String> = seeds.iter().map(digest).collect();
    for tasks in 1..=2 {
        disturb();
        make_tasks(tasks);
        let beside: BTreeMap<u64, String> = on_both_cores(&seeds, digest).into_iter().collect();
        assert_eq!(beside, alone);
    }
}

#[test]
fn a_campaign_gives_the_same_runs_with_one_job_and_with_two() {
    let digests = |jobs| {
        let campaign = Campaign {
            seed: Seed::new(5),
            limit: Limit::Cases(seeds(30)),
            shard: Shard::ALL,
            jobs,
            on_failure: OnFailure::GoOn,
            kind: CaseKind::Faulty,
            endpoint: Arc::new(RingtrueEndpoint),
        };
        let mut digests = Vec::new();
        let done = |result: CaseResult| digests.push((result.number, result.report.digest));
        campaign.run(done).expect("cases have worlds");
        digests
    };
    assert_eq!(digests(2), digests(1));
}

/// While there is one subscriber only, `tracing` asks the thread that comes to a line first whether it is
/// wanted, for the whole process. A process of its own is the only place to see it.
#[test]
fn a_thread_without_a_run_does_not_switch_lines_off_for_a_run() {
    let lines = ask_a_process("log-line", Seed::new(1), Plugs::all(), Process::Plain);
    assert_eq!(lines, "1");
}

/// What a probe's value may depend on.
#[derive(Clone, Copy)]
enum Value {
    FollowsTheSeed,
    IsAlwaysTheSame,
}

/// The probe gives one value for one seed in two processes, and as `value` says for two seeds.
#[track_caller]
fn check(probe: &str, value: Value) {
    let run = |seed, process| ask_a_process(probe, Seed::new(seed), Plugs::all(), process);
    let first = run(1, Process::Plain);
    assert_eq!(
        first,
        run(1, Process::Disturbed),
        "`{probe}` leaks between processes"
    );
    let other = run(2, Process::Plain);
    match value {
        Value::FollowsTheSeed => assert_ne!(first, other, "`{probe}` does not follow the seed"),
        Value::IsAlwaysTheSame => assert_eq!(first, other, "`{probe}` depends on the seed"),
    }
}

/// Without `plug`, exactly the canary's samples of these names differ between two processes.
#[track_caller]
fn check_leak(plug: Plug, leaking: &[&str]) {
    let plugs = Plugs::all().without(plug);
    let run = |process| ask_a_process("canary", Seed::new(1), plugs, process);
    let (first, second) = (run(Process::Plain), run(Process::Disturbed));
    let differing: BTreeSet<&str> = first
        .split_whitespace()
        .zip(second.split_whitespace())
        .filter(|(first, second)| first != second)
        .filter_map(|(sample, _)| sample.split('=').next())
        .collect();
    assert_eq!(
        differing,
        leaking.iter().copied().collect(),
        "without `{plug}`"
    );
}

/// The run fails with one violation that names this function.
#[track_caller]
fn check_thread_is_named(function: &str, run: impl FnOnce() + Send) {
    let error = run_on_own_thread("run", run).expect_err("an OS thread was made");
    let message = error.to_string();
    let RunError::Failed { violations, .. } = error else {
        panic!("{message}")
    };
    let [Violation::OsThread { made_by }] = violations.as_slice() else {
        panic!("expected one violation, got {violations:?}");
    };
    assert!(
        made_by.contains(function),
        "`{made_by}` does not name `{function}`"
    );
    assert!(
        message.contains(made_by),
        "`{message}` does not name `{made_by}`"
    );
}

#[inline(never)]
fn resolver_of_a_library() {
    let _capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
    let _ = thread::spawn(|| {}).join();
}

#[inline(never)]
fn careful_library() {
    let _capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
    let refusal = thread::Builder::new()
        .spawn(|| {})
        .map(drop)
        .expect_err("it is refused");
    assert_eq!(refusal.raw_os_error(), Some(libc::EAGAIN));
}

async fn reads_a_file() {
    let _ = tokio::task::spawn_blocking(|| {}).await;
}

fn canary_of(seed: Seed) -> String {
    Probe::named("canary").value(seed, Plugs::all())
}

const PROBE: &str = "RINGTRUE_TEST_PROBE";
const SEED: &str = "RINGTRUE_TEST_SEED";
const UNPLUGGED: &str = "RINGTRUE_TEST_UNPLUGGED";
const DISTURBED: &str = "RINGTRUE_TEST_DISTURBED";
const ANSWER: &str = "the probe's value: ";

/// What a process has done before its run.
#[derive(Clone, Copy)]
enum Process {
    Plain,
    /// It has made threads, runtimes and hash maps, so that its thread numbers, counters and
    /// addresses are others.
    Disturbed,
}

/// Runs the probe in a process of its own: this test binary again, with [`child`] as its one test.
#[track_caller]
fn ask_a_process(probe: &str, seed: Seed, plugs: Plugs, process: Process) -> String {
    let mut command = Command::new(env::current_exe().expect("a test binary has a path"));
    command.args(["--exact", "determinism::child", "--nocapture"]);
    command.env(PROBE, probe).env(SEED, seed.to_string());
    for unplugged in Plug::ALL.into_iter().filter(|&plug| !plugs.contains(plug)) {
        command.env(UNPLUGGED, unplugged.name());
    }
    if let Process::Disturbed = process {
        command.env(DISTURBED, "yes");
    }
    let output = command.output().expect("the test binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let answer = text
        .lines()
        .find_map(|line| Some(line.split_once(ANSWER)?.1));
    answer
        .unwrap_or_else(|| panic!("`{probe}` gave no value: {text}{errors}"))
        .to_owned()
}

/// The other end of [`ask_a_process`]. In a run of the whole suite it has nothing to do.
#[test]
fn child() {
    let Ok(probe) = env::var(PROBE) else { return };
    let seed: Seed = env::var(SEED).expect("a seed").parse().expect("a number");
    let plugs = match env::var(UNPLUGGED) {
        Ok(plug) => Plugs::all().without(plug.parse().expect("a plug")),
        Err(_) => Plugs::all(),
    };
    if env::var(DISTURBED).is_ok() {
        disturb();
    }
    let value = match probe.as_str() {
        "log-line" => lines_beside_a_thread_without_a_run().to_string(),
        probe => Probe::named(probe).value(seed, plugs),
    };
    writeln!(std::io::stdout(), "{ANSWER}{value}").expect("standard output is open");
}

fn disturb() {
    for thread in 0..7_usize {
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            let map: HashMap<usize, usize> = (0..100).map(|key| (key, key)).collect();
            runtime.block_on(async { std::hint::black_box(map.len()) });
            // Never freed, so that later allocations lie elsewhere.
            std::mem::forget(vec![1_u8; 4096 * (thread + 1)]);
        };
        thread::spawn(work).join().expect("it does not panic");
    }
}

/// Makes so many tasks, which are numbered.
fn make_tasks(tasks: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for _ in 0..tasks {
        drop(runtime.spawn(async {}));
    }
}

/// How many lines of this thread are recorded, of one that another thread has come to first.
fn lines_beside_a_thread_without_a_run() -> u64 {
    let line = || tracing::debug!(target: "ringtrue::test", "a line");
    let recorder = Recorder::new(Vec::new());
    let here = || Some((Duration::ZERO, "here".into()));
    let subscriber = tracing_subscriber::registry().with(TraceLayer::new(recorder.clone(), here));
    let _logs = tracing::subscriber::set_default(subscriber);
    thread::spawn(line).join().expect("it does not panic");
    line();
    recorder.count()
}

/// A source through which a run could leak.
struct Probe {
    sample: fn(&Capture) -> String,
}

impl Probe {
    fn named(name: &str) -> Self {
        let sample: fn(&Capture) -> String = match name {
            "hash-map" => |_| {
                let map: HashMap<u8, u8> = (0..50).map(|key| (key, key)).collect();
                format!("{:?}", map.keys().collect::<Vec<_>>())
            },
            "rand-0.8" => |_| rand08::random::<u64>().to_string(),
            "rand-0.9" => |_| rand09::random::<u64>().to_string(),
            "rand-0.10" => |_| rand::random::<u64>().to_string(),
            "ring" => |_| {
                let mut bytes = [0; 32];
                SystemRandom::new().fill(&mut bytes).expect("entropy");
                format!("{bytes:?}")
            },
            "fastrand" => |_| fastrand::u64(..).to_string(),
            "system-time" => |_| {
                determinism::set_now(Duration::from_secs(5));
                format!(
                    "{:?}",
                    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)
                )
            },
            "std-instant" => |_| {
                let start = Instant::now();
                determinism::set_now(Duration::from_secs(5));
                format!("{start:?} {:?}", start.elapsed())
            },
            "tokio-instant" => |capture| {
                block_on(capture, async {
                    let start = tokio::time::Instant::now();
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    format!("{start:?} {:?}", start.elapsed())
                })
            },
            "select" => |capture| block_on(capture, select_order()),
            "uuid" => |_| uuid::Uuid::new_v4().to_string(),
            "spawn-order" => |capture| block_on(capture, spawn_order()),
            "canary" => |capture| {
                block_on(capture, async {
                    let samples = canary::sample().await;
                    let texts = samples
                        .iter()
                        .map(|(name, value)| format!("{name}={value}"));
                    texts.collect::<Vec<_>>().join(" ")
                })
            },
            _ => panic!("there is no probe `{name}`"),
        };
        Self { sample }
    }

    fn value(&self, seed: Seed, plugs: Plugs) -> String {
        let sample = self.sample;
        run_on_own_thread("probe", || {
            let capture = Capture::enter(seed, plugs).expect("a fresh thread");
            sample(&capture)
        })
        .expect("a probe neither panics nor makes threads")
    }
}

fn block_on<T>(capture: &Capture, future: impl Future<Output = T>) -> T {
    capture
        .runtime("probe", |_| {})
        .expect("a runtime")
        .block_on(future)
}

async fn select_order() -> String {
    let mut order = String::new();
    for _ in 0..32 {
        // Without `biased`, on purpose: the order is what is probed.
        order.push(tokio::select! {
            () = std::future::ready(()) => 'a',
            () = std::future::ready(()) => 'b',
            () = std::future::ready(()) => 'c',
        });
    }
    order
}

async fn spawn_order() -> String {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for task in 0..50 {
        let sender = sender.clone();
        tokio::spawn(async move {
            if task % 3 == 0 {
                tokio::task::yield_now().await;
            }
            let _ = sender.send(task);
        });
    }
    drop(sender);
    let mut order = Vec::new();
    while let Some(task) = receiver.recv().await {
        order.push(task);
    }
    format!("{order:?}")
}
