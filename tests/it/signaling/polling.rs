//! Long-polling: payloads, requests in flight, batches, and sessions that the server has forgotten.

use std::time::Duration;

use bytes::Bytes;
use ringtrue::signaling::socket_io::packet::placeholder;
use serde_json::{Value, json};

use super::bench::check;
use super::client::{POLLING, event};
use super::server::{Message, Reaction, to_base64};

#[test]
fn r03_payloads_are_split_and_binary_is_base64() {
    check(|bench| async move {
        let mut client = bench.connected(&POLLING).await;
        let first = r#"451-["one",{"_placeholder":true,"num":0}]"#;
        bench.server.say_all(vec![
            Message::text(first),
            Message::Binary(vec![0xfb, 0xff, 0xfe, 0]),
            Message::text(r#"42["two","é"]"#),
        ]);
        let one = client.event().await;
        assert_eq!(one.name, "one");
        assert_eq!(
            one.attachments,
            [Bytes::from_static(&[0xfb, 0xff, 0xfe, 0])]
        );
        assert_eq!(client.event().await.arguments, [json!("é")]);

        // Long enough for the line breaks that MIME would put in, with 62 and 63, padded.
        let bytes: Vec<u8> = (0..200)
            .map(|index| if index % 2 == 0 { 0xfb } else { 0xff })
            .collect();
        let sent =
            event("up", &[placeholder(0)]).with_attachments(vec![Bytes::from(bytes.clone())]);
        client.socket.emit(sent.expect("one attachment"));
        bench
            .server
            .until(|record| record.packets().iter().any(|(_, packet)| is_binary(packet)))
            .await;
        let record = bench.server.record();
        let posts = record.requests().into_iter();
        let bodies: Vec<String> = posts.map(|(_, _, request)| request.text()).collect();
        let encoded = to_base64(&bytes);
        assert!(encoded.contains('+') && encoded.contains('/') && encoded.ends_with('='));
        let item = format!("b{encoded}");
        let has_item = |body: &String| body.split('\u{1e}').any(|part| part == item);
        assert!(bodies.iter().any(has_item), "{bodies:?}");
    });
}

fn is_binary(packet: &Message) -> bool {
    matches!(packet, Message::Binary(_))
}

#[test]
fn r04_one_get_and_one_post_are_in_flight_at_most() {
    check(|bench| async move {
        bench
            .server
            .on_request(|request| match request.method.as_str() {
                "POST" => Reaction::After(Duration::from_millis(700), Box::new(Reaction::Usual)),
                _ => Reaction::Usual,
            });
        bench
            .server
            .set(|settings| settings.ping_interval = Duration::from_secs(1));
        let client = bench.connected(&POLLING).await;
        for index in 0..50 {
            client.emit("n", &[json!(index)]);
            bench.server.say(r#"42["m"]"#);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bench
            .server
            .until(|record| record.texts("42").len() == 50)
            .await;
        let record = bench.server.record();
        assert_eq!(record.in_flight_max("GET"), 1);
        assert_eq!(record.in_flight_max("POST"), 1);
    });
}

#[test]
fn r05_writes_are_batched_up_to_max_payload_and_a_larger_packet_goes_alone() {
    const MOST: usize = 120;
    check(|bench| async move {
        bench
            .server
            .set(|settings| settings.max_payload = Some(MOST as u64));
        let client = bench.connected(&POLLING).await;
        // What is emitted while a request is unanswered waits for the next one.
        bench
            .server
            .on_request(|request| match request.method.as_str() {
                "POST" => Reaction::After(Duration::from_secs(1), Box::new(Reaction::Usual)),
                _ => Reaction::Usual,
            });
        let large: Value = "x".repeat(3 * MOST).into();
        for index in 0..12 {
            client.emit("small", &[json!(index)]);
            if index == 6 {
                client.emit("large", std::slice::from_ref(&large));
            }
        }
        bench
            .server
            .until(|record| record.texts("42").len() == 13)
            .await;
        let record = bench.server.record();
        let posts = record.requests().into_iter();
        let bodies: Vec<String> = posts
            .filter(|(_, _, request)| request.method == "POST")
            .map(|(_, _, request)| request.text())
            .collect();
        let (within, over): (Vec<_>, Vec<_>) = bodies.iter().partition(|body| body.len() <= MOST);
        assert_eq!(over.len(), 1, "{bodies:?}");
        assert!(over[0].contains("large") && !over[0].contains('\u{1e}'));
        assert!(
            within.iter().any(|body| body.contains('\u{1e}')),
            "{bodies:?}"
        );
        let order: Vec<String> = record
            .texts("42")
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        let expected = (0..12).flat_map(|index| {
            let large = (index == 6).then(|| format!(r#"42["large",{large}]"#));
            [Some(format!(r#"42["small",{index}]"#)), large]
                .into_iter()
                .flatten()
        });
        assert_eq!(order, expected.collect::<Vec<_>>());
    });
}

#[test]
fn r19_a_session_that_the_server_does_not_know_ends_and_the_next_has_no_sid() {
    check(|bench| async move {
        let mut client = bench.connected(&POLLING).await;
        bench.server.forget_sessions();
        let reason = client.disconnected().await;
        assert_eq!(reason.name(), "transport_error");
        client.connected().await;
        let record = bench.server.record();
        let handshakes = record.handshakes();
        assert_eq!(handshakes.len(), 2);
        let after = handshakes[1].0;
        let later = record.requests().into_iter();
        let mut later = later.filter(|(at, _, request)| *at > after && request.sid().is_some());
        assert!(later.all(|(_, _, request)| request.sid() == Some("session-2")));
    });
}
