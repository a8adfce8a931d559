//! What links in a file mean, and what is said about the bad ones.

use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use crate::net::link::{
    Jitter, LinkConfig, LinkPair, LinkPreset, Order, Priority, QueueConfig, Rate,
};
use crate::net::loss::{GilbertElliott, LossModel, Probability};
use crate::scenario::model::{LAN, UPLINK};
use crate::scenario::{InvalidScenario, Rendering, Scenario};

/// A scenario whose first network has `link` as its fifth line.
fn scenario(link: &str) -> Result<Scenario, InvalidScenario> {
    let text = format!(
        "about = \"Two talk.\"\n\n[network.home]\nnat = \"full-cone\"\n{link}\n\n[network.office]\n\n\
         [peer.alice]\nnetwork = \"home\"\n\n[peer.bob]\nnetwork = \"office\"\n"
    );
    // The fixtures are found from there upwards.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("links.toml");
    Scenario::parse(&file, &text)
}

#[track_caller]
fn lan(link: &str) -> LinkPair {
    let scenario = scenario(link).expect("a valid link");
    scenario.networks["home"].lan
}

#[track_caller]
fn uplink(link: &str) -> LinkPair {
    let scenario = scenario(link).expect("a valid link");
    scenario.networks["home"].uplink
}

/// Checks that `link` is refused with one problem: `column: key = value: message` and what is allowed.
#[track_caller]
fn check(link: &str, problem: &str, allowed: &str) {
    let invalid = scenario(link).expect_err("it is no valid link");
    let said = invalid.render(Rendering::Plain);
    let (_, said) = said
        .split_once("links.toml:5:")
        .expect("the place is named");
    assert_eq!(said, format!("{problem}\n    allowed: {allowed}\n"));
}

const fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn probability(parts_per_million: u32) -> Probability {
    Probability::from_parts_per_million(parts_per_million).expect("a probability")
}

fn rate(kbps: u32) -> Rate {
    Rate::new(NonZero::new(kbps).expect("a rate"))
}

#[test]
fn what_is_not_written_has_its_default() {
    assert_eq!((lan(""), uplink("")), (LAN, UPLINK));
    assert_eq!(uplink("uplink = {}"), UPLINK);
}

#[test]
fn a_preset_is_named_alone_or_in_a_table() {
    assert_eq!(uplink("uplink = \"3g\""), LinkPreset::ThreeG.links());
    assert_eq!(
        uplink("uplink = { preset = \"lte\" }"),
        LinkPreset::Lte.links()
    );
    assert_eq!(lan("lan = \"wifi\""), LinkPreset::Wifi.links());
}

#[test]
fn a_table_carries_all_that_it_says() {
    let written = "uplink = { delay = \"20.5ms\", jitter = \"normal 10ms 3ms\", order = \"jittered\", \
                   loss = \"5% in bursts of 4.5\", duplication = \"1%\", corruption = \"0.1%\", \
                   undetected = \"2%\", rate = \"1.5Mbps\", queue = \"50 packets\", priority = \"ef\", \
                   mtu = 1400 }";
    let bursts = GilbertElliott::new(probability(50_000), 4_500).expect("a channel");
    let expected = LinkConfig {
        jitter: Jitter::Normal {
            mean: milliseconds(10),
            deviation: milliseconds(3),
        },
        order: Order::Jittered,
        loss: LossModel::GilbertElliott(bursts),
        duplication: probability(10_000),
        corruption: crate::net::link::Corruption {
            probability: probability(1_000),
            undetected: probability(20_000),
        },
        rate: Some(Rate {
            queue: QueueConfig::Packets(NonZero::new(50).expect("a bound")),
            priority: Priority::ExpeditedForwarding,
            ..rate(1_500)
        }),
        mtu_bytes: NonZero::new(1400),
        ..LinkConfig::lossless(Duration::from_micros(20_500))
    };
    assert_eq!(uplink(written), LinkPair::symmetric(expected));
}

#[test]
fn jitters_and_queues_have_several_forms() {
    let jitter = |text| lan(&format!("lan = {{ jitter = \"{text}\" }}")).up.jitter;
    let up_to = milliseconds(10);
    assert_eq!(jitter("uniform 10ms"), Jitter::Uniform { up_to });
    let mean = Duration::from_micros(500);
    assert_eq!(jitter("exponential 500us"), Jitter::Exponential { mean });
    assert_eq!(jitter("none"), Jitter::None);
    let queue = |text| {
        let link = format!("uplink = {{ rate = \"2Mbps\", queue = \"{text}\" }}");
        uplink(&link).up.rate.map(|rate| rate.queue)
    };
    let bytes = |bytes| Some(QueueConfig::Bytes(NonZero::new(bytes).expect("a bound")));
    assert_eq!(queue("64KB"), bytes(64_000));
    assert_eq!(queue("1.5MB"), bytes(1_500_000));
    assert_eq!(queue("1500B"), bytes(1_500));
}

#[test]
fn a_direction_overrides_both_and_both_override_the_preset() {
    let written = "uplink = { preset = \"lte\", loss = \"1%\", queue = \"64KB\", \
                   up = { loss = \"2%\", rate = \"512kbps\" }, down = { delay = \"9ms\" } }";
    let LinkPair { up, down } = LinkPreset::Lte.links();
    let queue = QueueConfig::Bytes(NonZero::new(64_000).expect("a bound"));
    let expected = LinkPair {
        up: LinkConfig {
            rate: Some(Rate { queue, ..rate(512) }),
            ..up.with_loss(probability(20_000))
        },
        down: LinkConfig {
            delay: milliseconds(9),
            rate: down.rate.map(|rate| Rate { queue, ..rate }),
            ..down.with_loss(probability(10_000))
        },
    };
    assert_eq!(uplink(written), expected);
}

#[test]
fn a_new_rate_brings_the_queue_that_suits_it() {
    let link = uplink("uplink = { preset = \"dsl\", rate = \"2Mbps\" }");
    assert_eq!(link.up.rate, Some(rate(2_000)));
    let link = lan("lan = { preset = \"dsl\", rate = \"unlimited\" }");
    assert_eq!(link.down.rate, None);
}

#[test]
fn a_setting_of_both_may_mean_nothing_in_one_direction() {
    let link = uplink("uplink = { order = \"jittered\", up = { jitter = \"uniform 5ms\" } }");
    assert_eq!(link.down.jitter, Jitter::None);
    uplink("uplink = { queue = \"64KB\", up = { rate = \"1Mbps\" } }");
    uplink("uplink = { undetected = \"1%\", down = { corruption = \"1%\" } }");
}

#[test]
fn an_uplink_may_take_less_than_the_step_of_the_world() {
    assert_eq!(
        uplink("uplink = { delay = \"250us\" }").up.delay,
        Duration::from_micros(250)
    );
    assert_eq!(
        uplink("uplink = { delay = \"0ms\" }").up.delay,
        Duration::ZERO
    );
    assert_eq!(
        lan("lan = { delay = \"1.5ms\" }").up.delay,
        Duration::from_micros(1_500)
    );
}

#[test]
fn a_lan_under_the_step_of_the_world_is_refused() {
    let allowed = "a delay in quotes from \"1ms\" to \"10s\", such as \"80ms\"";
    let said = "this is under 1ms, the shortest delay of the world";
    check(
        "lan = { delay = \"999us\" }",
        &format!("17: network.home.lan.delay = \"999us\": {said}"),
        allowed,
    );
    check(
        "lan = { down = { delay = \"0.5ms\" } }",
        &format!("26: network.home.lan.down.delay = \"0.5ms\": {said}"),
        allowed,
    );
}

#[test]
fn a_delay_that_is_none_is_refused() {
    let allowed = "a delay in quotes up to \"10s\", such as \"80ms\" or \"1.5ms\"";
    for (text, said) in [
        (
            "1.0005ms",
            "this is not a whole number of microseconds, which links count in",
        ),
        ("11s", "this is over 10s"),
        ("-1ms", "this is negative"),
        ("80", "the unit is missing"),
        ("soon", "this is not a duration"),
    ] {
        check(
            &format!("uplink = {{ delay = \"{text}\" }}"),
            &format!("20: network.home.uplink.delay = \"{text}\": {said}"),
            allowed,
        );
    }
}

#[test]
fn a_jitter_that_is_none_is_refused() {
    let allowed = "\"none\", \"uniform LONGEST\", \"normal MEAN DEVIATION\" or \"exponential MEAN\" \
                   with times up to \"10s\", such as \"normal 10ms 3ms\"";
    for (text, said) in [
        ("", "this is empty"),
        ("10ms", "this is not a jitter"),
        ("normal 10ms", "this is not a jitter"),
        ("pareto 10ms", "this is not a jitter"),
        ("uniform 0ms", "this is under 1us"),
        ("normal 10ms 0ms", "this is under 1us"),
        ("exponential 11s", "this is over 10s"),
        ("exponential 5", "the unit is missing"),
    ] {
        check(
            &format!("uplink = {{ jitter = \"{text}\" }}"),
            &format!("21: network.home.uplink.jitter = \"{text}\": {said}"),
            allowed,
        );
    }
}

#[test]
fn a_loss_that_is_none_is_refused() {
    let allowed = "a percentage in quotes from \"0%\" to \"100%\", such as \"2.5%\", or with the mean \
                   length of bursts in packets, such as \"5% in bursts of 4\"";
    let no_number = "this is not a number of packets with up to three decimals";
    let too_short = "a loss of 90 % needs longer bursts, since a packet passes between two of them";
    for (text, said) in [
        ("130%", "this is over 100%"),
        ("5% in bursts of some", no_number),
        ("5% in bursts of 1.2345", no_number),
        (
            "5% in bursts of 0.5",
            "a burst of less than 1 packet is none",
        ),
        ("90% in bursts of 2", too_short),
    ] {
        check(
            &format!("uplink = {{ loss = \"{text}\" }}"),
            &format!("19: network.home.uplink.loss = \"{text}\": {said}"),
            allowed,
        );
    }
}

#[test]
fn a_rate_that_is_none_is_refused() {
    let allowed = "\"unlimited\" or a rate in quotes from \"1kbps\" to \"10Gbps\", such as \
                   \"512kbps\" or \"1.5Mbps\"";
    for (text, said) in [
        ("", "this is empty"),
        ("512", "the unit is missing"),
        ("-1Mbps", "this is negative"),
        ("0kbps", "this is under 1kbps"),
        ("10.1Gbps", "this is over 10Gbps"),
        ("0.5kbps", "this is not a rate of whole kilobits a second"),
        ("2MB", "this is not a rate of whole kilobits a second"),
    ] {
        check(
            &format!("uplink = {{ rate = \"{text}\" }}"),
            &format!("19: network.home.uplink.rate = \"{text}\": {said}"),
            allowed,
        );
    }
}

#[test]
fn a_queue_that_is_none_is_refused() {
    let allowed = "a queue in quotes of \"1500B\" to \"100MB\" or of \"1 packets\" to \"100000 \
                   packets\", such as \"64KB\" or \"50 packets\"";
    for (text, said) in [
        ("", "this is empty"),
        ("50", "the unit is missing"),
        ("-5KB", "this is negative"),
        ("1499B", "this is under 1500B"),
        ("101MB", "this is over 100MB"),
        ("0 packets", "this is under 1 packets"),
        ("100001 packets", "this is over 100000 packets"),
        ("1.5 packets", "this is not a queue"),
        ("long", "this is not a queue of whole bytes or of packets"),
    ] {
        check(
            &format!("uplink = {{ rate = \"1Mbps\", queue = \"{text}\" }}"),
            &format!("36: network.home.uplink.queue = \"{text}\": {said}"),
            allowed,
        );
    }
}

#[test]
fn a_length_that_no_longest_packet_has_is_refused() {
    let allowed = "a whole number of bytes from 576 to 65535, such as 1400";
    for (value, said) in [
        ("575", "this is under 576 bytes"),
        ("65536", "this is over 65535 bytes"),
        ("\"1400\"", "invalid type: string \"1400\""),
    ] {
        check(
            &format!("uplink = {{ mtu = {value} }}"),
            &format!("18: network.home.uplink.mtu = {value}: {said}"),
            allowed,
        );
    }
}

#[test]
fn a_name_that_is_no_preset_is_refused() {
    let allowed =
        "one of `wifi`, `fibre`, `dsl`, `lte`, `3g`, `satellite`, `congested`, `elevator`";
    check(
        "uplink = \"elevatr\"",
        "10: network.home.uplink = \"elevatr\": there is no such value; did you mean `elevator`?",
        allowed,
    );
    check(
        "uplink = { preset = \"5g\" }",
        "21: network.home.uplink.preset = \"5g\": there is no such value; did you mean `3g`?",
        allowed,
    );
    check(
        "uplink = 7",
        "10: network.home.uplink = 7: invalid type: integer `7`",
        "a table of a link's keys, or one of `wifi`, `fibre`, `dsl`, `lte`, `3g`, `satellite`, \
         `congested`, `elevator`",
    );
}

#[test]
fn a_key_that_no_link_has_is_refused() {
    check(
        "uplink = { loos = \"1%\" }",
        "12: network.home.uplink.loos = \"1%\": there is no such key; did you mean `loss`?",
        "one of `preset`, `up`, `down`, `delay`, `jitter`, `order`, `loss`, `duplication`, \
         `corruption`, `undetected`, `rate`, `queue`, `priority`, `mtu`",
    );
    check(
        "uplink = { up = { preset = \"lte\" } }",
        "19: network.home.uplink.up.preset = \"lte\": there is no such key",
        "one of `delay`, `jitter`, `order`, `loss`, `duplication`, `corruption`, `undetected`, \
         `rate`, `queue`, `priority`, `mtu`",
    );
}

#[test]
fn a_lan_with_a_rate_is_refused() {
    let allowed = "`rate`, `queue` and `priority` in `uplink` only";
    let said = "only an uplink has a rate and a queue before it";
    for (key, value) in [("rate", "2Mbps"), ("queue", "64KB"), ("priority", "ef")] {
        check(
            &format!("lan = {{ {key} = \"{value}\" }}"),
            &format!(
                "{}: network.home.lan.{key} = \"{value}\": {said}",
                12 + key.len()
            ),
            allowed,
        );
    }
    check(
        "lan = { up = { rate = \"2Mbps\" } }",
        &format!("23: network.home.lan.up.rate = \"2Mbps\": {said}"),
        allowed,
    );
}

#[test]
fn a_lan_of_a_preset_with_a_rate_is_refused() {
    let said = "the link `lte` has a rate, which only an uplink can have";
    let allowed = "on `lan` a preset without a rate, such as `wifi`, or `rate = \"unlimited\"` \
                   beside it";
    check(
        "lan = \"lte\"",
        &format!("7: network.home.lan = \"lte\": {said}"),
        allowed,
    );
    check(
        "lan = { preset = \"lte\" }",
        &format!("18: network.home.lan.preset = \"lte\": {said}"),
        allowed,
    );
}

#[test]
fn a_queue_or_a_priority_without_a_rate_is_refused() {
    let said = "no packet waits before a link without a rate";
    let allowed = "`queue` and `priority` with a `rate` only";
    check(
        "uplink = { queue = \"64KB\" }",
        &format!("20: network.home.uplink.queue = \"64KB\": {said}"),
        allowed,
    );
    check(
        "uplink = { priority = \"ef\" }",
        &format!("23: network.home.uplink.priority = \"ef\": {said}"),
        allowed,
    );
    check(
        "uplink = { up = { rate = \"1Mbps\" }, down = { queue = \"64KB\" } }",
        &format!("54: network.home.uplink.down.queue = \"64KB\": {said}"),
        allowed,
    );
    check(
        "uplink = { preset = \"dsl\", rate = \"unlimited\", queue = \"64KB\" }",
        &format!("56: network.home.uplink.queue = \"64KB\": {said}"),
        allowed,
    );
}

#[test]
fn overtaking_without_jitter_is_refused() {
    let said = "no packet overtakes another where all take the same time";
    let allowed = "`order = \"jittered\"` with a `jitter` only";
    check(
        "lan = { order = \"jittered\" }",
        &format!("17: network.home.lan.order = \"jittered\": {said}"),
        allowed,
    );
    check(
        "uplink = { jitter = \"uniform 5ms\", up = { jitter = \"none\", order = \"jittered\" } }",
        &format!("68: network.home.uplink.up.order = \"jittered\": {said}"),
        allowed,
    );
}

#[test]
fn undetected_damage_without_damage_is_refused() {
    check(
        "uplink = { undetected = \"1%\" }",
        "25: network.home.uplink.undetected = \"1%\": no damage goes undetected where nothing is \
         damaged",
        "`undetected` with a `corruption` only",
    );
}

#[test]
fn all_that_is_wrong_with_a_link_is_said_at_once() {
    let invalid =
        scenario("lan = { rate = \"1Mbps\" }\nuplink = { undetected = \"1%\", priority = \"ef\" }")
            .expect_err("three mistakes");
    let keys: Vec<_> = invalid
        .problems()
        .iter()
        .filter_map(super::super::error::Problem::key)
        .collect();
    assert_eq!(
        keys,
        [
            "network.home.lan.rate",
            "network.home.uplink.undetected",
            "network.home.uplink.priority"
        ]
    );
}
