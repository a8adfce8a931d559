//! The real clients against the relay.

use std::path::Path;
use std::process::Command;

use crate::process::{Process, beside, interpreter};

/// The checks that both clients have.
macro_rules! checks {
    ($($check:ident),* $(,)?) => {
        mod npm_client {
            $(#[test]
            fn $check() {
                super::check("RINGTRUE_INTEROP_NODE", "node/client.mjs", stringify!($check));
            })*
        }

        mod python_client {
            $(#[test]
            fn $check() {
                super::check("RINGTRUE_INTEROP_PYTHON", "python/client.py", stringify!($check));
            })*
        }
    };
}

checks!(websocket, polling, upgrade, rejected, turn_credentials);

#[track_caller]
fn check(interpreter_variable: &str, client: &str, check: &str) {
    let mut relay = Command::new(env!("CARGO_BIN_EXE_ringtrue"));
    relay.args(["serve", "--listen", "127.0.0.1:0", "--tokens"]);
    relay.arg(beside("relay/tokens.toml"));
    relay.args(["--turn-uri", "turn:127.0.0.1:3478", "--turn-secret-file"]);
    relay.arg(beside("relay/turn-secret"));
    let relay = Process::server(&mut relay);
    let mut client = command(interpreter_variable, &beside(client));
    let output = client.args([relay.listens_on(), check]).output();
    let output = output.unwrap_or_else(|error| panic!("{client:?} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "{check}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn command(interpreter_variable: &str, script: &Path) -> Command {
    let mut command = Command::new(interpreter(interpreter_variable));
    command.arg(script);
    command
}
