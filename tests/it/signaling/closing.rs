//! How a session ends, and that the client knows at once.

use ringtrue_sim::fault::Breakage;

use super::bench::{Bench, check};
use super::client::{POLLING, WEBSOCKET};
use super::server::{Message, Reaction, Seen};

#[test]
fn r09_a_close_frame_is_answered_and_reported_at_once() {
    check(|bench| async move {
        let mut client = bench.connected(&WEBSOCKET).await;
        let begun = bench.now();
        bench.server.send_close_frames();
        let reason = client.disconnected().await;
        assert_eq!(reason.name(), "transport_close");
        let took = bench.now() - begun;
        assert!(took <= bench.ways(2), "{took:?}");
        bench
            .server
            .until(|record| record.0.iter().any(|entry| is_close(&entry.what)))
            .await;
        let took = bench.now() - begun;
        assert!(took <= bench.ways(3), "{took:?}");
        client.connected().await;
    });
}

fn is_close(seen: &Seen) -> bool {
    matches!(seen, Seen::In(Message::Close))
}

#[test]
fn r10_the_end_of_a_stream_is_reported_at_once_and_a_reconnect_follows() {
    #[track_caller]
    fn check_end(polls: &'static str, name: &'static str, end: fn(&Bench)) {
        check(move |bench| async move {
            let transports = if polls == "polling" {
                POLLING
            } else {
                WEBSOCKET
            };
            let mut client = bench.connected(&transports).await;
            let begun = bench.now();
            end(&bench);
            let reason = client.disconnected().await;
            assert_eq!(reason.name(), name, "{reason:?}");
            let took = bench.now() - begun;
            assert!(took <= bench.ways(3), "{took:?}");
            bench.server.on_request(|_| Reaction::Usual);
            client.connected().await;
        });
    }
    let answers_an_error = |bench: &Bench| {
        bench
            .server
            .on_request(|_| Reaction::Answer(502, "bad gateway".to_owned()));
        bench.server.say("6");
    };
    let closes = |bench: &Bench| bench.server.close_connections();
    let resets = |bench: &Bench| bench.break_connections(Breakage::Rst);
    check_end("websocket", "transport_close", closes);
    check_end("websocket", "transport_error", resets);
    check_end("polling", "transport_close", closes);
    check_end("polling", "transport_error", resets);
    check_end("polling", "transport_error", answers_an_error);
}
