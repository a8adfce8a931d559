//! The WebSocket that is to take a polling session over.

use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::dial::Dialer;
use super::polling::PollingTransport;
use super::websocket::WebSocketTransport;
use super::{ConnectError, Inbound};
use crate::signaling::engine_io::upgrade::Upgrade;

/// Probes a WebSocket beside a polling session, and again some time after each failure. Dropping it
/// closes the WebSocket.
pub(super) struct Prober {
    dialer: Dialer,
    address: SocketAddr,
    url: Uri,
    again_after: Duration,
    state: State,
}

enum State {
    Waiting(Pin<Box<Sleep>>),
    Probing(Box<Probe>),
}

struct Probe {
    upgrade: Upgrade,
    opening: Pin<Box<dyn Future<Output = Result<WebSocketTransport, ConnectError>> + Send>>,
    websocket: Option<WebSocketTransport>,
    timer: Pin<Box<Sleep>>,
}

impl Prober {
    /// Asks for `url` at the server that was reached at `address` before: for the first time after
    /// `first_after`, and `again_after` each failure.
    pub(super) fn new(
        dialer: Dialer,
        address: SocketAddr,
        url: Uri,
        first_after: Duration,
        again_after: Duration,
    ) -> Self {
        Self {
            dialer,
            address,
            url,
            again_after,
            state: State::Waiting(Box::pin(sleep(first_after))),
        }
    }

    /// Goes on with what is to be done. Pauses `polling` when it is time to, and lets it go on after a
    /// failure. The WebSocket that is handed over has the packet that moves the session in its queue,
    /// and whatever is queued after that belongs to the session. This is of no more use then.
    ///
    /// # Errors
    ///
    /// Why a probe failed; the next one comes by itself.
    pub(super) fn poll_upgraded(
        &mut self,
        context: &mut Context<'_>,
        polling: &mut PollingTransport,
    ) -> Poll<Result<WebSocketTransport, ConnectError>> {
        let outcome = loop {
            match &mut self.state {
                State::Waiting(wait) => {
                    ready!(wait.as_mut().poll(context));
                    self.state = State::Probing(Box::new(self.probe()));
                }
                State::Probing(probe) => break ready!(probe.poll_upgraded(context, polling)),
            }
        };
        if outcome.is_err() {
            polling.resume();
        }
        self.state = State::Waiting(Box::pin(sleep(self.again_after)));
        Poll::Ready(outcome)
    }

    fn probe(&self) -> Probe {
        let upgrade = Upgrade::new(Instant::now());
        let (dialer, address, url) = (self.dialer.clone(), self.address, self.url.clone());
        let opening = async move {
            let stream = dialer.reconnect(address).await?;
            WebSocketTransport::open(stream, url).await
        };
        Probe {
            upgrade,
            opening: Box::pin(opening),
            websocket: None,
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }
}

impl Probe {
    fn poll_upgraded(
        &mut self,
        context: &mut Context<'_>,
        polling: &mut PollingTransport,
    ) -> Poll<Result<WebSocketTransport, ConnectError>> {
        let progress = self.poll_steps(context, polling);
        if progress.is_pending() {
            self.poll_timer(context)?;
        }
        progress
    }

    fn poll_steps(
        &mut self,
        context: &mut Context<'_>,
        polling: &mut PollingTransport,
    ) -> Poll<Result<WebSocketTransport, ConnectError>> {
        loop {
            let Some(mut websocket) = self.websocket.take() else {
                self.websocket = Some(ready!(self.opening.as_mut().poll(context))?);
                self.upgrade.handle_opened();
                continue;
            };
            if self.upgrade.is_pausing() {
                polling.pause();
                if polling.is_paused() {
                    self.upgrade.handle_paused();
                }
            }
            while let Some(packet) = self.upgrade.poll_transmit() {
                websocket.queue(packet);
            }
            if self.upgrade.is_complete() {
                return Poll::Ready(Ok(websocket));
            }
            let inbound = websocket.poll_next(context);
            self.websocket = Some(websocket);
            match ready!(inbound).map_err(ConnectError::Probe)? {
                Inbound::Packet(packet) => {
                    self.upgrade.handle_packet(Instant::now(), &packet)?;
                }
                Inbound::SignOfLife => {}
            }
        }
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Result<(), ConnectError> {
        while let Some((deadline, _)) = self.upgrade.poll_timeout() {
            if self.timer.deadline() != deadline {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                break;
            }
            self.upgrade.handle_timeout(Instant::now())?;
        }
        Ok(())
    }
}

impl Debug for Prober {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let upgrade = match &self.state {
            State::Waiting(_) => None,
            State::Probing(probe) => Some(&probe.upgrade),
        };
        formatter
            .debug_struct("Prober")
            .field("upgrade", &upgrade)
            .finish_non_exhaustive()
    }
}
