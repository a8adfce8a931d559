//! `ringtrue serve`: the signaling relay on real sockets.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use ringtrue::net::Net;
use ringtrue::net::tls::TlsAcceptor;
use ringtrue::net::tokio::TokioNet;
use ringtrue::peer::servers::{Scheme, ServerUrl};
use ringtrue::signaling::relay::turn_credentials::{TurnCredentialIssuer, TurnSecret};
use ringtrue::signaling::relay::{Relay, RelayConfig, TokenPolicy, serve, serve_tls};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, print_line};
use crate::server::turn::date;

mod tokens;

/// How long clients have to take their leave after a signal.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Run the signaling relay on real sockets
///
/// SIGINT or SIGTERM ends it in order within 5 s, a second one at once. GET /health says whether it
/// serves.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// The path of the Socket.IO endpoint
    #[arg(long, default_value = "/socket.io", value_parser = parse_path)]
    path: String,
    /// A TOML file with a line user = "token" for each user; without it, everybody is let in under
    /// any name
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// A file with the secret that is shared with the TURN servers; clients get time-limited
    /// credentials then
    #[arg(long, value_name = "FILE", requires = "turn_uri")]
    turn_secret_file: Option<PathBuf>,
    /// A TURN server that accepts such credentials, as turn:host:port; may be given more than once
    #[arg(long, value_name = "URI", requires = "turn_secret_file", value_parser = parse_turn_uri)]
    turn_uri: Vec<String>,
    /// The certificate for TLS as PEM, followed by those that lead to its root
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The key of the certificate as PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let config = arguments.config()?;
    let tls = arguments.tls()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::cannot("start a runtime"))?;
    runtime.block_on(run(arguments, config, tls))
}

async fn run(
    arguments: &Arguments,
    config: RelayConfig,
    tls: Option<TlsAcceptor>,
) -> Result<u8, CliError> {
    let cannot_serve = || CliError::cannot(format!("serve on {}", arguments.listen));
    // From here on no signal is missed: whoever reads the first line may send one.
    let mut signals = Signals::new()?;
    let listener = TokioNet::new()
        .listen_stream(arguments.listen)
        .await
        .map_err(cannot_serve())?;
    let address = listener.local_addr().map_err(cannot_serve())?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    print_line(&format!("listening on {scheme}://{address}"));
    for line in describe(&config, arguments) {
        print_line(&line);
    }
    let relay = Relay::new(config);
    let serving = relay.clone();
    let mut serving = pin!(async {
        match tls {
            None => serve(serving, listener).await,
            Some(tls) => serve_tls(serving, listener, tls).await,
        }
    });
    let name = tokio::select! {
        biased;
        name = signals.next() => name,
        ended = serving.as_mut() => {
            return ended.map(|()| EXIT_EXPECTED).map_err(cannot_serve());
        }
    };
    let connections = relay.connections();
    print_line(&format!("{name}: closing {connections} connections"));
    let deadline = Instant::now() + DRAIN_LIMIT;
    tokio::select! {
        biased;
        name = signals.next() => {
            print_line(&format!("{name}: ends at once"));
            Ok(EXIT_UNEXPECTED)
        }
        // It is served on meanwhile, so that whoever asks hears that the relay goes.
        (ended, ()) = async { tokio::join!(serving, relay.shut_down(deadline)) } => {
            ended.map_err(cannot_serve())?;
            print_line("closed");
            Ok(EXIT_EXPECTED)
        }
    }
}

/// What a user should know of the settings, a line each.
fn describe(config: &RelayConfig, arguments: &Arguments) -> Vec<String> {
    let mut lines = vec![match &config.tokens {
        TokenPolicy::Any => "letting everybody in: no tokens are given".to_owned(),
        TokenPolicy::Listed(users) => format!("letting {} users in", users.len()),
    }];
    if config.turn.is_some() {
        let servers = arguments.turn_uri.join(" ");
        lines.push(format!("issuing credentials for {servers}"));
    }
    lines
}

impl Arguments {
    fn config(&self) -> Result<RelayConfig, CliError> {
        let mut config = RelayConfig {
            path: self.path.clone(),
            ..RelayConfig::default()
        };
        if let Some(path) = &self.tokens {
            let file = path.display();
            let users = tokens::parse(&read(path)?, config.name_bytes_max)
                .map_err(|error| CliError::Other(format!("{file}:{error}")))?;
            config.tokens = TokenPolicy::Listed(users);
        }
        if let Some(path) = &self.turn_secret_file {
            let secret = read(path)?;
            let secret = secret.trim_end_matches(['\r', '\n']);
            if secret.is_empty() {
                let file = path.display();
                return Err(CliError::Other(format!("{file} holds no secret")));
            }
            config.turn = Some(TurnCredentialIssuer::new(
                TurnSecret::new(secret),
                self.turn_uri.clone(),
                TurnCredentialIssuer::DEFAULT_TTL,
                date,
            ));
        }
        Ok(config)
    }

    fn tls(&self) -> Result<Option<TlsAcceptor>, CliError> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(None);
        };
        let acceptor = TlsAcceptor::from_pem(&read(certificate)?, &read(key)?);
        let acceptor = acceptor.map_err(|error| {
            let (certificate, key) = (certificate.display(), key.display());
            let source = std::error::Error::source(&error);
            let cause = source.map_or_else(String::new, |source| format!(": {source}"));
            CliError::Other(format!("{certificate} and {key}: {error}{cause}"))
        })?;
        Ok(Some(acceptor))
    }
}

/// The signals that end the relay.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(CliError::cannot("listen for signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

fn read(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path).map_err(CliError::cannot(format!("read {}", path.display())))
}

fn parse_path(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    if text.starts_with('/') && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("a path starts with / and has letters, digits and marks that a URL may have".to_owned())
}

fn parse_turn_uri(text: &str) -> Result<String, String> {
    let url = text
        .parse::<ServerUrl>()
        .map_err(|error| error.to_string())?;
    let is_turn = match url.scheme {
        Scheme::Turn => true,
        Scheme::Stun => false,
        Scheme::Secure => text.starts_with("turns:"),
    };
    if is_turn {
        return Ok(text.to_owned());
    }
    Err("only turn: and turns: have credentials".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_that_a_url_may_have() {
        for path in ["/", "/socket.io", "/a/b-c_d~e/", "/%41"] {
            assert_eq!(parse_path(path), Ok(path.to_owned()));
        }
        for path in ["", "socket.io", "/a b", "/a?b", "/a#b", "/ä", "/a\n"] {
            assert!(parse_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn only_turn_servers_have_credentials() {
        for uri in ["turn:turn.example", "turn:turn.example:443?transport=tcp"] {
            assert_eq!(parse_turn_uri(uri), Ok(uri.to_owned()));
        }
        for uri in [
            "stun:stun.example",
            "stuns:stun.example",
            "turn.example",
            "",
        ] {
            assert!(parse_turn_uri(uri).is_err(), "{uri:?}");
        }
    }
}
