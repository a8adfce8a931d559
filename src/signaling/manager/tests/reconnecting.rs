//! The way from a lost connection to the next one.

use super::*;
use crate::config::Jitter;

fn delays(fixture: &mut Fixture, attempts: usize) -> Vec<Duration> {
    (0..attempts)
        .map(|_| {
            let wait = fixture.pass_to(ManagerTimer::Reconnect);
            fixture.refuse();
            wait
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn r39_the_order_of_events_in_an_outage() {
    let mut fixture = Fixture::joined();
    fixture.cut();
    for _ in 0..2 {
        fixture.pass_to(ManagerTimer::Reconnect);
        fixture.refuse();
    }
    fixture.pass_to(ManagerTimer::Reconnect);
    fixture.accept();
    fixture.hear(r#"0{"sid":"s"}"#);
    let error = "1 connect_error: opening the tcp connection took too long: it is limited to 30s";
    assert_eq!(
        fixture.told(),
        [
            "1 disconnect: transport_close",
            "1 wait 1",
            "1 reconnect_attempt 1",
            error,
            "1 reconnect_error 1",
            "1 wait 2",
            "1 reconnect_attempt 2",
            error,
            "1 reconnect_error 2",
            "1 wait 3",
            "1 reconnect_attempt 3",
            "1 reconnect 3",
            "1 connected",
        ]
    );
    assert_eq!(
        fixture.acts(),
        [
            "abandon 1",
            "open 2 attempt 1",
            "abandon 2",
            "open 3 attempt 2",
            "abandon 3",
            "open 4 attempt 3",
            "write 40",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn r39_the_limit_on_attempts_ends_them_and_a_later_connect_works() {
    let mut fixture = Fixture::new(&SignalingConfig {
        reconnection_attempts_max: Some(2),
        ..SignalingConfig::default()
    });
    fixture.refuse();
    delays(&mut fixture, 2);
    let told = fixture.told();
    assert_eq!(told.last().expect("events"), "1 reconnect_failed 2");
    assert_eq!(fixture.manager.poll_timeout(), None);
    fixture.acts();
    fixture.manager.connect(fixture.now, ROOT);
    assert_eq!(fixture.acts(), ["open 4 attempt 0"]);
    fixture.refuse();
    assert_eq!(fixture.told().last().expect("events"), "1 wait 1");
}

#[tokio::test(start_paused = true)]
async fn r39_neither_side_s_disconnect_is_followed_by_a_reconnect() {
    for by_server in [true, false] {
        let mut fixture = Fixture::joined();
        let reason = if by_server {
            fixture.hear("1");
            assert_eq!(fixture.acts(), ["close 1"]);
            "io_server_disconnect"
        } else {
            fixture.manager.disconnect(fixture.now, ROOT);
            assert_eq!(fixture.acts(), ["write 41", "close 1"]);
            "io_client_disconnect"
        };
        assert_eq!(fixture.told(), [format!("1 disconnect: {reason}")]);
        // While the old connection says farewell, no other is opened.
        fixture.manager.connect(fixture.now, ROOT);
        assert_eq!(fixture.acts(), [""; 0]);
        fixture.manager.handle_close_finished(fixture.now, 1);
        fixture.accept();
        fixture.hear(r#"0{"sid":"s"}"#);
        assert_eq!(fixture.acts(), ["open 2 attempt 0", "write 40"]);
        assert_eq!(fixture.told(), ["1 connected"]);

        fixture.manager.disconnect(fixture.now, ROOT);
        fixture.manager.handle_close_finished(fixture.now, 2);
        assert_eq!(fixture.manager.poll_timeout(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn r24_connect_while_backing_off_or_opening_takes_effect_on_the_next_open() {
    let mut fixture = Fixture::joined();
    fixture.cut();
    fixture.acts();
    fixture.open_socket(CALLS, "/calls");
    fixture.manager.connect(fixture.now, CALLS);
    fixture.manager.connect(fixture.now, ROOT);
    assert_eq!(fixture.acts(), [""; 0]);
    fixture.pass_to(ManagerTimer::Reconnect);
    let third = SocketId(3);
    fixture.open_socket(third, "/third");
    fixture.manager.connect(fixture.now, third);
    fixture.accept();
    assert_eq!(
        fixture.acts(),
        [
            "open 2 attempt 1",
            "write 40",
            "write 40/calls,",
            "write 40/third,"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn r36_the_waits_are_the_formula_s_for_the_manager_s_generator() {
    for jitter in [Jitter::BeforeCap, Jitter::AfterCap] {
        let config = SignalingConfig {
            jitter,
            ..SignalingConfig::default()
        };
        let mut fixture = Fixture::new(&config);
        fixture.refuse();
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        let mut backoff = Backoff::new(
            config.reconnection_delay,
            config.reconnection_delay_max,
            config.randomization_factor,
            jitter,
        );
        let expected: Vec<_> = (0..6).map(|_| backoff.next_delay(&mut generator)).collect();
        assert_eq!(delays(&mut fixture, 6), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn r38_waits_grow_until_a_connection_was_stable() {
    let mut fixture = Fixture::joined();
    let mut cut_after = |up: Duration| {
        fixture.pass(up);
        fixture.cut();
        let (at, _) = fixture.manager.poll_timeout().expect("a wait");
        let wait = at - fixture.now;
        let attempt = fixture.manager.attempt;
        fixture.pass(wait);
        fixture.accept();
        fixture.hear(r#"0{"sid":"s"}"#);
        (attempt, wait)
    };
    for (attempt, grown) in (1..).zip([2, 4, 8, 10, 10]) {
        let (number, wait) = cut_after(Duration::from_millis(9_999));
        assert_eq!(number, attempt);
        assert!(
            (grown * SECOND / 2..=grown * SECOND).contains(&wait),
            "{wait:?}"
        );
    }
    let (number, wait) = cut_after(10 * SECOND);
    assert_eq!(number, 1);
    assert!((SECOND..=2 * SECOND).contains(&wait), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn an_open_connection_without_a_joined_namespace_is_not_stable() {
    let mut fixture = Fixture::new(&SignalingConfig::default());
    for attempt in 1..4 {
        fixture.accept();
        fixture.pass_answered_to(ManagerTimer::Namespace(NamespaceTimer::Join));
        assert_eq!(fixture.manager.attempt, attempt);
        fixture.pass_to(ManagerTimer::Reconnect);
    }
}

#[tokio::test(start_paused = true)]
async fn r40_a_changed_network_forces_a_reconnect_at_once_in_every_state() {
    let mut fixture = Fixture::new(&SignalingConfig::default());
    fixture.manager.network_changed(fixture.now);
    assert_eq!(
        fixture.acts(),
        ["open 1 attempt 0", "abandon 1", "open 2 attempt 0"]
    );
    fixture.refuse();
    delays(&mut fixture, 3);
    fixture.told();
    fixture.acts();
    fixture.manager.network_changed(fixture.now);
    assert_eq!(fixture.acts(), ["open 6 attempt 1"]);
    assert_eq!(fixture.told(), ["1 reconnect_attempt 1"]);
    // The waits start over, with the attempt that was made without one.
    fixture.refuse();
    let wait = fixture.pass_to(ManagerTimer::Reconnect);
    assert!((2 * SECOND..=4 * SECOND).contains(&wait), "{wait:?}");
    fixture.accept();
    fixture.hear(r#"0{"sid":"s"}"#);
    fixture.told();
    fixture.acts();
    fixture.manager.network_changed(fixture.now);
    assert_eq!(fixture.acts(), ["abandon 7", "open 8 attempt 1"]);
    assert_eq!(
        fixture.told(),
        ["1 disconnect: network_changed", "1 reconnect_attempt 1"]
    );
    fixture.manager.disconnect(fixture.now, ROOT);
    fixture.acts();
    fixture.manager.network_changed(fixture.now);
    assert_eq!(fixture.acts(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_would_come_again_is_final() {
    let mut fixture = Fixture::new(&SignalingConfig::default());
    fixture
        .manager
        .handle_open_failed(fixture.now, 1, ConnectError::NoTransport);
    assert_eq!(
        fixture.told(),
        ["1 connect_error: no transport is configured; at least one is needed"]
    );
    assert_eq!(fixture.manager.poll_timeout(), None);
}
