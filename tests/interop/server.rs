//! The servers that the client is tested against.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::{Process, beside, interpreter};

/// How often the servers send a ping. Python's announces whole seconds.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(1);

/// How long they wait for the pong: longer than a busy machine keeps anybody waiting.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Npm,
    /// With connection state recovery.
    NpmWithRecovery,
    Python,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    peer: Peer,
    process: Process,
}

impl Server {
    /// A server for one test, which may stop it.
    pub(crate) fn start(peer: Peer) -> Self {
        let process = process(peer, "0");
        Self { peer, process }
    }

    /// The server of all tests that leave it as it is.
    pub(crate) fn shared(peer: Peer) -> &'static Self {
        static SERVERS: [OnceLock<Server>; 3] = [const { OnceLock::new() }; 3];
        SERVERS[peer as usize].get_or_init(|| Self::start(peer))
    }

    /// Waits until it has ended by itself, and starts it on the same port.
    pub(crate) async fn start_again(&mut self) {
        self.process.ended().await;
        self.process = process(self.peer, self.process.listens_on());
    }

    /// The URL of a namespace, with the name under which the client's sessions are counted.
    pub(crate) fn url(&self, namespace: &str, name: &str) -> String {
        let port = self.process.listens_on();
        format!("http://127.0.0.1:{port}{namespace}?name={name}")
    }
}

fn process(peer: Peer, port: &str) -> Process {
    let (interpreter_variable, script) = match peer {
        Peer::Npm | Peer::NpmWithRecovery => ("RINGTRUE_INTEROP_NODE", "node/server.mjs"),
        Peer::Python => ("RINGTRUE_INTEROP_PYTHON", "python/server.py"),
    };
    let milliseconds = |duration: Duration| duration.as_millis().to_string();
    let mut command = Command::new(interpreter(interpreter_variable));
    command.arg(beside(script)).args(["--port", port]);
    command.args(["--ping-interval", &milliseconds(PING_INTERVAL)]);
    command.args(["--ping-timeout", &milliseconds(PING_TIMEOUT)]);
    if peer == Peer::NpmWithRecovery {
        command.arg("--recovery");
    }
    Process::server(&mut command)
}
