//! `ringtrue call`: one client on real sockets, calling or waiting to be called.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ringtrue::audio::sink::{AudioSink, SinkEvent};
use ringtrue::audio::track::OpusTrack;
use ringtrue::client::{CallClient, ClientError, ClientEvent};
use ringtrue::config::{ClientConfig, IceConfig, IceServer};
use ringtrue::net::Net;
use ringtrue::net::tokio::TokioNet;
use ringtrue::signaling::client::Identity;
use ringtrue::signaling::message::CallId;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::{CliError, EXIT_EXPECTED, EXIT_UNEXPECTED, print_line};

/// Call somebody on real sockets, or wait to be called, and say when audio is up
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The signaling server
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    server: String,
    /// Who you are
    #[arg(long)]
    name: String,
    /// Whom to call; without it the first call that comes is answered
    callee: Option<String>,
    /// The Ogg Opus file to play
    #[arg(long)]
    plays: PathBuf,
    /// The Ogg Opus file that the other side plays
    #[arg(long)]
    expects: PathBuf,
    /// How long to talk once audio is up
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    talk: Duration,
    /// How long to wait for audio
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// A STUN server, as stun:host:port; may be given more than once
    #[arg(long)]
    stun: Vec<String>,
    /// Use the loopback interface only
    #[arg(long)]
    loopback: bool,
}

/// How the client's call went.
enum End {
    Talked,
    Over(String),
}

pub(super) fn main(arguments: &Arguments) -> Result<u8, CliError> {
    let voice = load(&arguments.plays)?;
    let expected = load(&arguments.expects)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::cannot("start a runtime"))?;
    let limit = arguments.patience + arguments.talk;
    let call = async { timeout(limit, talk(arguments, voice, expected)).await };
    match runtime.block_on(call) {
        Ok(Ok(End::Talked)) => Ok(EXIT_EXPECTED),
        Ok(Ok(End::Over(reason))) => {
            print_line(&format!("call over before the talk was: {reason}"));
            Ok(EXIT_UNEXPECTED)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            print_line(&format!("no audio after {:?}", arguments.patience));
            Ok(EXIT_UNEXPECTED)
        }
    }
}

async fn talk(
    arguments: &Arguments,
    voice: OpusTrack,
    expected: OpusTrack,
) -> Result<End, CliError> {
    let net: Arc<dyn Net> = if arguments.loopback {
        Arc::new(TokioNet::loopback_only())
    } else {
        Arc::new(TokioNet::new())
    };
    let identity = Identity {
        name: arguments.name.clone(),
        token: String::new(),
    };
    let (client, mut events) = CallClient::start(net, config(arguments), identity, voice);
    let mut call = None;
    let mut ear = AudioSink::expecting(expected);
    let started = Instant::now();
    let mut hang_up_at: Option<Instant> = None;
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event.ok_or(ClientError::Stopped)?,
            () = sleep_until(hang_up_at.unwrap_or(started)), if hang_up_at.is_some() => {
                hang_up(&client, call.as_ref(), &mut events).await?;
                print_line("talked");
                return Ok(End::Talked);
            }
        };
        match event {
            ClientEvent::SignalingConnected => {
                print_line("signaling connected");
                if let (Some(callee), None) = (&arguments.callee, &call) {
                    call = Some(client.call(callee.clone()).await?);
                }
            }
            ClientEvent::Incoming { call: id, from } => {
                print_line(&format!("{from} calls"));
                client.answer(&id).await?;
                call = Some(id);
            }
            ClientEvent::PathSelected { local, remote, .. } => {
                print_line(&format!("path selected: {local} to {remote}"));
            }
            ClientEvent::Audio {
                sequence_number,
                payload,
                ..
            } => {
                let heard = ear.received(started.elapsed(), sequence_number, &payload);
                if heard == Some(SinkEvent::AudioConnected) {
                    print_line("audio connected");
                    hang_up_at = Some(Instant::now() + arguments.talk);
                }
            }
            ClientEvent::SignalingRejected { message } => {
                return Err(CliError::Other(format!("no signaling: {message}")));
            }
            // The side that heard the other first also hangs up first.
            ClientEvent::Ended { .. } if hang_up_at.is_some() => {
                print_line("talked");
                return Ok(End::Talked);
            }
            ClientEvent::Ended { reason, .. } => return Ok(End::Over(reason.to_string())),
            _ => {}
        }
    }
}

/// Hangs up and waits until the client says that the call is over, so that the other side hears of
/// it.
async fn hang_up(
    client: &CallClient,
    call: Option<&CallId>,
    events: &mut mpsc::UnboundedReceiver<ClientEvent>,
) -> Result<(), CliError> {
    let call = call.ok_or_else(|| CliError::Other("audio without a call".into()))?;
    client.hang_up(call).await?;
    while let Some(event) = events.recv().await {
        if matches!(event, ClientEvent::Ended { .. }) {
            break;
        }
    }
    client.flushed().await;
    Ok(())
}

fn config(arguments: &Arguments) -> ClientConfig {
    let mut config = ClientConfig {
        ice: IceConfig {
            servers: arguments
                .stun
                .iter()
                .map(|url| IceServer {
                    url: url.clone(),
                    credentials: None,
                })
                .collect(),
            ..IceConfig::default()
        },
        ..ClientConfig::default()
    };
    config.signaling.url.clone_from(&arguments.server);
    config
}

fn load(path: &Path) -> Result<OpusTrack, CliError> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(CliError::cannot(format!("read {name}")))?;
    OpusTrack::parse(&bytes)
        .map_err(|error| CliError::Other(format!("cannot play {name}: {error}")))
}
