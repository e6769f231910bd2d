//! Response bodies as they stream through: their ends set free what they held.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::client_io::InProgress;
use super::headers::remove_internal_fields;
use super::pending::Pending;
use super::request_body::BodyError;
use super::timing::Timed;
use super::trail::End;
use super::upstream::Lease;
use super::watch::Watched;

/// A response body on its way to the caller.
#[derive(Debug)]
pub enum ResponseBody {
    /// One of our own.
    Full(Option<Bytes>),
    /// One that streams from upstream.
    Upstream(Box<Streamed>),
    /// One that has none, as upstream sent it.
    Ended(Incoming),
    /// One of our own that goes on for as long as there is something to tell.
    Told(Box<Told>),
}

/// A body with a new part at each tick.
pub struct Told {
    ticks: Interval,
    tell: Box<dyn FnMut() -> Option<Bytes>>,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

/// A streaming body, with what its end sets free.
#[derive(Debug)]
pub struct Streamed {
    incoming: Incoming,
    lease: Option<Lease>,
    pending: Option<Box<Pending>>,
    watched: Arc<Watched>,
    request: Option<InProgress>,
    timed: Option<Timed>,
    /// Bytes of it that have passed.
    sent: u64,
}

impl ResponseBody {
    /// A body of our own.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }

    /// A body that consists of what `tell` answers, asked now and every `period` until it has nothing
    /// to tell, or nobody reads it any more.
    pub fn told(period: Duration, tell: impl FnMut() -> Option<Bytes> + 'static) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Told(Box::new(Told { ticks, tell: Box::new(tell) }))
    }

    /// The body of an upstream answer; `lease` and `pending` end with it.
    pub(super) fn upstream(
        incoming: Incoming,
        lease: Lease,
        pending: Option<Box<Pending>>,
        watched: impl FnOnce() -> Arc<Watched>,
    ) -> Self {
        if incoming.is_end_stream() {
            lease.release();
            if let Some(pending) = pending {
                pending.finish();
            }
            return Self::Ended(incoming);
        }
        let (lease, watched) = (Some(lease), watched());
        Self::Upstream(Box::new(Streamed {
            incoming,
            lease,
            pending,
            watched,
            request: None,
            timed: None,
            sent: 0,
        }))
    }

    /// How many bytes it has, where all of it is here.
    pub(super) fn here(&self) -> Option<u64> {
        match self {
            Self::Full(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Ended(_) => Some(0),
            Self::Upstream(_) | Self::Told(_) => None,
        }
    }

    /// Times an invocation to the end of its answer.
    pub(super) fn time(&mut self, timed: Timed) {
        match self {
            Self::Upstream(streamed) => streamed.timed = Some(timed),
            Self::Full(_) | Self::Ended(_) | Self::Told(_) => drop(timed),
        }
    }

    /// Keeps a request in progress for as long as its answer streams.
    pub(super) fn hold(&mut self, request: InProgress) {
        if let Self::Upstream(streamed) = self {
            streamed.request = Some(request);
        }
    }
}

impl ResponseBody {
    /// The body of an upstream answer, all of which has been read; nothing is owed for it any more.
    pub(super) fn read(bytes: Bytes, lease: Lease, pending: Option<Box<Pending>>) -> Self {
        lease.release();
        if let Some(pending) = pending {
            pending.finish();
        }
        Self::full(bytes)
    }
}

impl Streamed {
    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
        // One look at the clock for all that ends with it.
        let now = Instant::now();
        if let Some(pending) = self.pending.take() {
            pending.finish_at(now);
        }
        if let Some(timed) = &mut self.timed {
            timed.end_at(now);
        }
        if let Some(request) = &mut self.request {
            request.ended = Some(now);
        }
        self.note(End::Through);
    }

    fn break_off(&mut self) {
        self.lease = None;
        if let Some(pending) = self.pending.take() {
            pending.fail();
        }
        self.note(End::Broken);
    }

    fn note(&self, end: End) {
        let Some(request) = &self.request else { return };
        request.trail.note(|notes| {
            (notes.sent, notes.end) = (self.sent, end);
            if end == End::Gone {
                notes.overdue = self.watched.overdue();
            }
        });
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.watched.end_stream();
        // Neither ended nor broken off: nobody is there any more to read it.
        if let Some(lease) = &self.lease {
            lease.count_client_abort();
            self.note(End::Gone);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Ended(_) => Poll::Ready(None),
            Self::Told(told) => {
                ready!(told.ticks.poll_tick(cx));
                Poll::Ready((told.tell)().map(|part| Ok(Frame::data(part))))
            }
            Self::Upstream(streamed) => {
                let polled = Pin::new(&mut streamed.incoming).poll_frame(cx);
                streamed.watched.note_part(polled.is_ready());
                let Poll::Ready(mut frame) = polled else { return Poll::Pending };
                if let Some(Ok(frame)) = &mut frame {
                    streamed.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
                    frame.trailers_mut().into_iter().for_each(remove_internal_fields);
                }
                match &frame {
                    Some(Err(_)) => streamed.break_off(),
                    None => streamed.end(),
                    Some(Ok(_)) if streamed.incoming.is_end_stream() => streamed.end(),
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame.map(|result| result.map_err(BodyError::Broken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Upstream(streamed) => streamed.incoming.is_end_stream(),
            Self::Ended(_) => true,
            Self::Told(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Upstream(streamed) => streamed.incoming.size_hint(),
            Self::Ended(incoming) => incoming.size_hint(),
            Self::Told(_) => SizeHint::default(),
        }
    }
}
