//! The scenarios whose cost is measured.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::scenario::value::format_duration;
use crate::scenario::{Scenario, TONES};

/// The talk of a complete call.
pub(super) const SHORT_TALK: Duration = Duration::from_secs(1);

/// The talk of a call that is mostly that.
pub(super) const LONG_TALK: Duration = Duration::from_mins(1);

/// Two homes behind full cones, one of which calls the other.
pub(super) fn two_homes(talk: Duration) -> Scenario {
    let talk = format_duration(talk);
    scenario(&format!(
        r#"
        about = "two homes, {talk} of talk"
        [network.a]
        nat = "full-cone"
        [network.b]
        nat = "full-cone"
        [peer.alice]
        network = "a"
        [peer.bob]
        network = "b"
        [talk]
        for = "{talk}"
        "#
    ))
}

/// Homes behind full cones, all of which are connected to the signaling server. Of the first ones each calls
/// its neighbour, so that there are `calls` calls at the same time.
pub(super) fn crowd(hosts: usize, calls: usize) -> Scenario {
    let mut text = format!("about = \"{hosts} homes, {calls} calls at the same time\"\n");
    let mut add = |part: String| text.write_str(&part).expect("a String takes every text");
    for host in 0..hosts {
        let (peer, tone) = (peer(host), TONES[host % TONES.len()].0);
        add(format!(
            r#"
            [network.home-{host}]
            nat = "full-cone"
            [peer.{peer}]
            network = "home-{host}"
            plays = "{tone}"
            "#
        ));
    }
    for call in 0..calls {
        let (caller, other) = (peer(2 * call), peer(2 * call + 1));
        // All ring at the same moment, since all are as far from the server.
        add(format!(
            r#"
            [[script]]
            at = "0s"
            peer = "{caller}"
            do = "call"
            callee = "{other}"
            [[script]]
            after = "ringing + 1s"
            peer = "{other}"
            do = "answer"
            [[script]]
            at = "5s"
            peer = "{caller}"
            do = "hang-up"
            "#
        ));
    }
    scenario(&text)
}

/// Ordered as the hosts are.
fn peer(host: usize) -> String {
    format!("peer-{host:03}")
}

fn scenario(text: &str) -> Scenario {
    let parsed = Scenario::parse_alone(Path::new("bench.toml"), text);
    parsed.unwrap_or_else(|invalid| panic!("what is measured is a scenario: {invalid}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::Action;
    use crate::world::run::check as check_world;

    #[track_caller]
    fn check(hosts: usize, calls: usize) {
        let scenario = crowd(hosts, calls);
        let is_call = |action: &Action| matches!(action, Action::Call { .. });
        let steps = scenario.script.iter();
        let called = steps.filter(|step| is_call(&step.action)).count();
        assert_eq!((scenario.peers.len(), called), (hosts, calls));
        check_world(&scenario).expect("there are addresses for all");
    }

    #[test]
    fn a_crowd_has_as_many_hosts_and_calls_as_asked_for() {
        check(2, 1);
        check(64, 1);
        check(64, 32);
    }
}
