//! What is noted of a request on its way, where somebody wants to be told of it when it is over.
//!
//! Where nobody does, there is no trail, and each note is one comparison.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::body::Body;
use opentelemetry::SpanId;

use crate::config::{Authority, Snapshot};
use crate::scheduling::FunctionName;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::{Decision, Step, Why};
use crate::topology::NodeIndex;
use crate::traces::{Begun, Trace};

use super::admit::{Caller, Route};
use super::client::Client;
use super::failure::{Failure, Fault};
use super::peer;
use super::request_body::Replay;
use super::response_body::ResponseBody;
use super::timing::{self, TRACE_ID_LENGTH};
use super::told;
use super::upstream::Answered;
use super::watch::Wait;

const CALL_ID: &str = "x-call-id";

/// A request, when it came in, and its trail.
#[derive(Debug)]
pub struct Followed<B> {
    pub(super) request: Request<B>,
    pub(super) came: Instant,
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
    /// The trace id that came with it or was given to it, where a line tells it.
    pub(super) trace_id: Option<[u8; TRACE_ID_LENGTH]>,
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
    /// How long it took, where that is known.
    pub(super) took: Option<Duration>,
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
    /// That of `request`, which came in from `client` at `began`, if anybody wants to know of it.
    pub(super) fn begin<B: Body>(
        client: &Client,
        request: &mut Request<B>,
        began: Instant,
    ) -> Self {
        let state = client.connection.state();
        let logged = state.access_log.is_on();
        let named = Named::of(request.headers());
        let begun = state.traces.get().map(|traces| traces.begin(named.one_traceparent()));
        let sampled = begun.as_ref().is_some_and(|begun| begun.sampled);
        let trace_id = logged.then(|| named.trace_id(begun.as_ref())).flatten();
        let kept = (logged || sampled).then(|| named.kept());
        let with_state = named.tracestate;
        let trace = begun.and_then(|begun| begun.write(with_state, request.headers_mut()));
        let Some([agent, request_id, call_id]) = kept else { return Self(None) };
        let length = request.body().size_hint().exact().unwrap_or(0);
        Self(Some(Rc::new(Course {
            client: client.clone(),
            began,
            began_at: SystemTime::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            agent,
            request_id,
            trace_id,
            trace,
            notes: RefCell::new(Notes { length, call_id, ..Notes::default() }),
        })))
    }

    /// The request is over and took so long, unless somebody goes on to follow it.
    pub(super) fn ends(&self, took: Duration) {
        if self.0.as_ref().is_some_and(|course| Rc::strong_count(course) == 1) {
            self.note(|notes| notes.took = Some(took));
        }
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
            let (mut refusal, mut call_id) = (None, None);
            for (name, value) in headers {
                match name.as_str() {
                    CALL_ID => _ = call_id.get_or_insert(value),
                    name if name == peer::REFUSAL.as_str() => _ = refusal.get_or_insert(value),
                    _ => {}
                }
            }
            notes.refusal = refusal.cloned();
            if call_id.is_some() {
                notes.call_id = call_id.cloned();
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
        let traced = self.trail.0.as_ref().is_some_and(|course| course.trace.is_some());
        self.note(|leg| {
            leg.sent = Some(Instant::now());
            // Only a span says where to.
            leg.to = traced.then(|| to.clone());
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

/// Fields of a request that are noted, found in one look at all of them: to look for each would cost
/// more than all else that is noted. Of those that there are several of, the first.
#[derive(Debug, Default)]
struct Named<'a> {
    agent: Option<&'a HeaderValue>,
    request_id: Option<&'a HeaderValue>,
    call_id: Option<&'a HeaderValue>,
    traceparent: Option<&'a HeaderValue>,
    /// Whether there are several of it, and so none that counts.
    traceparents: bool,
    tracestate: bool,
}

impl<'a> Named<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut named = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "user-agent" => _ = named.agent.get_or_insert(value),
                "x-request-id" => _ = named.request_id.get_or_insert(value),
                CALL_ID => _ = named.call_id.get_or_insert(value),
                "tracestate" => named.tracestate = true,
                "traceparent" => {
                    named.traceparents = named.traceparent.is_some();
                    named.traceparent.get_or_insert(value);
                }
                _ => {}
            }
        }
        named
    }

    fn one_traceparent(&self) -> Option<&'a HeaderValue> {
        self.traceparent.filter(|_| !self.traceparents)
    }

    /// The id of the trace that was `begun`, or the one it came with where there are no traces here.
    fn trace_id(&self, begun: Option<&Begun>) -> Option<[u8; TRACE_ID_LENGTH]> {
        let given = begun.and_then(|begun| begun.traceparent.as_ref());
        timing::trace_id(given.or(self.traceparent)?.as_bytes())?.as_bytes().try_into().ok()
    }

    fn kept(&self) -> [Option<HeaderValue>; 3] {
        [self.agent, self.request_id, self.call_id].map(Option::<&HeaderValue>::cloned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_fields_that_there_are_several_of_the_first_counts_but_no_traceparent() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{id}-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("user-agent", "first"),
            ("traceparent", &*parent),
            ("x-request-id", "r"),
            ("user-agent", "second"),
        ] {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let named = Named::of(&headers);
        assert_eq!(named.one_traceparent().unwrap(), &parent);
        let [agent, request_id, call_id] = named.kept();
        assert_eq!(
            (agent.unwrap(), request_id.unwrap(), call_id),
            ("first".parse().unwrap(), "r".parse().unwrap(), None)
        );
        headers.append("traceparent", HeaderValue::from_static("nonsense"));
        let named = Named::of(&headers);
        assert_eq!(named.one_traceparent(), None);
        assert_eq!(named.trace_id(None).unwrap(), id.as_bytes());
    }
}
