//! Connection state recovery: what a reconnect tells of the session before.

use std::time::Duration;

use ringtrue::signaling::socket::{Recovered, SocketEvent, SocketOptions};
use serde_json::{Value, json};

use super::bench::{Bench, check};
use super::client::{Client, POLLING, WEBSOCKET, auth};

/// Lets the server name this private session in its next replies.
fn name_pid(bench: &Bench, pid: Option<&str>) {
    let reply = match pid {
        Some(pid) => format!(r#"{{"sid":"SID","pid":"{pid}"}}"#),
        None => r#"{"sid":"SID"}"#.to_owned(),
    };
    bench
        .server
        .set(|settings| settings.connect_reply = Some(reply));
}

/// Cuts the connection, and waits for the next.
async fn reconnect(bench: &Bench, client: &mut Client) -> Recovered {
    bench.server.close_connections();
    client.disconnected().await;
    client.connected().await.1
}

/// What the last CONNECT carried.
fn connect(bench: &Bench) -> Value {
    let record = bench.server.record();
    let (_, text) = record.texts("40").pop().expect("one");
    serde_json::from_str(&text[2..]).expect("json")
}

#[test]
fn r34_a_reconnect_carries_pid_and_offset_and_is_recovered_where_the_pid_matches() {
    for transports in [&WEBSOCKET[..], &POLLING[..]] {
        check(|bench| async move {
            name_pid(&bench, Some("one"));
            let mut client = bench.connect(SocketOptions {
                auth: auth(),
                ..bench.options(transports)
            });
            let (_, recovered) = client.connected().await;
            assert_eq!(recovered, Recovered::No);
            assert_eq!(connect(&bench), json!({"user": "anna", "token": "secret"}));

            // Without an event there is no offset.
            assert_eq!(reconnect(&bench, &mut client).await, Recovered::Yes);
            let carried = json!({"user": "anna", "token": "secret", "pid": "one"});
            assert_eq!(connect(&bench), carried);

            bench.server.say(r#"42["news",1,"offset-1"]"#);
            bench.server.say(r#"42["news",2,"text","offset-2"]"#);
            assert_eq!(client.event().await.arguments, [json!(1)]);
            assert_eq!(client.event().await.arguments, [json!(2), json!("text")]);
            assert_eq!(reconnect(&bench, &mut client).await, Recovered::Yes);
            let carried = json!({
                "user": "anna", "token": "secret", "pid": "one", "offset": "offset-2"
            });
            assert_eq!(connect(&bench), carried);

            // The server has forgotten the session; the one that it begins has no offset yet.
            name_pid(&bench, Some("two"));
            assert_eq!(reconnect(&bench, &mut client).await, Recovered::No);
            assert_eq!(connect(&bench), carried);
            assert_eq!(reconnect(&bench, &mut client).await, Recovered::Yes);
            let carried = json!({"user": "anna", "token": "secret", "pid": "two"});
            assert_eq!(connect(&bench), carried);

            // It recovers no more: what looks like an offset is an argument.
            name_pid(&bench, None);
            assert_eq!(reconnect(&bench, &mut client).await, Recovered::No);
            bench.server.say(r#"42["news",3,"text"]"#);
            let arguments = client.event().await.arguments;
            assert_eq!(arguments, [json!(3), json!("text")]);
            assert_eq!(reconnect(&bench, &mut client).await, Recovered::No);
            assert_eq!(connect(&bench), json!({"user": "anna", "token": "secret"}));
        });
    }
}

#[test]
fn r34_what_was_missed_comes_before_connected_and_counts_as_the_last_offset() {
    check(|bench| async move {
        name_pid(&bench, Some("one"));
        let mut client = bench.connected(&WEBSOCKET).await;
        bench.server.say(r#"42["news",1,"offset-1"]"#);
        assert_eq!(client.event().await.arguments, [json!(1)]);
        bench.server.set(|settings| settings.connect_reply = None);
        bench.server.close_connections();
        client.disconnected().await;
        bench
            .server
            .until(|record| record.texts("40").len() == 2)
            .await;
        bench.server.say(r#"42["news",2,"offset-2"]"#);
        bench.server.say(r#"40{"sid":"a","pid":"one"}"#);
        let is_open = |event: &SocketEvent| match event {
            SocketEvent::Reconnected { .. } => Some(()),
            _ => None,
        };
        client.first(is_open).await;
        assert_eq!(client.event().await.arguments, [json!(2)]);
        assert_eq!(client.joined().await, ("a".to_owned(), Recovered::Yes));
        name_pid(&bench, Some("one"));
        assert_eq!(reconnect(&bench, &mut client).await, Recovered::Yes);
        let carried = json!({"pid": "one", "offset": "offset-2"});
        assert_eq!(connect(&bench), carried);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(client.ready().is_empty());
    });
}
