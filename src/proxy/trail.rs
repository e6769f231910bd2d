//! What is noted of a request on its way, where somebody wants to be told of it when it is over.
//!
//! Where nobody does, there is no trail, and each note is one comparison.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::body::Body;
use opentelemetry::SpanId;

use crate::config::{Authority, Snapshot};
use crate::scheduling::FunctionName;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::{Decision, Step, Why};
use crate::topology::NodeIndex;
use crate::traces::Trace;

use super::admit::{Caller, Route};
use super::client::Client;
use super::failure::{Failure, Fault};
use super::peer;
use super::request_body::Replay;
use super::response_body::ResponseBody;
use super::told;
use super::upstream::Answered;
use super::watch::Wait;

const USER_AGENT: HeaderName = http::header::USER_AGENT;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request with its trail.
#[derive(Debug)]
pub struct Followed<B> {
    pub(super) request: Request<B>,
    pub(super) trail: Trail,
}

/// The trail of one request, if it leaves one; it is told of when the last copy is dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trail(Option<Rc<Course>>);

/// What is known of a request from its beginning, and what is noted of it.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) client: Client,
    pub(super) began: Instant,
    pub(super) began_at: SystemTime,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) agent: Option<HeaderValue>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) traceparent: Option<HeaderValue>,
    /// The trace it belongs to, if that is sampled.
    pub(super) trace: Option<Trace>,
    pub(super) notes: RefCell<Notes>,
}

/// What is noted of a request.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) function: Option<FunctionName>,
    pub(super) from_peer: bool,
    pub(super) hop: u8,
    /// Of the answer, or 0 as long as there is none.
    pub(super) status: u16,
    /// The code of a refusal, where that was the answer.
    pub(super) refusal: Option<HeaderValue>,
    /// The id of the call: the gateway's, where it tells one.
    pub(super) call_id: Option<HeaderValue>,
    pub(super) legs: Vec<Leg>,
    /// The place of the leg whose answer was the answer.
    pub(super) answered: Option<usize>,
    /// The node that ran it.
    pub(super) ran: Option<NodeIndex>,
    /// The request's body, and how long it was said to be.
    pub(super) body: Option<Rc<Replay>>,
    pub(super) length: u64,
    /// Bytes of the answer's body.
    pub(super) sent: u64,
    pub(super) end: End,
    /// Why this side ended it, where it took too long.
    pub(super) overdue: Option<Wait>,
}

/// How the answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum End {
    /// Nobody was there to take all of it.
    #[default]
    Gone,
    /// It is through.
    Through,
    /// It broke off upstream.
    Broken,
}

/// One attempt at it, from the decision on.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) decided: Option<Decided>,
    /// Whether it is a second copy.
    pub(super) hedge: bool,
    pub(super) queued: Option<Span>,
    pub(super) connected: Option<Span>,
    pub(super) to: Option<Authority>,
    pub(super) sent: Option<Instant>,
    pub(super) heard: Option<Instant>,
    pub(super) status: u16,
    pub(super) fault: Option<Fault>,
    /// The id of the span of what is sent.
    pub(super) span: SpanId,
}

/// From when to when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) since: Instant,
    pub(super) until: Instant,
}

/// What was decided, and how long that took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided {
    pub(super) span: Span,
    pub(super) step: Step,
    pub(super) why: Why,
    pub(super) architecture: Architecture,
}

/// One leg of a trail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark<'a> {
    trail: &'a Trail,
    leg: usize,
}

impl Trail {
    /// That of `request`, which has just come in from `client`, if anybody wants to know of it.
    pub(super) fn begin<B: Body>(client: &Client, request: &mut Request<B>) -> Self {
        let state = client.connection.state();
        let trace = state.traces.get().and_then(|traces| traces.begin(request.headers_mut()));
        if trace.is_none() && !state.access_log.is_on() {
            return Self(None);
        }
        let headers = request.headers();
        let of = |name: HeaderName| headers.get(name).cloned();
        let length = request.body().size_hint().exact().unwrap_or(0);
        Self(Some(Rc::new(Course {
            client: client.clone(),
            began: Instant::now(),
            began_at: SystemTime::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            agent: of(USER_AGENT),
            request_id: of(REQUEST_ID),
            traceparent: of(TRACEPARENT),
            trace,
            notes: RefCell::new(Notes { length, call_id: of(CALL_ID), ..Notes::default() }),
        })))
    }

    /// Notes what `note` says, if anybody wants to know.
    pub(super) fn note(&self, note: impl FnOnce(&mut Notes)) {
        if let Some(course) = &self.0 {
            note(&mut course.notes.borrow_mut());
        }
    }

    /// What time it is, if anybody wants to know.
    pub(super) fn now(&self) -> Option<Instant> {
        self.0.as_ref().map(|_| Instant::now())
    }

    /// What it is for, and who calls.
    pub(super) fn admitted(&self, route: &Route, caller: &Caller) {
        self.note(|notes| {
            if let Route::Function(called) = route {
                notes.function = Some(called.function);
            }
            notes.from_peer = caller.peer.is_some();
            notes.hop = caller.peer.as_ref().map_or(0, |peer| peer.hop);
        });
    }

    /// It turns out to call `function`.
    pub(crate) fn calls(&self, function: FunctionName) {
        self.note(|notes| notes.function = Some(function));
    }

    /// A leg begins with a decision that was begun at `since`.
    pub(super) fn decided(&self, since: Option<Instant>, decision: &Decision, hedge: bool) {
        let Some(since) = since else { return };
        let span = Span { since, until: Instant::now() };
        let Decision { step, why, architecture, .. } = *decision;
        let decided = Some(Decided { span, step, why, architecture });
        self.note(|notes| notes.legs.push(Leg { hedge, ..Leg::new(decided) }));
    }

    /// A leg begins, to where everything goes.
    pub(super) fn passed(&self) {
        self.note(|notes| notes.legs.push(Leg::new(None)));
    }

    /// The leg at `place`.
    pub(super) fn leg(&self, place: usize) -> Mark<'_> {
        Mark { trail: self, leg: place }
    }

    /// The place of the leg that was begun last.
    pub(super) fn last(&self) -> usize {
        let legs = |course: &Rc<Course>| course.notes.borrow().legs.len();
        self.0.as_ref().map_or(0, legs).saturating_sub(1)
    }

    /// The head of the answer is there; its body ends with it, unless it streams.
    pub(super) fn answered(&self, response: &Response<ResponseBody>) {
        self.note(|notes| {
            let headers = response.headers();
            notes.status = response.status().as_u16();
            notes.refusal = headers.get(peer::REFUSAL).cloned();
            if let Some(id) = headers.get(CALL_ID) {
                notes.call_id = Some(id.clone());
            }
            if let Some(bytes) = response.body().here() {
                (notes.sent, notes.end) = (bytes, End::Through);
            }
        });
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        told::tell(self);
    }
}

impl Leg {
    fn new(decided: Option<Decided>) -> Self {
        Self {
            decided,
            hedge: false,
            queued: None,
            connected: None,
            to: None,
            sent: None,
            heard: None,
            status: 0,
            fault: None,
            span: SpanId::INVALID,
        }
    }
}

impl Mark<'_> {
    fn note(self, note: impl FnOnce(&mut Leg)) {
        self.trail.note(|notes| {
            if let Some(leg) = notes.legs.get_mut(self.leg) {
                note(leg);
            }
        });
    }

    /// What time it is, if anybody wants to know.
    pub(super) fn now(self) -> Option<Instant> {
        self.trail.now()
    }

    /// Has whoever gets `headers` belong to the trace, if there is one.
    pub(super) fn pass_on(self, headers: &mut HeaderMap) {
        let Some(course) = &self.trail.0 else { return };
        let traces = course.client.connection.state().traces.get();
        if let (Some(trace), Some(traces)) = (&course.trace, traces) {
            let span = traces.span_id();
            self.note(|leg| leg.span = span);
            trace.pass_on(span, headers);
        }
    }

    /// It has waited for its turn since then.
    pub(super) fn queued(self, since: Option<Instant>) {
        self.note(|leg| leg.queued = Span::since(since));
    }

    /// It has connected since then, or tried to.
    pub(super) fn connected(self, since: Option<Instant>) {
        self.note(|leg| leg.connected = Span::since(since));
    }

    /// It is sent to `to` now.
    pub(super) fn sent(self, to: &Authority) {
        self.note(|leg| {
            leg.sent = Some(Instant::now());
            leg.to = Some(to.clone());
        });
    }

    /// This has come of it.
    pub(super) fn heard(self, sent: &Result<Answered, Failure>) {
        self.note(|leg| {
            leg.heard = Some(Instant::now());
            match sent {
                Ok(answered) => leg.status = answered.response.status().as_u16(),
                Err(failure) => leg.fault = Some(failure.fault()),
            }
        });
    }

    /// Its answer is the answer of the request, and this node gave it.
    pub(super) fn answers(self, ran: Option<NodeIndex>) {
        self.trail.note(|notes| (notes.answered, notes.ran) = (Some(self.leg), ran));
    }
}

impl Span {
    fn since(since: Option<Instant>) -> Option<Self> {
        since.map(|since| Self { since, until: Instant::now() })
    }
}

impl Course {
    /// The trace id that came with it.
    pub(super) fn trace_id(&self) -> Option<&str> {
        super::timing::trace_id(self.traceparent.as_ref()?.as_bytes())
    }
}
