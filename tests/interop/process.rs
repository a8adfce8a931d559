//! Processes beside the tests: servers, and clients of the relay.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long a process may take to end once it has been told to.
const EXIT_LIMIT: Duration = Duration::from_secs(10);

/// A process that ends with this value, and with the test binary however that ends: the peers end
/// once their standard input does.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    listens_on: String,
    /// Kept open: who prints to a pipe that nobody reads ends.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a server, and waits until it says where it listens.
    #[track_caller]
    pub(crate) fn server(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut line = String::new();
        let read = stdout.read_line(&mut line).ok();
        let listens_on = read.and_then(|_| line.trim_end().strip_prefix("listening on "));
        let Some(listens_on) = listens_on.map(str::to_owned) else {
            panic!("{command:?} said {line:?}, not where it listens");
        };
        Self {
            child,
            listens_on,
            _stdout: stdout,
        }
    }

    /// What the server printed: its port, or its URL.
    pub(crate) fn listens_on(&self) -> &str {
        &self.listens_on
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) {
        let ended = async {
            while self.child.try_wait().expect("it is our child").is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(EXIT_LIMIT, ended).await.expect("the server ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Node.js or Python that `run.sh` has put the peers' packages into, or another program that it has found.
pub(crate) fn interpreter(variable: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| {
        panic!("{variable} is not set; these tests are started by tests/interop/run.sh")
    })
}

/// A file beside this one.
pub(crate) fn beside(path: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.join("../tests/interop").join(path)
}
