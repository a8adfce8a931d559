//! The way of a session from polling to a WebSocket.

use std::time::Duration;

use ringtrue::signaling::socket::SocketEvent;
use serde_json::json;

use super::bench::{Bench, check};
use super::client::{Client, UPGRADING};
use super::server::{Ending, Message, Reaction, Record, Reply, Seen};

/// When something happened first.
fn first(record: &Record, is_it: impl Fn(&Seen) -> bool) -> Option<usize> {
    record.0.iter().position(|entry| is_it(&entry.what))
}

fn is_in(seen: &Seen, text: &str) -> bool {
    matches!(seen, Seen::In(Message::Text(said)) if said == text)
}

#[test]
fn r16_an_upgrade_waits_for_what_is_pending_before_it_writes() {
    check(|bench| async move {
        // Posts take so long that one is pending when the probe is answered.
        bench
            .server
            .on_request(|request| match request.method.as_str() {
                "POST" => Reaction::After(Duration::from_millis(400), Box::new(Reaction::Usual)),
                _ => Reaction::Usual,
            });
        let client = bench.connect(bench.options(&UPGRADING));
        for index in 0..20 {
            client.emit("n", &[json!(index)]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bench
            .server
            .until(|record| record.texts("42").len() == 20)
            .await;
        let record = bench.server.record();
        let probe = first(&record, |seen| is_in(seen, "2probe")).expect("a probe");
        let answer =
            |seen: &Seen| matches!(seen, Seen::Out(Message::Text(text)) if text == "3probe");
        let answer = first(&record, answer).expect("an answer to the probe");
        let upgrade = first(&record, |seen| is_in(seen, "5")).expect("an upgrade");
        assert!(probe < answer && answer < upgrade);
        let said = |index: usize| matches!(record.0[index].what, Seen::In(_));
        let between: Vec<usize> = (probe + 1..upgrade).filter(|index| said(*index)).collect();
        assert!(
            between.is_empty(),
            "nothing is said on the WebSocket before"
        );
        let before = Record(record.0[..upgrade].to_vec());
        let requests = before.requests();
        let is_poll = |method: &str| {
            let of_method = requests.iter().filter(|(_, _, request)| {
                request.method == method && request.transport() == Some("polling")
            });
            of_method.count()
        };
        let answered = before
            .0
            .iter()
            .filter(|entry| entry.what == Seen::Answered(200));
        assert_eq!(
            answered.count(),
            is_poll("GET") + is_poll("POST"),
            "all are answered"
        );
        let after = Record(record.0[upgrade..].to_vec());
        let mut polls = after.requests().into_iter();
        assert!(polls.all(|(_, _, request)| request.transport() != Some("polling")));
    });
}

/// The numbers of events `n`, in the order in which the server got them.
fn received(record: &Record) -> Vec<u64> {
    let texts = record.texts("42").into_iter();
    texts
        .map(|(_, text)| {
            let number = text.trim_start_matches(r#"42["n","#).trim_end_matches(']');
            number.parse().expect("a number")
        })
        .collect()
}

/// Sends events both ways while the session moves, and what came out on both sides.
async fn both_ways(bench: &Bench, client: &mut Client, count: u64) -> (Vec<u64>, Vec<u64>) {
    for index in 0..count {
        client.emit("n", &[json!(index)]);
        bench.server.say(&format!(r#"42["m",{index}]"#));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut down = Vec::new();
    while down.len() < usize::try_from(count).expect("few") {
        if let SocketEvent::Event(event) = client.next().await {
            down.push(event.arguments[0].as_u64().expect("a number"));
        }
    }
    bench
        .server
        .until(|record| received(record).len() as u64 >= count)
        .await;
    tokio::time::sleep(bench.ways(4)).await;
    assert!(client.ready().is_empty(), "nothing comes twice");
    (received(&bench.server.record()), down)
}

#[test]
fn r17_across_an_upgrade_nothing_is_lost_repeated_or_out_of_order() {
    check(|bench| async move {
        // Each request and each step of the probe is delayed by another time.
        let mut turn = bench.seed;
        let mut delay = move || {
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Duration::from_millis(turn >> 33 & 0xff)
        };
        bench
            .server
            .on_request(move |_| Reaction::After(delay(), Box::new(Reaction::Usual)));
        let mut client = bench.connected(&UPGRADING).await;
        let (up, down) = both_ways(&bench, &mut client, 100).await;
        let expected: Vec<u64> = (0..100).collect();
        assert_eq!(up, expected);
        assert_eq!(down, expected);
        let record = bench.server.record();
        assert!(!record.texts("5").is_empty(), "the session has moved");
        assert_eq!(record.handshakes().len(), 1);
    });
}

#[test]
fn r18_a_probe_without_an_answer_is_closed_and_polling_goes_on() {
    check(|bench| async move {
        bench.server.on_packet(|packet| match packet {
            Message::Text(text) if text == "2probe" => Reply::Packets(Vec::new()),
            _ => Reply::Usual,
        });
        let mut client = bench.connected(&UPGRADING).await;
        bench
            .server
            .until(|record| !record.texts("2probe").is_empty())
            .await;
        let record = bench.server.record();
        let probed = first(&record, |seen| is_in(seen, "2probe")).expect("a probe");
        let (connection, at) = (record.0[probed].connection, record.0[probed].at);
        let (up, down) = both_ways(&bench, &mut client, 20).await;
        assert_eq!((up.len(), down.len()), (20, 20));
        bench
            .server
            .until(|record| record.ending(connection).is_some())
            .await;
        let (ended, how) = bench.server.record().ending(connection).expect("it has");
        assert_eq!(how, Ending::ClientClosed);
        let took = ended.saturating_sub(at);
        let limit = Duration::from_secs(10);
        assert!(
            took + bench.ways(2) >= limit && took <= limit + bench.ways(2),
            "{took:?}"
        );
        client.emit("n", &[json!(20)]);
        bench.server.say(r#"42["m",20]"#);
        assert_eq!(client.event().await.arguments, [json!(20)]);
        let record = bench.server.record();
        assert_eq!(record.handshakes().len(), 1, "it is the same session");
        assert!(record.texts("5").is_empty());
    });
}
