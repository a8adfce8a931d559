//! The long-polling transport: one GET waits for packets, one POST at a time carries them.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::time::{Sleep, sleep};

use super::dial::Dialer;
use super::http::{HttpError, HttpLane, HttpRequest, HttpResponse};
use super::{ConnectError, ConnectPhase, Inbound, TransportError};
use crate::config::TransportKind;
use crate::net::ByteStream;
use crate::signaling::endpoint::Endpoint;
use crate::signaling::engine_io::{EngineIoPacket, OpenPacket, payload};

/// How long the next poll waits after one that brought nothing but a noop. A server that waits for an
/// upgrade answers every poll in this way at once, and asking faster brings nothing.
const NOOP_WAIT: Duration = Duration::from_millis(100);

/// How much of an error's body is kept.
const ERROR_BODY_CHARACTERS: usize = 200;

/// The code of the error that the server knows the session no more.
const SESSION_UNKNOWN: &str = "1";

/// A session carried by requests. Dropping it closes their streams.
#[derive(Debug)]
pub(super) struct PollingTransport {
    polls: HttpLane,
    posts: HttpLane,
    payload_bytes_max: Option<u64>,
    inbox: VecDeque<EngineIoPacket>,
    outbox: VecDeque<EngineIoPacket>,
    activity: Activity,
    /// The wait before the next poll, where there is one.
    calm: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Running,
    /// No request is started; those that are under way end.
    Pausing,
}

impl PollingTransport {
    /// Asks for a new session over a stream that leads to the server at `address`. `phase` always names
    /// the step under way.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Transport`], [`ConnectError::OutOfTurn`] or [`ConnectError::Endpoint`].
    pub(super) async fn open(
        stream: Box<dyn ByteStream>,
        dialer: Dialer,
        address: SocketAddr,
        endpoint: &Endpoint,
        phase: &mut ConnectPhase,
    ) -> Result<(Self, OpenPacket), ConnectError> {
        *phase = ConnectPhase::Http;
        let url = endpoint.request(TransportKind::Polling, None)?;
        let polls = HttpLane::over(stream, dialer.clone(), address, url).await;
        let mut polls = polls.map_err(TransportError::from).map_err(at(*phase))?;
        polls.start(HttpRequest::Get);
        let response = poll_fn(|context| {
            let response = polls.poll_response(context);
            if polls.has_head() {
                *phase = ConnectPhase::Open;
            }
            response
        });
        let response = response.await.map_err(TransportError::from);
        let packets = response
            .and_then(|response| read(&response))
            .map_err(at(*phase))?;
        *phase = ConnectPhase::Open;
        let mut inbox = VecDeque::from(packets);
        match inbox.pop_front() {
            Some(EngineIoPacket::Open(open)) => {
                let url = endpoint.request(TransportKind::Polling, Some(&open.sid))?;
                polls.set_url(url.clone());
                let transport = Self {
                    polls,
                    posts: HttpLane::new(dialer, address, url),
                    payload_bytes_max: open.max_payload,
                    inbox,
                    outbox: VecDeque::new(),
                    activity: Activity::Running,
                    calm: None,
                };
                Ok((transport, open))
            }
            other => {
                let found = other
                    .as_ref()
                    .map_or("an empty payload", EngineIoPacket::name);
                let phase = *phase;
                Err(ConnectError::OutOfTurn { phase, found })
            }
        }
    }

    /// Queues a packet; it is written while [`poll_next`](Self::poll_next) is polled.
    pub(super) fn queue(&mut self, packet: EngineIoPacket) {
        self.outbox.push_back(packet);
    }

    /// Whether everything queued is written, and taken by the server.
    pub(super) fn is_writable(&self) -> bool {
        self.outbox.is_empty() && !self.posts.is_busy()
    }

    /// Starts no request any more.
    pub(super) fn pause(&mut self) {
        self.activity = Activity::Pausing;
    }

    /// Starts requests again.
    pub(super) fn resume(&mut self) {
        self.activity = Activity::Running;
    }

    /// Whether nothing is under way in either direction, and everything that came is handed up.
    pub(super) fn is_paused(&self) -> bool {
        self.activity == Activity::Pausing
            && self.inbox.is_empty()
            && !self.polls.is_busy()
            && !self.posts.is_busy()
    }

    /// What was queued and never left.
    pub(super) fn take_unsent(&mut self) -> VecDeque<EngineIoPacket> {
        std::mem::take(&mut self.outbox)
    }

    /// Writes what is queued and a close packet. The poll that waits stays open meanwhile: a server
    /// takes its end for that of the session.
    ///
    /// # Errors
    ///
    /// What the last request fails with.
    pub(super) async fn close(mut self) -> Result<(), TransportError> {
        self.resume();
        self.queue(EngineIoPacket::Close);
        while !self.is_writable() {
            poll_fn(|context| self.poll_write(context)).await?;
        }
        Ok(())
    }

    /// Hands up what comes next, and writes what is queued.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Inbound, TransportError>> {
        if let Poll::Ready(written) = self.poll_write(context) {
            return Poll::Ready(written.map(|()| Inbound::SignOfLife));
        }
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return Poll::Ready(Ok(Inbound::Packet(packet)));
            }
            if !self.polls.is_busy() && self.activity == Activity::Running {
                if let Some(calm) = &mut self.calm {
                    ready!(calm.as_mut().poll(context));
                    self.calm = None;
                }
                self.polls.start(HttpRequest::Get);
            }
            let response = ready!(self.polls.poll_response(context))?;
            self.inbox = read(&response)?.into();
            if self
                .inbox
                .iter()
                .all(|packet| *packet == EngineIoPacket::Noop)
            {
                self.calm = Some(Box::pin(sleep(NOOP_WAIT)));
            }
        }
    }

    /// Waits until the server has taken a request.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let is_running = self.activity == Activity::Running;
        if is_running && !self.posts.is_busy() && !self.outbox.is_empty() {
            let payload = payload::take_batch(&mut self.outbox, self.payload_bytes_max);
            self.posts.start(HttpRequest::Post(payload));
        }
        let response = ready!(self.posts.poll_response(context))?;
        Poll::Ready(accept(&response))
    }
}

fn at(phase: ConnectPhase) -> impl Fn(TransportError) -> ConnectError {
    move |source| ConnectError::Transport { phase, source }
}

fn read(response: &HttpResponse) -> Result<Vec<EngineIoPacket>, TransportError> {
    accept(response)?;
    Ok(payload::decode(&response.body)?)
}

fn accept(response: &HttpResponse) -> Result<(), TransportError> {
    if response.status.is_success() {
        return Ok(());
    }
    if response.status == StatusCode::BAD_REQUEST && is_session_unknown(&response.body) {
        return Err(TransportError::SessionUnknown);
    }
    let body = String::from_utf8_lossy(&response.body);
    Err(TransportError::Http(HttpError::Status {
        status: response.status,
        body: body.chars().take(ERROR_BODY_CHARACTERS).collect(),
    }))
}

/// Node writes the code as a number, engineioxide as a text.
fn is_session_unknown(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match body.get("code") {
        Some(Value::Number(code)) => code.to_string() == SESSION_UNKNOWN,
        Some(Value::String(code)) => code == SESSION_UNKNOWN,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &'static str) -> TransportError {
        let response = HttpResponse {
            status: StatusCode::BAD_REQUEST,
            body: body.into(),
        };
        accept(&response).expect_err("an error")
    }

    #[test]
    fn r19_an_unknown_session_is_told_from_other_errors() {
        for body in [
            r#"{"code":1,"message":"Session ID unknown"}"#,
            r#"{"code":"1","message":"Session ID unknown"}"#,
        ] {
            assert!(matches!(refusal(body), TransportError::SessionUnknown));
        }
        for body in [
            r#"{"code":3,"message":"Bad request"}"#,
            r#"{"code":11}"#,
            "[1]",
            "<html>",
            "",
        ] {
            assert!(matches!(refusal(body), TransportError::Http(_)), "{body}");
        }
    }
}
