//! The client's side of a connection, which leaves marks of what moves on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clients::{Connected, Kind, NoRoom};
use crate::config::Limits;
use crate::state::State;

use super::io::Stream;
use super::trail::Trail;
use super::watch::Watched;

/// What outlives the requests of a client connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Marks of what it waits for.
    pub(super) watched: Arc<Watched>,
    /// Its place among all connections.
    connected: Connected,
    state: Arc<State>,
}

impl Connection {
    pub(super) fn new(state: Arc<State>, connected: Connected) -> Arc<Self> {
        state.metrics.connections.inc();
        Arc::new(Self { watched: Arc::default(), connected, state })
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Whether a request that has begun on it may go on.
    pub(super) fn check(&self, kind: Kind, limits: &Limits) -> Result<(), NoRoom> {
        self.connected.check(kind, limits)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.state.metrics.connections.dec();
    }
}

/// A request in progress, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct InProgress {
    connection: Arc<Connection>,
    begun: Option<Instant>,
    /// When its answer was through, if it is known.
    pub(super) ended: Option<Instant>,
    /// Of its answer, or 0 as long as there is none.
    pub(super) status: u16,
    pub(super) trail: Trail,
}

impl InProgress {
    /// One that began then, where that is timed.
    pub(super) fn begin(
        connection: &Arc<Connection>,
        begun: Option<Instant>,
        trail: Trail,
    ) -> Self {
        connection.watched.begin_call();
        connection.connected.begin();
        Self { connection: Arc::clone(connection), begun, ended: None, status: 0, trail }
    }

    pub(super) fn state(&self) -> &State {
        self.connection.state()
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.connection.watched.end_call();
        self.connection.connected.end();
        if let Some(begun) = self.begun
            && self.status > 0
        {
            let took = self.ended.map_or_else(|| begun.elapsed(), |ended| ended - begun);
            self.state().metrics.time_request(self.status, took);
            self.trail.ends(took);
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct ClientIo {
    stream: Stream,
    /// What has been read of it, and not been passed on.
    first: Bytes,
    connection: Arc<Connection>,
}

impl ClientIo {
    /// One of which `first` has been read.
    pub(super) fn new(stream: Stream, first: Bytes, connection: Arc<Connection>) -> Self {
        Self { stream, first, connection }
    }

    fn pass_first(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..length]);
        self.first.advance(length);
        if self.first.is_empty() {
            // It would hold its memory as long as the connection is there.
            self.first = Bytes::new();
        }
    }

    /// Has the connection end without a word when it is dropped.
    pub(super) fn reset_on_close(&self) {
        let _ = self.stream.tcp().set_zero_linger();
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = if self.first.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        } else {
            self.pass_first(buf);
            Poll::Ready(Ok(()))
        };
        if buf.filled().len() > before {
            self.connection.watched.note_read();
        }
        read
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.connection.watched.note_write(written.is_ready());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
