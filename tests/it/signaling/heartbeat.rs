//! Pings, and the deadline that every packet restarts.

use std::time::Duration;

use ringtrue::config::TransportKind;
use ringtrue::signaling::socket::{DisconnectReason, SocketEvent};
use serde_json::json;

use super::bench::check;
use super::client::{POLLING, UPGRADING, WEBSOCKET};
use super::server::{Message, Pings, Record, Seen};

/// How many pings were written over WebSockets.
fn pings(record: &Record) -> usize {
    let is_ping = |what: &Seen| matches!(what, Seen::Out(Message::Text(text)) if text == "2");
    record.0.iter().filter(|entry| is_ping(&entry.what)).count()
}

#[test]
fn r06_every_ping_is_answered_once_in_every_state_after_open() {
    check(|bench| async move {
        bench.server.set(|settings| {
            settings.pings = Pings::AtOnce;
            settings.ping_interval = Duration::from_secs(1);
            settings.connect_reply = None;
        });
        let mut client = bench.connect(bench.options(&WEBSOCKET));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(
            bench.server.record().texts("3").len() >= 5,
            "before the namespace is joined"
        );
        assert!(client.ready().is_empty());
        bench.server.say(r#"40{"sid":"late"}"#);
        client.connected().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.server.set(|settings| settings.pings = Pings::Never);
        tokio::time::sleep(bench.ways(2) + Duration::from_secs(1)).await;
        let record = bench.server.record();
        let pongs = record.texts("3");
        assert!(pongs.iter().all(|(_, text)| text == "3"));
        assert_eq!(pongs.len(), pings(&record));
    });
    // Over polling, and while a session moves.
    for transports in [&POLLING[..], &UPGRADING[..]] {
        check(|bench| async move {
            bench.server.set(|settings| {
                settings.pings = Pings::Never;
            });
            let client = bench.connected(transports).await;
            for _ in 0..10 {
                bench.server.say("2");
                tokio::time::sleep(Duration::from_millis(130)).await;
            }
            bench
                .server
                .until(|record| {
                    record
                        .texts("3")
                        .iter()
                        .filter(|(_, text)| text == "3")
                        .count()
                        >= 10
                })
                .await;
            tokio::time::sleep(bench.ways(4)).await;
            let record = bench.server.record();
            let pongs = record
                .texts("3")
                .into_iter()
                .filter(|(_, text)| text == "3");
            assert_eq!(pongs.count(), 10);
            drop(client);
        });
    }
}

#[test]
fn r07_silence_closes_the_session_at_the_deadline_and_any_packet_restarts_it() {
    let (interval, limit) = (Duration::from_secs(4), Duration::from_secs(3));
    let tick = Duration::from_millis(1);
    let checked = |transports: &'static [TransportKind]| {
        check(move |bench| async move {
            bench.server.set(|settings| {
                settings.pings = Pings::Never;
                settings.ping_interval = interval;
                settings.ping_timeout = limit;
            });
            let mut client = bench.connected(transports).await;
            let mut last = bench.now();
            // An event, a ping and a noop: each counts.
            for text in [r#"42["x"]"#, "2", r#"42["y"]"#] {
                tokio::time::sleep(interval).await;
                bench.server.say(text);
                if text.starts_with("42") {
                    client.event().await;
                    last = bench.now();
                } else {
                    tokio::time::sleep(bench.ways(1)).await;
                }
            }
            let reason = client.disconnected().await;
            assert!(
                matches!(reason, DisconnectReason::PingTimeout),
                "{reason:?}"
            );
            assert_eq!(reason.name(), "ping_timeout");
            let took = bench.since(last);
            assert!(took.abs_diff(interval + limit) <= tick, "{took:?}");
        });
    };
    checked(&WEBSOCKET);
    checked(&POLLING);
}

#[test]
fn r08_after_the_deadline_an_event_is_buffered_and_not_written() {
    check(|bench| async move {
        let mut client = bench.connected(&WEBSOCKET).await;
        // The phone sleeps for longer than the heartbeat's limit, and nothing of it was noticed.
        bench.suspend(Duration::from_mins(1));
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.emit("kept", &[json!(1)]);
        let reason = client.disconnected().await;
        assert_eq!(reason.name(), "ping_timeout");
        client.connected().await;
        bench
            .server
            .until(|record| !record.texts("42").is_empty())
            .await;
        let record = bench.server.record();
        let mut carriers = record.0.iter().filter_map(|entry| match &entry.what {
            Seen::In(Message::Text(text)) if text.starts_with("42") => Some(entry.connection),
            _ => None,
        });
        assert_eq!((carriers.next(), carriers.next()), (Some(2), None));
        assert!(client.ready().iter().all(|event| !is_drop(event)));
    });
}

fn is_drop(event: &SocketEvent) -> bool {
    matches!(event, SocketEvent::Dropped { .. })
}
