//! The spans of a request: its own, and below it one for each thing that took its time.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanKind, Status};
use opentelemetry::{KeyValue, SpanId, Value};
use opentelemetry_sdk::trace::SpanData;

use crate::config::Snapshot;
use crate::topology::NodeIndex;
use crate::traces::{Trace, Traces};

use super::flags::{Became, NONE};
use super::told::protocol;
use super::trail::{Course, Decided, End, Leg, Notes, Span};

/// Methods that are called by their names; others stand as they came beside this.
const METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
const OTHER_METHOD: &str = "_OTHER";

/// Most bytes of a path or of a user agent.
const TEXT_BYTES_MAX: usize = 1024;

/// Hands over the spans of `course`, which is over and belongs to `trace`.
pub(super) fn export(
    traces: &Traces,
    trace: &Trace,
    course: &Course,
    (notes, snapshot, became): (&Notes, &Snapshot, &Became),
) {
    let over = Over { traces, trace, course, notes, snapshot, became, until: Instant::now() };
    for (place, leg) in notes.legs.iter().enumerate() {
        over.leg(place, leg);
    }
    over.whole();
}

/// A request that is over.
struct Over<'a> {
    traces: &'a Traces,
    trace: &'a Trace,
    course: &'a Course,
    notes: &'a Notes,
    snapshot: &'a Snapshot,
    became: &'a Became,
    until: Instant,
}

/// What is told of one span besides who made it.
struct Told {
    name: Cow<'static, str>,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Told {
    fn of(name: &'static str, attributes: Vec<KeyValue>) -> Self {
        Self { name: name.into(), kind: SpanKind::Internal, attributes, status: Status::Unset }
    }
}

impl Over<'_> {
    /// The span of the request itself.
    fn whole(&self) {
        let (course, notes) = (self.course, self.notes);
        let method = self.method();
        let route = match (notes.function, course.uri.path()) {
            (_, own @ ("/entry" | "/schedule")) => Some(own.to_owned()),
            (Some(_), path) if path.starts_with("/async-") => Some("/async-function/{name}".into()),
            (Some(_), _) => Some("/function/{name}".into()),
            (None, _) => None,
        };
        let named = if method == OTHER_METHOD { "HTTP" } else { method };
        let name = match &route {
            Some(route) => format!("{named} {route}").into(),
            None => Cow::Owned(named.to_owned()),
        };
        let mut attributes = Vec::with_capacity(20);
        self.method_into(&mut attributes);
        let mut put = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
        put("url.path", bounded(course.uri.path()).into());
        put("url.scheme", course.client.scheme().into());
        put("network.protocol.version", version(course).into());
        put("client.address", course.client.address.ip().to_string().into());
        put("client.port", i64::from(course.client.address.port()).into());
        put("hopwise.node", self.id(self.snapshot.site.here));
        put("hopwise.hop", i64::from(notes.hop).into());
        route.into_iter().for_each(|route| put("http.route", route.into()));
        let agent = course.agent.as_ref().map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        agent.into_iter().for_each(|agent| put("user_agent.original", bounded(&agent).into()));
        if let Some(id) = &notes.call_id {
            put("hopwise.call_id", bounded(&String::from_utf8_lossy(id.as_bytes())).into());
        }
        if notes.status > 0 {
            put("http.response.status_code", i64::from(notes.status).into());
        }
        let mut status = Status::Unset;
        if notes.status >= 500 || notes.end == End::Broken {
            put("error.type", self.error_type());
            status = Status::error(self.became.details);
        }
        if self.became.flags != NONE {
            put("hopwise.flags", self.became.flags.clone().into_owned().into());
        }
        self.invoked_into(&mut attributes);
        if let Some(decided) = notes.legs.iter().rev().find_map(|leg| leg.decided) {
            self.decided_into(&decided, &mut attributes);
        }
        let told = Told { name, kind: SpanKind::Server, attributes, status };
        let span = Span { since: course.began, until: self.until };
        self.send(self.trace.span, self.trace.parent, span, told);
    }

    /// What was done in one attempt.
    fn leg(&self, place: usize, leg: &Leg) {
        let below = |name, span, mut attributes: Vec<KeyValue>| {
            if place > 0 {
                attributes.push(KeyValue::new("hopwise.attempt", place as i64 + 1));
            }
            self.send(self.traces.span_id(), self.trace.span, span, Told::of(name, attributes));
        };
        if let Some(decided) = &leg.decided {
            let mut attributes = Vec::with_capacity(4);
            self.decided_into(decided, &mut attributes);
            below("decide", decided.span, attributes);
        }
        if let Some(queued) = leg.queued {
            below("queue", queued, vec![]);
        }
        if let Some(connected) = leg.connected {
            let mut attributes = Vec::with_capacity(3);
            server_into(leg, &mut attributes);
            below("connect", connected, attributes);
        }
        if let Some(since) = leg.sent {
            self.upstream(place, leg, since);
        }
    }

    /// What was asked of somebody else: up to the end of the answer, where that is passed on.
    fn upstream(&self, place: usize, leg: &Leg, since: Instant) {
        let mut attributes = Vec::with_capacity(10);
        self.method_into(&mut attributes);
        server_into(leg, &mut attributes);
        self.invoked_into(&mut attributes);
        let mut put = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
        if let Some(target) =
            leg.decided.and_then(|decided| decided.target(self.snapshot.site.here))
        {
            put("hopwise.target", self.id(target));
        }
        if leg.hedge {
            put("hopwise.hedge", true.into());
        }
        if place > 0 {
            put("http.request.resend_count", (place as i64).into());
        }
        let mut status = Status::Unset;
        if leg.status > 0 {
            put("http.response.status_code", i64::from(leg.status).into());
        }
        if let Some(fault) = leg.fault {
            put("error.type", fault.as_str().into());
            status = Status::error(fault.as_str());
        } else if leg.status >= 400 {
            put("error.type", leg.status.to_string().into());
            status = Status::error("");
        }
        let answers = self.notes.answered == Some(place);
        let until = if answers { self.until } else { leg.heard.unwrap_or(self.until) };
        let told = Told { name: "upstream".into(), kind: SpanKind::Client, attributes, status };
        self.send(leg.span, self.trace.span, Span { since, until }, told);
    }

    fn method(&self) -> &'static str {
        let method = self.course.method.as_str();
        METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER_METHOD)
    }

    fn method_into(&self, attributes: &mut Vec<KeyValue>) {
        let method = self.method();
        attributes.push(KeyValue::new("http.request.method", method));
        if method == OTHER_METHOD {
            let original = bounded(self.course.method.as_str());
            attributes.push(KeyValue::new("http.request.method_original", original));
        }
    }

    fn invoked_into(&self, attributes: &mut Vec<KeyValue>) {
        if let Some(function) = self.notes.function {
            attributes.push(KeyValue::new("faas.invoked_name", function.as_str().to_owned()));
        }
    }

    fn decided_into(&self, decided: &Decided, attributes: &mut Vec<KeyValue>) {
        attributes.push(KeyValue::new("hopwise.architecture", decided.architecture.as_str()));
        attributes.push(KeyValue::new("hopwise.reason", decided.why.as_str()));
        if let Some(target) = decided.target(self.snapshot.site.here) {
            attributes.push(KeyValue::new("hopwise.target", self.id(target)));
        }
    }

    fn id(&self, node: NodeIndex) -> Value {
        self.snapshot.site.topology.node(node).id.as_str().to_owned().into()
    }

    fn error_type(&self) -> Value {
        match &self.became.flags {
            flags if flags != NONE => flags.clone().into_owned().into(),
            _ => self.notes.status.to_string().into(),
        }
    }

    fn send(&self, id: SpanId, parent: SpanId, span: Span, told: Told) {
        let trace = self.trace;
        let (state, remote) = (trace.state.clone(), parent == trace.parent);
        self.traces.take_in(SpanData {
            span_context: SpanContext::new(trace.id, id, trace.flags, false, state),
            parent_span_id: parent,
            parent_span_is_remote: remote && parent != SpanId::INVALID,
            span_kind: told.kind,
            name: told.name,
            start_time: self.time(span.since),
            end_time: self.time(span.until),
            attributes: told.attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: told.status,
            instrumentation_scope: self.traces.scope.clone(),
        });
    }

    /// Every span by one clock, so that none begins before the one that it is part of.
    fn time(&self, instant: Instant) -> SystemTime {
        self.course.began_at + instant.saturating_duration_since(self.course.began)
    }
}

fn server_into(leg: &Leg, attributes: &mut Vec<KeyValue>) {
    if let Some(to) = &leg.to {
        attributes.push(KeyValue::new("server.address", std::sync::Arc::clone(&to.host)));
        attributes.push(KeyValue::new("server.port", i64::from(to.port)));
    }
}

fn version(course: &Course) -> &'static str {
    protocol(course.version).trim_start_matches("HTTP/")
}

/// The beginning of `text`, where it is long.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}
