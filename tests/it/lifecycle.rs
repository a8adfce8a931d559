//! Applications that die and come back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringtrue_sim::seed::Seed;
use ringtrue_sim::trace::digest::Chain;
use ringtrue_sim::trace::{AppEvent, Event, EventKind, Observer};
use ringtrue_sim::world::run::{RunOptions, run};

use crate::support::{homes, scenario_of};

/// Bob's application is killed in mid-call and started again; alice calls anew.
const KILLED_IN_MID_CALL: &str = r#"
    [[script]]
    at = "1s"
    peer = "alice"
    do = "call"
    callee = "bob"
    [[script]]
    at = "2s"
    peer = "bob"
    do = "answer"
    [[script]]
    at = "5s"
    peer = "bob"
    do = "kill"
    [[script]]
    at = "8s"
    peer = "bob"
    do = "start"
    [[script]]
    at = "10s"
    peer = "alice"
    do = "hang-up"
    [[script]]
    at = "12s"
    peer = "alice"
    do = "call"
    callee = "bob"
    [[script]]
    at = "13s"
    peer = "bob"
    do = "answer"
    [[script]]
    at = "19s"
    peer = "bob"
    do = "hang-up"
"#;

/// What bob's host did, in a form that a test can ask.
#[derive(Clone, Default)]
struct BobsHost(Arc<Mutex<Vec<(Duration, EventKind)>>>);

impl BobsHost {
    /// Of a call in which nothing goes wrong that these lines do not bring about.
    #[track_caller]
    fn in_call(lines: &str) -> Self {
        let scenario = scenario_of(&(homes("full-cone", "full-cone") + lines));
        let bob = Self::default();
        let options = RunOptions {
            observers: vec![Box::new(bob.clone())],
            ..RunOptions::default()
        };
        let report = run(&scenario, Seed::new(1), options).expect("the scenario can be run");
        assert!(report.passed, "{:?}", report.failures);
        bob
    }

    fn between(&self, from: Duration, to: Duration) -> Vec<EventKind> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(_, kind)| kind.clone())
            .collect()
    }
}

impl Observer for BobsHost {
    fn observe(&mut self, _index: u64, event: &Event, _chain: &Chain) {
        if &*event.host == "bob" {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((event.at, event.kind.clone()));
        }
    }
}

#[test]
fn a_killed_application_leaves_nothing_running_and_its_successor_talks() {
    let bob = BobsHost::in_call(KILLED_IN_MID_CALL);

    let seconds = Duration::from_secs;
    let before = bob.between(seconds(4), seconds(5));
    assert!(
        before
            .iter()
            .any(|kind| matches!(kind, EventKind::App(AppEvent::Heard))),
        "bob did not talk before he was killed, so his death proves nothing"
    );
    // What bob still did in the very millisecond of his death does not count.
    let dead = bob.between(seconds(5) + Duration::from_millis(1), seconds(8));
    let lives = |kind: &&EventKind| match kind {
        EventKind::App(_)
        | EventKind::Timer
        | EventKind::Log { .. }
        | EventKind::Entropy { .. } => true,
        // The kernel closes the connections of a process that is gone, and nothing else.
        EventKind::PacketSent(packet) => !packet.payload.is_empty(),
        _ => false,
    };
    let living: Vec<_> = dead.iter().filter(lives).map(ToString::to_string).collect();
    assert!(
        living.is_empty(),
        "something of the dead application goes on: {living:#?}"
    );
    let dropped = dead
        .iter()
        .filter(|kind| matches!(kind, EventKind::PacketDropped { .. }))
        .count();
    assert!(
        dropped > 20,
        "alice's audio should meet closed ports, {dropped} packets did"
    );
}

/// Bob can send nothing while he dials the signaling server, and then stands still without his sockets.
const STANDS_STILL_WHILE_DIALLING: &str = r#"
    [[fault]]
    kind = "blackhole"
    at = "2s"
    for = "17s"
    network = "b"
    direction = "up"
    [[fault]]
    kind = "app-suspend"
    at = "18s"
    for = "10s"
    peer = "bob"
    sockets = "killed"
    [talk]
    for = "40s"
"#;

#[test]
fn an_operating_system_sends_no_segment_again_of_a_connection_that_is_gone() {
    let bob = BobsHost::in_call(STANDS_STILL_WHILE_DIALLING);

    let repetitions = |from, to| {
        let events = bob.between(Duration::from_secs(from), Duration::from_secs(to));
        let again = events
            .into_iter()
            .filter(|kind| matches!(kind, EventKind::Retransmission { .. }));
        let said = again.map(|kind| kind.to_string());
        // A bare acknowledgment outlives its connection, since the kernels of the world have no TIME-WAIT.
        let more = said.filter(|said| !said.contains(" A 0 B"));
        more.collect::<Vec<_>>()
    };
    assert!(
        repetitions(2, 18).iter().any(|said| said.contains(" S ")),
        "bob did not dial before he stood still, so his silence proves nothing"
    );
    let again = repetitions(18, 28);
    assert!(again.is_empty(), "{again:#?}");
}

/// Is there for as long as anything holds the run that it watches.
struct Witness(#[expect(dead_code, reason = "it is there to be held")] Arc<()>);

impl Observer for Witness {
    fn observe(&mut self, _index: u64, _event: &Event, _chain: &Chain) {}
}

/// Alice's session at the signaling server is open and not joined when the server is killed: the library
/// keeps hold of it, and it of its runtime.
#[test]
fn nothing_that_is_remembered_of_a_run_outlives_it() {
    let faults = r#"
        [[fault]]
        kind = "mapping-flush"
        at = "116ms"
        network = "a"
        [[fault]]
        kind = "signaling-restart"
        at = "1s921ms"
        how = "cut"
        [talk]
        for = "10s"
    "#;
    let scenario = scenario_of(&(homes("symmetric", "symmetric") + faults));
    let held = Arc::new(());
    let options = RunOptions {
        observers: vec![Box::new(Witness(Arc::clone(&held)))],
        ..RunOptions::default()
    };
    run(&scenario, Seed::new(1), options).expect("the scenario can be run");
    assert_eq!(Arc::strong_count(&held), 1, "something still holds the run");
}
