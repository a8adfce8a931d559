//! The scripted server and its world, driven by raw clients: whether they do what they say.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use ringtrue::net::ByteStream;
use ringtrue_sim::fault::{Breakage, FramePoint, FrameSide, FrameWay};
use ringtrue_sim::world::wire::FrameCut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::bench::{Bench, HOST, Link, check, run};
use super::server::{Ending, Message, Pings, Reaction, Reply, Seen};

type Stream = Box<dyn ByteStream>;

async fn dial(bench: &Bench) -> Stream {
    let addresses = bench.net.resolve(HOST).await.expect("the name is known");
    let address = SocketAddr::new(addresses[0], 80);
    let stream = bench.net.connect_stream(address).await;
    stream.expect("the server listens")
}

async fn request(stream: &mut Stream, method: &str, query: &str, body: &str) {
    let text = format!(
        "{method} /socket.io/?EIO=4&{query} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.expect("it is open");
    stream.flush().await.expect("it is open");
}

/// The body of the next response.
async fn response(stream: &mut Stream) -> String {
    let mut text = Vec::new();
    loop {
        let read = stream.read_buf(&mut text).await.expect("it is open");
        assert!(read > 0, "the server closed");
        let so_far = String::from_utf8_lossy(&text);
        let Some((head, body)) = so_far.split_once("\r\n\r\n") else {
            continue;
        };
        let (_, length) = head.split_once("content-length: ").expect("a length");
        let length = length.split("\r\n").next().expect("a value");
        if length == body.len().to_string() {
            return body.to_owned();
        }
    }
}

async fn websocket(bench: &Bench, query: &str) -> WebSocketStream<Stream> {
    let url = format!("ws://{HOST}/socket.io/?EIO=4&transport=websocket{query}");
    let (socket, _) = client_async(url, dial(bench).await).await.expect("101");
    socket
}

async fn text(socket: &mut WebSocketStream<Stream>) -> String {
    let frame = socket.next().await.expect("it is open").expect("a frame");
    frame.into_text().expect("text").as_str().to_owned()
}

#[test]
fn a_websocket_opens_a_session_and_joins() {
    check(|bench| async move {
        let mut socket = websocket(&bench, "").await;
        assert!(text(&mut socket).await.starts_with("0{\"maxPayload\""));
        socket.send(Frame::text("40{\"a\":1}")).await.expect("open");
        assert_eq!(text(&mut socket).await, "40{\"sid\":\"socket-1\"}");
        bench.server.say("42[\"x\"]");
        assert_eq!(text(&mut socket).await, "42[\"x\"]");
        socket.close(None).await.expect("open");
        bench.server.until(|record| record.open() == 0).await;
        let record = bench.server.record();
        assert_eq!(record.texts("40").len(), 1);
        assert_eq!(record.handshakes().len(), 1);
        let ending = record.ending(1).map(|(_, ending)| ending);
        assert_eq!(ending, Some(Ending::ClientClosed));
    });
}

#[test]
fn a_poll_is_held_until_there_is_something() {
    check(|bench| async move {
        let mut get = dial(&bench).await;
        request(&mut get, "GET", "transport=polling", "").await;
        assert!(response(&mut get).await.contains("\"sid\":\"session-1\""));
        let session = "transport=polling&sid=session-1";
        request(&mut get, "GET", session, "").await;
        let mut post = dial(&bench).await;
        request(&mut post, "POST", session, "40\u{1e}bAAEC").await;
        assert_eq!(response(&mut post).await, "ok");
        assert_eq!(response(&mut get).await, "40{\"sid\":\"socket-1\"}");
        bench.server.send(Message::Binary(vec![1, 2, 3]));
        bench.server.say("2");
        request(&mut get, "GET", session, "").await;
        assert_eq!(response(&mut get).await, "bAQID\u{1e}2");
        let record = bench.server.record();
        let packets: Vec<Message> = record.packets().into_iter().map(|(_, each)| each).collect();
        assert_eq!(
            packets,
            [Message::text("40"), Message::Binary(vec![0, 1, 2])]
        );
        assert_eq!(record.in_flight_max("GET"), 1);
        request(&mut get, "GET", "transport=polling&sid=other", "").await;
        assert!(response(&mut get).await.contains("\"code\":1"));
    });
}

#[test]
fn a_session_moves_to_a_websocket() {
    check(|bench| async move {
        let mut get = dial(&bench).await;
        request(&mut get, "GET", "transport=polling", "").await;
        let _open = response(&mut get).await;
        request(&mut get, "GET", "transport=polling&sid=session-1", "").await;
        let mut socket = websocket(&bench, "&sid=session-1").await;
        socket.send(Frame::text("2probe")).await.expect("open");
        assert_eq!(text(&mut socket).await, "3probe");
        assert_eq!(response(&mut get).await, "6");
        socket.send(Frame::text("5")).await.expect("open");
        bench.server.say("42[\"moved\"]");
        assert_eq!(text(&mut socket).await, "42[\"moved\"]");
    });
}

#[test]
fn requests_and_packets_are_what_a_test_decides() {
    check(|bench| async move {
        bench
            .server
            .on_request(|request| match request.transport() {
                Some("websocket") => Reaction::Answer(503, "no".to_owned()),
                _ => Reaction::After(Duration::from_secs(2), Box::new(Reaction::Usual)),
            });
        bench.server.on_packet(|packet| match packet {
            Message::Text(text) if text.starts_with("42") => {
                Reply::After(Duration::from_secs(3), vec![Message::text("431[]")])
            }
            Message::Text(text) if text == "2" => Reply::Packets(vec![Message::text("3")]),
            _ => Reply::Usual,
        });
        let url = format!("ws://{HOST}/socket.io/?EIO=4&transport=websocket");
        let refused = client_async(url, dial(&bench).await).await;
        assert!(refused.is_err());
        let mut get = dial(&bench).await;
        let asked = bench.now();
        request(&mut get, "GET", "transport=polling", "").await;
        let _open = response(&mut get).await;
        assert!(bench.now() >= asked + Duration::from_secs(2));
        bench.server.on_request(|_| Reaction::Usual);
        let session = "transport=polling&sid=session-1";
        request(&mut get, "POST", session, "421[\"x\"]").await;
        let _ok = response(&mut get).await;
        let sent = bench.now();
        request(&mut get, "GET", session, "").await;
        assert_eq!(response(&mut get).await, "431[]");
        assert!(bench.now() >= sent + Duration::from_secs(2));
        request(&mut get, "POST", session, "2").await;
        let _ok = response(&mut get).await;
        request(&mut get, "GET", session, "").await;
        assert_eq!(response(&mut get).await, "3");
    });
}

#[test]
fn a_stalled_request_ends_when_the_client_gives_it_up() {
    check(|bench| async move {
        bench.server.on_request(|_| Reaction::Stall);
        let mut get = dial(&bench).await;
        request(&mut get, "GET", "transport=polling", "").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(bench.server.record().open(), 1);
        drop(get);
        tokio::time::sleep(bench.ways(2)).await;
        assert_eq!(bench.server.record().open(), 0);
    });
}

#[test]
fn connections_end_as_a_test_wants() {
    check(|bench| async move {
        let mut socket = websocket(&bench, "").await;
        let _open = text(&mut socket).await;
        bench.server.send_close_frames();
        let frame = socket.next().await.expect("open").expect("a frame");
        assert!(frame.is_close());
        let mut socket = websocket(&bench, "").await;
        let _open = text(&mut socket).await;
        bench.server.write_raw(b"\xff\xff\xff");
        assert!(socket.next().await.expect("open").is_err());
        let mut socket = websocket(&bench, "").await;
        let _open = text(&mut socket).await;
        bench.server.close_connections();
        assert!(socket.next().await.expect("an error").is_err());
        let mut socket = websocket(&bench, "").await;
        let _open = text(&mut socket).await;
        bench.break_connections(Breakage::Rst);
        assert!(socket.next().await.expect("an error").is_err());
    });
}

#[test]
fn answers_can_be_wrong_in_several_ways() {
    check(|bench| async move {
        let all_of = async |reaction: Reaction| {
            bench.server.on_request(move |_| reaction.clone());
            let mut get = dial(&bench).await;
            request(&mut get, "GET", "transport=polling", "").await;
            let mut text = Vec::new();
            let reading = get.read_to_end(&mut text);
            let _ended = tokio::time::timeout(Duration::from_secs(20), reading).await;
            text
        };
        assert!(all_of(Reaction::Torn).await.ends_with(b"0{"));
        assert_eq!(all_of(Reaction::Close).await, b"");
        assert_eq!(all_of(Reaction::Garbage(b"xyz".to_vec())).await, b"xyz");
    });
}

#[test]
fn pings_come_as_they_are_set() {
    check(|bench| async move {
        bench.server.set(|settings| {
            settings.pings = Pings::AtOnce;
            settings.ping_interval = Duration::from_secs(10);
        });
        let mut socket = websocket(&bench, "").await;
        let _open = text(&mut socket).await;
        assert_eq!(text(&mut socket).await, "2");
        let first = bench.now();
        assert_eq!(text(&mut socket).await, "2");
        let wait = bench.now() - first;
        assert!(wait.abs_diff(Duration::from_secs(10)) < bench.ways(1));
    });
}

#[test]
fn a_server_can_be_away_in_several_ways() {
    check(|bench| async move {
        let mut socket = websocket(&bench, "").await;
        let _open = text(&mut socket).await;
        bench.pause_server();
        socket.send(Frame::text("2")).await.expect("open");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(bench.server.record().texts("2").len(), 0);
        bench.resume_server();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.server.record().texts("2").len(), 1);
        bench.power_server_off();
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.power_server_on();
        // Whatever is sent now is answered with a reset.
        let _sent = socket.send(Frame::text("2")).await;
        assert!(socket.next().await.expect("an error").is_err());
        let mut socket = websocket(&bench, "").await;
        assert!(text(&mut socket).await.contains("session-2"));
        bench.switch_server_off();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let dialled = tokio::time::timeout(Duration::from_secs(5), dial(&bench)).await;
        assert!(dialled.is_err(), "nobody answers");
        bench.switch_server_on();
        let _stream = dial(&bench).await;
    });
}

#[test]
fn a_frame_is_where_a_connection_breaks() {
    check(|bench| async move {
        bench.cut_at(FrameCut {
            fault: 0,
            point: FramePoint {
                side: FrameSide::After,
                way: FrameWay::Receives,
                number: 3,
            },
            how: Breakage::Fin,
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut socket = websocket(&bench, "").await;
        let _open = text(&mut socket).await;
        bench.server.say("42[1]");
        bench.server.say("42[2]");
        assert_eq!(text(&mut socket).await, "42[1]");
        assert!(socket.next().await.is_none_or(|frame| frame.is_err()));
        let record = bench.server.record();
        let out = |entry: &&Seen| matches!(entry, Seen::Out(Message::Text(_)));
        let said = record.0.iter().map(|entry| &entry.what).filter(out).count();
        assert_eq!(said, 3, "the last one was swallowed");
    });
}

#[test]
fn what_is_sent_arrives_whatever_is_lost() {
    let body = |bench: Bench| async move {
        for number in 1..=150 {
            let mut get = dial(&bench).await;
            request(&mut get, "GET", "transport=polling", "").await;
            let open = tokio::time::timeout(Duration::from_secs(60), response(&mut get)).await;
            assert!(open.is_ok(), "request {number} was not answered");
        }
    };
    for seed in 1..=3 {
        assert_eq!(run(Link::Lossy, seed, &body).failure, None, "seed {seed}");
    }
}

#[test]
fn a_failure_shows_where_it_was_and_what_came_before() {
    let body = |bench: Bench| async move {
        let mut socket = websocket(&bench, "").await;
        let _open = text(&mut socket).await;
        panic!("as a test does");
    };
    let outcome = run(Link::Clean, 1, &body);
    let failure = outcome.failure.expect("it panicked");
    assert!(failure.contains("as a test does"), "{failure}");
    let tail = outcome.tail.join("\n");
    assert!(tail.contains("→ 101"), "{tail}");
    assert!(
        tail.contains("client signaling connection 1 opened"),
        "{tail}"
    );
}

#[test]
fn a_body_that_waits_for_ever_ends() {
    let outcome = run(Link::Clean, 1, &|_| std::future::pending());
    let failure = outcome.failure.expect("it never ends");
    assert!(failure.contains("has not ended"), "{failure}");
}

#[test]
fn a_seed_repeats() {
    let body = |bench: Bench| async move {
        let mut socket = websocket(&bench, "").await;
        let _open = text(&mut socket).await;
    };
    let digest = |seed| run(Link::Lossy, seed, &body).digest;
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}
