//! The JSON Schema of scenario files: that it is the one of this version, that every file refers to it,
//! and that it takes what the loader takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringtrue_sim::endpoint::RingtrueEndpoint;
use ringtrue_sim::fuzz::campaign::{Campaign, CaseKind, Limit, OnFailure, Shard};
use ringtrue_sim::scenario::{Scenario, load_paths, schema};
use ringtrue_sim::seed::Seed;
use serde_json::Value;

use crate::support::{ringtrue, root, stdout};

mod draft7;

/// A scenario with a key of every kind, in which each mistake is made alone.
const GOOD: &str = r#"
about = "A home calls a home."
[fails]
client = "naive"
seed = 1
cause = "too-late"
[network.a]
nat = { preset = "home", udp_timeout = "30s", ports = "1024-2047", addresses = 2 }
subnet = "192.168.1.0/24"
tcp_ports = [443]
lan = "wifi"
uplink = { delay = "1.5ms", rate = "1Mbps", up = { loss = "5% in bursts of 4" } }
[network.b]
idle_tcp = { after = "60s", how = "reset" }
[peer.alice]
network = "a"
[peer.bob]
network = "b"
[servers]
signaling_port = 443
[[script]]
after = "ringing + 1s"
peer = "bob"
do = "answer"
[[fault]]
kind = "link-change"
at = "1s"
network = "a"
to = { mtu = 1400 }
[[fault]]
kind = "socket-drop"
on = "before alice sends frame 17"
peer = "alice"
how = "rst"
[[message]]
from = "alice"
delay = "0s to 3s"
copies = 2
[expect]
outcome = "audio-connected"
selected = { alice = "host" }
within = "10s"
"#;

/// What the schema has against a scenario.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    let value: Value = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let schema = Value::from(schema::schema());
    draft7::problems(&schema, &value)
}

/// The schema has something against [`GOOD`] once `before` is `after` in it, and says where.
#[track_caller]
fn check_refused(before: &str, after: &str, place: &str) {
    assert!(GOOD.contains(before), "{before:?} is not in the scenario");
    let problems = problems(&GOOD.replace(before, after));
    assert!(
        problems.iter().any(|problem| problem.starts_with(place)),
        "{after:?}: {problems:?}"
    );
}

/// Every scenario file of the checkout.
#[track_caller]
fn files() -> Vec<PathBuf> {
    let directories = ["scenarios", "fixtures"].map(|directory| root().join(directory));
    let scenarios = load_paths(&directories).unwrap_or_else(|errors| panic!("{errors}"));
    let files: Vec<PathBuf> = scenarios.into_iter().map(|each| each.path).collect();
    assert!(files.len() > 100, "some were not found");
    files
}

#[test]
fn the_schema_of_the_checkout_is_that_of_this_version() {
    let committed = fs::read_to_string(root().join("scenarios/schema.json"));
    assert!(
        committed.expect("the schema is there") == schema::text(),
        "run `ringtrue schema > scenarios/schema.json`"
    );
}

#[test]
fn the_command_prints_the_schema_and_nothing_else() {
    let output = ringtrue(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), schema::text());
}

#[test]
fn every_scenario_refers_to_the_schema() {
    let of_checkout = root().join("scenarios/schema.json");
    for file in files() {
        let text = fs::read_to_string(&file).expect("it was read before");
        let first = text.lines().next().unwrap_or_default();
        let path = first.strip_prefix("#:schema ");
        let path = path.unwrap_or_else(|| panic!("{} refers to none", file.display()));
        let directory = file.parent().expect("a file is in a directory");
        let referred = directory.join(path).canonicalize();
        assert_eq!(
            referred.ok(),
            of_checkout.canonicalize().ok(),
            "{}",
            file.display()
        );
    }
}

#[test]
fn every_scenario_is_what_the_schema_says() {
    for file in files() {
        let text = fs::read_to_string(&file).expect("it was read before");
        let none: [String; 0] = [];
        assert_eq!(problems(&text), none, "{}", file.display());
    }
}

#[test]
fn the_example_of_the_reference_is_what_the_schema_says() {
    let readme = fs::read_to_string(root().join("scenarios/README.md")).expect("it is there");
    let (_, rest) = readme.split_once("```toml\n").expect("it has an example");
    let (example, _) = rest.split_once("```").expect("the example ends");
    assert_eq!(problems(example), [] as [String; 0]);
}

#[test]
fn what_chance_makes_is_what_the_schema_says() {
    let campaign = Campaign {
        seed: Seed::new(1),
        limit: Limit::Cases(0),
        shard: Shard::ALL,
        jobs: 1,
        on_failure: OnFailure::Stop,
        kind: CaseKind::Faulty,
        endpoint: Arc::new(RingtrueEndpoint),
    };
    for number in 0..100 {
        let text = campaign.case(number).0.to_toml();
        assert_eq!(problems(&text), [] as [String; 0], "{text}");
    }
}

#[test]
fn a_scenario_that_is_broken_is_refused_at_its_place() {
    assert_eq!(problems(GOOD), [] as [String; 0]);
    // Keys.
    check_refused("about = \"A home calls a home.\"", "", ".about is missing");
    check_refused("about", "abuot", ".abuot: there is no such key");
    check_refused("subnet", "subnets", ".network.a.subnets");
    check_refused("[network.b]", "[network.B]", ".network: \"B\" is not like");
    check_refused("network = \"b\"", "", ".peer.bob.network is missing");
    check_refused("[peer.bob]\nnetwork = \"b\"", "", ".peer: ");
    check_refused(", how = \"reset\"", "", ".network.b.idle_tcp.how");
    // Tables that can be names, and names that can be tables.
    check_refused("udp_timeout", "timeout", ".network.a.nat: ");
    check_refused("lan = \"wifi\"", "lan = \"wlan\"", ".network.a.lan: ");
    check_refused("up = { loss", "up = { los", ".network.a.uplink: ");
    check_refused("mtu = 1400", "mtu = 575", ".fault[0].to: ");
    // Names out of a list.
    check_refused("\"too-late\"", "\"late\"", ".fails.cause: ");
    check_refused("\"link-change\"", "\"link-chance\"", ".fault[0].kind: ");
    check_refused("how = \"rst\"", "how = \"reset\"", ".fault[1].how: ");
    check_refused("\"audio-connected\"", "\"fine\"", ".expect.outcome: ");
    check_refused("\"host\"", "\"local\"", ".expect.selected.alice: ");
    // Texts of a form.
    check_refused("\"10s\"", "\"10\"", ".expect.within: ");
    check_refused("\"ringing + 1s\"", "\"answer + 1s\"", ".script[0].after: ");
    check_refused("frame 17", "frame 0", ".fault[1].on: ");
    check_refused("0s to 3s", "0s - 3s", ".message[0].delay: ");
    check_refused("192.168.1.0/24", "192.168.1.0/16", ".network.a.subnet: ");
    // Numbers.
    check_refused("seed = 1", "seed = -1", ".fails.seed: ");
    check_refused("copies = 2", "copies = 1", ".message[0].copies: ");
    check_refused("[443]", "[]", ".network.a.tcp_ports: ");
    check_refused("[443]", "[65536]", ".network.a.tcp_ports[0]: ");
    check_refused("at = \"1s\"", "at = 1", ".fault[0].at: ");
}

/// The loader and the schema say the same of a value; `key` has it in `[network.a]` or elsewhere.
#[track_caller]
fn check_value(key: &str, value: &str, is_allowed: bool) {
    let text = format!(
        "about = \"A call.\"\n[network.a]\nnat = \"home\"\n[network.b]\n[peer.alice]\nnetwork = \"a\"\n\
         [peer.bob]\nnetwork = \"b\"\n{key} = {value}\n"
    );
    let loaded = Scenario::parse_alone(Path::new("a.toml"), &text);
    assert_eq!(loaded.is_ok(), is_allowed, "{key} = {value}: {loaded:?}");
    let problems = problems(&text);
    assert_eq!(
        problems.is_empty(),
        is_allowed,
        "{key} = {value}: {problems:?}"
    );
}

#[test]
fn the_loader_and_the_schema_take_the_same_forms() {
    let within = "[expect]\nwithin";
    for time in ["0s", "80ms", "1.5s", "1m30s", "1h", "0.25m", "1m2s3ms"] {
        check_value(within, &format!("{time:?}"), true);
    }
    for time in ["", "5", "s", "5 s", "1s1m", "1s1s", "1.5m3s", ".5s", "-5ms"] {
        check_value(within, &format!("{time:?}"), false);
    }
    let uplink = |key| format!("[network.a.uplink]\n{key}");
    for (key, allowed, refused) in [
        ("delay", "1.5ms", "1.5"),
        ("delay", "500us", "500ns"),
        ("delay", "1s5ms2us", "5ms1s"),
        ("jitter", "uniform 30ms", "uniform"),
        ("jitter", "normal 10ms 3ms", "normal 10ms"),
        ("jitter", "exponential 20ms", "gauss 20ms"),
        ("loss", "2.5%", "2.5"),
        ("loss", "5% in bursts of 4", "5% in bursts"),
        ("duplication", "0.0001%", "0.00001%"),
        ("rate", "1.5Mbps", "1.5mbps"),
        ("rate", "unlimited", "fast"),
    ] {
        check_value(&uplink(key), &format!("{allowed:?}"), true);
        check_value(&uplink(key), &format!("{refused:?}"), false);
    }
    let queue = &uplink("rate = \"1Mbps\"\nqueue");
    for queued in ["64KB", "1.5KB", "50 packets", "1500B"] {
        check_value(queue, &format!("{queued:?}"), true);
    }
    for queued in ["64", "64kB", "packets", "50packets"] {
        check_value(queue, &format!("{queued:?}"), false);
    }
}

#[test]
fn every_key_of_the_schema_is_described() {
    let schema = Value::from(schema::schema());
    let definitions = schema["definitions"].as_object().expect("it has some");
    let mut keys = 0;
    for table in definitions.values().chain([&schema]) {
        for (key, property) in table["properties"].as_object().into_iter().flatten() {
            let description = property["description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.'), "{key}: {description:?}");
            keys += 1;
        }
    }
    assert!(keys > 80, "{keys} keys");
}
