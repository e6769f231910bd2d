//! What is told of a request once it is over.

use std::time::Duration;

use http::{HeaderValue, Version};

use crate::access_log::Line;
use crate::config::Snapshot;
use crate::scheduling::route::Step;
use crate::topology::NodeIndex;

use super::flags::{Became, NONE};
use super::spans;
use super::trail::{Course, Decided, End, Leg, Notes, Span};

/// Tells of `course`, which is over, whoever wants to know.
pub(super) fn tell(course: &mut Course) {
    let mut notes = course.notes.take();
    if notes.end == End::Gone && notes.overdue.is_none() {
        notes.overdue = course.client.connection.watched.overdue();
    }
    // Whoever is admitted or refused has been looked at under a configuration.
    let Some(snapshot) = &notes.snapshot else { return };
    let (state, became) = (course.client.connection.state(), Became::of(&notes));
    if let (Some(traces), Some(trace)) = (state.traces.get(), &course.trace)
        && (notes.function.is_some() || !notes.legs.is_empty() || notes.refusal.is_some())
    {
        spans::export(traces, trace, course, (&notes, snapshot, &became));
    }
    if state.access_log.is_on() {
        log(course, &notes, snapshot, &became);
    }
}

fn log(course: &Course, notes: &Notes, snapshot: &Snapshot, became: &Became) {
    let (rule, log) = (&snapshot.access_log, &course.client.connection.state().access_log);
    let total = course.began.elapsed();
    let plain = became.flags == NONE && notes.refusal.is_none() && notes.status < 500;
    if plain && total < rule.slow && !log.samples(rule) {
        return;
    }
    let topology = &snapshot.site.topology;
    let id = |node: NodeIndex| topology.node(node).id.as_str();
    let here = snapshot.site.here;
    let decided = notes.legs.iter().rev().find_map(|leg| leg.decided);
    let asked = answering(notes).and_then(|leg| leg.decided).and_then(|it| it.target(here));
    let target = notes.ran.or(asked);
    log.write(
        rule.format,
        &Line {
            began: course.began_at,
            method: course.method.as_str(),
            path: course.uri.path(),
            protocol: protocol(course.version),
            status: notes.status,
            flags: &became.flags,
            details: became.details,
            received: notes.body.as_ref().map_or(notes.length, |body| body.bytes()),
            sent: notes.sent,
            total,
            decide: sum(notes, |leg| leg.decided.map(|decided| decided.span)),
            queue: sum(notes, |leg| leg.queued),
            connect: sum(notes, |leg| leg.connected),
            upstream: answering(notes).and_then(|leg| Some(leg.heard? - leg.sent?)),
            attempts: notes.legs.iter().filter(|leg| leg.is_attempt()).count(),
            hedged: notes.legs.iter().any(|leg| leg.hedge),
            function: notes.function.as_ref().map(|function| function.as_str()),
            architecture: decided.map(|decided| decided.architecture.as_str()),
            reason: decided.map(|decided| decided.why.as_str()),
            node: id(here),
            target: target.map(id),
            role: target.map(|target| role(notes, target == here)),
            hop: notes.hop,
            client: (course.client.forwarded_for.as_bytes(), course.client.address.port()),
            agent: text(&course.agent),
            request_id: text(&course.request_id),
            call_id: text(&notes.call_id),
            trace_id: course.trace_id(),
        },
    );
}

impl Leg {
    /// Whether anybody was to be asked.
    pub(super) fn is_attempt(&self) -> bool {
        !matches!(self.decided, Some(Decided { step: Step::Refuse(_), .. }))
    }
}

impl Decided {
    /// The node that is asked, at the node `here`.
    pub(super) fn target(&self, here: NodeIndex) -> Option<NodeIndex> {
        match self.step {
            Step::RunHere => Some(here),
            Step::Offload(node) | Step::Delegate(node) => Some(node),
            Step::Refuse(_) => None,
        }
    }
}

fn text(value: &Option<HeaderValue>) -> Option<&[u8]> {
    value.as_ref().map(HeaderValue::as_bytes)
}

/// The leg whose answer was the answer, or the last.
fn answering(notes: &Notes) -> Option<&Leg> {
    notes.answered.map_or(notes.legs.last(), |leg| notes.legs.get(leg))
}

/// All the time that legs took for `what`; none where none took any.
fn sum(notes: &Notes, what: impl Fn(&Leg) -> Option<Span>) -> Option<Duration> {
    let took = notes.legs.iter().filter_map(what).map(|span| span.until - span.since);
    took.reduce(|a, b| a + b)
}

fn role(notes: &Notes, local: bool) -> &'static str {
    match (notes.from_peer, local) {
        (true, _) => "hop",
        (false, true) => "local",
        (false, false) => "remote",
    }
}

pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
