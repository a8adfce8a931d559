//! The accepted streams, each guarded so that the relay can end it from outside.
//!
//! socketioxide closes a single connection in its namespace only: the session under it lives on, and
//! with it the stream. So the relay keeps hold of the streams themselves and knows which session each
//! of them carries. A guarded stream that is told to close reads its end at once, and a write that
//! would have to wait fails; whatever is above it then lets go of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socketioxide::socket::Sid;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use crate::net::ByteStream;

/// How long a write may make no progress: as long as the server waits for the answer to a ping.
/// Without it, a task that writes to a dead path holds its stream until TCP gives up.
const WRITE_STALL_LIMIT: Duration = Duration::from_secs(20);

/// One accepted stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId(u64);

/// All accepted streams that are not dropped yet.
#[derive(Debug, Default)]
pub(super) struct Streams {
    table: Mutex<Table>,
    /// Woken whenever a stream was dropped.
    dropped: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    streams: BTreeMap<StreamId, Entry>,
    by_session: BTreeMap<Sid, BTreeSet<StreamId>>,
}

#[derive(Debug)]
struct Entry {
    control: Arc<Control>,
    carries: Carries,
}

/// What a stream has carried so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    Nothing,
    /// A handshake, of a session that is not known yet.
    Handshake,
    Session(Sid),
    /// Requests of several sessions, as they come through a proxy: it ends with none of them.
    Several,
}

/// The switch of one stream.
#[derive(Debug, Default)]
struct Control(Mutex<Switch>);

#[derive(Debug, Default)]
struct Switch {
    state: State,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum State {
    #[default]
    Open,
    /// It reads its end, and writes what can be written at once.
    Closing,
    /// It neither reads nor writes.
    Aborted,
}

/// An accepted stream with its switch.
pub(super) struct GuardedStream {
    stream: Box<dyn ByteStream>,
    id: StreamId,
    control: Arc<Control>,
    streams: Arc<Streams>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Streams {
    /// Takes a stream into the table, until it is dropped.
    pub(super) fn guard(self: &Arc<Self>, stream: Box<dyn ByteStream>) -> GuardedStream {
        let mut table = self.lock();
        let id = StreamId(table.next);
        table.next += 1;
        let control = Arc::new(Control::default());
        let entry = Entry {
            control: Arc::clone(&control),
            carries: Carries::Nothing,
        };
        table.streams.insert(id, entry);
        GuardedStream {
            stream,
            id,
            control,
            streams: Arc::clone(self),
            stalled: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.lock().streams.len()
    }

    /// A stream has carried the request that opens a session.
    pub(super) fn carry_handshake(&self, stream: StreamId) {
        let mut table = self.lock();
        if let Some(entry) = table.streams.get_mut(&stream)
            && entry.carries == Carries::Nothing
        {
            entry.carries = Carries::Handshake;
        }
    }

    /// A stream has carried something of a session.
    pub(super) fn carry(&self, stream: StreamId, session: Sid) {
        let mut table = self.lock();
        let Some(entry) = table.streams.get_mut(&stream) else {
            return;
        };
        match entry.carries {
            Carries::Nothing | Carries::Handshake => {
                entry.carries = Carries::Session(session);
                let streams = table.by_session.entry(session);
                streams.or_default().insert(stream);
            }
            Carries::Session(other) if other != session => {
                entry.carries = Carries::Several;
                table.forget(other, stream);
            }
            Carries::Session(_) | Carries::Several => {}
        }
    }

    /// A session has ended by itself: its streams may carry another one.
    pub(super) fn release(&self, session: Sid) {
        let mut table = self.lock();
        for stream in table.by_session.remove(&session).unwrap_or_default() {
            if let Some(entry) = table.streams.get_mut(&stream) {
                entry.carries = Carries::Nothing;
            }
        }
    }

    /// Closes the streams that carry this session and no other.
    pub(super) fn close(&self, session: Sid) {
        self.switch(State::Closing, |carries| {
            *carries == Carries::Session(session)
        });
    }

    /// Aborts the streams that carry this session and no other.
    pub(super) fn abort(&self, session: Sid) {
        self.switch(State::Aborted, |carries| {
            *carries == Carries::Session(session)
        });
    }

    /// Aborts the streams of sessions other than these, known or not.
    pub(super) fn abort_others(&self, sessions: &BTreeSet<Sid>) {
        self.switch(State::Aborted, |carries| match carries {
            Carries::Handshake => true,
            Carries::Session(session) => !sessions.contains(session),
            Carries::Nothing | Carries::Several => false,
        });
    }

    /// Aborts every stream.
    pub(super) fn abort_all(&self) {
        self.switch(State::Aborted, |_| true);
    }

    /// Whether a session has a stream of its own.
    pub(super) fn has(&self, session: Sid) -> bool {
        self.lock().by_session.contains_key(&session)
    }

    /// Waits until a session has no stream of its own.
    pub(super) async fn gone(&self, session: Sid) {
        self.wait_while(|streams| streams.has(session)).await;
    }

    /// Waits until there is no stream.
    pub(super) async fn all_gone(&self) {
        self.wait_while(|streams| streams.count() > 0).await;
    }

    async fn wait_while(&self, holds: impl Fn(&Self) -> bool) {
        let mut dropped = pin!(self.dropped.notified());
        loop {
            // It must hear of what is dropped from here on.
            dropped.as_mut().enable();
            if !holds(self) {
                return;
            }
            dropped.as_mut().await;
            dropped.set(self.dropped.notified());
        }
    }

    fn switch(&self, state: State, concerns: impl Fn(&Carries) -> bool) {
        let table = self.lock();
        for entry in table.streams.values() {
            if concerns(&entry.carries) {
                entry.control.set(state);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No update of the table spans a call that can panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget(&mut self, session: Sid, stream: StreamId) {
        if let Some(streams) = self.by_session.get_mut(&session) {
            streams.remove(&stream);
            if streams.is_empty() {
                self.by_session.remove(&session);
            }
        }
    }
}

impl Control {
    /// Goes on to a later state, never back.
    fn set(&self, state: State) {
        let mut switch = self.lock();
        if state > switch.state {
            switch.state = state;
            let wakers = [switch.reader.take(), switch.writer.take()];
            drop(switch);
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Switch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuardedStream {
    pub(super) fn id(&self) -> StreamId {
        self.id
    }

    /// Does `operation`, which sends, as far as the switch allows.
    fn poll_out<T>(
        &mut self,
        context: &mut Context<'_>,
        operation: impl FnOnce(Pin<&mut Box<dyn ByteStream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let state = {
            let mut switch = self.control.lock();
            switch.writer = Some(context.waker().clone());
            switch.state
        };
        if state == State::Aborted {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match operation(Pin::new(&mut self.stream), context) {
            Poll::Ready(result) => {
                self.stalled = None;
                Poll::Ready(result)
            }
            Poll::Pending if state == State::Closing => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Poll::Pending => {
                let limit = || Box::pin(sleep(WRITE_STALL_LIMIT));
                let stalled = self.stalled.get_or_insert_with(limit);
                stalled
                    .as_mut()
                    .poll(context)
                    .map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        let mut table = self.streams.lock();
        let entry = table.streams.remove(&self.id);
        if let Some(Carries::Session(session)) = entry.map(|entry| entry.carries) {
            table.forget(session, self.id);
        }
        drop(table);
        self.streams.dropped.notify_waiters();
    }
}

impl ByteStream for GuardedStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let state = {
            let mut switch = self.control.lock();
            switch.reader = Some(context.waker().clone());
            switch.state
        };
        match state {
            State::Open => Pin::new(&mut *self.stream).poll_read(context, buffer),
            State::Closing => Poll::Ready(Ok(())),
            State::Aborted => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_out(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_out(context, |stream, context| {
            stream.poll_write_vectored(context, buffers)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(context, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(context, AsyncWrite::poll_shutdown)
    }
}

#[cfg(test)]
mod tests;
