//! Carries decisions out: asks for one, sends the invocation where it says, and reports back.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use crate::config::{Authority, Snapshot};
use crate::scheduling::FunctionName;
use crate::scheduling::estimate::LoadReport;
use crate::scheduling::policy::Architecture;
use crate::scheduling::route::{Decision, Invocation, Outcome, Refusal, Stage, Step, Ticket};
use crate::state::State;
use crate::topology::{NodeIndex, Slot};

use super::admit::{Admitted, Client, Route};
use super::answer::Refused;
use super::body::{RequestBody, ResponseBody};
use super::outbound::{self, Prepared};
use super::peer::{self, Onward};
use super::tunnel;
use super::upstream::{Answered, Destination, Failure, Outbound, Upstreams};

/// What one worker thread works with.
#[derive(Debug)]
pub struct Context {
    /// Shared with all threads.
    pub state: Arc<State>,
    pub(super) upstreams: Rc<Upstreams>,
    pub(super) call_peers_from: Option<std::net::IpAddr>,
    pub(super) tunnels: tunnel::Count,
}

/// One invocation, ready to be placed.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) client: Client,
    pub(crate) function: FunctionName,
    pub(crate) asynchronous: bool,
    pub(crate) hop: u8,
    pub(crate) stage: Stage,
    pub(crate) via: String,
    pub(crate) path: Vec<NodeIndex>,
    pub(crate) architecture: Option<Architecture>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) wants_report: bool,
    pub(crate) head: Parts,
    pub(crate) body: RequestBody,
}

/// Serves what is not ours: places invocations, and passes everything else to the gateway.
pub(super) async fn serve(context: Rc<Context>, admitted: Admitted) -> Response<ResponseBody> {
    let Admitted { request, snapshot, caller, route } = admitted;
    let (head, body) = request.into_parts();
    let body = RequestBody::incoming(body, snapshot.limits.replay_body_bytes);
    let elsewhere = elsewhere(&snapshot, &caller.client);
    let Route::Function { name: function, asynchronous } = route else {
        return pass(&context, &snapshot, &caller.client, head, body).await;
    };
    if elsewhere {
        return pass(&context, &snapshot, &caller.client, head, body).await;
    }
    let peer = caller.peer;
    let mut call = Call {
        client: caller.client,
        function,
        asynchronous,
        hop: 0,
        stage: Stage::Entry,
        via: String::new(),
        path: Vec::new(),
        architecture: None,
        deadline: None,
        wants_report: caller.wants_report,
        head,
        body,
        snapshot,
    };
    if let Some(peer) = peer {
        call.hop = peer.hop;
        call.stage = peer.stage;
        call.via = peer.via;
        call.path = peer.path;
        call.architecture = peer.architecture;
        call.deadline = peer.deadline.map(|left| Instant::now() + left);
    }
    invoke(&context, call).await
}

/// Whether a redirected connection was meant for something that is no gateway of ours.
fn elsewhere(snapshot: &Snapshot, client: &Client) -> bool {
    client.original_destination.as_ref().is_some_and(|meant| !snapshot.is_gateway(meant))
}

/// Passes a request on unchanged: to where the client meant it to go, or to this node's gateway.
async fn pass(
    context: &Context,
    snapshot: &Snapshot,
    client: &Client,
    head: Parts,
    body: RequestBody,
) -> Response<ResponseBody> {
    let authority = client.original_destination.as_ref().unwrap_or(&snapshot.gateway);
    let destination = Destination { authority: authority.clone(), from: None };
    let prepared = outbound::prepare(head, body, client);
    let Prepared { outbound, upgrade, internal } = prepared;
    if internal {
        context.state.metrics.stripped.inc();
    }
    let sent = context.send(snapshot, &destination, outbound, None).await;
    match sent {
        Ok(answered) => context.finish(answered, None, upgrade, |_| {}),
        Err(failure) => context.explain_failure(&destination, &failure).into_response(),
    }
}

/// Places one invocation and answers with what comes of it.
pub(crate) async fn invoke(context: &Rc<Context>, call: Call) -> Response<ResponseBody> {
    let Call { head, body, .. } = call;
    let here = call.snapshot.site.node().id.as_str();
    let passed_here = call.via.split(',').any(|id| id.trim() == here);
    let Prepared { outbound, mut upgrade, internal } = outbound::prepare(head, body, &call.client);
    if internal && call.stage == Stage::Entry {
        context.state.metrics.stripped.inc();
    }
    let placing = Placing {
        context,
        snapshot: &call.snapshot,
        function: call.function,
        asynchronous: call.asynchronous,
        hop: call.hop,
        stage: call.stage,
        via: &call.via,
        path: &call.path,
        passed_here,
        architecture: call.architecture,
        deadline: call.deadline,
        wants_report: call.wants_report,
    };
    match placing.run(outbound, &mut upgrade).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

/// The facts of an invocation that stay the same over all attempts.
struct Placing<'a> {
    context: &'a Rc<Context>,
    snapshot: &'a Arc<Snapshot>,
    function: FunctionName,
    asynchronous: bool,
    hop: u8,
    stage: Stage,
    via: &'a str,
    path: &'a [NodeIndex],
    passed_here: bool,
    architecture: Option<Architecture>,
    deadline: Option<Instant>,
    wants_report: bool,
}

impl Placing<'_> {
    async fn run(
        &self,
        mut outbound: Outbound,
        upgrade: &mut Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Refused> {
        let site = &self.snapshot.site;
        let mut avoid = Vec::new();
        loop {
            let left = self.time_left()?;
            let mut decision = self.decide(&avoid);
            let (target, stage) = match decision.step {
                Step::RunHere => (site.here, Stage::Execute),
                Step::Offload(node) => (node, Stage::Execute),
                Step::Delegate(node) => (node, Stage::Schedule),
                Step::Refuse(refusal) => return Err(explain_refusal(refusal, self.snapshot)),
            };
            let last = avoid.contains(&target);
            let pending = Pending::new(self.context, decision.ticket.take());
            let destination = self.address(&mut outbound, &decision, target, stage, left);
            let sent = self.context.send(self.snapshot, &destination, outbound, left).await;
            let failure = match sent {
                Ok(answered) => match answered.refusal() {
                    None => return Ok(self.answer(answered, pending, &decision, target, upgrade)),
                    Some(refusal) => Failure::NothingRan(
                        std::io::Error::other(refusal),
                        answered.again().map(Box::new),
                    ),
                },
                Err(failure) => failure,
            };
            match failure {
                Failure::NothingRan(_, Some(again)) if !last => {
                    pending.end(Outcome::Unreachable);
                    self.context.state.metrics.retries.inc();
                    avoid.push(target);
                    outbound = *again;
                }
                failure => {
                    pending.end(failure.outcome());
                    return Err(self.context.explain_failure(&destination, &failure));
                }
            }
        }
    }

    fn decide(&self, avoid: &[NodeIndex]) -> Decision {
        let invocation = Invocation {
            function: self.function,
            hop: self.hop,
            stage: self.stage,
            architecture: self.architecture,
            path: self.path,
            passed_here: self.passed_here,
            avoid,
            timed: !self.asynchronous,
        };
        self.context.state.decide(self.snapshot, &invocation)
    }

    fn time_left(&self) -> Result<Option<Duration>, Refused> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
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
        let site = &self.snapshot.site;
        let headers = &mut outbound.head.headers;
        if target == site.here {
            peer::remove(headers);
            return Destination { authority: self.snapshot.gateway.clone(), from: None };
        }
        let node = site.topology.node(target);
        let onward = Onward {
            hop: self.hop.saturating_add(1),
            via: self.via,
            architecture: decision.architecture,
            stage,
            deadline: left,
            to: node.id.as_str(),
        };
        peer::write(self.snapshot, &outbound.head.method, &outbound.head.uri, headers, &onward);
        let authority = Authority { host: Arc::clone(&node.address.host), port: node.address.port };
        Destination { authority, from: self.context.call_peers_from }
    }

    fn answer(
        &self,
        answered: Answered,
        mut pending: Pending,
        decision: &Decision,
        target: NodeIndex,
        upgrade: &mut Option<OnUpgrade>,
    ) -> Response<ResponseBody> {
        let site = &self.snapshot.site;
        let report = if target == site.here {
            let load = self.context.state.report(self.snapshot, pending.started());
            let node = site.node().id.as_str().to_owned();
            pending.report = Some(load);
            Report { node, hop: self.hop, load: Some(load) }
        } else {
            let report = Report::of(&answered, site.topology.node(target).id.as_str(), self.hop);
            let runner = site.topology.index_of(&report.node);
            match (runner, report.load) {
                (Some(runner), Some(load)) if runner == target => pending.report = Some(load),
                (Some(runner), Some(load)) => {
                    pending.observed = Some((site.topology.node(runner).slot, load));
                }
                _ => {}
            }
            report
        };
        pending.note(&answered.response);
        let architecture = decision.architecture;
        let wanted = self.wants_report;
        self.context.finish(answered, Some(pending), upgrade.take(), move |headers| {
            if wanted {
                report.write(headers, architecture);
            }
        })
    }
}

/// Where an invocation ran, as an answer says.
struct Report {
    node: String,
    hop: u8,
    load: Option<LoadReport>,
}

impl Report {
    fn of(answered: &Answered, asked: &str, hop: u8) -> Self {
        let headers = answered.response.headers();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            node: text(peer::NODE).unwrap_or(asked).to_owned(),
            hop: text(peer::HOP).and_then(|hop| hop.parse().ok()).unwrap_or(hop.saturating_add(1)),
            load: headers.get(peer::LOAD).and_then(peer::read_load),
        }
    }

    fn write(&self, headers: &mut http::HeaderMap, architecture: Architecture) {
        use http::HeaderValue;
        if let Ok(node) = HeaderValue::from_str(&self.node) {
            headers.insert(peer::NODE, node);
        }
        headers.insert(peer::HOP, HeaderValue::from(u16::from(self.hop)));
        headers.insert(peer::ARCHITECTURE, HeaderValue::from_static(architecture.as_str()));
        if let Some(load) = self.load.as_ref().and_then(peer::load_value) {
            headers.insert(peer::LOAD, load);
        }
    }
}

impl Context {
    /// Hands an upstream answer to the caller: its own fields, and those of `extend`.
    fn finish(
        &self,
        answered: Answered,
        pending: Option<Pending>,
        upgrade: Option<OnUpgrade>,
        extend: impl FnOnce(&mut http::HeaderMap),
    ) -> Response<ResponseBody> {
        let Answered { response, lease, .. } = answered;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let open = self.tunnels.clone();
            return tunnel::open(response, lease, pending, upgrade, open);
        }
        let (mut head, incoming) = response.into_parts();
        head.version = http::Version::HTTP_11;
        super::headers::remove_connection_fields(&mut head.headers);
        extend(&mut head.headers);
        Response::from_parts(head, ResponseBody::upstream(incoming, lease, pending))
    }

    async fn send(
        &self,
        snapshot: &Snapshot,
        destination: &Destination,
        outbound: Outbound,
        left: Option<Duration>,
    ) -> Result<Answered, Failure> {
        let timeouts = &snapshot.timeouts;
        let within = left.map_or(timeouts.answer, |left| left.min(timeouts.answer));
        self.upstreams.send(destination, outbound, &snapshot.limits, timeouts, within).await
    }

    fn explain_failure(&self, to: &Destination, failure: &Failure) -> Refused {
        let to = &to.authority;
        match failure {
            Failure::NothingRan(error, _) => Refused::new(
                StatusCode::BAD_GATEWAY,
                "gateway_unreachable",
                format!("{to} cannot be reached ({error}); check that it runs and listens there"),
            ),
            Failure::Broken(error) => Refused::new(
                StatusCode::BAD_GATEWAY,
                "bad_gateway",
                format!("{to} broke off before it answered ({error}); see its log"),
            ),
            Failure::TimedOut => Refused::new(
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                format!("{to} did not answer in time; raise timeouts.answer_ms or the deadline"),
            ),
            Failure::ClientAborted => {
                self.state.metrics.client_aborts.inc();
                let message = "the request's body broke off; send all of it, well framed";
                Refused::new(StatusCode::BAD_REQUEST, "client_aborted", message)
            }
        }
    }
}

/// 504: there is no time left.
pub(crate) fn deadline_passed() -> Refused {
    let message = "the deadline has passed; nothing was run";
    Refused::new(StatusCode::GATEWAY_TIMEOUT, "deadline_passed", message)
}

fn explain_refusal(refusal: Refusal, snapshot: &Snapshot) -> Refused {
    let node = snapshot.site.node();
    match refusal {
        Refusal::Loop => Refused::new(
            StatusCode::LOOP_DETECTED,
            "loop",
            format!("the invocation has passed {} before; compare the nodes' topologies", node.id),
        ),
        Refusal::NotAController => Refused::new(
            StatusCode::FORBIDDEN,
            "not_a_controller",
            format!("{} is a worker and places nothing for others; ask a controller", node.id),
        ),
    }
}

/// A step whose outcome is still to be recorded; a caller who goes away cancels it.
#[derive(Debug)]
pub(crate) struct Pending {
    state: Arc<State>,
    ticket: Option<Ticket>,
    report: Option<LoadReport>,
    observed: Option<(Slot, LoadReport)>,
    outcome: Outcome,
}

impl Pending {
    fn new(context: &Context, ticket: Option<Ticket>) -> Self {
        Self {
            state: Arc::clone(&context.state),
            ticket,
            report: None,
            observed: None,
            outcome: Outcome::Good,
        }
    }

    fn started(&self) -> Option<crate::scheduling::Time> {
        self.ticket.as_ref().map(Ticket::started)
    }

    /// Takes from the head of an answer whether it is good, and whether its end means anything.
    fn note<B>(&mut self, response: &Response<B>) {
        if !is_good(response.status()) {
            self.outcome = Outcome::Failed;
        }
        let content_type = response.headers().get(http::header::CONTENT_TYPE);
        if content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
            self.discard_time();
        }
    }

    /// Leaves the time this takes out of what is learned.
    pub(super) fn discard_time(&mut self) {
        self.ticket = self.ticket.take().map(Ticket::untimed);
    }

    /// The answer is through.
    pub(super) fn finish(mut self) {
        let outcome = self.outcome;
        self.record(outcome);
    }

    /// The answer broke off upstream.
    pub(super) fn fail(mut self) {
        self.record(Outcome::Failed);
    }

    fn end(mut self, outcome: Outcome) {
        self.record(outcome);
    }

    fn record(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.state.record(ticket, outcome, self.report);
        }
        if let Some((slot, report)) = self.observed.take() {
            self.state.observe(slot, report);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.record(Outcome::Cancelled);
    }
}

/// Whether a status speaks for the node that gave it. A node without the function answers 404 in
/// no time, and one that sheds load 429: neither is an answer to be preferred for its speed.
fn is_good(status: StatusCode) -> bool {
    !status.is_server_error()
        && !matches!(
            status,
            StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}
