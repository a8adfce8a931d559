//! The settings that worked in the field, each against a worse one: by the time to audio, by what is heard
//! or by what is sent, where the difference is not that of a call that fails.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use ringtrue::config::{ClientConfig, Marking, RecoveryConfig};
use ringtrue::net::TrafficClass;
use ringtrue_sim::endpoint::{Endpoint, RingtrueEndpoint, Seat};
use ringtrue_sim::report::{PacketOrEvent, Report, TimelineEntry, text};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::seed::Seed;
use ringtrue_sim::variants::Variant;
use ringtrue_sim::world::run::{RunOptions, run};

use crate::support::{check, root};

/// The client that ships, set differently.
#[derive(Debug)]
struct Settings(fn(&mut ClientConfig));

/// The same, beside somebody in the same network who sends a packet of 1,200 bytes every 40 ms for a while.
#[derive(Debug)]
struct BesideANeighbour(Settings);

impl Endpoint for Settings {
    fn run(&self, mut seat: Seat) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        (self.0)(&mut seat.config);
        RingtrueEndpoint.run(seat)
    }
}

impl Endpoint for BesideANeighbour {
    fn run(&self, seat: Seat) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if seat.user != "neighbour" {
            return self.0.run(seat);
        }
        Box::pin(async move {
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let socket = seat.net.bind_datagram(any, TrafficClass::BestEffort).await;
            let socket = socket.expect("a free port");
            let server = seat.net.resolve("stun.l.google.com").await;
            let server = server.expect("the world has this name")[0];
            // The call is up by then, and is over when this is.
            tokio::time::sleep(Duration::from_secs(6)).await;
            let mut ticks = tokio::time::interval(Duration::from_millis(40));
            for _ in 0..200 {
                ticks.tick().await;
                // What a full line drops is no error.
                let _ = socket.send_to(&[b'n'; 1_200], (server, 9).into()).await;
            }
        })
    }
}

#[track_caller]
fn of_the_field(name: &str) -> Scenario {
    let path = root().join(format!("fixtures/field/{name}.toml"));
    Scenario::load(&path).unwrap_or_else(|error| panic!("{error:?}"))
}

#[track_caller]
fn run_by(endpoint: impl Endpoint + 'static, scenario: &Scenario) -> Report {
    let options = RunOptions {
        endpoint: std::sync::Arc::new(endpoint),
        detail: PacketOrEvent::Packet,
        ..RunOptions::default()
    };
    run(scenario, Seed::new(1), options).unwrap_or_else(|error| panic!("{error}"))
}

/// The lines of a host's timeline that begin so.
fn lines<'a>(report: &'a Report, host: &'a str, begin: &'a str) -> Vec<&'a TimelineEntry> {
    let of_host = report
        .timeline
        .iter()
        .filter(move |entry| entry.host == host);
    of_host
        .filter(|entry| entry.text.starts_with(begin))
        .collect()
}

fn told(report: &Report) -> String {
    text::failure(report, text::Colour::Off)
}

#[test]
fn a_candidate_pool_saves_the_caller_the_time_to_gather() {
    let scenario = of_the_field("app-candidate-pool");
    let with = check(&scenario, 1).time_to_audio().expect("audio");
    let without = Settings(|config| config.ice.candidate_pool_size = 0);
    let without = run_by(without, &scenario).time_to_audio().expect("audio");
    assert!(
        with + Duration::from_millis(300) <= without,
        "{with:?}, {without:?}"
    );
}

#[test]
fn marked_audio_is_heard_beside_a_neighbour_who_fills_the_line() {
    let scenario = of_the_field("app-dscp");
    let marked = run_by(BesideANeighbour(Settings(|_| {})), &scenario);
    assert!(marked.passed, "{}", told(&marked));
    let unmarked = Settings(|config| config.media.marking = Marking::None);
    let unmarked = run_by(BesideANeighbour(unmarked), &scenario);
    let failure = told(&unmarked);
    assert!(failure.contains("bob heard"), "{failure}");
    // What people would say of it (E-model): with the mark it is a good line, without it hardly one at all.
    let opinions = [&marked, &unmarked].map(|report| report.mean_opinion["bob"]);
    assert!(opinions[0] > 3.8 && opinions[1] < 3.0, "{opinions:?}");
}

/// So that it is the setting of ICE that decides, and no other path is looked for.
fn without_recovery(config: &mut ClientConfig) {
    let never = Duration::from_hours(24);
    config.recovery = RecoveryConfig {
        silent_after: never,
        upgrade_after: never,
        ..RecoveryConfig::default()
    };
}

#[test]
fn a_connection_that_hears_nothing_for_twenty_seconds_is_still_there() {
    let scenario = of_the_field("app-receiving-timeout");
    let patient = run_by(Settings(without_recovery), &scenario);
    assert!(patient.passed, "{}", told(&patient));
    let hasty = Settings(|config| {
        without_recovery(config);
        config.ice.receiving_timeout = Duration::from_secs(5);
    });
    let hasty = run_by(hasty, &scenario);
    let gives_up = |report: &Report| !lines(report, "bob", "looking for another path").is_empty();
    assert!(!gives_up(&patient), "it has a path");
    assert!(gives_up(&hasty), "its path has failed by then");
}

#[test]
fn pairs_that_are_not_in_use_are_kept_alive() {
    let scenario = of_the_field("app-backup-ping");
    // Who has sent to whom in the last 30 s, which is what the NATs remember.
    let remembered = |report: &Report| {
        let last = report.timeline.last().expect("a run").at;
        let from = last.saturating_sub(Duration::from_secs(30));
        let sent = lines(report, "alice", "→ udp").into_iter();
        let late = sent.filter(|entry| entry.at >= from);
        let flow = |entry: &TimelineEntry| {
            let mut words = entry.text.split(' ').skip(2);
            (
                words.next().map(str::to_owned),
                words.nth(1).map(str::to_owned),
            )
        };
        late.map(flow).collect::<BTreeSet<_>>().len()
    };
    let pinged = run_by(RingtrueEndpoint, &scenario);
    let left_alone = Settings(|config| config.ice.backup_ping_interval = Duration::ZERO);
    let left_alone = run_by(left_alone, &scenario);
    let (pinged, left_alone) = (remembered(&pinged), remembered(&left_alone));
    assert!(
        pinged > left_alone,
        "{pinged} flows, {left_alone} without pings"
    );
}

#[test]
fn waits_between_attempts_neither_hammer_the_server_nor_keep_people_waiting() {
    let scenario = of_the_field("app-reconnect-delays");
    let attempts = |report: &Report| lines(report, "bob", "🔌 WebSocket connecting").len();
    let back = |report: &Report| {
        lines(report, "bob", "signaling connected user")
            .pop()
            .map(|entry| entry.at)
    };
    let ours = check(&scenario, 1);
    let hammering = run_by(
        Settings(|config| {
            config.signaling.reconnection_delay = Duration::from_millis(100);
            config.signaling.reconnection_delay_max = Duration::from_millis(100);
        }),
        &scenario,
    );
    let absent = run_by(
        Settings(|config| {
            config.signaling.reconnection_delay = Duration::from_mins(1);
            config.signaling.reconnection_delay_max = Duration::from_mins(1);
        }),
        &scenario,
    );
    let [few, many] = [&ours, &hammering].map(attempts);
    assert!(
        few <= 8 && many >= 100,
        "{few} attempts, {many} without waits"
    );
    let [soon, late] = [&ours, &absent].map(|report| back(report).expect("it comes back"));
    assert!(
        soon + Duration::from_secs(10) <= late,
        "back at {soon:?}, and at {late:?}"
    );
}

#[test]
fn a_connection_that_is_shared_is_one_device_to_the_server() {
    let scenario = of_the_field("app-force-new");
    let devices = |report: &Report| {
        let lines = report.timeline.iter().map(|entry| &entry.text);
        let joined = lines.filter(|line| line.starts_with("signaling client connected user=bob"));
        let names = joined.filter_map(|line| line.split("device=").nth(1)?.split(' ').next());
        names.collect::<BTreeSet<_>>().len()
    };
    assert_eq!(devices(&check(&scenario, 1)), 1);
    let options = RunOptions {
        endpoint: Variant::Naive.endpoint(),
        ..RunOptions::default()
    };
    let naive = run(&scenario, Seed::new(1), options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(devices(&naive), 2);
}

#[test]
fn the_lines_that_field_teams_look_for_are_in_the_log_in_their_order() {
    let report = check(&of_the_field("app-log-lines"), 1);
    let first = |begin| lines(&report, "bob", begin).first().map(|entry| entry.at);
    let moments: Vec<Option<Duration>> = [
        "🔌 WebSocket connecting",
        "🧊 Processing 4 pending ICE candidates",
        "✅ Added remote ICE candidate",
        "✅ AUDIO CONNECTION ESTABLISHED",
    ]
    .map(first)
    .to_vec();
    assert!(moments.is_sorted() && moments[0].is_some(), "{moments:?}");
    assert_eq!(
        lines(&report, "bob", "🔌 WebSocket connecting").len(),
        2,
        "one for each attempt"
    );
}
