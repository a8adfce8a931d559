//! `ringtrue serve`, asked over real sockets by requests that are written here.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use ringtrue::net::tls::{TlsConnector, TlsTrust};
use ringtrue::net::tokio::TokioNet;
use ringtrue::net::{ByteStream, Net as _};
use ringtrue::signaling::relay::turn_credentials::{TurnCredentials, TurnSecret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::{ringtrue, root};

/// Longer than anything here takes on a machine with a lot to do.
const LIMIT: Duration = Duration::from_secs(30);

/// The path of a session that polls, but for its id.
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// A running `ringtrue serve`.
struct Server {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    scheme: String,
    address: SocketAddr,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ringtrue"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(options)
            .current_dir(root())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let stdout = process.stdout.take().expect("its output is a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next().expect("a line").expect("a line of text");
        let url = line.strip_prefix("listening on ");
        let (scheme, address) = url
            .and_then(|url| url.split_once("://"))
            .expect("it says where it listens");
        Self {
            process,
            scheme: scheme.to_owned(),
            address: address.parse().expect("an address"),
            lines,
        }
    }

    fn line(&mut self) -> String {
        self.lines
            .next()
            .expect("another line")
            .expect("a line of text")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.process.id().to_string()])
            .status();
        assert!(sent.expect("there is a kill command").success());
    }

    /// Its exit code, once it has ended.
    fn code(&mut self) -> Option<i32> {
        self.process.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a client's part of a test.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { timeout(LIMIT, future).await.expect("it takes too long") })
}

async fn dial(address: SocketAddr) -> Box<dyn ByteStream> {
    let stream = TokioNet::new().connect_stream(address).await;
    stream.expect("it listens")
}

/// Sends one request over a stream of its own and reads the answer with its head.
async fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    exchange(dial(address).await, method, path, body).await
}

async fn exchange(mut stream: Box<dyn ByteStream>, method: &str, path: &str, body: &str) -> String {
    send(&mut stream, method, path, body).await;
    receive(stream).await
}

async fn send(stream: &mut Box<dyn ByteStream>, method: &str, path: &str, body: &str) {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n"
    );
    let request = head + body;
    stream.write_all(request.as_bytes()).await.expect("open");
}

async fn receive(mut stream: Box<dyn ByteStream>) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// The packets of an answer to a poll.
fn packets(answer: &str) -> Vec<&str> {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    body.split('\u{1e}').collect()
}

/// Opens a session that polls, and joins with this auth. Gives its path and the answer to CONNECT.
async fn join(address: SocketAddr, auth: &str) -> (String, String) {
    let opened = request(address, "GET", POLLING, "").await;
    let id = opened.split("\"sid\":\"").nth(1).expect("an open packet");
    let session = format!("{POLLING}&sid={}", id.split('"').next().expect("an id"));
    let told = request(address, "POST", &session, &format!("40{auth}")).await;
    assert_eq!(packets(&told), ["ok"]);
    // The first ping comes at once, before or after; the next is far.
    let (mut pinged, mut reply) = (false, None);
    while !pinged || reply.is_none() {
        let polled = request(address, "GET", &session, "").await;
        for packet in packets(&polled) {
            match packet {
                "2" => pinged = true,
                other => reply = Some(other.to_owned()),
            }
        }
    }
    (session, reply.expect("it has come"))
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a new file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn health_is_answered_and_nothing_else_is_found() {
    let server = Server::start(&[]);
    block_on(async {
        let health = request(server.address, "GET", "/health", "").await;
        assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
        let body = health.split("\r\n\r\n").nth(1).expect("a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("json");
        let expected = serde_json::json!({ "status": "ok", "connections": 0, "calls": 0 });
        assert_eq!(body, expected);
        let other = request(server.address, "GET", "/", "").await;
        assert!(other.starts_with("HTTP/1.1 404 Not Found\r\n"), "{other}");
    });
}

#[test]
fn another_path_can_be_chosen() {
    let server = Server::start(&["--path", "/calls"]);
    block_on(async {
        let there = request(server.address, "GET", "/calls/?EIO=4&transport=polling", "").await;
        assert!(there.starts_with("HTTP/1.1 200 OK\r\n"), "{there}");
        let gone = request(server.address, "GET", POLLING, "").await;
        assert!(gone.starts_with("HTTP/1.1 404 Not Found\r\n"), "{gone}");
    });
}

#[test]
fn tokens_come_from_a_file() {
    let directory = tempfile::tempdir().expect("a new directory");
    let tokens = write(directory.path(), "tokens.toml", "anna = \"north\"\n");
    let mut server = Server::start(&["--tokens", &tokens]);
    assert_eq!(server.line(), "letting 1 users in");
    block_on(async {
        let auth = r#"{"user":"anna","token":"north","device":"d1"}"#;
        let (_, answer) = join(server.address, auth).await;
        assert!(answer.starts_with("40{\"sid\":"), "{answer}");
        let auth = r#"{"user":"anna","token":"south","device":"d2"}"#;
        let (_, answer) = join(server.address, auth).await;
        let refused = r#"44{"message":"user \"anna\" has no such token"}"#;
        assert_eq!(answer, refused);
    });
}

#[test]
fn what_is_wrong_with_the_options_is_said_with_its_place() {
    let directory = tempfile::tempdir().expect("a new directory");
    let tokens = write(directory.path(), "tokens.toml", "anna = \"1\"\nboris = 2\n");
    let no_pem = write(directory.path(), "no.pem", "nothing");
    for (options, text) in [
        (
            vec!["--tokens", &tokens],
            format!("error: {tokens}:2:9: invalid type: integer `2`, expected a string"),
        ),
        (
            vec!["--certificate", &no_pem, "--key", &no_pem],
            format!("error: {no_pem} and {no_pem}: "),
        ),
        (vec!["--certificate", &no_pem], "--key".to_owned()),
        (
            vec!["--turn-uri", "turn:turn.example"],
            "--turn-secret-file".to_owned(),
        ),
        (
            vec![
                "--turn-secret-file",
                &no_pem,
                "--turn-uri",
                "stun:stun.example",
            ],
            "only turn: and turns: have credentials".to_owned(),
        ),
        (vec!["--path", "calls"], "a path starts with /".to_owned()),
    ] {
        let output = ringtrue(&[&["serve"][..], &options].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(&text), "{options:?}: {said}");
    }
}

#[test]
fn time_limited_credentials_are_issued() {
    let directory = tempfile::tempdir().expect("a new directory");
    let secret = write(directory.path(), "secret", "north\n");
    let uri = "turn:turn.example:443?transport=tcp";
    let mut server = Server::start(&["--turn-secret-file", &secret, "--turn-uri", uri]);
    server.line();
    assert_eq!(server.line(), format!("issuing credentials for {uri}"));
    block_on(async {
        let (session, _) = join(server.address, r#"{"user":"anna","device":"d1"}"#).await;
        let asked = "420[\"turn-credentials\"]";
        request(server.address, "POST", &session, asked).await;
        let polled = request(server.address, "GET", &session, "").await;
        let answer = packets(&polled)[0].strip_prefix("430").expect("an answer");
        let issued: [TurnCredentials; 1] = serde_json::from_str(answer).expect("credentials");
        let [issued] = issued;
        assert_eq!(issued.uris, [uri]);
        assert_eq!(issued.ttl, 24 * 3600);
        assert!(issued.username.ends_with(":anna"), "{issued:?}");
        let expected = TurnSecret::new("north").credential(&issued.username);
        assert_eq!(issued.credential, expected);
    });
}

#[test]
fn it_speaks_tls() {
    let directory = tempfile::tempdir().expect("a new directory");
    let made = rcgen::generate_simple_self_signed(["relay.example".to_owned()]);
    let made = made.expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.key_pair.serialize_pem());
    let certificate_file = write(directory.path(), "certificate.pem", &certificate);
    let key_file = write(directory.path(), "key.pem", &key);
    let server = Server::start(&["--certificate", &certificate_file, "--key", &key_file]);
    assert_eq!(server.scheme, "https");
    let trust = TlsTrust::from_pem(&certificate).expect("a certificate");
    let connector = TlsConnector::new(&trust).expect("one root");
    block_on(async {
        let stream = connector.connect("relay.example", dial(server.address).await);
        let stream = stream.await.expect("it has that certificate");
        let health = exchange(Box::new(stream), "GET", "/health", "").await;
        assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
        let mut plain = dial(server.address).await;
        plain
            .write_all(b"GET /health HTTP/1.1\r\n\r\n")
            .await
            .expect("open");
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "it speaks nothing else");
    });
}

#[test]
fn a_signal_ends_it_in_order() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        assert_eq!(server.line(), "letting everybody in: no tokens are given");
        block_on(async {
            let (session, _) = join(server.address, r#"{"user":"anna","device":"d1"}"#).await;
            let mut waiting = dial(server.address).await;
            send(&mut waiting, "GET", &session, "").await;
            // What was asked before waits at the server when it answers to this.
            request(server.address, "GET", "/health", "").await;
            server.signal(signal);
            assert_eq!(packets(&receive(waiting).await), ["1"]);
        });
        assert_eq!(server.line(), format!("SIG{signal}: closing 1 connections"));
        assert_eq!(server.line(), "closed");
        assert_eq!(server.code(), Some(0));
    }
}

#[test]
fn a_second_signal_does_not_wait_for_a_client_that_hangs() {
    let mut server = Server::start(&[]);
    server.line();
    block_on(async {
        let (session, _) = join(server.address, r#"{"user":"anna","device":"d1"}"#).await;
        let mut hangs = dial(server.address).await;
        let head = format!("POST {session} HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\n4");
        hangs.write_all(head.as_bytes()).await.expect("open");
        // It has read that when it answers to this.
        request(server.address, "GET", "/health", "").await;
        server.signal("TERM");
        assert_eq!(server.line(), "SIGTERM: closing 1 connections");
        let health = request(server.address, "GET", "/health", "").await;
        let status = "HTTP/1.1 503 Service Unavailable\r\n";
        assert!(health.starts_with(status), "{health}");
        server.signal("TERM");
        assert_eq!(server.line(), "SIGTERM: ends at once");
        assert_eq!(server.code(), Some(1));
        drop(hangs);
    });
}
