//! What becomes of events that cannot be written at once: the send buffer, volatile events, retries.

use std::time::Duration;

use ringtrue::config::SignalingConfig;
use ringtrue::signaling::socket::{AcknowledgementError, DropReason, SocketEvent, SocketOptions};
use serde_json::json;

use super::bench::{Bench, check};
use super::client::{Client, POLLING, WEBSOCKET, event};
use super::server::{Message, Reaction, Record, Reply};

const SECOND: Duration = Duration::from_secs(1);

/// The events that arrived, without their acknowledgement ids.
fn events(record: &Record) -> Vec<String> {
    let texts = record.texts("42").into_iter();
    let without_id = texts.map(|(_, text)| match text.split_once('[') {
        Some((_, rest)) => format!("[{rest}"),
        None => text,
    });
    without_id.collect()
}

/// The next event must be that this one was dropped.
async fn dropped(client: &mut Client) -> (String, DropReason) {
    match client.next().await {
        SocketEvent::Dropped { name, reason } => (name, reason),
        other => panic!("{other:?} where a drop was expected"),
    }
}

#[test]
fn r29_what_waited_is_sent_in_order_after_the_reply_and_before_connected() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            bench.server.set(|settings| settings.connect_reply = None);
            let mut client = bench.connect(bench.options(transports));
            for number in 0..15 {
                client.emit("waits", &[json!(number)]);
            }
            bench
                .server
                .until(|record| !record.texts("40").is_empty())
                .await;
            for number in 15..20 {
                drop(client.ask("waits", &[json!(number)]));
            }
            tokio::time::sleep(2 * SECOND).await;
            let replied = bench.now();
            bench.server.say(r#"40{"sid":"a"}"#);
            client.joined().await;
            // What is not on its way by now stays here.
            client.socket.disconnect();
            client.emit("after", &[]);
            bench
                .server
                .until(|record| !record.texts("41").is_empty())
                .await;
            let record = bench.server.record();
            let waited: Vec<_> = (0..20).map(|each| format!(r#"["waits",{each}]"#)).collect();
            assert_eq!(events(&record), waited);
            // The reply takes one way, and what it lets out another; over polling what is written
            // with the first request comes one exchange before the rest.
            let last = record.texts("42").last().expect("twenty").0;
            assert!(last <= replied + bench.ways(4));
        });
    }
}

#[test]
fn r29_what_is_emitted_on_connected_comes_behind_what_waited() {
    check(|bench| async move {
        let mut client = bench.connect(bench.options(&WEBSOCKET));
        for number in 0..3 {
            client.emit("waits", &[json!(number)]);
        }
        client.connected().await;
        client.emit("on connected", &[]);
        bench
            .server
            .until(|record| record.texts("42").len() == 4)
            .await;
        let expected = [
            r#"["waits",0]"#,
            r#"["waits",1]"#,
            r#"["waits",2]"#,
            r#"["on connected"]"#,
        ];
        assert_eq!(events(&bench.server.record()), expected);
    });
}

/// A client that joins when the server is let, and until then has room for this.
fn kept_waiting(bench: &Bench, messages_max: usize, bytes_max: usize) -> Client {
    bench.server.set(|settings| settings.connect_reply = None);
    let mut options = bench.options(&WEBSOCKET);
    options.signaling.send_buffer_messages_max = messages_max;
    options.signaling.send_buffer_bytes_max = bytes_max;
    bench.connect(options)
}

/// Lets it join, and gives what arrives.
async fn let_in(bench: &Bench, client: &mut Client) -> Vec<String> {
    bench
        .server
        .until(|record| !record.texts("40").is_empty())
        .await;
    bench.server.say(r#"40{"sid":"a"}"#);
    client.joined().await;
    tokio::time::sleep(10 * SECOND).await;
    let late = client.ready();
    assert!(late.is_empty(), "{late:?}");
    events(&bench.server.record())
}

#[test]
fn r30_the_buffer_is_bounded_and_what_does_not_fit_is_reported() {
    let defaults = SignalingConfig::default();
    assert_eq!(defaults.send_buffer_messages_max, 256);
    assert_eq!(defaults.send_buffer_bytes_max, 1024 * 1024);

    check(|bench| async move {
        let mut client = kept_waiting(&bench, 3, 1_000);
        for name in ["a", "b", "c", "d"] {
            client.emit(name, &[]);
        }
        let too_many = DropReason::TooManyMessages { messages_max: 3 };
        assert_eq!(dropped(&mut client).await, ("d".into(), too_many.clone()));
        let asked = client.ask("e", &[]).await;
        assert_eq!(asked, Err(AcknowledgementError::Dropped(too_many)));
        let arrived = let_in(&bench, &mut client).await;
        assert_eq!(arrived, [r#"["a"]"#, r#"["b"]"#, r#"["c"]"#]);
    });
    check(|bench| async move {
        let mut client = kept_waiting(&bench, 100, 20);
        client.emit("first", &[]);
        client.emit("too long to fit", &[]);
        client.emit("last", &[]);
        let too_long = DropReason::TooManyBytes {
            bytes: r#"["too long to fit"]"#.len(),
            waiting: r#"["first"]"#.len(),
            bytes_max: 20,
        };
        let reported = dropped(&mut client).await;
        assert_eq!(reported, ("too long to fit".into(), too_long));
        let arrived = let_in(&bench, &mut client).await;
        assert_eq!(arrived, [r#"["first"]"#, r#"["last"]"#]);
    });
}

#[test]
fn r30_a_message_has_its_own_time_to_live() {
    check(|bench| async move {
        let mut client = kept_waiting(&bench, 100, 1_000);
        let start = bench.now();
        let time_to_live = 4 * SECOND;
        let expired = || DropReason::Expired { time_to_live };
        client.emit("lasting", &[]);
        let brief = |name: &str| event(name, &[]).with_time_to_live(time_to_live);
        client.socket.emit(brief("brief"));
        let asked = client.socket.emit_with_acknowledgement(brief("asked"));
        let longer = event("longer", &[]).with_time_to_live(60 * SECOND);
        client.socket.emit(longer);
        assert_eq!(dropped(&mut client).await, ("brief".into(), expired()));
        bench.assert_at(start + time_to_live);
        let outcome = asked.await;
        assert_eq!(outcome, Err(AcknowledgementError::Dropped(expired())));
        bench.assert_at(start + time_to_live);
        let arrived = let_in(&bench, &mut client).await;
        assert_eq!(arrived, [r#"["lasting"]"#, r#"["longer"]"#]);
    });
}

#[test]
fn r32_a_volatile_emit_is_dropped_where_the_namespace_is_not_connected() {
    check(|bench| async move {
        let emit = |name: &str| event(name, &[]).volatile();
        let not_connected = |name: &str| (name.to_owned(), DropReason::NotConnected);
        bench.server.set(|settings| settings.connect_reply = None);
        let mut client = bench.connect(bench.options(&WEBSOCKET));
        client.socket.emit(emit("opening"));
        assert_eq!(dropped(&mut client).await, not_connected("opening"));
        bench
            .server
            .until(|record| !record.texts("40").is_empty())
            .await;
        client.socket.emit(emit("joining"));
        assert_eq!(dropped(&mut client).await, not_connected("joining"));
        let asked = client.socket.emit_with_acknowledgement(emit("asked")).await;
        let reason = DropReason::NotConnected;
        assert_eq!(asked, Err(AcknowledgementError::Dropped(reason)));
        bench.server.say(r#"40{"sid":"a"}"#);
        client.connected().await;
        client.socket.emit(emit("joined"));
        bench
            .server
            .until(|record| !record.texts("42").is_empty())
            .await;
        bench.server.close_connections();
        client.disconnected().await;
        client.socket.emit(emit("waiting"));
        let waits = client.next().await;
        assert!(
            matches!(waits, SocketEvent::ReconnectWait { .. }),
            "{waits:?}"
        );
        assert_eq!(dropped(&mut client).await, not_connected("waiting"));
        client
            .first(|event| matches!(event, SocketEvent::Reconnected { .. }).then_some(()))
            .await;
        bench.server.say(r#"40{"sid":"b"}"#);
        client.connected().await;
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(events(&bench.server.record()), [r#"["joined"]"#]);
    });
}

#[test]
fn r32_a_volatile_emit_is_dropped_where_the_transport_is_not_writable() {
    // Over polling a request is under way.
    check(|bench| async move {
        let mut client = bench.connected(&POLLING).await;
        tokio::time::sleep(SECOND).await;
        bench
            .server
            .on_request(|request| match request.method.as_str() {
                "POST" => Reaction::After(3 * SECOND, Box::new(Reaction::Usual)),
                _ => Reaction::Usual,
            });
        client.emit("steady", &[]);
        tokio::time::sleep(SECOND).await;
        client.socket.emit(event("volatile", &[]).volatile());
        let expected = ("volatile".to_owned(), DropReason::NotWritable);
        assert_eq!(dropped(&mut client).await, expected);
        tokio::time::sleep(5 * SECOND).await;
        client.socket.emit(event("fresh", &[]).volatile());
        tokio::time::sleep(10 * SECOND).await;
        let arrived = events(&bench.server.record());
        assert_eq!(arrived, [r#"["steady"]"#, r#"["fresh"]"#]);
    });
    // Over a WebSocket the stream takes no more.
    check(|bench| async move {
        let mut client = bench.connected(&WEBSOCKET).await;
        bench.pause_server();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let long = "x".repeat(900_000);
        client.emit("steady", &[json!(long)]);
        tokio::time::sleep(5 * SECOND).await;
        client.socket.emit(event("volatile", &[]).volatile());
        let expected = ("volatile".to_owned(), DropReason::NotWritable);
        assert_eq!(dropped(&mut client).await, expected);
        bench.resume_server();
        bench
            .server
            .until(|record| !record.texts("42").is_empty())
            .await;
        client.socket.emit(event("fresh", &[]).volatile());
        bench
            .server
            .until(|record| record.texts(r#"42["fresh"]"#).len() == 1)
            .await;
        assert_eq!(events(&bench.server.record()).len(), 2);
    });
}

/// Settings with two retries.
fn retrying(bench: &Bench) -> SocketOptions {
    SocketOptions {
        retries: 2,
        acknowledgement_timeout: 3 * SECOND,
        ..bench.options(&WEBSOCKET)
    }
}

/// Answers every event but those whose text has this in it.
fn answer_all_but(bench: &Bench, silent: &'static str) {
    bench.server.on_packet(move |packet| match packet {
        Message::Text(text) if text.starts_with("42") && !text.contains(silent) => {
            let id = text[2..].split('[').next().expect("a part");
            Reply::Packets(vec![Message::text(format!("43{id}[]"))])
        }
        _ => Reply::Usual,
    });
}

#[test]
fn r33_with_retries_an_event_is_written_so_often_and_one_is_in_flight() {
    check(|bench| async move {
        answer_all_but(&bench, "lost");
        let mut client = bench.connect(retrying(&bench));
        client.connected().await;
        let keyed = |name: &str, key: &str| event(name, &[]).with_idempotency_key(key);
        client.socket.emit(keyed("first", "k1"));
        client.socket.emit(keyed("lost", "k2"));
        let asked = client
            .socket
            .emit_with_acknowledgement(keyed("lost too", "k3"));
        client.socket.emit(keyed("last", "k4"));
        let start = bench.now();

        let unacknowledged = DropReason::Unacknowledged { tries: 3 };
        let reported = dropped(&mut client).await;
        assert_eq!(reported, ("lost".into(), unacknowledged));
        // Three tries of 3 s, and the answer to the first.
        let elapsed = bench.since(start);
        assert!(elapsed >= 9 * SECOND && elapsed <= 9 * SECOND + bench.ways(2));
        let within = 3 * SECOND;
        assert_eq!(asked.await, Err(AcknowledgementError::TimedOut { within }));
        bench
            .server
            .until(|record| !record.texts("42").is_empty() && record.texts("42").len() == 8)
            .await;
        tokio::time::sleep(20 * SECOND).await;
        let record = bench.server.record();
        let (lost, too) = (r#"["lost","k2"]"#, r#"["lost too","k3"]"#);
        let first = r#"["first","k1"]"#;
        let expected = [first, lost, lost, lost, too, too, too, r#"["last","k4"]"#];
        assert_eq!(events(&record), expected);
        // One in flight: the next is not written before the time of the one before is up.
        let times: Vec<Duration> = record.texts("42").iter().map(|(at, _)| *at).collect();
        for pair in times[1..].windows(2) {
            // Two arrivals are as far apart as the writings, but for what retransmissions add to
            // the earlier one.
            assert!(pair[1] + bench.ways(1) >= pair[0] + within, "{times:?}");
        }
    });
}

#[test]
fn r33_one_event_waits_for_the_answer_to_the_one_before() {
    check(|bench| async move {
        bench.server.on_packet(|packet| match packet {
            Message::Text(text) if text.starts_with("42") => {
                let id = text[2..].split('[').next().expect("a part");
                let answer = Message::text(format!("43{id}[]"));
                Reply::After(2 * SECOND, vec![answer])
            }
            _ => Reply::Usual,
        });
        let mut client = bench.connect(retrying(&bench));
        client.connected().await;
        for number in 0..4 {
            client.emit("in turn", &[json!(number)]);
        }
        tokio::time::sleep(30 * SECOND).await;
        let record = bench.server.record();
        // An answer that losses delay over the limit makes a repetition, which keeps its place.
        let mut arrived = events(&record);
        arrived.dedup();
        let expected: Vec<_> = (0..4)
            .map(|each| format!(r#"["in turn",{each}]"#))
            .collect();
        assert_eq!(arrived, expected);
        let first_of = |number: usize| {
            let text = format!(r#"["in turn",{number}]"#);
            let all = record.texts("42").into_iter();
            let mut meant = all.filter(|(_, each)| each.ends_with(&text));
            meant.next().expect("it arrived").0
        };
        for number in 1..4 {
            assert!(first_of(number) >= first_of(number - 1) + 2 * SECOND);
        }
    });
}

#[test]
fn r33_what_was_not_acknowledged_is_sent_again_with_its_key_at_the_reconnect() {
    check(|bench| async move {
        let mut client = bench.connect(retrying(&bench));
        client.connected().await;
        let keyed = event("order", &[json!(1)]).with_idempotency_key("key");
        let asked = client.socket.emit_with_acknowledgement(keyed);
        client.emit("behind", &[]);
        let arrived = |count: usize| move |record: &Record| record.texts("42").len() == count;
        bench.server.until(arrived(1)).await;
        bench.server.close_connections();
        client.disconnected().await;
        answer_all_but(&bench, "nothing");
        client.connected().await;
        assert!(asked.await.is_ok());
        bench.server.until(arrived(3)).await;
        tokio::time::sleep(20 * SECOND).await;
        let order = r#"["order",1,"key"]"#;
        let expected = [order, order, r#"["behind"]"#];
        assert_eq!(events(&bench.server.record()), expected);
    });
    // Each connection counts as a try.
    check(|bench| async move {
        let mut client = bench.connect(retrying(&bench));
        client.connected().await;
        client.emit("order", &[json!("key")]);
        for count in 1..=3 {
            bench
                .server
                .until(|record| record.texts("42").len() == count)
                .await;
            bench.server.close_connections();
            client.disconnected().await;
            if count == 3 {
                let reason = DropReason::Unacknowledged { tries: 3 };
                let told = client
                    .first(|event| match event {
                        SocketEvent::Dropped { reason, .. } => Some(reason.clone()),
                        _ => None,
                    })
                    .await;
                assert_eq!(told, reason);
            }
            client.connected().await;
        }
        tokio::time::sleep(20 * SECOND).await;
        assert_eq!(bench.server.record().texts("42").len(), 3);
    });
}
