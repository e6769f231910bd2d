//! Carries decisions out: asks for one, sends the invocation where it says, and reports back.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use crate::config::Snapshot;
use crate::scheduling::policy::Architecture;
use crate::scheduling::retry::Again;
use crate::scheduling::route::{Decision, Invocation, Outcome, Refusal, Stage, Step, Ticket};
use crate::state::State;
use crate::topology::NodeIndex;

use super::admit::{Admitted, Caller, Route};
use super::answer::Refused;
use super::begin::Scratch;
use super::call::{self, Call};
use super::call_field::Onward;
use super::client::Client;
use super::connect::Destination;
use super::decision;
use super::explain::{DEADLINE_PASSED, deadline_passed};
use super::failure::Failure;
use super::headers::{find, note_forwarded};
use super::outbound::{self, Prepared};
use super::peer;
use super::pending::{Pending, is_good};
use super::report::{Report, Told};
use super::request_body::{RequestBody, drain};
use super::response_body::ResponseBody;
use super::timing::{self, Timing};
use super::trail::{Mark, Trail};
use super::tunnel;
use super::upstream::{Answered, Outbound, QUEUE_FULL, Upstreams};
use super::watch::{Watch, Watched};

/// What one worker thread works with.
#[derive(Debug)]
pub struct Context {
    /// Shared with all threads.
    pub state: Arc<State>,
    pub(super) upstreams: Rc<Upstreams>,
    pub(super) call_peers_from: Option<std::net::IpAddr>,
    pub(super) tunnels: tunnel::Count,
    pub(super) watch: Watch,
    pub(super) scratch: Scratch,
    /// The HTTP/2 stream that runs now.
    pub(super) stream: RefCell<Option<Arc<Watched>>>,
}

/// Serves what is not ours: places invocations, and passes everything else to the gateway.
///
/// All that can be done at once is, so that the future begins with what it keeps: hyper moves it to
/// its place, and every client connection has room for one.
pub(super) fn serve(
    context: Rc<Context>,
    admitted: Admitted,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    let Admitted { request, snapshot, caller, route } = admitted;
    let (head, body) = request.into_parts();
    let body = RequestBody::incoming(body, snapshot.limits.replay_body_bytes);
    let prepared = outbound::prepare(head, body, &caller.client);
    let trail = &caller.trail;
    trail.note(|notes| notes.body = prepared.outbound.body.replay());
    let call = match route {
        Route::Function(called) => Ok(call::of(&context, caller, snapshot, called)),
        // On the heap, so that what invocations need does not grow by it.
        Route::Own | Route::Gateway => Err(Box::new((caller, snapshot))),
    };
    async move {
        Ok(match call {
            Ok(call) => invoke(&context, &call, prepared).await,
            Err(passed) => Box::pin(pass(&context, &passed.1, &passed.0, prepared)).await,
        })
    }
}

/// Passes a request on unchanged: to where the client meant it to go, or to this node's gateway.
async fn pass(
    context: &Context,
    snapshot: &Snapshot,
    caller: &Caller,
    prepared: Prepared,
) -> Response<ResponseBody> {
    let Caller { client, trail, .. } = caller;
    let authority = client.original_destination.as_ref().unwrap_or(&snapshot.gateway);
    let destination = Destination::anyone(authority.clone());
    let Prepared { mut outbound, upgrade, internal } = prepared;
    if internal {
        context.state.metrics.stripped.inc();
    }
    trail.passed();
    note_forwarded(&mut outbound.head.headers, client.scheme());
    let mark = trail.leg(trail.last());
    mark.pass_on(&mut outbound.head.headers);
    let sent = context.send(snapshot, &destination, outbound, None, mark).await;
    match sent {
        Ok(answered) => {
            mark.answers(None);
            let whose = (client, trail);
            context.finish(whose, answered, None, upgrade, |_| {})
        }
        Err(failure) => {
            let refused = context.explain_failure(&destination, &failure);
            if let Ok((unsent, _)) = failure.into_again() {
                drain(unsent.body).await;
            }
            refused.into_response()
        }
    }
}

/// Places one invocation and answers with what comes of it.
pub(crate) async fn invoke(
    context: &Context,
    call: &Call,
    prepared: Prepared,
) -> Response<ResponseBody> {
    let passed_here = call.path.contains(&call.snapshot.site.here);
    let Prepared { mut outbound, mut upgrade, internal } = prepared;
    outbound.idempotent |= call.snapshot.function(call.function).idempotent;
    if internal && call.stage == Stage::Entry {
        context.state.metrics.stripped.inc();
    }
    let mut timing = Timing::of(&context.state, &call.invoked, &outbound.head.headers);
    let response = match (Placing { context, call, passed_here }).run(outbound, &mut upgrade).await
    {
        Ok(response) => response,
        Err(refused) => {
            let full = refused.error == QUEUE_FULL && call.stage != Stage::Entry;
            let mut response = refused.into_response();
            // The peer learns how busy this node is, though nothing ran.
            if full {
                own_report(context, call, None).tell(response.headers_mut());
            }
            response
        }
    };
    let response = timing.answered(response);
    match call.explained.take() {
        Some(explained) if call.wants_decision => decision::told(response, &explained),
        _ => response,
    }
}

/// An invocation on its way, from one attempt to the next.
pub(super) struct Placing<'a> {
    pub(super) context: &'a Context,
    pub(super) call: &'a Call,
    passed_here: bool,
}

/// One attempt at it: where it goes, and what is owed for it.
pub(super) struct Attempt {
    pub(super) target: NodeIndex,
    pub(super) destination: Destination,
    /// On the heap: it is handed on until the answer is through.
    pub(super) pending: Box<Pending>,
    architecture: Architecture,
    /// Its place on the trail.
    leg: usize,
}

impl Placing<'_> {
    /// Writes on the request what `decision` says, and takes on what is owed for it.
    pub(super) fn begin(
        &self,
        mut decision: Decision,
        outbound: &mut Outbound,
        left: Option<Duration>,
    ) -> Result<Attempt, Refusal> {
        let (target, stage) = match decision.step {
            Step::RunHere => (self.call.snapshot.site.here, Stage::Execute),
            Step::Offload(node) => (node, Stage::Execute),
            Step::Delegate(node) => (node, Stage::Schedule),
            Step::Refuse(refusal) => return Err(refusal),
        };
        let pending = Box::new(Pending::new(&self.context.state, decision.ticket.take()));
        let destination = self.address(outbound, &decision, target, stage, left);
        let (architecture, leg) = (decision.architecture, self.call.trail.last());
        self.call.trail.leg(leg).pass_on(&mut outbound.head.headers);
        Ok(Attempt { target, destination, pending, architecture, leg })
    }

    /// Where notes of `attempt` go.
    pub(super) fn mark(&self, attempt: &Attempt) -> Mark<'_> {
        self.call.trail.leg(attempt.leg)
    }

    pub(super) fn invocation<'i>(
        &'i self,
        architecture: Option<Architecture>,
        avoid: &'i [NodeIndex],
    ) -> Invocation<'i> {
        Invocation {
            function: self.call.function,
            hop: self.call.hop,
            stage: self.call.stage,
            architecture,
            path: &self.call.path,
            passed_here: self.passed_here,
            avoid,
            again: Again::No,
            timed: !self.call.asynchronous,
        }
    }

    pub(super) fn time_left(&self) -> Result<Option<Duration>, Refused> {
        let Some(deadline) = self.call.deadline else { return Ok(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        // What was sent here to run was found to be in time by whoever sent it.
        let decides = self.call.stage != Stage::Execute && !self.call.asynchronous;
        let state = &self.context.state;
        if left.is_zero() || decides && state.is_hopeless(self.call.function, left) {
            return Err(deadline_passed());
        }
        Ok(Some(left))
    }

    /// Writes on the request where it goes, and answers with the address.
    fn address(
        &self,
        outbound: &mut Outbound,
        decision: &Decision,
        target: NodeIndex,
        stage: Stage,
        left: Option<Duration>,
    ) -> Destination {
        let site = &self.call.snapshot.site;
        let headers = &mut outbound.head.headers;
        if target == site.here {
            if find(headers, &peer::CALL).is_some() {
                // It was addressed to a peer before.
                peer::remove(headers);
            }
            note_forwarded(headers, self.call.client.scheme());
            return Destination::anyone(self.call.snapshot.gateway.clone());
        }
        let node = site.topology.node(target);
        let onward = Onward {
            hop: self.call.hop.saturating_add(1),
            stage,
            architecture: decision.architecture,
            via: &self.call.via,
            here: site.node().id.as_str(),
            to: node.id.as_str(),
            deadline: left,
            load: self.context.state.report(&self.call.snapshot, None),
        };
        peer::write(headers, &onward, self.call.wants_decision);
        let destination =
            Destination::peer(&self.call.snapshot, node, self.context.call_peers_from);
        // The next sidecar sees the same host, and notes it with the scheme by which it is called.
        if destination.scheme() != self.call.client.scheme() {
            note_forwarded(headers, self.call.client.scheme());
        }
        destination
    }

    pub(super) fn answer(
        &self,
        answered: Answered,
        attempt: Attempt,
        upgrade: &mut Option<OnUpgrade>,
    ) -> Response<ResponseBody> {
        let mark = self.mark(&attempt);
        let Attempt { target, mut pending, architecture, .. } = attempt;
        let local = target == self.call.snapshot.site.here;
        let (for_peer, for_client) = (self.call.from_peer, self.call.wants_report);
        let wanted = for_peer || for_client;
        let told = if local { Told::default() } else { Told::of(answered.response.headers()) };
        let report = if local {
            mark.answers(Some(target));
            // How soon a bad answer came says nothing of how fast this node is.
            let ticket = pending.ticket().filter(|_| is_good(answered.response.status()));
            wanted.then(|| own_report(self.context, self.call, ticket))
        } else {
            let report = self.peer_report(&told, target, &mut pending);
            mark.answers(report.runner);
            wanted.then_some(report)
        };
        let refusal = told.refusal.cloned();
        pending.note(&answered.response, answered.sent_at);
        timing::hear(&self.call.invoked, &pending, &answered.response);
        if refusal.as_ref().is_some_and(|refusal| refusal == DEADLINE_PASSED) {
            // It came too late there, which is no fault of that node.
            pending.outcome = Outcome::Cancelled;
        }
        let explains = self.call.wants_decision && !local;
        let decided = if explains { decision::of_peers(&answered.response) } else { Vec::new() };
        let whose = (&self.call.client, &self.call.trail);
        self.context.finish(whose, answered, Some(pending), upgrade.take(), |headers| {
            if let Some(report) = report {
                if for_peer {
                    report.tell(headers);
                }
                if for_client {
                    report.show(headers, architecture);
                }
            }
            for decision in decided {
                headers.append(peer::DECISION, decision);
            }
            // An error of the peer, not of the function; callers can tell them apart.
            if let Some(refusal) = refusal {
                headers.insert(peer::REFUSAL, refusal);
            }
        })
    }

    /// What a peer says of the node that ran the invocation: itself, or one it sent it on to.
    fn peer_report(&self, told: &Told<'_>, target: NodeIndex, pending: &mut Pending) -> Report<'_> {
        let topology = &self.call.snapshot.site.topology;
        let report = Report::of(told, topology, target, self.call.hop);
        match (report.runner, report.load) {
            (Some(runner), Some(load)) if runner == target => pending.report = Some(load),
            (Some(runner), Some(load)) => {
                pending.observed = Some((topology.node(runner).slot, load));
            }
            _ => {}
        }
        report
    }
}

/// What this node says of itself, to whoever sent it the invocation of `ticket`.
fn own_report<'a>(context: &Context, call: &'a Call, ticket: Option<&Ticket>) -> Report<'a> {
    let site = &call.snapshot.site;
    let load = Some(context.state.report(&call.snapshot, ticket));
    let node = site.node().id.as_str().into();
    Report { node, runner: Some(site.here), hop: call.hop, load }
}

impl Context {
    /// Hands an upstream answer to the caller: its own fields, and those of `extend`.
    fn finish(
        &self,
        (client, trail): (&Client, &Trail),
        answered: Answered,
        pending: Option<Box<Pending>>,
        upgrade: Option<OnUpgrade>,
        extend: impl FnOnce(&mut http::HeaderMap),
    ) -> Response<ResponseBody> {
        let Answered { response, lease, read, .. } = answered;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let held = (lease, trail.clone());
            return self.open_tunnel(client, response, held, pending, upgrade);
        }
        let (mut head, incoming) = response.into_parts();
        head.version = http::Version::HTTP_11;
        super::headers::remove_connection_fields(&mut head.headers);
        extend(&mut head.headers);
        let watched = || {
            let stream = self.stream.borrow().clone();
            stream.unwrap_or_else(|| Arc::clone(&client.connection.watched))
        };
        let body = match read {
            None => ResponseBody::upstream(incoming, lease, pending, watched),
            Some(read) => ResponseBody::read(*read, lease, pending),
        };
        Response::from_parts(head, body)
    }

    pub(super) async fn send(
        &self,
        snapshot: &Snapshot,
        destination: &Destination,
        outbound: Box<Outbound>,
        left: Option<Duration>,
        mark: Mark<'_>,
    ) -> Result<Answered, Failure> {
        // Pinned here, since whoever waits for it would move it.
        let sent = pin!(self.upstreams.send(destination, outbound, snapshot, mark));
        let sent = match left {
            // Giving up on the answer closes the connection, which cancels the invocation.
            Some(left) => tokio::time::timeout(left, sent).await.unwrap_or(Err(Failure::TimedOut)),
            None => sent.await,
        };
        mark.heard(&sent);
        sent
    }
}
