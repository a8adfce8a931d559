//! Faults in scenario files: what the good ones mean, and what is said about the bad ones.

use std::time::Duration;

use ringtrue::config::{ClientConfig, TransportPolicy};
use ringtrue_sim::check::facts::FactCollector;
use ringtrue_sim::fault::{
    AddressAfter, Begin, Breakage, Direction, Fault, FaultKind, Goodbye, LinkName, MessageName,
    ServerName, SocketsMeanwhile, TurnOutage,
};
use ringtrue_sim::scenario::Scenario;
use ringtrue_sim::scenario::model::{Expectation, Families, Ipv6Firewall, Trigger};
use ringtrue_sim::seed::Seed;
use ringtrue_sim::world::run::{RunOptions, run};

mod refused;

const GOOD: &str = r#"about = "Two homes talk."
[network.home]
nat = "full-cone"
uplink = { delay = "20ms" }
[network.office]
nat = "symmetric"
[network.lte]
nat = "symmetric"
[network.public]
[peer.alice]
network = "home"
[peer.bob]
network = "office"
"#;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn alice() -> String {
    "alice".to_owned()
}

fn home() -> String {
    "home".to_owned()
}

#[track_caller]
fn scenario(addition: &str) -> Scenario {
    crate::support::scenario_of(&format!("{GOOD}{addition}"))
}

fn fault(keys: &str) -> String {
    format!("[[fault]]\n{keys}\n")
}

/// What is wrong with the good scenario and this after it, without the places.
#[track_caller]
fn problems(addition: &str) -> Vec<String> {
    let path = crate::support::root().join("scenarios/bad.toml");
    let invalid = Scenario::parse(&path, &format!("{GOOD}{addition}"));
    let invalid = invalid.expect_err("the text is no valid scenario");
    let lines_before = GOOD.lines().count();
    for problem in invalid.problems() {
        assert!(problem.line() > lines_before, "{problem} is somewhere else");
        assert!(problem.key().is_some(), "{problem} names no key");
        assert!(problem.kind().allowed().is_some(), "{problem}");
    }
    invalid.problems().iter().map(ToString::to_string).collect()
}

/// The kind that a fault with these keys is.
#[track_caller]
fn check_kind(keys: &str, expected: &FaultKind) {
    let read = scenario(&fault(&format!("at = \"3s\"\n{keys}")));
    let [fault] = read.faults.as_slice() else {
        panic!("{} faults", read.faults.len());
    };
    assert_eq!(fault.kind, *expected);
    assert_eq!(fault.begin, Begin::At(seconds(3)));
    assert_eq!(fault.line, Some(GOOD.lines().count() + 1));
}

/// What is wrong with a fault that has these keys.
#[track_caller]
fn check_refused(keys: &str, said: &str) {
    assert_eq!(problems(&fault(keys)), [said]);
}

/// What is wrong with two faults.
#[track_caller]
fn check_contradiction(first: &str, second: &str, said: &str) {
    assert_eq!(problems(&[fault(first), fault(second)].concat()), [said]);
}

#[test]
fn every_kind_of_fault_can_be_written() {
    let peer = alice;
    let network = home;
    let how = Breakage::Silence;
    check_kind(
        "kind = \"socket-drop\"\npeer = \"alice\"\nhow = \"silence\"",
        &FaultKind::SocketDrop { peer: peer(), how },
    );
    let how = Goodbye::Cut;
    check_kind(
        "kind = \"signaling-restart\"\nhow = \"cut\"\nfor = \"2s\"",
        &FaultKind::SignalingRestart { how },
    );
    let server = ServerName::Turn;
    check_kind(
        "kind = \"server-pause\"\nserver = \"turn\"\nfor = \"2s\"",
        &FaultKind::ServerPause { server },
    );
    check_kind(
        "kind = \"name-failure\"\npeer = \"alice\"\nfor = \"2s\"",
        &FaultKind::NameFailure { peer: peer() },
    );
    let how = TurnOutage::WrongCredentials;
    check_kind(
        "kind = \"turn-out\"\nhow = \"wrong-credentials\"",
        &FaultKind::TurnOut { how },
    );
    let (network_, address) = (network(), AddressAfter::New);
    check_kind(
        "kind = \"nat-reboot\"\nnetwork = \"home\"\naddress = \"new\"",
        &FaultKind::NatReboot {
            network: network_,
            address,
        },
    );
    check_kind(
        "kind = \"mapping-flush\"\nnetwork = \"home\"",
        &FaultKind::MappingFlush { network: network() },
    );
    check_kind(
        "kind = \"rebinding\"\nnetwork = \"home\"",
        &FaultKind::Rebinding { network: network() },
    );
    let to = "lte".to_owned();
    check_kind(
        "kind = \"network-switch\"\npeer = \"alice\"\nto = \"lte\"",
        &FaultKind::NetworkSwitch { peer: peer(), to },
    );
    check_kind(
        "kind = \"flight-mode\"\npeer = \"alice\"\nfor = \"2s\"",
        &FaultKind::FlightMode { peer: peer() },
    );
    let sockets = SocketsMeanwhile::Killed;
    check_kind(
        "kind = \"app-suspend\"\npeer = \"alice\"\nsockets = \"killed\"\nfor = \"2s\"",
        &FaultKind::AppSuspend {
            peer: peer(),
            sockets,
        },
    );
    check_kind(
        "kind = \"app-kill\"\npeer = \"alice\"",
        &FaultKind::AppKill { peer: peer() },
    );
    let direction = Direction::Up;
    check_kind(
        "kind = \"blackhole\"\nnetwork = \"home\"\ndirection = \"up\"\nfor = \"2s\"",
        &FaultKind::Blackhole {
            network: network(),
            direction,
        },
    );
}

#[test]
fn what_a_fault_leaves_out_has_its_default() {
    let how = Breakage::Rst;
    check_kind(
        "kind = \"socket-drop\"\npeer = \"alice\"",
        &FaultKind::SocketDrop { peer: alice(), how },
    );
    let how = TurnOutage::Down;
    check_kind("kind = \"turn-out\"", &FaultKind::TurnOut { how });
    let how = Goodbye::Polite;
    let restart = FaultKind::SignalingRestart { how };
    check_kind("kind = \"signaling-restart\"", &restart);
    let address = AddressAfter::Same;
    check_kind(
        "kind = \"nat-reboot\"\nnetwork = \"home\"",
        &FaultKind::NatReboot {
            network: home(),
            address,
        },
    );
}

#[test]
fn a_changed_link_keeps_what_the_fault_does_not_name() {
    let keys = "kind = \"link-change\"\nat = \"1s\"\nnetwork = \"home\"\nto = { loss = \"30%\" }";
    let read = scenario(&fault(keys));
    let FaultKind::LinkChange { link, to, .. } = &read.faults[0].kind else {
        panic!("{:?}", read.faults);
    };
    assert_eq!(*link, LinkName::Uplink);
    assert_eq!(to.up, to.down);
    assert_eq!(to.up.delay, Duration::from_millis(20));
    assert!((to.up.mean_loss() - 0.3).abs() < 1e-9);
}

#[test]
fn a_fault_begins_at_a_moment_after_an_event_or_on_a_message() {
    let begin = |when: &str| {
        let keys = format!("kind = \"turn-out\"\n{when}");
        let faults = scenario(&fault(&keys)).faults;
        faults.into_iter().next().map(|fault| fault.begin)
    };
    assert_eq!(begin("at = \"3s\""), Some(Begin::At(seconds(3))));
    let after = begin("after = \"ringing + 1s\"");
    assert_eq!(after, Some(Begin::AfterRinging(seconds(1))));
    let after = begin("after = \"audio + 2s\"");
    assert_eq!(after, Some(Begin::AfterAudio(seconds(2))));
    let on = |message, number| {
        Some(Begin::OnMessage {
            peer: alice(),
            message,
            number,
        })
    };
    let third = begin("on = \"alice sends candidate 3\"");
    assert_eq!(third, on(MessageName::Candidate, 3));
    let first = begin("on = \"alice sends offer\"");
    assert_eq!(first, on(MessageName::Offer, 1));
}

#[test]
fn a_fault_ends_after_a_time_or_at_a_moment() {
    let lasts = |keys: &str| {
        let keys = format!("kind = \"turn-out\"\nat = \"3s\"\n{keys}");
        scenario(&fault(&keys)).faults[0].lasts
    };
    assert_eq!(lasts("for = \"5s\""), Some(seconds(5)));
    assert_eq!(lasts("until = \"8s\""), Some(seconds(5)));
    assert_eq!(lasts(""), None);
}

#[test]
fn faults_are_in_the_order_of_their_moments() {
    let text = [
        fault("kind = \"mapping-flush\"\nnetwork = \"home\"\nafter = \"audio + 1s\""),
        fault("kind = \"mapping-flush\"\nnetwork = \"home\"\nat = \"9s\""),
        fault("kind = \"rebinding\"\nnetwork = \"home\"\nat = \"2s\""),
    ];
    let begins = |faults: Vec<Fault>| -> Vec<String> {
        faults.iter().map(|fault| fault.begin.to_string()).collect()
    };
    assert_eq!(
        begins(scenario(&text.concat()).faults),
        ["at 2s", "at 9s", "audio + 1s"]
    );
}

#[test]
fn a_peer_that_moves_knows_all_its_networks() {
    let switch = |at: &str, to: &str| {
        fault(&format!(
            "kind = \"network-switch\"\npeer = \"alice\"\nto = \"{to}\"\nat = \"{at}\""
        ))
    };
    let read = scenario(&[switch("9s", "home"), switch("2s", "lte")].concat());
    assert_eq!(read.networks_of("alice"), ["home", "lte"]);
    assert_eq!(read.networks_of("bob"), ["office"]);
    assert!(read.networks_of("carol").is_empty());
}

#[test]
fn who_is_not_killed_hangs_up() {
    let read = scenario(&fault("kind = \"app-kill\"\npeer = \"alice\"\nat = \"9s\""));
    let last = read.script.last().expect("there is a script");
    assert_eq!(
        (last.peer.as_str(), last.trigger),
        ("bob", Trigger::AfterAudio(seconds(5)))
    );
}

#[test]
fn a_network_can_be_behind_another() {
    let read = scenario(
        "[network.carrier]\nnat = \"symmetric\"\nip = \"dual\"\nipv6 = \"open\"\n\
         [network.flat]\nnat = \"full-cone\"\nbehind = \"carrier\"\nsubnet = \"192.168.1.0/24\"\n",
    );
    let flat = &read.networks["flat"];
    assert_eq!(flat.behind.as_deref(), Some("carrier"));
    assert_eq!(
        flat.subnet,
        Some("192.168.1.0".parse().expect("an address"))
    );
    assert_eq!(flat.families, Families::V4);
    assert_eq!(flat.ipv6_firewall, Ipv6Firewall::Stateful);
    let carrier = &read.networks["carrier"];
    assert_eq!((&carrier.behind, carrier.subnet), (&None, None));
    assert_eq!(carrier.families, Families::Dual);
    assert_eq!(carrier.ipv6_firewall, Ipv6Firewall::Open);
}

#[test]
fn networks_that_cannot_be_are_errors() {
    let network = |name: &str, keys: &str| format!("[network.{name}]\n{keys}\n");
    let behind = |name: &str, behind: &str| {
        network(name, &format!("nat = \"symmetric\"\nbehind = \"{behind}\""))
    };
    let check = |text: &[String], said: &[&str]| assert_eq!(problems(&text.concat()), said);
    check(
        &[behind("flat", "carier")],
        &["network.flat.behind = \"carier\": there is no such network"],
    );
    check(
        &[behind("flat", "public")],
        &["network.flat.behind = \"public\": that network has no NAT"],
    );
    check(
        &[behind("flat", "flat")],
        &["network.flat.behind = \"flat\": this leads back to the network itself"],
    );
    check(
        &[
            behind("one", "two"),
            behind("two", "one"),
            behind("three", "one"),
        ],
        &[
            "network.one.behind = \"two\": this leads back to the network itself",
            "network.two.behind = \"one\": this leads back to the network itself",
        ],
    );
    check(
        &[
            behind("one", "lte"),
            behind("two", "one"),
            behind("three", "two"),
        ],
        &["network.three.behind = \"two\": this is layer 4, counted from the core"],
    );
    check(
        &[network(
            "flat",
            "nat = \"symmetric\"\nip = \"dual\"\nbehind = \"lte\"",
        )],
        &["network.flat.behind = \"lte\": that network has no IPv6, which this one has"],
    );
    check(
        &[network("flat", "ipv6 = \"open\"")],
        &["network.flat.ipv6 = \"open\": this network has no IPv6"],
    );
    check(
        &[network("flat", "ip = \"v6\"\nsubnet = \"10.0.0.0/24\"")],
        &["network.flat.subnet = \"10.0.0.0/24\": this network has no IPv4"],
    );
    check(
        &[network("flat", "subnet = \"10.0.0.0/24\"")],
        &["network.flat.subnet = \"10.0.0.0/24\": without a NAT the hosts have public addresses"],
    );
    check(
        &[network(
            "flat",
            "nat = \"symmetric\"\nsubnet = \"203.0.113.0/24\"",
        )],
        &["network.flat.subnet = \"203.0.113.0/24\": this is not private"],
    );
    check(
        &[network("flat", "nat = \"symmetric\"\nip = \"v6\"")],
        &["network.flat: this network has a NAT and no IPv4 for it to translate"],
    );
    check(
        &[network("flat", "ip = \"v6\"\nportal = { until = \"5s\" }")],
        &["network.flat.portal: portals and proxies intercept IPv4, which this network has not"],
    );
}

#[test]
fn a_server_that_is_down_has_no_faults() {
    let text = format!(
        "{}[servers]\nturn = \"down\"\n",
        fault("kind = \"turn-out\"\nat = \"1s\"")
    );
    assert_eq!(
        problems(&text),
        ["fault[0].kind = \"turn-out\": the turn servers are down all the time"]
    );
}

#[test]
fn silence_and_loss_can_be_expected() {
    let expect = |keys: &str| scenario(&format!("[expect]\n{keys}\n")).expect;
    assert_eq!(
        expect("outcome = \"no-audio\""),
        Expectation::NoAudio { cause: None }
    );
    let cause = Some("no packet".to_owned());
    assert_eq!(
        expect("outcome = \"audio-lost\"\ncause = \"no packet\""),
        Expectation::AudioLost { cause }
    );
}

#[test]
fn clients_can_be_told_to_use_relays_only() {
    assert_eq!(scenario("").client_config(), ClientConfig::default());
    let read = scenario("[client]\npolicy = \"relay-only\"\n");
    let policy = read.client_config().ice.policy;
    assert_eq!(policy, TransportPolicy::RelayOnly);
}

#[test]
fn what_only_audio_that_is_kept_can_have_is_an_error_without_it() {
    let talk = "[talk]\nfor = \"9s\"\n";
    assert_eq!(
        problems(&format!(
            "[expect]\noutcome = \"no-audio\"\nwithin = \"5s\"\n{talk}"
        )),
        [
            "expect.within = \"5s\": this means nothing where `no-audio` is expected",
            "talk: nobody talks where `no-audio` is expected",
        ],
    );
    assert_eq!(
        problems("[expect]\nback_within = \"5s\"\n"),
        ["expect.back_within = \"5s\": no fault can interrupt the audio"],
    );
    let flush = fault("kind = \"mapping-flush\"\nnetwork = \"home\"\nat = \"9s\"");
    let read = scenario(&format!("[expect]\nback_within = \"2s\"\n{flush}"));
    let Expectation::AudioConnected { back_within, .. } = read.expect else {
        panic!("{:?}", read.expect);
    };
    assert_eq!(back_within, seconds(2));
    scenario(&format!("[expect]\noutcome = \"audio-lost\"\n{talk}"));
}

#[test]
fn what_a_peer_sends_is_counted_in_the_trace() {
    let facts = FactCollector::default();
    let options = RunOptions {
        observers: vec![Box::new(facts.clone())],
        ..RunOptions::default()
    };
    let report = run(&scenario(""), Seed::new(7), options).expect("a world");
    assert!(report.passed, "{:?}", report.failures);
    let sent = |peer, message| facts.with(|facts| facts.messages_sent(peer, message));
    assert_eq!(sent("alice", MessageName::Offer), 1);
    assert_eq!(sent("alice", MessageName::Answer), 0);
    assert_eq!(sent("bob", MessageName::Answer), 1);
    let candidates = sent("bob", MessageName::Candidate);
    assert!(candidates >= 3, "{candidates}: host, srflx and relay");
    let at =
        |number| facts.with(|facts| facts.message_sent_at("bob", MessageName::Candidate, number));
    assert!(at(1) <= at(candidates) && at(1).is_some());
    assert_eq!(at(candidates + 1), None);
}
