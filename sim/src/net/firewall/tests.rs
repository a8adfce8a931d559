//! What a firewall does, filter by filter.

use super::*;
use crate::net::nat::{Filtering, Refresh, UdpTimer};

const HOST: &str = "[2001:db8:1::2]:5000";
const OTHER_HOST: &str = "[2001:db8:1::3]:5000";
const PEER: &str = "[2001:db8:2::2]:6000";
/// The same address as [`PEER`], another port.
const PEER_ALTERNATE: &str = "[2001:db8:2::2]:6001";
const STRANGER: &str = "[2001:db8:3::2]:7000";
const WEB: &str = "192.0.2.1:443";

const PASS: FirewallVerdict = FirewallVerdict::Pass;
const UNSOLICITED: FirewallVerdict = FirewallVerdict::Drop(DropCause::FirewallUnsolicited);
const PORT_BLOCKED: FirewallVerdict = FirewallVerdict::Drop(DropCause::FirewallPortBlocked);
const VANISHED: FirewallVerdict = FirewallVerdict::Drop(DropCause::FirewallIdleCut);
const RESET: FirewallVerdict = FirewallVerdict::Reset(DropCause::FirewallIdleCut);

fn endpoint(text: &str) -> SocketAddr {
    text.parse().expect("a socket address")
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

/// A firewall and short hands for the two directions; times are in seconds.
struct Bench(Firewall);

impl Bench {
    fn new(config: FirewallConfig) -> Self {
        Self(Firewall::new(config))
    }

    fn stateful(filter: StatefulFilter) -> Self {
        Self::new(FirewallConfig {
            stateful: Some(filter),
            ..FirewallConfig::default()
        })
    }

    fn cutting(after: Duration, how: CutBy) -> Self {
        Self::new(FirewallConfig {
            idle_tcp: Some(IdleCut { after, how }),
            ..FirewallConfig::default()
        })
    }

    fn send(&mut self, now: Duration, source: &str, destination: &str) -> FirewallVerdict {
        let flow = Flow::udp(endpoint(source), endpoint(destination));
        self.0.outbound(now, flow, None)
    }

    fn receive(&mut self, now: Duration, source: &str, destination: &str) -> FirewallVerdict {
        let flow = Flow::udp(endpoint(source), endpoint(destination));
        self.0.inbound(now, flow, None)
    }

    /// A segment from [`HOST`].
    fn send_tcp(&mut self, now: Duration, remote: &str, signal: TcpSignal) -> FirewallVerdict {
        let flow = Flow::tcp(endpoint(HOST), endpoint(remote));
        self.0.outbound(now, flow, Some(signal))
    }

    /// A segment to [`HOST`].
    fn receive_tcp(&mut self, now: Duration, remote: &str, signal: TcpSignal) -> FirewallVerdict {
        let flow = Flow::tcp(endpoint(remote), endpoint(HOST));
        self.0.inbound(now, flow, Some(signal))
    }

    /// Opens a connection from [`HOST`] at the start of the run.
    #[track_caller]
    fn connected(mut self, remote: &str) -> Self {
        let now = Duration::ZERO;
        assert_eq!(self.send_tcp(now, remote, TcpSignal::SYN), PASS);
        assert_eq!(self.receive_tcp(now, remote, TcpSignal::SYN_ACK), PASS);
        assert_eq!(self.send_tcp(now, remote, TcpSignal::ACK), PASS);
        self
    }
}

#[test]
fn a_firewall_is_open_unless_told_otherwise() {
    let mut bench = Bench::new(FirewallConfig::default());
    let now = Duration::ZERO;
    assert_eq!(bench.send(now, HOST, PEER), PASS);
    assert_eq!(bench.receive(now, STRANGER, HOST), PASS);
    assert_eq!(bench.send_tcp(now, WEB, TcpSignal::SYN), PASS);
    assert_eq!(bench.receive_tcp(now, STRANGER, TcpSignal::SYN), PASS);
    assert_eq!(bench.0.poll_timeout(), None);
    assert_eq!(bench.0.expired(minutes(600)), []);
}

#[test]
fn blocked_udp_leaves_tcp_alone() {
    let mut bench = Bench::new(FirewallConfig {
        udp: Passage::Blocked,
        ..FirewallConfig::default()
    });
    let blocked = FirewallVerdict::Drop(DropCause::FirewallUdpBlocked);
    let now = Duration::ZERO;
    assert_eq!(bench.send(now, HOST, PEER), blocked);
    assert_eq!(bench.receive(now, PEER, HOST), blocked);
    assert_eq!(bench.send_tcp(now, WEB, TcpSignal::SYN), PASS);
}

#[test]
fn only_the_listed_ports_are_reached_and_their_answers_pass() {
    let bench = Bench::new(FirewallConfig {
        tcp: TcpPassage::OnlyPorts([443].into()),
        ..FirewallConfig::default()
    });
    let mut bench = bench.connected(WEB);
    let now = Duration::ZERO;
    for signal in [TcpSignal::SYN, TcpSignal::ACK, TcpSignal::RST] {
        assert_eq!(bench.send_tcp(now, "192.0.2.1:80", signal), PORT_BLOCKED);
    }
    assert_eq!(bench.receive_tcp(now, WEB, TcpSignal::FIN_ACK), PASS);
    assert_eq!(bench.send(now, HOST, PEER), PASS, "udp is another matter");
}

#[test]
fn a_listed_port_is_no_way_in() {
    let mut bench = Bench::new(FirewallConfig {
        tcp: TcpPassage::OnlyPorts([443].into()),
        ..FirewallConfig::default()
    });
    let syn = bench.receive_tcp(Duration::ZERO, WEB, TcpSignal::SYN);
    assert_eq!(syn, PORT_BLOCKED);
}

/// Keep-alives two hours apart, as RFC 9293 section 3.8.4 has them by default.
#[track_caller]
fn check_keep_alive(after: Duration, expected: FirewallVerdict) {
    let mut bench = Bench::cutting(after, CutBy::Reset).connected(WEB);
    let keep_alive = bench.send_tcp(minutes(120), WEB, TcpSignal::ACK);
    assert_eq!(keep_alive, expected, "idle for two hours, cut {after:?}");
}

#[test]
fn a_conforming_box_waits_for_keep_alives_and_others_do_not() {
    // RFC 5382 REQ-5.
    check_keep_alive(minutes(124), PASS);
    check_keep_alive(seconds(60), RESET);
}

#[test]
fn traffic_in_either_direction_keeps_a_connection_alive() {
    let mut bench = Bench::cutting(seconds(60), CutBy::Silence).connected(WEB);
    assert_eq!(bench.send_tcp(seconds(59), WEB, TcpSignal::ACK), PASS);
    assert_eq!(bench.receive_tcp(seconds(118), WEB, TcpSignal::ACK), PASS);
    assert_eq!(bench.send_tcp(seconds(177), WEB, TcpSignal::ACK), PASS);
    assert_eq!(bench.send_tcp(seconds(237), WEB, TcpSignal::ACK), VANISHED);
}

#[test]
fn whoever_goes_on_after_a_cut_is_reset() {
    let mut bench = Bench::cutting(seconds(60), CutBy::Reset).connected(WEB);
    assert_eq!(bench.receive_tcp(seconds(60), WEB, TcpSignal::ACK), RESET);
    assert_eq!(bench.send_tcp(seconds(60), WEB, TcpSignal::ACK), RESET);
    assert_eq!(bench.send_tcp(seconds(61), WEB, TcpSignal::ACK), RESET);
}

#[test]
fn a_reset_is_not_answered_with_a_reset() {
    let mut bench = Bench::cutting(seconds(60), CutBy::Reset).connected(WEB);
    assert_eq!(bench.send_tcp(seconds(60), WEB, TcpSignal::RST), VANISHED);
}

#[test]
fn both_ends_of_a_cut_connection_are_named_once() {
    let mut bench = Bench::cutting(seconds(60), CutBy::Reset).connected(WEB);
    assert_eq!(bench.0.poll_timeout(), Some(seconds(60)));
    assert_eq!(bench.send_tcp(seconds(30), WEB, TcpSignal::ACK), PASS);
    assert_eq!(bench.0.expired(seconds(60)), [], "a packet came in between");
    assert_eq!(bench.0.poll_timeout(), Some(seconds(90)));
    let cut = Flow::tcp(endpoint(HOST), endpoint(WEB));
    assert_eq!(bench.0.expired(seconds(90)), [cut]);
    assert_eq!(bench.0.expired(seconds(90)), []);
    assert_eq!(bench.0.poll_timeout(), None);
    assert_eq!(bench.receive_tcp(seconds(91), WEB, TcpSignal::ACK), RESET);
}

#[test]
fn a_cut_in_silence_names_nobody() {
    let mut bench = Bench::cutting(seconds(60), CutBy::Silence).connected(WEB);
    assert_eq!(bench.0.poll_timeout(), None);
    assert_eq!(bench.0.expired(seconds(60)), []);
    assert_eq!(
        bench.receive_tcp(seconds(60), WEB, TcpSignal::ACK),
        VANISHED
    );
    assert_eq!(bench.send_tcp(seconds(61), WEB, TcpSignal::ACK), VANISHED);
}

#[test]
fn nobody_is_told_of_the_end_of_what_was_over() {
    let closed = |bench: &mut Bench| {
        bench.send_tcp(seconds(1), WEB, TcpSignal::FIN_ACK);
        bench.receive_tcp(seconds(1), WEB, TcpSignal::FIN_ACK);
        bench.send_tcp(seconds(1), WEB, TcpSignal::ACK)
    };
    let mut bench = Bench::cutting(seconds(60), CutBy::Reset).connected(WEB);
    assert_eq!(closed(&mut bench), PASS, "the last acknowledgment passes");
    assert_eq!(bench.send_tcp(seconds(1), PEER, TcpSignal::SYN), PASS);
    assert_eq!(bench.0.expired(seconds(61)), []);
}

#[test]
fn the_same_ends_may_begin_anew_after_a_cut() {
    for how in [CutBy::Reset, CutBy::Silence] {
        let mut bench = Bench::cutting(seconds(60), how).connected(WEB);
        assert_eq!(bench.send_tcp(seconds(60), WEB, TcpSignal::SYN), PASS);
        let answer = bench.receive_tcp(seconds(60), WEB, TcpSignal::SYN_ACK);
        assert_eq!(answer, PASS, "{how:?}");
    }
}

#[test]
fn a_restart_cuts_what_was_open() {
    let mut bench = Bench::cutting(minutes(124), CutBy::Reset).connected(WEB);
    bench.0.restart();
    assert_eq!(bench.send_tcp(seconds(1), WEB, TcpSignal::ACK), RESET);
}

#[test]
fn nobody_outside_speaks_first() {
    let mut bench = Bench::stateful(StatefulFilter::default());
    let now = Duration::ZERO;
    assert_eq!(bench.receive(now, STRANGER, HOST), UNSOLICITED);
    for signal in [TcpSignal::SYN, TcpSignal::SYN_ACK, TcpSignal::ACK] {
        assert_eq!(bench.receive_tcp(now, STRANGER, signal), UNSOLICITED);
    }
    assert_eq!(bench.send(now, HOST, PEER), PASS);
    assert_eq!(bench.receive(now, PEER, HOST), PASS);
    assert_eq!(
        bench.receive(now, PEER, OTHER_HOST),
        UNSOLICITED,
        "one host opens nothing for another"
    );
}

/// Who may send to an endpoint that has sent to [`PEER`], by UDP and by a TCP connection attempt.
#[track_caller]
fn check_filtering(filter: StatefulFilter, expected: [FirewallVerdict; 3]) {
    let now = Duration::ZERO;
    let remotes = [PEER, PEER_ALTERNATE, STRANGER];
    let udp = remotes.map(|remote| {
        let mut bench = Bench::stateful(filter);
        assert_eq!(bench.send(now, HOST, PEER), PASS);
        bench.receive(now, remote, HOST)
    });
    assert_eq!(udp, expected, "udp");
    let tcp = remotes.map(|remote| {
        let mut bench = Bench::stateful(filter);
        assert_eq!(bench.send_tcp(now, PEER, TcpSignal::SYN), PASS);
        bench.receive_tcp(now, remote, TcpSignal::SYN)
    });
    assert_eq!(tcp, expected, "tcp");
}

#[test]
fn who_may_answer_is_a_setting() {
    let with = |filtering| StatefulFilter {
        udp: filtering,
        tcp: filtering,
        ..StatefulFilter::default()
    };
    // RFC 6092 REC-17 and REC-33.
    check_filtering(StatefulFilter::default(), [PASS; 3]);
    check_filtering(with(Filtering::EndpointIndependent), [PASS; 3]);
    let address = [PASS, PASS, UNSOLICITED];
    check_filtering(with(Filtering::AddressDependent), address);
    let port = [PASS, UNSOLICITED, UNSOLICITED];
    check_filtering(with(Filtering::AddressAndPortDependent), port);
}

#[test]
fn tcp_and_udp_open_nothing_for_each_other() {
    let mut bench = Bench::stateful(StatefulFilter::default());
    let now = Duration::ZERO;
    assert_eq!(bench.send(now, HOST, PEER), PASS);
    assert_eq!(bench.receive_tcp(now, PEER, TcpSignal::SYN), UNSOLICITED);
}

#[test]
fn a_simultaneous_open_comes_up_through_the_strictest_filter() {
    // RFC 6092 REC-31.
    let mut bench = Bench::stateful(StatefulFilter {
        tcp: Filtering::AddressAndPortDependent,
        ..StatefulFilter::default()
    });
    let now = Duration::ZERO;
    assert_eq!(bench.send_tcp(now, PEER, TcpSignal::SYN), PASS);
    assert_eq!(bench.receive_tcp(now, PEER, TcpSignal::SYN), PASS);
    assert_eq!(bench.send_tcp(now, PEER, TcpSignal::SYN_ACK), PASS);
    assert_eq!(bench.receive_tcp(now, PEER, TcpSignal::SYN_ACK), PASS);
    assert_eq!(bench.receive_tcp(minutes(123), PEER, TcpSignal::ACK), PASS);
}

#[test]
fn a_segment_in_the_middle_of_nothing_is_unsolicited_whatever_the_filter() {
    let mut bench = Bench::stateful(StatefulFilter::default()).connected(PEER);
    let segment = bench.receive_tcp(Duration::ZERO, STRANGER, TcpSignal::ACK);
    assert_eq!(segment, UNSOLICITED);
}

#[track_caller]
fn check_udp_timer(udp_timer: UdpTimer, idle: Duration, expected: FirewallVerdict) {
    let mut bench = Bench::stateful(StatefulFilter {
        udp_timer,
        ..StatefulFilter::default()
    });
    assert_eq!(bench.send(Duration::ZERO, HOST, PEER), PASS);
    assert_eq!(bench.receive(idle, PEER, HOST), expected, "{udp_timer:?}");
}

#[test]
fn udp_is_remembered_for_its_timer() {
    // RFC 6092 REC-14: five minutes by default, two at least.
    let conforming = UdpTimer::default();
    check_udp_timer(conforming, seconds(299), PASS);
    check_udp_timer(conforming, seconds(300), UNSOLICITED);
    let violating = UdpTimer {
        idle: seconds(30),
        ..conforming
    };
    check_udp_timer(violating, seconds(119), UNSOLICITED);
}

#[track_caller]
fn check_refresh(refresh: Refresh, expected: FirewallVerdict) {
    let mut bench = Bench::stateful(StatefulFilter {
        udp_timer: UdpTimer {
            refresh,
            ..UdpTimer::default()
        },
        ..StatefulFilter::default()
    });
    assert_eq!(bench.send(Duration::ZERO, HOST, PEER), PASS);
    assert_eq!(bench.receive(minutes(4), PEER, HOST), PASS);
    assert_eq!(bench.receive(minutes(8), PEER, HOST), expected);
    assert_eq!(bench.send(minutes(12), HOST, PEER), PASS);
    assert_eq!(bench.receive(minutes(16), PEER, HOST), PASS, "REC-16");
}

#[test]
fn packets_from_outside_refresh_only_where_that_is_set() {
    check_refresh(Refresh::Both, PASS);
    check_refresh(Refresh::Outbound, UNSOLICITED);
}

#[test]
fn an_idle_connection_outlives_the_keep_alives_and_a_half_open_one_does_not() {
    // RFC 6092 REC-35.
    let mut bench = Bench::stateful(StatefulFilter::default()).connected(PEER);
    assert_eq!(bench.receive_tcp(minutes(123), PEER, TcpSignal::ACK), PASS);
    let after = bench.receive_tcp(minutes(123 + 124), PEER, TcpSignal::ACK);
    assert_eq!(after, UNSOLICITED);

    let mut bench = Bench::stateful(StatefulFilter::default());
    assert_eq!(bench.send_tcp(Duration::ZERO, PEER, TcpSignal::SYN), PASS);
    let late = bench.receive_tcp(minutes(4), PEER, TcpSignal::SYN_ACK);
    assert_eq!(late, UNSOLICITED);
}

#[test]
fn a_forgotten_connection_is_taken_up_again_by_its_inside_end() {
    let mut bench = Bench::stateful(StatefulFilter::default()).connected(PEER);
    bench.0.restart();
    assert_eq!(
        bench.receive_tcp(seconds(1), PEER, TcpSignal::ACK),
        UNSOLICITED
    );
    assert_eq!(bench.send_tcp(seconds(2), PEER, TcpSignal::ACK), PASS);
    assert_eq!(bench.receive_tcp(seconds(3), PEER, TcpSignal::ACK), PASS);
}

#[test]
fn what_is_unsolicited_keeps_no_connection_from_being_idle() {
    let mut bench = Bench::new(FirewallConfig {
        idle_tcp: Some(IdleCut {
            after: seconds(60),
            how: CutBy::Silence,
        }),
        stateful: Some(StatefulFilter::default()),
        ..FirewallConfig::default()
    });
    let syn = bench.receive_tcp(Duration::ZERO, STRANGER, TcpSignal::SYN);
    assert_eq!(syn, UNSOLICITED);
    // Were the attempt noted, its connection would be alive here.
    let segment = bench.send_tcp(seconds(1), STRANGER, TcpSignal::ACK);
    assert_eq!(segment, VANISHED);
}
