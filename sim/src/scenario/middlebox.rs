//! The boxes between a network and the internet that do more than translate: what the file says of
//! them, and what the world makes of it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use ringtrue::config::ClientConfig;
use ringtrue::signaling::endpoint::Endpoint;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::document::NetworkDocument;
use super::error::ProblemKind;
use super::model::{Portal, ProxyKind, Servers};
use super::problems::Problems;
use super::schema;
use super::spanned::Spanned;
use super::value::{Choice, TimeValue};
use crate::net::firewall::{CutBy, FirewallConfig, IdleCut, TcpPassage};

/// The shortest time after which a middlebox may cut idle connections. Below it none would live
/// through a handshake on a slow network.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);

const ALLOWED_IDLE: &str = "a time in quotes from \"1s\" to \"1h\"";

const ALLOWED_PORTAL: &str =
    "`portal = { until = TIME }` with a time in quotes from \"1ms\" to \"1h\"";

/// When a gateway cuts TCP connections on which neither side has sent anything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `after` and `how`")]
pub(super) struct IdleDocument {
    /// How long nothing was sent, at least "1s". Required.
    #[schemars(required)]
    pub(super) after: Option<Spanned<TimeValue>>,
    /// With "reset" both sides are told by a TCP reset, with "silence" nobody is. Required.
    #[schemars(required)]
    pub(super) how: Option<Choice<CutBy>>,
}

/// A captive portal: every name resolves to the gateway, which answers each HTTP request with the way to its
/// login page, and nothing else passes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with `until`")]
pub(super) struct PortalDocument {
    /// When it lets everything pass, from the start of the run; at least "1ms". Required.
    #[schemars(required)]
    pub(super) until: Option<Spanned<TimeValue>>,
}

/// The port of a TCP server.
#[derive(Debug, Clone, Copy)]
pub(super) struct PortValue(pub(super) u16);

impl JsonSchema for PortValue {
    fn schema_name() -> Cow<'static, str> {
        "PortValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::of_number(PortVisitor::EXPECTED, 1, i64::from(u16::MAX))
    }
}

impl<'de> Deserialize<'de> for PortValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(PortVisitor)
    }
}

struct PortVisitor;

impl PortVisitor {
    const EXPECTED: &str = "a port from 1 to 65535";
}

impl Visitor<'_> for PortVisitor {
    type Value = PortValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(Self::EXPECTED)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<PortValue, E> {
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(PortValue(port)),
            _ => Err(E::custom(format!(
                "this is no port, expected {}",
                Self::EXPECTED
            ))),
        }
    }
}

/// The boxes of one network.
#[derive(Debug, Default)]
pub(super) struct Middleboxes {
    pub(super) firewall: FirewallConfig,
    pub(super) proxy: Option<ProxyKind>,
    pub(super) portal: Option<Portal>,
}

/// The boxes that a network's tables ask for. `servers` are those that they stand before.
pub(super) fn middleboxes(
    network: &NetworkDocument,
    servers: &Servers,
    problems: &mut Problems<'_>,
) -> Middleboxes {
    let tcp = tcp_passage(network, problems);
    if let (TcpPassage::OnlyPorts(ports), Some(proxy)) = (&tcp, &network.proxy)
        && !ports.is_empty()
        && !ports.contains(&signaling_port(servers))
    {
        let message =
            "`tcp_ports` leaves out the signaling port, so the proxy has nothing to break";
        let allowed = "`proxy` where `tcp_ports` has the port of the signaling server";
        contradict(proxy.span(), message, allowed, problems);
    }
    if let (Some(proxy), Some(_)) = (&network.proxy, servers.signaling_certificate) {
        let message = "no proxy can read what TLS protects";
        let allowed = "either `proxy` or `servers.signaling_certificate`";
        contradict(proxy.span(), message, allowed, problems);
    }
    if let (Some(proxy), Some(_)) = (&network.proxy, &network.portal) {
        let message = "a captive portal takes the same connections as a proxy";
        let allowed = "either `proxy` or `portal`";
        contradict(proxy.span(), message, allowed, problems);
    }
    Middleboxes {
        firewall: FirewallConfig {
            udp: network.udp.map_or_else(Default::default, |choice| choice.0),
            tcp,
            idle_tcp: idle_cut(network, problems),
            ..FirewallConfig::default()
        },
        proxy: network.proxy.as_ref().map(|choice| choice.get_ref().0),
        portal: portal(network, problems),
    }
}

fn tcp_passage(network: &NetworkDocument, problems: &mut Problems<'_>) -> TcpPassage {
    let Some(written) = &network.tcp_ports else {
        return TcpPassage::Open;
    };
    if written.get_ref().is_empty() {
        let message = "without a port no TCP passes, and nobody could signal";
        let allowed = "one or more ports from 1 to 65535, such as `[443]`";
        contradict(written.span(), message, allowed, problems);
    }
    let mut ports = BTreeSet::new();
    for port in written.get_ref() {
        if !ports.insert(port.get_ref().0) {
            let message = "this port is in the list already";
            contradict(port.span(), message, "each port once", problems);
        }
    }
    TcpPassage::OnlyPorts(ports)
}

fn idle_cut(network: &NetworkDocument, problems: &mut Problems<'_>) -> Option<IdleCut> {
    let written = network.idle_tcp.as_ref()?;
    let document = written.get_ref();
    if document.after.is_none() {
        problems.push_missing(written.span(), "after", ALLOWED_IDLE);
    }
    if document.how.is_none() {
        problems.push_missing(written.span(), "how", "\"reset\" or \"silence\"");
    }
    let after = document.after.as_ref()?;
    if after.get_ref().0 < SHORTEST_IDLE {
        let message = "this is under 1s, in which no connection comes up on a slow network";
        contradict(after.span(), message, ALLOWED_IDLE, problems);
    }
    Some(IdleCut {
        after: after.get_ref().0,
        how: document.how?.0,
    })
}

fn portal(network: &NetworkDocument, problems: &mut Problems<'_>) -> Option<Portal> {
    let written = network.portal.as_ref()?;
    let Some(until) = &written.get_ref().until else {
        problems.push_missing(written.span(), "until", ALLOWED_PORTAL);
        return None;
    };
    if until.get_ref().0.is_zero() {
        let message = "a portal that opens at the start holds nobody captive";
        contradict(until.span(), message, ALLOWED_PORTAL, problems);
    }
    Some(Portal {
        until: until.get_ref().0,
    })
}

fn signaling_port(servers: &Servers) -> u16 {
    const HTTP: u16 = 80;
    const HTTPS: u16 = 443;
    match (servers.signaling_port, servers.signaling_certificate) {
        (Some(port), _) => return port,
        (None, Some(_)) => return HTTPS,
        (None, None) => {}
    }
    let signaling = &ClientConfig::default().signaling;
    Endpoint::from_config(signaling).map_or(HTTP, |endpoint| endpoint.port())
}

fn contradict(
    span: Range<usize>,
    message: &str,
    allowed: &'static str,
    problems: &mut Problems<'_>,
) {
    let message = message.to_owned();
    problems.push(span, ProblemKind::Contradiction { message, allowed });
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::Scenario;
    use crate::scenario::model::{CertificateKind, Network};

    /// A scenario beside those of the project, so that it finds the fixtures.
    fn parse(network: &str, servers: &str) -> Result<Scenario, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/boxed.toml");
        let text = format!(
            "about = \"A box.\"\n[network.a]\n{network}\n[network.b]\n[peer.alice]\nnetwork = \
             \"a\"\n[peer.bob]\nnetwork = \"b\"\n[servers]\n{servers}\n"
        );
        Scenario::parse(&path, &text).map_err(|invalid| {
            let problems = invalid.problems().iter().map(|problem| {
                let allowed = problem.kind().allowed().unwrap_or_default();
                format!("line {}: {problem}; allowed: {allowed}\n", problem.line())
            });
            problems.collect()
        })
    }

    #[track_caller]
    fn network(text: &str) -> Network {
        let scenario = parse(text, "").expect("a valid scenario");
        scenario.networks["a"].clone()
    }

    #[track_caller]
    fn check_refused(network: &str, expected: &str) {
        let refusal = parse(network, "").expect_err("the network is refused");
        assert_eq!(refusal.trim_end(), expected);
    }

    #[test]
    fn a_network_has_no_boxes_unless_told() {
        let network = network("");
        assert_eq!(network.firewall, FirewallConfig::default());
        assert_eq!((network.proxy, network.portal), (None, None));
        let scenario = parse("", "").expect("a valid scenario");
        assert_eq!(scenario.servers.signaling_port, None);
    }

    #[test]
    fn every_box_is_read() {
        let boxed = network(
            "udp = \"blocked\"\ntcp_ports = [80, 443]\nproxy = \"breaks-websocket\"\n\
             idle_tcp = { after = \"60s\", how = \"silence\" }",
        );
        let idle_tcp = IdleCut {
            after: Duration::from_mins(1),
            how: CutBy::Silence,
        };
        assert_eq!(boxed.firewall.tcp, TcpPassage::OnlyPorts([80, 443].into()));
        assert_eq!(boxed.firewall.idle_tcp, Some(idle_tcp));
        assert_eq!(boxed.proxy, Some(ProxyKind::BreaksWebSocket));
        let until = Duration::from_secs(20);
        let captive = network("portal = { until = \"20s\" }");
        assert_eq!(captive.portal, Some(Portal { until }));
    }

    #[test]
    fn the_signaling_port_can_be_one_that_a_network_passes() {
        let network = "tcp_ports = [443]\nproxy = \"breaks-websocket\"";
        let scenario = parse(network, "signaling_port = 443").expect("a valid scenario");
        assert_eq!(scenario.servers.signaling_port, Some(443));
    }

    #[test]
    fn an_empty_list_of_ports_is_an_error() {
        check_refused(
            "tcp_ports = []",
            "line 3: network.a.tcp_ports: without a port no TCP passes, and nobody could signal; \
             allowed: one or more ports from 1 to 65535, such as `[443]`",
        );
    }

    #[test]
    fn a_port_given_twice_is_an_error() {
        check_refused(
            "tcp_ports = [443, 443]",
            "line 3: network.a.tcp_ports[1] = 443: this port is in the list already; allowed: each \
             port once",
        );
    }

    #[test]
    fn what_is_no_port_is_an_error() {
        for number in ["0", "-1", "65536"] {
            let expected = format!(
                "line 3: network.a.tcp_ports[0] = {number}: this is no port; allowed: a port from \
                 1 to 65535"
            );
            check_refused(&format!("tcp_ports = [{number}]"), &expected);
        }
        let refusal = parse("", "signaling_port = 0").expect_err("no port");
        assert!(refusal.contains("servers.signaling_port = 0: this is no port"));
        let refusal = parse("tcp_ports = [\"https\"]", "").expect_err("no number");
        assert!(refusal.contains("network.a.tcp_ports[0] = \"https\""));
        assert!(refusal.contains("allowed: a port from 1 to 65535"));
    }

    #[test]
    fn a_cut_at_once_is_an_error() {
        check_refused(
            "idle_tcp = { after = \"999ms\", how = \"reset\" }",
            "line 3: network.a.idle_tcp.after = \"999ms\": this is under 1s, in which no connection \
             comes up on a slow network; allowed: a time in quotes from \"1s\" to \"1h\"",
        );
    }

    #[test]
    fn a_cut_that_is_only_half_told_is_an_error() {
        check_refused(
            "idle_tcp = { }",
            "line 3: network.a.idle_tcp.after: this key is missing; allowed: a time in quotes from \
             \"1s\" to \"1h\"\n\
             line 3: network.a.idle_tcp.how: this key is missing; allowed: \"reset\" or \"silence\"",
        );
    }

    #[test]
    fn an_unknown_way_to_cut_is_an_error() {
        let refusal = parse("idle_tcp = { after = \"60s\", how = \"silense\" }", "");
        let refusal = refusal.expect_err("no such way");
        assert!(refusal.contains("did you mean `silence`?"), "{refusal}");
    }

    #[test]
    fn a_portal_without_its_end_is_an_error() {
        check_refused(
            "portal = { }",
            "line 3: network.a.portal.until: this key is missing; allowed: `portal = { until = TIME \
             }` with a time in quotes from \"1ms\" to \"1h\"",
        );
    }

    #[test]
    fn a_portal_that_ends_at_the_start_is_an_error() {
        check_refused(
            "portal = { until = \"0s\" }",
            "line 3: network.a.portal.until = \"0s\": a portal that opens at the start holds nobody \
             captive; allowed: `portal = { until = TIME }` with a time in quotes from \"1ms\" to \
             \"1h\"",
        );
    }

    #[test]
    fn a_proxy_behind_a_portal_is_an_error() {
        check_refused(
            "proxy = \"breaks-websocket\"\nportal = { until = \"20s\" }",
            "line 3: network.a.proxy = \"breaks-websocket\": a captive portal takes the same \
             connections as a proxy; allowed: either `proxy` or `portal`",
        );
    }

    #[test]
    fn a_proxy_that_no_signaling_reaches_is_an_error() {
        check_refused(
            "tcp_ports = [443]\nproxy = \"breaks-websocket\"",
            "line 4: network.a.proxy = \"breaks-websocket\": `tcp_ports` leaves out the signaling \
             port, so the proxy has nothing to break; allowed: `proxy` where `tcp_ports` has the \
             port of the signaling server",
        );
    }

    #[test]
    fn a_server_with_a_certificate_is_where_https_is_and_behind_no_proxy() {
        let certificate = "signaling_certificate = \"valid\"";
        let scenario = parse("tcp_ports = [443]", certificate).expect("a valid scenario");
        let kind = scenario.servers.signaling_certificate;
        assert_eq!(kind, Some(CertificateKind::Valid));
        let proxy = "tcp_ports = [443]\nproxy = \"breaks-websocket\"";
        assert_eq!(
            parse(proxy, certificate).expect_err("the proxy is refused"),
            "line 4: network.a.proxy = \"breaks-websocket\": no proxy can read what TLS protects; \
             allowed: either `proxy` or `servers.signaling_certificate`\n",
        );
    }

    #[test]
    fn times_of_boxes_end_with_the_longest_time() {
        for network in [
            "portal = { until = \"61m\" }",
            "idle_tcp = { after = \"61m\", how = \"reset\" }",
        ] {
            let refusal = parse(network, "").expect_err("too long");
            assert!(refusal.contains("this is over 1h"), "{refusal}");
        }
    }
}
