//! Scenario files: what the good ones mean, and what is said about the bad ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;
use ringtrue_sim::net::firewall::Passage;
use ringtrue_sim::net::link::LinkPair;
use ringtrue_sim::net::nat::NatPreset;
use ringtrue_sim::report::{Failure, FailureCause};
use ringtrue_sim::scenario::model::{
    Action, CallPath, Expectation, NatBox, ScriptStep, ServerState, Trigger,
};
use ringtrue_sim::scenario::{LoadError, Rendering, Scenario, load_paths};
use ringtrue_sim::seed::Seed;
use tempfile::TempDir;

const GOOD: &str = r#"about = "Two homes talk."

[network.home-a]
nat = "full-cone"
uplink = { delay = "15ms", loss = "0%" }

[network.home-b]
nat = "symmetric"

[peer.alice]
network = "home-a"

[peer.bob]
network = "home-b"
"#;

const SCRIPT: &str = r#"
[[script]]
at = "1s"
peer = "alice"
do = "call"
callee = "bob"

[[script]]
after = "ringing + 2s"
peer = "bob"
do = "answer"
"#;

/// A project with fixtures, in a directory of its own.
struct Project {
    directory: TempDir,
}

impl Project {
    fn new() -> Self {
        Self {
            directory: crate::support::project(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let directory = path.parent().expect("below the project");
        fs::create_dir_all(directory).expect("new directories");
        fs::write(&path, content).expect("a new file");
        path
    }

    /// The text without the project's own path, which differs from run to run.
    fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn parse(text: &str) -> Scenario {
    let project = Project::new();
    Scenario::parse(&project.path("scenarios/good.toml"), text).expect("a valid scenario")
}

fn render(text: &str, rendering: Rendering) -> String {
    let project = Project::new();
    let invalid = Scenario::parse(&project.path("scenarios/bad.toml"), text)
        .expect_err("the text is no valid scenario");
    project.relative(&invalid.render(rendering))
}

fn errors(text: &str) -> String {
    render(text, Rendering::Plain)
}

/// What is said of the good scenario with one mistake in it.
fn mistake(good: &str, bad: &str) -> String {
    assert!(GOOD.contains(good), "{good:?} is not in the good scenario");
    errors(&GOOD.replacen(good, bad, 1))
}

fn with_script(good: &str, bad: &str) -> String {
    assert!(SCRIPT.contains(good), "{good:?} is not in the script");
    errors(&format!("{GOOD}{}", SCRIPT.replacen(good, bad, 1)))
}

fn step(trigger: Trigger, peer: &str, action: Action) -> ScriptStep {
    let peer = peer.to_owned();
    ScriptStep {
        trigger,
        peer,
        action,
    }
}

fn call_bob() -> Action {
    let callee = "bob".to_owned();
    Action::Call { callee }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_the_file_leaves_out_has_its_default() {
    let scenario = parse(GOOD);
    assert_eq!(scenario.name, "good");
    let home = &scenario.networks["home-b"];
    let symmetric = NatBox::from(NatPreset::Symmetric);
    assert_eq!(home.nat.as_ref(), Some(&symmetric));
    assert_eq!(home.firewall.udp, Passage::Open);
    assert_eq!(home.lan, LinkPair::from(Duration::from_millis(5)));
    assert_eq!(home.uplink, LinkPair::from(Duration::from_millis(15)));
    assert!(
        scenario.peers["alice"]
            .plays
            .ends_with("fixtures/tone-low.opus")
    );
    assert!(
        scenario.peers["bob"]
            .plays
            .ends_with("fixtures/tone-high.opus")
    );
    assert_eq!(scenario.servers.delay, Duration::from_millis(5));
    assert_eq!(scenario.servers.turn, ServerState::Up);
    assert_eq!(scenario.expect, Expectation::default());
    assert_eq!(scenario.talk, Some(seconds(5)));
    assert_eq!(
        scenario.script,
        [
            step(Trigger::At(seconds(0)), "alice", call_bob()),
            step(Trigger::AfterRinging(seconds(1)), "bob", Action::Answer),
            step(Trigger::AfterAudio(seconds(5)), "alice", Action::HangUp),
        ],
    );
}

#[test]
fn a_script_without_hang_up_gets_one_at_the_end_of_the_talk() {
    let scenario = parse(&format!("{GOOD}{SCRIPT}\n[talk]\nfor = \"1m30s\"\n"));
    assert_eq!(scenario.talk, Some(seconds(90)));
    assert_eq!(
        scenario.script,
        [
            step(Trigger::At(seconds(1)), "alice", call_bob()),
            step(Trigger::AfterRinging(seconds(2)), "bob", Action::Answer),
            step(Trigger::AfterAudio(seconds(90)), "alice", Action::HangUp),
        ],
    );
}

#[test]
fn steps_come_in_the_order_of_their_times() {
    let early = "\n[[script]]\nat = \"0s\"\npeer = \"bob\"\ndo = \"kill\"\n\
                 [[script]]\nat = \"500ms\"\npeer = \"bob\"\ndo = \"start\"\n\
                 [[script]]\nafter = \"audio + 2s\"\npeer = \"bob\"\ndo = \"hang-up\"\n";
    let scenario = parse(&format!("{GOOD}{SCRIPT}{early}"));
    let actions: Vec<String> = scenario
        .script
        .iter()
        .map(|step| step.action.to_string())
        .collect();
    assert_eq!(actions, ["kill", "start", "call bob", "answer", "hang-up"]);
    assert_eq!(scenario.talk, None);
}

#[test]
fn an_expectation_carries_all_that_the_file_says() {
    let scenario = parse(&format!(
        "{GOOD}[expect]\npath = \"direct\"\nwithin = \"5s\"\nselected = {{ bob = \"srflx\" }}\n"
    ));
    let Expectation::AudioConnected {
        within,
        path,
        selected,
        ..
    } = scenario.expect
    else {
        panic!("audio is expected unless the file says otherwise");
    };
    assert_eq!((within, path), (Some(seconds(5)), Some(CallPath::Direct)));
    assert_eq!(selected.keys().collect::<Vec<_>>(), ["bob"]);
}

#[test]
fn an_unknown_key_is_an_error() {
    assert_snapshot!(mistake("delay = \"15ms\"", "delai = \"15ms\""));
}

#[test]
fn an_unknown_value_is_an_error() {
    assert_snapshot!(mistake("\"full-cone\"", "\"ful-cone\""));
}

#[test]
fn a_wrong_type_is_an_error() {
    assert_snapshot!(mistake("delay = \"15ms\"", "delay = 15"));
}

#[test]
fn a_loss_of_130_percent_is_an_error() {
    assert_snapshot!(mistake("\"0%\"", "\"130%\""));
}

#[test]
fn a_negative_duration_is_an_error() {
    assert_snapshot!(mistake("\"15ms\"", "\"-15ms\""));
}

#[test]
fn a_delay_under_the_step_of_the_world_is_an_error() {
    assert_snapshot!(mistake(
        "uplink = { delay = \"15ms\"",
        "lan = { delay = \"0.5ms\""
    ));
}

#[test]
fn a_time_between_two_milliseconds_is_an_error() {
    assert_snapshot!(with_script("\"1s\"", "\"1.0005s\""));
}

#[test]
fn a_peer_on_no_network_is_an_error() {
    assert_snapshot!(mistake("network = \"home-b\"", ""));
}

#[test]
fn a_peer_on_an_unknown_network_is_an_error_that_suggests_the_nearest() {
    assert_snapshot!(mistake("network = \"home-b\"", "network = \"hom-b\""));
}

#[test]
fn two_peers_of_one_name_are_an_error() {
    assert_snapshot!(mistake("[peer.bob]", "[peer.alice]"));
}

#[test]
fn a_key_given_twice_is_an_error() {
    let twice = "nat = \"symmetric\"\nnat = \"none\"";
    assert_snapshot!(mistake("nat = \"symmetric\"", twice));
}

#[test]
fn a_lone_peer_is_an_error() {
    assert_snapshot!(mistake("[peer.bob]\nnetwork = \"home-b\"\n", ""));
}

#[test]
fn a_name_that_no_host_can_have_is_an_error() {
    assert_snapshot!(mistake("[peer.bob]", "[peer.\"Böb \"]"));
}

#[test]
fn a_missing_fixture_is_an_error() {
    let plays = "network = \"home-b\"\nplays = \"silence.opus\"";
    assert_snapshot!(mistake("network = \"home-b\"", plays));
}

#[test]
fn a_fixture_outside_the_fixtures_is_an_error() {
    let plays = "network = \"home-b\"\nplays = \"../fixtures/tone-low.opus\"";
    assert_snapshot!(mistake("network = \"home-b\"", plays));
}

#[test]
fn one_tone_for_both_sides_is_an_error() {
    let plays = "network = \"home-b\"\nplays = \"tone-low.opus\"";
    assert_snapshot!(mistake("network = \"home-b\"", plays));
}

#[test]
fn an_empty_about_is_an_error() {
    assert_snapshot!(mistake("\"Two homes talk.\"", "\" \""));
}

#[test]
fn a_missing_about_is_an_error() {
    assert_snapshot!(mistake("about = \"Two homes talk.\"", ""));
}

const FAILS: &str = r#"
[fails]
client = "naive"
seed = 17
cause = "wrong-outcome"
says = "there is none"
"#;

#[test]
fn a_scenario_can_hold_on_to_a_failure() {
    let story = "story = \"\"\"\nAlice was on a train.\n[It] was late.\n\"\"\"\nsource = \"an issue of 2019\"\n";
    let scenario = parse(&format!("{story}{GOOD}{FAILS}"));
    let told = scenario.story.as_deref();
    assert_eq!(told, Some("Alice was on a train.\n[It] was late."));
    assert_eq!(scenario.source.as_deref(), Some("an issue of 2019"));
    let fails = scenario.fails.expect("it is in the text");
    assert_eq!(fails.client.to_string(), "naive");
    assert_eq!(fails.seed, Seed::new(17));
    let failure = |cause, message: &str| Failure::new(cause, message.to_owned());
    let wrong = FailureCause::WrongOutcome;
    assert!(fails.is(&failure(wrong, "expected audio, and there is none")));
    assert!(!fails.is(&failure(wrong, "expected no audio, and there is some")));
    assert!(!fails.is(&failure(FailureCause::TooLate, "there is none")));
    let plain = parse(GOOD);
    assert_eq!((plain.story, plain.source, plain.fails), (None, None, None));
}

/// What is said of a failure to hold on to with one mistake in it.
fn with_fails(good: &str, bad: &str) -> String {
    assert!(FAILS.contains(good), "{good:?} is not in the failure");
    errors(&format!("{GOOD}{}", FAILS.replacen(good, bad, 1)))
}

#[test]
fn failures_to_hold_on_to_that_cannot_be_are_errors() {
    let all = [
        with_fails("wrong-outcome", "wrong-outcom"),
        with_fails("17", "-1"),
        with_fails("17", "\"17\""),
        with_fails("naive", "Naive client"),
        with_fails("there is none", " "),
        with_fails("says", "message"),
        errors(&format!("{GOOD}[fails]\n")),
        errors(&format!("fails = 17\n{GOOD}")),
        errors(&format!("story = \"\"\nsource = \"a\\nb\"\n{GOOD}")),
    ];
    assert_snapshot!(all.join("\n"));
}

#[test]
fn a_scenario_without_a_directory_plays_the_tones_of_the_program() {
    let alone = |text: &str| Scenario::parse_alone(Path::new("alone.toml"), text);
    let scenario = alone(GOOD).expect("a valid scenario");
    assert_eq!(scenario.tracks, renamed(parse(GOOD).tracks));
    let other = GOOD.replace(
        "network = \"home-a\"",
        "network = \"home-a\"\nplays = \"voice.opus\"",
    );
    let invalid = alone(&other).expect_err("there is no such tone");
    assert_snapshot!(invalid.render(Rendering::Plain));
}

/// Tracks by the names of their files, without the directory.
fn renamed<T>(tracks: BTreeMap<PathBuf, T>) -> BTreeMap<PathBuf, T> {
    let name = |path: PathBuf| PathBuf::from(path.file_name().expect("a file"));
    tracks
        .into_iter()
        .map(|(path, track)| (name(path), track))
        .collect()
}

#[test]
fn a_step_of_an_unknown_peer_is_an_error() {
    assert_snapshot!(with_script("peer = \"bob\"", "peer = \"rob\""));
}

#[test]
fn a_call_without_callee_is_an_error() {
    assert_snapshot!(with_script("callee = \"bob\"", ""));
}

#[test]
fn a_callee_where_nobody_is_called_is_an_error() {
    assert_snapshot!(with_script(
        "do = \"answer\"",
        "do = \"answer\"\ncallee = \"alice\""
    ));
}

#[test]
fn a_hang_up_before_any_call_is_an_error() {
    let early = "\n[[script]]\nat = \"0s\"\npeer = \"bob\"\ndo = \"hang-up\"\n";
    assert_snapshot!(errors(&format!("{GOOD}{SCRIPT}{early}")));
}

#[test]
fn a_step_without_its_moment_is_an_error() {
    assert_snapshot!(with_script("at = \"1s\"", ""));
}

#[test]
fn a_step_at_two_moments_is_an_error() {
    assert_snapshot!(with_script("after =", "at = \"1s\"\nafter ="));
}

#[test]
fn a_step_after_an_unknown_event_is_an_error() {
    assert_snapshot!(with_script("ringing + 2s", "silence + 2s"));
}

#[test]
fn a_script_without_a_call_is_an_error() {
    assert_snapshot!(errors(&format!("script = []\n{GOOD}")));
}

#[test]
fn a_start_of_what_runs_is_an_error() {
    let start = "\n[[script]]\nat = \"9s\"\npeer = \"bob\"\ndo = \"start\"\n";
    assert_snapshot!(errors(&format!("{GOOD}{SCRIPT}{start}")));
}

#[test]
fn a_step_of_a_dead_app_is_an_error() {
    let kill = "\n[[script]]\nat = \"0s\"\npeer = \"alice\"\ndo = \"kill\"\n";
    assert_snapshot!(errors(&format!("{GOOD}{SCRIPT}{kill}")));
}

#[test]
fn a_talk_that_the_script_ends_is_an_error() {
    let end = "\n[[script]]\nafter = \"audio + 3s\"\npeer = \"bob\"\ndo = \"hang-up\"\n";
    assert_snapshot!(errors(&format!(
        "{GOOD}{SCRIPT}{end}[talk]\nfor = \"5s\"\n"
    )));
}

#[test]
fn a_candidate_of_an_unknown_peer_is_an_error() {
    let expect = "[expect]\nselected = { alise = \"host\" }\n";
    assert_snapshot!(errors(&format!("{GOOD}{expect}")));
}

#[test]
fn what_is_wrong_with_perturbed_messages_is_an_error() {
    let messages = [
        "from = \"alise\"\ndelay = \"1s\"",
        "kind = \"offer\"\ndelay = \"1s\"",
        "from = \"bob\"\nkind = \"offers\"\ndrop = 1",
        "from = \"bob\"\nkind = \"offer\"",
        "from = \"bob\"\nwhich = 0\ncopies = 33",
        "from = \"bob\"\ndelay = \"30s to 3s\"",
        "from = \"bob\"\ndrop = 1\ncopy_delay = \"1s\"",
        "from = \"bob\"\nkind = \"offer\"\nbeside = \"empty-candidate\"",
        "from = \"bob\"\nkind = \"candidate\"\nbeside = \"offers\"",
    ];
    let [well_formed, malformed]: [Vec<_>; 2] = [false, true].map(|is_malformed| {
        let of_kind = messages.iter().filter(|message| {
            let malformed = message.contains("offers") || message.contains("to 3s");
            malformed == is_malformed
        });
        of_kind
            .map(|message| format!("[[message]]\n{message}\n"))
            .collect()
    });
    assert_snapshot!(
        "perturbed_messages_that_cannot_be",
        errors(&format!("{GOOD}{}", well_formed.concat()))
    );
    assert_snapshot!(
        "perturbed_messages_that_cannot_be_read",
        errors(&format!("{GOOD}{}", malformed.concat()))
    );
    let proxy = GOOD.replace(
        "nat = \"symmetric\"",
        "nat = \"symmetric\"\nproxy = \"breaks-websocket\"",
    );
    assert_snapshot!(
        "perturbed_messages_behind_a_proxy",
        errors(&format!(
            "{proxy}[[message]]\nfrom = \"bob\"\ndelay = \"1s\"\n"
        ))
    );
}

#[test]
fn users_whose_devices_cannot_be_told_apart_are_an_error() {
    let another =
        "[peer.tablet]\nnetwork = \"home-a\"\nuser = \"alice\"\nplays = \"tone-high.opus\"\n";
    let taken = "[peer.phone]\nnetwork = \"home-a\"\nuser = \"bob\"\n";
    let renamed = GOOD.replace(
        "[peer.bob]\nnetwork = \"home-b\"",
        "[peer.bob]\nnetwork = \"home-b\"\nuser = \"robert\"",
    );
    assert_snapshot!(errors(&format!("{renamed}{another}{taken}")));
}

#[test]
fn devices_of_one_user_have_the_sound_of_the_user() {
    let tablet = "[peer.tablet]\nnetwork = \"home-a\"\nuser = \"bob\"\n";
    let scenario = parse(&format!("{GOOD}{tablet}"));
    assert_eq!(scenario.peers["tablet"].plays, scenario.peers["bob"].plays);
    let devices: Vec<_> = scenario.devices_of("bob").collect();
    assert_eq!(devices, ["bob", "tablet"]);
}

#[test]
fn a_cause_where_audio_is_expected_is_an_error() {
    assert_snapshot!(errors(&format!("{GOOD}[expect]\ncause = \"UDP\"\n")));
}

#[test]
fn what_only_audio_can_have_is_an_error_without_it() {
    let expect = "[expect]\noutcome = \"unreachable\"\nwithin = \"5s\"\npath = \"direct\"\n";
    assert_snapshot!(errors(&format!("{GOOD}{expect}[talk]\nfor = \"5s\"\n")));
}

#[test]
fn what_is_no_toml_is_an_error() {
    assert_snapshot!(errors("about = \nnetwork = {{\n"));
}

#[test]
fn one_table_in_the_place_of_a_list_is_an_error() {
    assert_snapshot!(errors(&format!("{GOOD}[fault]\nkind = \"blackhole\"\n")));
}

#[test]
fn a_text_without_its_end_is_an_error() {
    assert_snapshot!(errors("about = \"Two homes talk.\n"));
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let text = GOOD
        .replace("\"0%\"", "\"130%\"")
        .replace("\"symmetric\"", "7")
        .replace("[peer.bob]", "[peer.bob]\nvolume = 11");
    assert_snapshot!("all_that_is_wrong_plain", render(&text, Rendering::Plain));
    assert_snapshot!(
        "all_that_is_wrong_graphical",
        render(&text, Rendering::Graphical)
    );
}

#[test]
fn a_scenario_without_fixtures_above_it_has_the_tones_of_the_program() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("alone.toml");
    let scenario = Scenario::parse(&path, GOOD).unwrap_or_else(|error| panic!("{error:?}"));
    assert!(scenario.peers["bob"].plays.ends_with("tone-high.opus"));
    // So it is where other people's projects have fixtures of another kind.
    fs::create_dir(directory.path().join("fixtures")).expect("a new directory");
    assert!(Scenario::parse(&path, GOOD).is_ok());
    let silence = GOOD.replace(
        "network = \"home-b\"",
        "network = \"home-b\"\nplays = \"silence.opus\"",
    );
    let invalid = Scenario::parse(&path, &silence).expect_err("nobody has it");
    assert!(invalid.render(Rendering::Plain).contains("silence.opus"));
}

#[test]
fn paths_that_give_no_scenario_are_errors_all_at_once() {
    let project = Project::new();
    fs::create_dir_all(project.path("empty/deeper")).expect("new directories");
    project.write("latin-1.toml", b"about = \"caf\xe9\"\n");
    project.write("bad.toml", GOOD.replace("0%", "101%"));
    let paths = ["empty", "missing.toml", "latin-1.toml", "bad.toml"];
    let paths: Vec<PathBuf> = paths.iter().map(|path| project.path(path)).collect();
    let errors = load_paths(&paths).expect_err("none of them is a scenario");
    assert_eq!(errors.errors().len(), 4);
    assert_snapshot!(project.relative(&errors.render(Rendering::Plain)));
    assert!(matches!(
        load_paths(&[]).expect_err("nothing is named").errors(),
        [LoadError::NothingNamed],
    ));
}

#[test]
fn directories_are_searched_and_every_file_is_loaded_once() {
    let project = Project::new();
    let first = project.write("scenarios/nat/b.toml", GOOD);
    project.write("scenarios/nat/a.toml", GOOD);
    project.write("scenarios/z/deep/c.toml", GOOD);
    project.write("scenarios/README.md", "no scenario");
    let scenarios = load_paths(&[first, project.path("scenarios")]).expect("valid scenarios");
    let names: Vec<&str> = scenarios
        .iter()
        .map(|scenario| scenario.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn the_scenarios_of_the_repository_are_valid_and_tell_their_story() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let scenarios = load_paths(&[directory]).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(scenarios.len() >= 8);
    for scenario in scenarios {
        let text = fs::read_to_string(&scenario.path).expect("it was read before");
        let story = text.lines().find(|line| !line.starts_with("#:schema "));
        let tells = story.is_some_and(|line| line.starts_with("# "));
        assert!(tells, "{} tells no story", scenario.name);
    }
}

#[test]
fn the_example_of_the_reference_is_a_scenario() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/README.md");
    let readme = fs::read_to_string(readme).expect("the reference is there");
    let (_, rest) = readme
        .split_once("```toml\n")
        .expect("the reference has an example");
    let (example, _) = rest.split_once("```").expect("the example ends");
    let example = parse(example);
    assert!(example.talk.is_some() && !example.faults.is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let project = Project::new();
        let path = project.write("fuzz.toml", &bytes);
        if let Err(errors) = load_paths(&[path]) {
            prop_assert!(!errors.render(Rendering::Plain).is_empty());
            prop_assert!(!errors.render(Rendering::Graphical).is_empty());
        }
    }

    #[test]
    fn no_damage_to_a_scenario_makes_it_panic(
        cut in 0_usize..400,
        length in 0_usize..12,
        inserted in "[\\[\\]{}=\".,#\n0-9a-z %é-]{0,12}",
    ) {
        let mut text: Vec<char> = format!("{GOOD}{SCRIPT}").chars().collect();
        let start = cut.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, inserted.chars());
        let text: String = text.into_iter().collect();
        let project = Project::new();
        if let Err(invalid) = Scenario::parse(&project.path("fuzz.toml"), &text) {
            prop_assert!(!invalid.problems().is_empty());
            prop_assert!(!invalid.render(Rendering::Graphical).is_empty());
        }
    }
}

#[test]
fn depth_does_not_make_it_panic() {
    let depth = 20_000;
    for text in [
        format!("a = {}", "[".repeat(depth)),
        format!("a = {}", "{ a = ".repeat(depth)),
        format!("{} = 1", vec!["a"; depth].join(".")),
        format!("[{}]", vec!["a"; depth].join(".")),
    ] {
        errors(&text);
    }
}
