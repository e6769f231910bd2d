//! Request bodies as they stream through: kept in part, so that they can be sent again.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::failure::io_kind;
use super::headers::remove_internal_fields;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender stopped, or sent what is no body.
    #[error("the sender broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// The upstream answered without asking for the body.
    #[error("the body was not asked for")]
    NotContinued,
}

/// A request body on its way upstream.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    replay: Option<Rc<Replay>>,
    gate: Option<Arc<Gate>>,
}

#[derive(Debug)]
enum Source {
    Incoming(Incoming),
    Kept(std::vec::IntoIter<Bytes>, u64),
}

/// What is kept of a body so that it can be sent again.
#[derive(Debug)]
pub(super) struct Replay {
    limit: usize,
    kept: RefCell<Vec<Bytes>>,
    kept_bytes: Cell<usize>,
    frames: Cell<u64>,
    /// Bytes of it that have passed.
    bytes: Cell<u64>,
    /// The client sent what is no body.
    malformed: Cell<bool>,
    complete: Cell<bool>,
    client_failed: Cell<bool>,
    awaits_client: Cell<bool>,
}

impl RequestBody {
    /// A client's body, of which at most `limit` bytes are kept for sending again.
    pub fn incoming(body: Incoming, limit: usize) -> Self {
        let replay = (!body.is_end_stream()).then(|| {
            Rc::new(Replay {
                limit,
                kept: RefCell::default(),
                kept_bytes: Cell::new(0),
                frames: Cell::new(0),
                bytes: Cell::new(0),
                malformed: Cell::new(false),
                complete: Cell::new(false),
                client_failed: Cell::new(false),
                awaits_client: Cell::new(false),
            })
        });
        Self { source: Source::Incoming(body), replay, gate: None }
    }

    /// A body that is here already.
    pub fn full(bytes: Bytes) -> Self {
        let length = bytes.len();
        let kept: Vec<Bytes> = if bytes.is_empty() { Vec::new() } else { vec![bytes] };
        let replay = Replay {
            limit: length,
            kept: RefCell::new(kept.clone()),
            kept_bytes: Cell::new(length),
            frames: Cell::new(0),
            bytes: Cell::new(length as u64),
            malformed: Cell::new(false),
            complete: Cell::new(true),
            client_failed: Cell::new(false),
            awaits_client: Cell::new(false),
        };
        Self {
            source: Source::Kept(kept.into_iter(), length as u64),
            replay: Some(Rc::new(replay)),
            gate: None,
        }
    }

    /// No body.
    pub fn empty() -> Self {
        Self { source: Source::Kept(Vec::new().into_iter(), 0), replay: None, gate: None }
    }

    /// Holds the body back until `gate` opens.
    pub(super) fn behind(mut self, gate: Arc<Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The record by which to tell how the body fared, and to send it again.
    pub(super) fn replay(&self) -> Option<Rc<Replay>> {
        self.replay.clone()
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Kept(chunks, left) => Poll::Ready(chunks.next().map(|bytes| {
                *left -= bytes.len() as u64;
                Ok(Frame::data(bytes))
            })),
            Source::Incoming(body) => {
                let polled = Pin::new(&mut *body).poll_frame(cx);
                if let Some(replay) = &self.replay {
                    replay.awaits_client.set(polled.is_pending());
                }
                let mut frame = ready!(polled);
                if let Some(Ok(frame)) = &mut frame {
                    frame.trailers_mut().into_iter().for_each(remove_internal_fields);
                }
                let ended = frame.is_none() || body.is_end_stream();
                if let Some(replay) = &self.replay {
                    replay.note(frame.as_ref(), ended);
                }
                Poll::Ready(frame.map(|result| result.map_err(BodyError::Broken)))
            }
        }
    }
}

impl Replay {
    fn note(&self, frame: Option<&Result<Frame<Bytes>, hyper::Error>>, ended: bool) {
        self.frames.set(self.frames.get() + 1);
        match frame {
            Some(Err(error)) => {
                self.client_failed.set(true);
                self.malformed.set(is_malformed(error));
            }
            Some(Ok(frame)) => match frame.data_ref() {
                Some(bytes) => {
                    self.bytes.set(self.bytes.get() + bytes.len() as u64);
                    self.keep(bytes);
                }
                // Trailers are not kept, so such a body is not sent again.
                None => self.overflow(),
            },
            None => {}
        }
        if ended && !self.client_failed.get() {
            self.complete.set(true);
        }
    }

    fn keep(&self, bytes: &Bytes) {
        if self.kept_bytes.get() + bytes.len() > self.limit {
            return self.overflow();
        }
        self.kept_bytes.set(self.kept_bytes.get() + bytes.len());
        self.kept.borrow_mut().push(bytes.clone());
    }

    fn overflow(&self) {
        self.kept_bytes.set(usize::MAX / 2);
        self.kept.borrow_mut().clear();
    }

    /// Parts of the body that have passed, for telling whether it moves.
    pub(super) fn frames(&self) -> u64 {
        self.frames.get()
    }

    /// Bytes of the body that have passed.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether the client sent what is no body.
    pub(super) fn is_malformed(&self) -> bool {
        self.malformed.get()
    }

    /// Whether the client, not the upstream, broke off.
    pub(super) fn client_failed(&self) -> bool {
        self.client_failed.get()
    }

    /// Whether upstream would take more of it than has come.
    pub(super) fn awaits_client(&self) -> bool {
        self.awaits_client.get()
    }

    /// Whether all of the body has been read from the client.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.get()
    }

    /// The whole body once more, if it was kept.
    pub(super) fn again(self: &Rc<Self>) -> Option<RequestBody> {
        if !self.complete.get() || self.kept_bytes.get() > self.limit {
            return None;
        }
        let chunks = self.kept.borrow().clone();
        let source = Source::Kept(chunks.into_iter(), self.kept_bytes.get() as u64);
        Some(RequestBody { source, replay: Some(Rc::clone(self)), gate: None })
    }
}

/// Whether `error` is about what was sent, not about what was not.
fn is_malformed(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput};
    matches!(io_kind(error), Some(InvalidInput | InvalidData))
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(gate) = &self.gate {
            match ready!(gate.poll(cx)) {
                Passage::Open => self.gate = None,
                Passage::Shut => return Poll::Ready(Some(Err(BodyError::NotContinued))),
            }
        }
        self.poll_source(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Incoming(body) => body.is_end_stream(),
            Source::Kept(_, left) => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Incoming(body) => body.size_hint(),
            Source::Kept(_, left) => SizeHint::with_exact(*left),
        }
    }
}

/// Holds a body back until the upstream says `100 Continue`, as `Expect` asks.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<GateState>);

#[derive(Debug, Default)]
struct GateState {
    passage: Option<Passage>,
    waiting: Option<Waker>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Passage {
    /// Go ahead.
    Open,
    /// The answer came first: the body is not wanted.
    Shut,
}

impl Gate {
    /// Lets the body pass, or turns it away. What came first counts.
    pub(super) fn set(&self, passage: Passage) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.passage.get_or_insert(passage);
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Passage> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.passage {
            Some(passage) => Poll::Ready(passage),
            None => {
                state.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Most bytes of a body that are read although nobody wants them.
const DRAIN_BYTES_MAX: usize = 256 * 1024;

/// How long that may take.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// Reads the rest of a body that an early answer leaves over, within bounds.
///
/// Were the connection closed over it, its sender would see a reset, and never the answer.
pub(crate) async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    // Past the time the answer is sent all the same.
    let _ = tokio::time::timeout(DRAIN_WAIT, read).await;
}
