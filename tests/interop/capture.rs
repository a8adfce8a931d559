//! The captures of runs, as Wireshark reads them.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::interpreter;

/// What makes Wireshark tell SRTP and DTLS, which have no ports of their own, also inside of TURN.
const HEURISTICS: [&str; 4] = ["rtp_udp", "rtp_stun", "dtls_udp", "dtls_stun"];

/// What makes it check every checksum.
const CHECKSUMS: [&str; 3] = ["ip", "udp", "tcp"];

/// TURN over TCP, on a port that is by default taken for one of TLS.
const TURN_ON_443: &[&str] = &["-d", "tcp.port==443,stun"];

/// What is wrong with a capture, as a filter: whatever is malformed, and everything that the experts of
/// the protocols call an error.
const UNSOUND: &str = "_ws.malformed || _ws.expert.severity == error || ip.checksum.status == bad \
     || udp.checksum.status == bad || tcp.checksum.status == bad";

/// The bundle of one run.
struct Bundle {
    directory: TempDir,
    /// How its capture is to be read.
    reading: &'static [&'static str],
}

impl Bundle {
    #[track_caller]
    fn of(scenario: &str, seed: &str, reading: &'static [&'static str]) -> Self {
        let directory = tempfile::tempdir().expect("a new directory");
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut ringtrue = Command::new(env!("CARGO_BIN_EXE_ringtrue"));
        ringtrue.current_dir(checkout).arg("run").arg(scenario);
        ringtrue.args(["--seed", seed, "--json", "--out"]);
        let output = ringtrue.arg(directory.path()).output();
        let output = output.unwrap_or_else(|error| panic!("{ringtrue:?} does not start: {error}"));
        assert!(output.status.success(), "{ringtrue:?}: {output:?}");
        let bundle = Self { directory, reading };
        assert_eq!(bundle.frames(UNSOUND), Vec::<String>::new());
        bundle
    }

    /// The frames that `filter` shows, in the words of tshark.
    #[track_caller]
    fn frames(&self, filter: &str) -> Vec<String> {
        let mut tshark = Command::new(interpreter("RINGTRUE_INTEROP_TSHARK"));
        // Without a home, so that nobody's own settings matter.
        tshark.env("HOME", self.directory.path());
        tshark.env("XDG_CONFIG_HOME", self.directory.path());
        tshark.args(["-n", "-o", "rtp.heuristic_rtp:TRUE"]);
        for heuristic in HEURISTICS {
            tshark.args(["--enable-heuristic", heuristic]);
        }
        for protocol in CHECKSUMS {
            tshark.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
        }
        tshark.args(self.reading);
        tshark
            .arg("-r")
            .arg(self.directory.path().join("trace.pcapng"));
        let output = tshark.args(["-Y", filter]).output();
        let output = output.unwrap_or_else(|error| panic!("{tshark:?} does not start: {error}"));
        assert!(output.status.success(), "{tshark:?}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(str::to_owned).collect()
    }

    /// Each of `filters` shows frames.
    #[track_caller]
    fn check(&self, filters: &[&str]) {
        for filter in filters {
            assert!(!self.frames(filter).is_empty(), "{filter} shows nothing");
        }
    }
}

#[test]
fn a_direct_call_is_read() {
    let bundle = Bundle::of("scenarios/nat/cone-cone.toml", "7", &[]);
    bundle.check(&[
        "stun.type == 0x0001",
        "stun.type == 0x0101",
        "http.request.method == GET",
        "http.response.code == 101",
        "websocket.payload",
        "dtls.handshake.type == 1",
        "rtp && ip.dsfield.dscp == 46",
        "frame.interface_name == \"alice\" && frame.packet_flags_direction == 2",
        "frame.interface_name == \"bob\" && frame.packet_flags_direction == 1",
    ]);
    assert!(
        bundle.frames("stun.channel").is_empty(),
        "nothing is relayed"
    );
}

#[test]
fn a_handshake_is_decrypted() {
    let bundle = Bundle::of("scenarios/nat/cone-cone.toml", "7", &[]);
    // Finished (RFC 5246 section 7.4.9) is the first message that is encrypted: of both sides, each as it was
    // sent and as it was delivered.
    assert_eq!(bundle.frames("dtls.handshake.type == 20").len(), 4);
    bundle.check(&["dtls.alert_message.desc == 0"]);
}

#[test]
fn packets_that_are_there_twice_by_the_same_addresses_are_read() {
    let bundle = Bundle::of("scenarios/nat/same-lan.toml", "7", &[]);
    assert_eq!(bundle.frames("dtls.handshake.type == 20").len(), 4);
    bundle.check(&["rtp", "stun"]);
}

#[test]
fn a_relayed_call_is_read() {
    let bundle = Bundle::of("scenarios/nat/symmetric-symmetric.toml", "7", &[]);
    bundle.check(&[
        "stun.type == 0x0003",
        "stun.type == 0x0103 && stun.att.type == 0x0016",
        "udp && stun.channel && rtp",
        "dtls.handshake.type == 20",
        "websocket",
    ]);
}

#[test]
fn a_call_that_is_relayed_over_tcp_is_read() {
    let bundle = Bundle::of("scenarios/nat/udp-blocked.toml", "7", TURN_ON_443);
    bundle.check(&[
        "tcp && stun.type == 0x0103",
        "tcp && stun.channel && rtp",
        "tcp && stun.channel && dtls.handshake.type == 20",
        "websocket",
    ]);
    let unread = bundle.frames("tcp.port == 443 && tcp.len > 0 && !stun");
    assert_eq!(unread, Vec::<String>::new());
}

#[test]
fn signaling_over_tls_is_decrypted() {
    let bundle = Bundle::of("scenarios/signaling/tls.toml", "7", &[]);
    bundle.check(&[
        "tls && http.request.method == GET",
        "tls && websocket.payload",
    ]);
}

#[test]
fn losses_and_retransmissions_say_what_they_are() {
    let bundle = Bundle::of("scenarios/nat/five-percent-loss.toml", "7", TURN_ON_443);
    bundle.check(&[
        "frame.comment == \"dropped: loss\" && frame.interface_name == \"link home-a up\"",
        "frame.comment contains \"event \"",
        "frame.comment contains \"sent again: \" && tcp",
    ]);
}

#[test]
fn ipv6_is_read() {
    let bundle = Bundle::of("scenarios/nat/ipv6-only.toml", "7", &[]);
    bundle.check(&["ipv6 && stun", "ipv6 && rtp", "ipv6 && tcp && websocket"]);
}
