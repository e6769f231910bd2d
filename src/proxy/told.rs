//! What is told of a request once it is over.

use std::time::Duration;

use http::{HeaderValue, Version};

use crate::access_log::Line;
use crate::config::Snapshot;
use crate::scheduling::route::Step;
use crate::topology::NodeIndex;

use super::flags::{Became, NONE};
use super::spans;
use super::timing::TRACE_ID_LENGTH;
use super::trail::{Course, Decided, End, Leg, Notes, Span};

/// Tells of `course`, which is over, whoever wants to know.
pub(super) fn tell(course: &Course) {
    let mut notes = course.notes.borrow_mut();
    if notes.end == End::Gone && notes.overdue.is_none() {
        notes.overdue = course.client.connection.watched.overdue();
    }
    let notes = &*notes;
    // Whoever is admitted or refused has been looked at under a configuration.
    let Some(snapshot) = &notes.snapshot else { return };
    let (state, became) = (course.client.connection.state(), Became::of(notes));
    if let (Some(traces), Some(trace)) = (state.traces.get(), &course.trace)
        && (notes.function.is_some() || !notes.legs.is_empty() || notes.refusal.is_some())
    {
        spans::export(traces, trace, course, (notes, snapshot, &became));
    }
    if state.access_log.is_on() {
        log(course, notes, snapshot, &became);
    }
}

fn log(course: &Course, notes: &Notes, snapshot: &Snapshot, became: &Became) {
    let (rule, log) = (&snapshot.access_log, &course.client.connection.state().access_log);
    let total = notes.took.unwrap_or_else(|| course.began.elapsed());
    let plain = became.flags == NONE && notes.refusal.is_none() && notes.status < 500;
    if plain && total < rule.slow && !log.samples(rule) {
        return;
    }
    let topology = &snapshot.site.topology;
    let id = |node: NodeIndex| topology.node(node).id.as_str();
    let here = snapshot.site.here;
    let sums = Sums::of(&notes.legs);
    let (decided, answering) = (sums.decided, answering(notes));
    let asked = answering.and_then(|leg| leg.decided).and_then(|it| it.target(here));
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
            decide: sums.decide,
            queue: sums.queue,
            connect: sums.connect,
            upstream: answering.and_then(|leg| Some(leg.heard? - leg.sent?)),
            attempts: sums.attempts,
            hedged: sums.hedged,
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
            trace_id: course.trace_id.as_ref().map(<[u8; TRACE_ID_LENGTH]>::as_slice),
        },
    );
}

/// What all legs of a request come to.
#[derive(Default)]
struct Sums {
    decide: Option<Duration>,
    queue: Option<Duration>,
    connect: Option<Duration>,
    /// Of which somebody was to be asked.
    attempts: usize,
    hedged: bool,
    /// What was decided last.
    decided: Option<Decided>,
}

impl Sums {
    fn of(legs: &[Leg]) -> Self {
        let mut sums = Self::default();
        for leg in legs {
            if let Some(decided) = leg.decided {
                add(&mut sums.decide, Some(decided.span));
                sums.decided = Some(decided);
            }
            add(&mut sums.queue, leg.queued);
            add(&mut sums.connect, leg.connected);
            let refused = matches!(leg.decided, Some(Decided { step: Step::Refuse(_), .. }));
            sums.attempts += usize::from(!refused);
            sums.hedged |= leg.hedge;
        }
        sums
    }
}

/// Adds the time of `span` to `sum`, which is none where nothing took any.
fn add(sum: &mut Option<Duration>, span: Option<Span>) {
    if let Some(span) = span {
        *sum = Some(sum.unwrap_or_default() + (span.until - span.since));
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
