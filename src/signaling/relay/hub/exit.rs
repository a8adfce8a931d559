//! How sessions end: closed by the relay, one or all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::service::Service as _;
use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::switchboard::Switchboard;
use super::{Hub, Phase};

/// How long streams that are aborted may take to be dropped.
const ABORT_LIMIT: Duration = Duration::from_secs(1);

impl Hub {
    /// Closes every connection: in order until `deadline`, and then by force.
    pub(in crate::signaling::relay) async fn shut_down(&self, deadline: Instant) {
        if self.phase.send_replace(Phase::Draining) != Phase::Serving {
            let mut phase = self.phase.subscribe();
            let closed = phase.wait_for(|phase| *phase == Phase::Closed);
            // Whoever came first may have given up in the meantime.
            let _ = timeout_at(deadline + ABORT_LIMIT, closed).await;
            return;
        }
        let sockets: Vec<SocketRef> = self.lock().sockets.values().cloned().collect();
        let joined: BTreeSet<Sid> = sockets.iter().map(|socket| socket.id).collect();
        // What has not joined yet would be told that there is no such namespace, and would not come
        // back.
        self.streams.abort_others(&joined);
        if timeout_at(deadline, self.io.close()).await.is_err() {
            tracing::debug!("some clients do not take their close packet");
        }
        if timeout_at(deadline, self.streams.all_gone()).await.is_err() {
            tracing::info!(streams = self.streams.count(), "streams cut");
            self.streams.abort_all();
            let _ = timeout(ABORT_LIMIT, self.streams.all_gone()).await;
        }
        // socketioxide forgets its namespaces before their sockets are out of them, so that sockets and
        // namespaces hold each other for ever. Leaving the namespace cuts that.
        for socket in sockets {
            // The connection is closed already, which is the only error there can be.
            let _ = socket.disconnect();
        }
        let mut state = self.lock();
        state.sockets.clear();
        state.closing.clear();
        state.board = Switchboard::new(Arc::clone(&self.config));
        drop(state);
        self.phase.send_replace(Phase::Closed);
    }

    /// Closes sessions that are in the table. Their clients come back, or not, as they see fit.
    pub(super) fn close_all(self: &Arc<Self>, sessions: BTreeSet<Sid>) {
        for id in sessions {
            let mut state = self.lock();
            let device = state.take_out(id);
            let socket = state.sockets.remove(&id);
            if let Some(device) = device {
                state.log_disconnected(&device, "closed by the relay");
            }
            drop(state);
            self.close(id, socket);
        }
    }

    /// Closes a session down to its streams.
    pub(super) fn close(self: &Arc<Self>, id: Sid, socket: Option<SocketRef>) {
        if let Some(socket) = socket {
            // Where even that packet finds no room, the end of the stream has to do.
            let _ = socket.disconnect();
        }
        // A session that polls has no stream while it does not ask, and ends by a packet that is none
        // of Socket.IO: what socketioxide has no call for, it does on its own for that.
        let path = self.config.path.trim_end_matches('/');
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{path}/?EIO=4&transport=polling&sid={id}"))
            .body(Full::new(Bytes::from_static(b"4!")))
            .expect("the session was opened by a request for this path");
        let closed = self.service.call(request);
        let streams = Arc::clone(&self.streams);
        tokio::spawn(async move {
            // A session over WebSocket refuses the request; its stream is all that it has.
            let _ = closed.await;
            // A request that waits for an answer has one now, and is to get it.
            tokio::task::yield_now().await;
            streams.close(id);
        });
    }
}
