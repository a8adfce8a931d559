//! The first request, and what the open packet may say.

use ringtrue::signaling::socket::SocketIo;

use super::bench::{URL, check};
use super::client::{FALLING_BACK, POLLING, UPGRADING, WEBSOCKET};
use super::server::Request;

/// The query of a request without a session, beside what every one has.
#[track_caller]
fn check_query(request: &Request, transport: &str, more: &[(&str, &str)]) {
    let own = [("EIO", "4"), ("transport", transport)];
    let expected = own.iter().chain(more);
    let expected = expected.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    assert_eq!(request.query, expected.collect());
    assert_eq!(request.path, "/socket.io/");
    assert_eq!(request.method, "GET");
}

#[test]
fn r01_the_first_request_has_no_sid_and_every_later_one_has_it() {
    check(|bench| async move {
        let io = SocketIo::new(bench.net.clone());
        let url = format!("{URL}/?room=7");
        let mut client = bench.connect_to(&io, &url, bench.options(&UPGRADING));
        client.connected().await;
        bench
            .server
            .until(|record| !record.texts("5").is_empty())
            .await;
        let record = bench.server.record();
        let requests = record.requests();
        check_query(requests[0].2, "polling", &[("room", "7")]);
        let own = [("room", "7"), ("sid", "session-1")];
        let mut transports = Vec::new();
        for (_, _, request) in &requests[1..] {
            let transport = request.transport().expect("one").to_owned();
            let get = Request {
                method: "GET".to_owned(),
                ..(*request).clone()
            };
            check_query(&get, &transport, &own);
            transports.push(transport);
        }
        assert!(transports.contains(&"polling".to_owned()));
        assert!(transports.contains(&"websocket".to_owned()), "the upgrade");
    });
    check(|bench| async move {
        let _client = bench.connected(&FALLING_BACK).await;
        let record = bench.server.record();
        let requests = record.requests();
        assert_eq!(requests.len(), 1);
        check_query(requests[0].2, "websocket", &[]);
    });
}

#[test]
fn r02_the_open_packet_may_be_anybodys() {
    const PINGS: &str = r#""pingInterval":25000,"pingTimeout":20000"#;
    let opens = [
        // socketioxide has 16 characters, Node and Python have 20.
        format!(
            r#"{{"sid":"AAAAAAAAAAAAAAASID","upgrades":["websocket"],{PINGS},"maxPayload":100000}}"#
        ),
        format!(r#"{{"sid":"lv_VI97HAXpY6yYWAAASID","upgrades":[],{PINGS},"maxPayload":1000000}}"#),
        format!(r#"{{"sid":"SID","upgrades":["webtransport","pigeon"],{PINGS}}}"#),
        format!(r#"{{"sid":"é SID?&=","upgrades":[],{PINGS},"more":{{"a":[1]}}}}"#),
        format!(r#"{{"sid":"SID",{PINGS},"maxPayload":null}}"#),
    ];
    for transports in [POLLING, WEBSOCKET] {
        for open in &opens {
            check(|bench| {
                let open = open.clone();
                async move {
                    // Requests name the session in a form that a query can have.
                    bench.server.set(|settings| settings.open = Some(open));
                    bench.connected(&transports).await;
                }
            });
        }
    }
}
