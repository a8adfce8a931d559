//! What a NAT in a file means, and what is said about one that cannot be.

use std::path::PathBuf;

use super::*;
use crate::scenario::error::{InvalidScenario, Problem};
use crate::scenario::model::Scenario;

/// A scenario whose network `home` has this NAT, beside those of the project, so that fixtures are
/// found.
fn parse(nat: &str) -> Result<Scenario, InvalidScenario> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let text = format!(
        "about = \"A NAT.\"\n[network.home]\nnat = {nat}\n[peer.alice]\nnetwork = \"home\"\n\
         [peer.bob]\nnetwork = \"home\"\n"
    );
    Scenario::parse(&directory.join("nat.toml"), &text)
}

#[track_caller]
fn nat_of(nat: &str) -> Option<NatBox> {
    match parse(nat) {
        Ok(scenario) => scenario.networks["home"].nat.clone(),
        Err(invalid) => panic!("{nat}: {:?}", invalid.problems()),
    }
}

/// The one problem of a NAT: its key, its value, what is said and what is allowed.
#[track_caller]
fn check_refused(nat: &str, key: &str, value: Option<&str>, said: &str, allowed: &str) {
    let invalid = parse(nat).expect_err("the NAT cannot be");
    let [problem] = invalid.problems() else {
        panic!("{nat} has other than one problem: {:?}", invalid.problems());
    };
    assert_eq!(problem.line(), 3, "{nat}");
    assert_eq!(problem.key(), Some(key), "{nat}");
    assert_eq!(problem.value(), value, "{nat}");
    assert_eq!(problem.kind().to_string(), said, "{nat}");
    let told = Problem::kind(problem).allowed().unwrap_or_default();
    assert!(told.contains(allowed), "{nat}: {told:?} lacks {allowed:?}");
}

#[test]
fn every_preset_can_be_named_alone_and_in_a_table() {
    for preset in NatPreset::ALL {
        let expected = Some(NatBox::from(preset));
        assert_eq!(nat_of(&format!("\"{preset}\"")), expected);
        assert_eq!(nat_of(&format!("{{ preset = \"{preset}\" }}")), expected);
    }
    assert_eq!(nat_of("\"none\""), None);
    assert_eq!(nat_of("{}"), Some(NatBox::default()));
}

#[test]
fn every_key_of_the_table_sets_what_it_names() {
    let nat = nat_of(
        r#"{ preset = "home", mapping = "address-dependent", filtering = "endpoint-independent",
        port_allocation = "sequential", on_collision = "deterministic", parity = "preserved",
        well_known_ports = "ignored", ports = "2000-2999", addresses = 2, pooling = "arbitrary",
        udp_timeout = "30s", udp_well_known_timeout = "10s", udp_refresh = "outbound",
        tcp_established = "2h4m", tcp_transitory = "4m", unknown_tcp = "reset",
        unsolicited_syn = "reset", hairpin = "internal-source", ports_per_host = 64 }"#,
    )
    .expect("a NAT");
    assert_eq!(nat.addresses, 2);
    let config = nat.config;
    assert_eq!(config.mapping, Mapping::AddressDependent);
    assert_eq!(config.filtering, Filtering::EndpointIndependent);
    assert_eq!(config.port_allocation, PortAllocation::Sequential);
    assert_eq!(config.consistency, Consistency::Deterministic);
    assert_eq!(config.parity, PortParity::Preserved);
    assert_eq!(config.well_known_ports, WellKnownPorts::Ignored);
    assert_eq!(config.port_range, 2000..=2999);
    assert_eq!(config.pooling, AddressPooling::Arbitrary);
    assert_eq!(config.udp_timer.idle, Duration::from_secs(30));
    assert_eq!(
        config.udp_timer.well_known_idle,
        Some(Duration::from_secs(10))
    );
    assert_eq!(config.udp_timer.refresh, Refresh::Outbound);
    assert_eq!(config.tcp_timers.established, Duration::from_mins(124));
    assert_eq!(config.tcp_timers.transitory, Duration::from_mins(4));
    assert_eq!(config.unknown_tcp, UnknownTcp::Reset);
    assert_eq!(config.unsolicited_syn, UnsolicitedSyn::Reset);
    assert_eq!(config.hairpin, Hairpin::InternalSource);
    assert_eq!(config.ports_per_host, Some(64));
}

#[test]
fn what_a_table_leaves_out_is_as_the_preset_has_it() {
    let nat = nat_of(r#"{ preset = "mobile", udp_timeout = "30s" }"#).expect("a NAT");
    let mut expected = NatBox::from(NatPreset::Mobile);
    expected.config.udp_timer.idle = Duration::from_secs(30);
    assert_eq!(nat, expected);
}

#[test]
fn an_unknown_preset_suggests_the_nearest() {
    let key = "network.home.nat";
    check_refused(
        "\"carier-grade\"",
        key,
        Some("\"carier-grade\""),
        "there is no such value; did you mean `carrier-grade`?",
        "`none`, `full-cone`",
    );
    check_refused(
        "{ preset = \"hom\" }",
        "network.home.nat.preset",
        Some("\"hom\""),
        "there is no such value; did you mean `home`?",
        "`carrier-grade`",
    );
}

#[test]
fn an_unknown_key_or_value_suggests_the_nearest() {
    check_refused(
        "{ maping = \"address-dependent\" }",
        "network.home.nat.maping",
        Some("\"address-dependent\""),
        "there is no such key; did you mean `mapping`?",
        "`filtering`",
    );
    check_refused(
        "{ filtering = \"address-dependant\" }",
        "network.home.nat.filtering",
        Some("\"address-dependant\""),
        "there is no such value; did you mean `address-dependent`?",
        "`endpoint-independent`",
    );
}

#[test]
fn a_nat_of_the_wrong_type_is_refused() {
    check_refused(
        "5",
        "network.home.nat",
        Some("5"),
        "invalid type: integer `5`",
        "`bsd-router`, or a table",
    );
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (nat, key, value, allowed) in [
        ("{ addresses = 0 }", "addresses", "0", "from 1 to 16"),
        ("{ addresses = 17 }", "addresses", "17", "from 1 to 16"),
        (
            "{ ports_per_host = -1 }",
            "ports_per_host",
            "-1",
            "from 1 to 65535",
        ),
    ] {
        let key = format!("network.home.nat.{key}");
        check_refused(nat, &key, Some(value), "this is out of range", allowed);
    }
}

#[test]
fn timers_out_of_range_are_refused() {
    let key = "network.home.nat.udp_timeout";
    let allowed = "\"168h\"";
    check_refused(
        "{ udp_timeout = \"0s\" }",
        key,
        Some("\"0s\""),
        "this is under 1s",
        allowed,
    );
    check_refused(
        "{ udp_timeout = \"169h\" }",
        key,
        Some("\"169h\""),
        "this is over 168h",
        allowed,
    );
}

#[test]
fn what_is_no_range_of_ports_is_refused() {
    for ports in ["", "5", "5-", "-5", "0-5", "9-5", "1-65536", "+1-5", "a-b"] {
        let nat = format!("{{ ports = \"{ports}\" }}");
        let value = format!("\"{ports}\"");
        check_refused(
            &nat,
            "network.home.nat.ports",
            Some(&value),
            "this is not a range of ports",
            "1024-65535",
        );
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    check_refused(
        "{ on_collision = \"symmetric\", port_allocation = \"random\" }",
        "network.home.nat.on_collision",
        Some("\"symmetric\""),
        "ports that are not preserved cannot collide",
        "preserving",
    );
    check_refused(
        "{ pooling = \"arbitrary\" }",
        "network.home.nat.pooling",
        Some("\"arbitrary\""),
        "a NAT with one address has nothing to choose from",
        "two or more",
    );
}
