mod opening;
mod polling;
mod server;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use self::server::Server;
use super::engine::{Engine, EngineEvent, EngineOptions};
use super::{ConnectError, TransportError};
use crate::config::{SignalingConfig, TransportKind};
use crate::signaling::engine_io::{EngineIoPacket, OpenPacket};
use crate::signaling::memory_net::{MemoryNet, settings};

/// Options for `relay.example` over these transports.
fn options(transports: &[TransportKind]) -> EngineOptions {
    let config = SignalingConfig {
        transports: transports.to_vec(),
        ..settings()
    };
    EngineOptions::from_config(&config).expect("a valid url")
}

async fn open(
    net: &MemoryNet,
    options: &EngineOptions,
) -> Result<(Engine, OpenPacket), ConnectError> {
    Engine::open(Arc::new(net.clone()), options).await
}

fn message(text: &str) -> EngineIoPacket {
    EngineIoPacket::Message(text.into())
}

/// What happens next in the session, which must be soon.
#[track_caller]
fn next(engine: &mut Engine) -> impl Future<Output = Result<EngineEvent, TransportError>> + '_ {
    let caller = std::panic::Location::caller();
    async move {
        let event = timeout(Duration::from_mins(5), engine.next()).await;
        event.unwrap_or_else(|_| panic!("{caller}: nothing happens"))
    }
}

/// Checks that nothing happens in the session for a while.
async fn check_quiet(engine: &mut Engine, wait: Duration) {
    let event = timeout(wait, engine.next()).await;
    assert!(event.is_err(), "{event:?}");
}

/// The packet that arrived.
#[track_caller]
fn packet(event: Result<EngineEvent, TransportError>) -> EngineIoPacket {
    match event {
        Ok(EngineEvent::Packet(packet)) => packet,
        other => panic!("no packet: {other:?}"),
    }
}

/// Lets the engine do what there is to do until `is_done` says so.
#[track_caller]
fn run_until<'a>(
    engine: &'a mut Engine,
    mut is_done: impl FnMut() -> bool + 'a,
) -> impl Future<Output = Vec<EngineEvent>> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let mut events = Vec::new();
        for _ in 0..10_000 {
            if is_done() {
                return events;
            }
            match timeout(Duration::from_millis(10), engine.next()).await {
                Ok(Ok(event)) => events.push(event),
                Ok(Err(error)) => panic!("{caller}: {error:?}"),
                Err(_) => {}
            }
        }
        panic!("{caller}: not done in 100 s")
    }
}

/// The text of an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Checks that nothing is left of a session a moment after it was dropped.
async fn check_closed(net: &MemoryNet) {
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(net.live(), 0, "streams are left");
}

fn targets(server: &Server) -> Vec<String> {
    let relative = |request: String| request.replace("/socket.io/?EIO=4&transport=", "");
    server.requests().into_iter().map(relative).collect()
}
