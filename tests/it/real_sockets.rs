//! The same client on real sockets: the relay and two callers, each a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::root;

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringtrue"))
            .args(arguments)
            .current_dir(root())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let stdout = child.stdout.take().expect("its output is a pipe");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    fn next_line(&mut self) -> String {
        self.lines
            .next()
            .expect("another line")
            .expect("a line of text")
    }

    fn rest(&mut self) -> Vec<String> {
        self.lines.by_ref().map_while(Result::ok).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_clients_talk_over_real_sockets() {
    let mut relay = Process::start(&["serve", "--listen", "127.0.0.1:0"]);
    let listening = relay.next_line();
    let server = listening
        .strip_prefix("listening on ")
        .expect("the relay says where it listens");
    let common = [
        "--server",
        server,
        "--loopback",
        "--talk",
        "1s",
        "--patience",
        "30s",
    ];
    let low = "fixtures/tone-low.opus";
    let high = "fixtures/tone-high.opus";

    let waits = [
        &["call", "--name", "bob", "--plays", high, "--expects", low],
        &common[..],
    ]
    .concat();
    let mut bob = Process::start(&waits);
    assert_eq!(bob.next_line(), "signaling connected");
    let calls = [
        &[
            "call",
            "--name",
            "alice",
            "bob",
            "--plays",
            low,
            "--expects",
            high,
        ],
        &common[..],
    ]
    .concat();
    let mut alice = Process::start(&calls);

    for process in [&mut alice, &mut bob] {
        let said = process.rest();
        assert!(said.contains(&"audio connected".to_owned()), "{said:#?}");
        let status = process.child.wait().expect("the process ends");
        assert!(status.success(), "{said:#?}");
    }
}
