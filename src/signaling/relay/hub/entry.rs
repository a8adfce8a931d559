//! How sessions begin: who may join, and what a session is asked from then on.

use std::future::ready;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;
use socketioxide::extract::{AckSender, SocketRef, TryData};
use socketioxide::socket::{DisconnectReason, Sid};
use tokio::time::{Instant, timeout_at};

use super::super::admission::{AdmissionError, Auth};
use super::super::frame::Frame;
use super::super::streams::StreamId;
use super::super::switchboard::Device;
use super::super::turn_credentials;
use super::Hub;
use crate::signaling::message::EVENT;

/// How long a new connection waits for the one that it replaces to be gone. That takes no time, since
/// a stream that is told to close waits for nothing.
const REPLACEMENT_LIMIT: Duration = Duration::from_secs(1);

/// Decides on a connection and, if it may stay, registers what it will be asked: before the CONNECT
/// reply, so that no event of the client comes too early.
pub(super) async fn admit(
    hub: Weak<Hub>,
    socket: SocketRef,
    auth: Option<Auth>,
) -> Result<(), AdmissionError> {
    let hub = hub.upgrade().ok_or(AdmissionError::ShuttingDown)?;
    let id = socket.id;
    if let Some(stream) = socket.req_parts().extensions.get::<StreamId>() {
        hub.streams.carry(*stream, id);
    }
    let auth = auth.ok_or(AdmissionError::Malformed)?;
    let config = &hub.config;
    if let Err(error) = auth.check(&config.tokens, config.name_bytes_max) {
        tracing::info!(user = %auth.user, %error, "signaling client refused");
        return Err(error);
    }
    let device = Device {
        user: auth.user,
        // The session's own id is as random as the name that the client should have chosen.
        name: auth.device.unwrap_or_else(|| id.to_string()),
    };
    listen(&hub, &socket);
    let admitted = hub.admit(id, &device).await;
    if let Err(error) = &admitted {
        tracing::info!(user = %device.user, %error, "signaling client refused");
        if *error == AdmissionError::ShuttingDown {
            // It must not read that, or it would not come back.
            hub.streams.abort(id);
        }
    }
    admitted
}

/// Registers what a session may send.
fn listen(hub: &Arc<Hub>, socket: &SocketRef) {
    let (frames, requests, leaving) = (
        Arc::downgrade(hub),
        Arc::downgrade(hub),
        Arc::downgrade(hub),
    );
    socket.on(
        EVENT,
        move |socket: SocketRef, TryData(frame): TryData<Frame>, acknowledge: AckSender| {
            if let Some(hub) = frames.upgrade() {
                answer(acknowledge, &hub.receive(socket.id, frame.ok()));
            }
            ready(())
        },
    );
    socket.on(
        turn_credentials::EVENT,
        move |socket: SocketRef, acknowledge: AckSender| {
            if let Some(hub) = requests.upgrade() {
                answer(acknowledge, &hub.issue_credentials(socket.id));
            }
            ready(())
        },
    );
    socket.on_disconnect(move |socket: SocketRef, reason: DisconnectReason| {
        if let Some(hub) = leaving.upgrade() {
            hub.leave(&socket, reason);
        }
        ready(())
    });
}

fn answer(acknowledge: AckSender, value: &Value) {
    if let Err(error) = acknowledge.send(value) {
        tracing::debug!(%error, "the acknowledgement was not sent");
    }
}

impl Hub {
    /// Admits a session. An older one of its device is closed first, and gone.
    async fn admit(self: &Arc<Self>, id: Sid, device: &Device) -> Result<(), AdmissionError> {
        let patience = Instant::now() + REPLACEMENT_LIMIT;
        loop {
            let (older, socket, closing) = {
                let mut state = self.lock();
                if !self.is_serving() {
                    return Err(AdmissionError::ShuttingDown);
                }
                let older = state.board.predecessor(device)?;
                let socket = older.and_then(|older| {
                    state.take_out(older);
                    state.sockets.remove(&older)
                });
                let closing = state.closing.get(device).cloned().unwrap_or_default();
                if older.is_none() && (closing.is_empty() || Instant::now() >= patience) {
                    state.board.admit(Instant::now(), id, device.clone());
                    return Ok(());
                }
                (older, socket, closing)
            };
            if let Some(older) = older {
                self.close(older, socket);
            }
            for session in closing {
                if timeout_at(patience, self.streams.gone(session))
                    .await
                    .is_err()
                {
                    tracing::warn!(%session, "a replaced connection is not gone yet");
                }
            }
            if older.is_some() {
                self.lock()
                    .log_disconnected(device, "replaced by a newer connection");
            }
        }
    }
}
