//! Opening a session: time limits of every step, and the way from one transport to the next.

use std::time::Duration;

use ringtrue::config::TransportKind;
use ringtrue::signaling::socket::{SocketConnectError, SocketEvent, SocketIo, SocketOptions};
use ringtrue::signaling::transport::ConnectPhase;
use serde_json::json;

use super::bench::{Bench, TLS_URL, URL, check};
use super::client::{Client, FALLING_BACK, POLLING, WEBSOCKET};
use super::server::{Message, Opening, Reaction};

const LIMIT: Duration = Duration::from_secs(8);
/// A second, and what a timer of a millisecond adds.
const SOON: Duration = Duration::from_millis(1001);

/// Where an attempt stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stall {
    Tcp,
    Tls,
    Http,
    Poll,
    Open,
    Namespace,
}

const STALLS: [(Stall, ConnectPhase); 6] = [
    (Stall::Tcp, ConnectPhase::Tcp),
    (Stall::Tls, ConnectPhase::Tls),
    (Stall::Http, ConnectPhase::Http),
    (Stall::Poll, ConnectPhase::Http),
    (Stall::Open, ConnectPhase::Open),
    (Stall::Namespace, ConnectPhase::Namespace),
];

/// A client whose attempts stand still there.
async fn stalled(bench: &Bench, stall: Stall) -> Client {
    match stall {
        Stall::Tcp => bench.switch_server_off(),
        Stall::Tls => bench.server.set(|settings| settings.certificate = None),
        Stall::Http | Stall::Poll => bench.server.on_request(|_| Reaction::Stall),
        Stall::Open => bench
            .server
            .set(|settings| settings.opening = Opening::Withheld),
        Stall::Namespace => bench.server.set(|settings| settings.connect_reply = None),
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let transports = if stall == Stall::Poll {
        POLLING
    } else {
        WEBSOCKET
    };
    let url = if stall == Stall::Tls { TLS_URL } else { URL };
    let mut options = bench.options(&transports);
    options.signaling.timeout = LIMIT;
    options.signaling.namespace_timeout = LIMIT;
    bench.connect_to(&SocketIo::new(bench.net.clone()), url, options)
}

#[test]
fn r11_an_attempt_that_takes_too_long_is_over_and_its_stream_closed() {
    for (stall, _) in STALLS {
        check(move |bench| async move {
            let begun = bench.now() + Duration::from_millis(100);
            let mut client = stalled(&bench, stall).await;
            let error = client.failed().await;
            let took = bench.since(begun);
            if stall == Stall::Namespace {
                // Its limit begins when the session is open.
                assert!(took >= LIMIT && took <= LIMIT + bench.ways(6), "{took:?}");
            } else {
                assert!(
                    took.abs_diff(LIMIT) <= Duration::from_millis(20),
                    "{took:?}, {error}"
                );
                let over = bench.now();
                let noticed = SOON.max(bench.ways(1));
                tokio::time::sleep(noticed).await;
                let record = bench.server.record();
                let connections = record.connections_before(over);
                assert_eq!(connections.len(), accepted_count(stall));
                for connection in connections {
                    let ending = record.ending(connection);
                    let (at, _) = ending.expect("the client has closed it");
                    assert!(at <= over + noticed, "{at:?}");
                }
            }
        });
    }
}

/// How many connections of a stalled attempt reach the server.
fn accepted_count(stall: Stall) -> usize {
    usize::from(stall != Stall::Tcp)
}

#[test]
fn r12_an_error_tells_the_step_whose_time_ran_out() {
    for (stall, phase) in STALLS {
        check(move |bench| async move {
            let mut client = stalled(&bench, stall).await;
            let error = client.failed().await;
            assert_eq!(error.timed_out_phase(), Some(phase), "{error:?}");
        });
    }
}

/// How often an attempt has failed, until the namespace is joined.
async fn failures_until_connected(client: &mut Client) -> usize {
    let mut count = 0;
    loop {
        match client.next().await {
            SocketEvent::ConnectFailed { .. } => count += 1,
            SocketEvent::Connected { .. } => return count,
            _ => {}
        }
    }
}

/// Decides on requests for a WebSocket, and lets polling be.
fn on_websocket(bench: &Bench, reaction: Reaction) {
    bench
        .server
        .on_request(move |request| match request.transport() {
            Some("websocket") => reaction.clone(),
            _ => Reaction::Usual,
        });
}

#[test]
fn r13_an_error_of_one_transport_leads_to_the_next_in_the_same_attempt() {
    check(|bench| async move {
        for reaction in [
            Reaction::Answer(503, "no".to_owned()),
            Reaction::Answer(200, "hello".to_owned()),
            Reaction::Close,
            Reaction::Garbage(b"\x16\x03\x01garbage\r\n\r\n".to_vec()),
        ] {
            on_websocket(&bench, reaction.clone());
            let mut client = bench.connect(bench.options(&FALLING_BACK));
            let failures = failures_until_connected(&mut client).await;
            assert_eq!(failures, 0, "{reaction:?}");
        }
    });
    check(|bench| async move {
        bench
            .server
            .on_request(|_| Reaction::Answer(503, "no".to_owned()));
        let mut client = bench.connect(bench.options(&FALLING_BACK));
        let error = client.failed().await;
        assert!(matches!(error, SocketConnectError::Attempt(_)), "{error:?}");
        let record = bench.server.record();
        let tried: Vec<_> = record
            .handshakes()
            .into_iter()
            .map(|(_, each)| each)
            .collect();
        let transports: Vec<_> = tried.iter().filter_map(|each| each.transport()).collect();
        assert_eq!(transports, ["websocket", "polling"]);
    });
}

#[test]
fn r14_a_transport_that_stalls_is_given_up_after_its_share() {
    let patience = Duration::from_secs(6);
    for opening in [Opening::Usual, Opening::Withheld] {
        check(move |bench| async move {
            match opening {
                Opening::Usual => on_websocket(&bench, Reaction::Stall),
                Opening::Withheld => bench.server.set(|settings| settings.opening = opening),
            }
            let begun = bench.now();
            let mut client = bench.connect(bench.options(&FALLING_BACK));
            assert_eq!(failures_until_connected(&mut client).await, 0);
            let took = bench.since(begun);
            assert!(
                took >= patience && took <= patience + bench.ways(16),
                "{took:?}"
            );
            let record = bench.server.record();
            assert!(
                record.ending(1).is_some(),
                "the stream of the first is closed"
            );
        });
    }
}

#[test]
fn r15_after_the_fallback_a_websocket_is_still_probed() {
    check(|bench| async move {
        on_websocket(&bench, Reaction::Answer(503, "no".to_owned()));
        let mut client = bench.connected(&FALLING_BACK).await;
        bench.server.on_request(|_| Reaction::Usual);
        bench
            .server
            .until(|record| !record.texts("5").is_empty())
            .await;
        client.emit("moved", &[json!(1)]);
        bench.server.say(r#"42["moved"]"#);
        assert_eq!(client.event().await.name, "moved");
        bench
            .server
            .until(|record| {
                record
                    .0
                    .iter()
                    .any(|entry| is_event_on_websocket(&entry.what))
            })
            .await;
        let record = bench.server.record();
        let sessions = record
            .requests()
            .into_iter()
            .filter_map(|(_, _, each)| each.sid());
        assert!(sessions.into_iter().all(|sid| sid == "session-1"));
        assert!(client.ready().is_empty(), "nothing of it shows");
    });
}

fn is_event_on_websocket(seen: &super::server::Seen) -> bool {
    matches!(seen, super::server::Seen::In(Message::Text(text)) if text.starts_with("42"))
}

#[test]
fn a_name_that_cannot_be_looked_up_is_told_as_such() {
    check(|bench| async move {
        let io = SocketIo::new(bench.net.clone());
        let options: SocketOptions = bench.options(&[TransportKind::WebSocket]);
        let mut client = bench.connect_to(&io, "http://nobody.example", options);
        let SocketConnectError::Attempt(error) = client.failed().await else {
            panic!("no attempt failed");
        };
        assert_eq!(error.phase(), Some(ConnectPhase::Resolve));
    });
}
