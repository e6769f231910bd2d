//! `/entry` and `/schedule`: an invocation as a JSON document, and its answer as another.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName,
    HeaderValue, RANGE, RETRY_AFTER, TRAILER, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Response, StatusCode, Uri};
use hyper::body::Bytes;

use crate::config::{Platform, Snapshot};
use crate::proxy::Context;
use crate::proxy::admit::{Admitted, Caller};
use crate::proxy::answer::{Refused, json};
use crate::proxy::call::Call;
use crate::proxy::dispatch;
use crate::proxy::explain;
use crate::proxy::outbound::prepare;
use crate::proxy::peer;
use crate::proxy::request_body::RequestBody;
use crate::proxy::response_body::ResponseBody;
use crate::scheduling::FunctionName;
use crate::scheduling::route::Stage;

use super::body::{read_answer, read_request};
use super::documents::EntryDocument;
use super::wire::{EntryRequest, Payload};

/// Fields that speak of the client's document, or of a conversation we do not pass on.
static NOT_PASSED: [HeaderName; 8] = [
    ACCEPT_ENCODING,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    RANGE,
    TRAILER,
    UPGRADE,
];

/// Fields of the function's answer that come back beside the document.
static PASSED_BACK: [HeaderName; 4] = [
    HeaderName::from_static("x-call-id"),
    HeaderName::from_static("x-duration-seconds"),
    HeaderName::from_static("x-start-time"),
    RETRY_AFTER,
];

/// Fields by which those who ask learn where it ran.
static REPORT: [HeaderName; 5] =
    [peer::NODE, peer::HOP, peer::ARCHITECTURE, peer::LOAD, peer::DECISION];

/// `POST /entry`: a client's invocation comes in here.
pub(super) async fn entry(
    context: &Rc<Context>,
    admitted: Admitted,
    arrived: Instant,
) -> Result<Response<ResponseBody>, Refused> {
    invoke(context, admitted, Stage::Entry, arrived).await
}

/// Whether this node places invocations for others.
pub(super) fn check_role(snapshot: &Snapshot) -> Result<(), Refused> {
    let node = snapshot.site.node();
    if node.role.is_controller() {
        return Ok(());
    }
    let message =
        format!("{} is a worker and places nothing for others; ask a controller", node.id);
    Err(Refused::new(StatusCode::FORBIDDEN, "not_a_controller", message))
}

/// `POST /schedule`: a controller is asked to place an invocation.
pub(super) async fn schedule(
    context: &Rc<Context>,
    admitted: Admitted,
    arrived: Instant,
) -> Result<Response<ResponseBody>, Refused> {
    // From anyone but a peer it is an invocation like any other, and counts as one.
    let stage = if admitted.caller.is_peer { Stage::Schedule } else { Stage::Entry };
    invoke(context, admitted, stage, arrived).await
}

async fn invoke(
    context: &Rc<Context>,
    admitted: Admitted,
    stage: Stage,
    arrived: Instant,
) -> Result<Response<ResponseBody>, Refused> {
    let Admitted { request, snapshot, caller, .. } = admitted;
    let (head, body) = request.into_parts();
    let body = read_request(&context.state, &snapshot, body).await?;
    let mut asked = EntryRequest::parse(&body)?;
    let deadline = match asked.deadline {
        Some(deadline) => instant_of(deadline)?,
        None => {
            let left = caller.peer.as_ref().and_then(|peer| peer.deadline);
            left.and_then(|left| Instant::now().checked_add(left))
        }
    };
    let tag = asked.tag.take();
    let wants_report = caller.wants_decision;
    let (at, platform) = address_of(&snapshot, asked.function)?;
    let head = function_head(head, &asked, at);
    let mut call = call(&asked, platform, &snapshot, caller, stage, deadline);
    // Only now is it known what is called.
    let now = Instant::now();
    call.keep_time(now);
    call.begin(&context.state, now);
    let deadline = call.deadline;
    let body = match asked.payload {
        Payload::Empty => RequestBody::empty(),
        payload => RequestBody::full(payload.into_bytes()),
    };
    let decided = Instant::now();
    let prepared = prepare(head, body, &call.client);
    let response = dispatch::invoke(context, &call, prepared).await;
    if response.headers().contains_key(peer::REFUSAL) {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let within = time_left(&snapshot, decided, deadline);
    let text = read_answer(body, snapshot.limits.entry_body_bytes, within).await?;
    let ran = Ran { status: head.status, headers: &head.headers, text, arrived, decided };
    let mut answer = json(with_body(head.status), &ran.document(&snapshot, tag.as_deref()));
    pass_back(&head.headers, answer.headers_mut(), wants_report);
    Ok(answer)
}

/// The invocation that `asked` describes, with what a peer adds to it in headers.
fn call(
    asked: &EntryRequest,
    platform: Platform,
    snapshot: &Arc<Snapshot>,
    caller: Caller,
    stage: Stage,
    deadline: Option<Instant>,
) -> Call {
    let Caller { client, peer, wants_decision, trail, .. } = caller;
    trail.calls(asked.function);
    let (hop, architecture) = peer.as_ref().map_or((0, None), |peer| (peer.hop, peer.architecture));
    let (via, path) = peer.map_or_else(Default::default, |peer| (peer.via, peer.path));
    Call {
        snapshot: Arc::clone(snapshot),
        client,
        function: asked.function,
        asynchronous: false,
        platform,
        hop: asked.hop.unwrap_or(hop),
        stage,
        via,
        path,
        architecture: asked.architecture.or(architecture),
        deadline,
        from_peer: false,
        // What the document says is read from the report.
        wants_report: true,
        wants_decision,
        explained: RefCell::default(),
        invoked: RefCell::default(),
        trail,
    }
}

/// The client's request turned into a call of the function itself.
fn function_head(mut head: Parts, asked: &EntryRequest, at: Address) -> Parts {
    for name in &NOT_PASSED {
        head.headers.remove(name);
    }
    if let Some(content_type) = asked.payload.content_type() {
        head.headers.insert(CONTENT_TYPE, content_type);
    }
    let length = asked.payload.length_bytes();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    head.method = Method::POST;
    head.uri = uri_at(head.uri, at);
    head
}

/// Where a function is called: its host, where it has one of its own, and its path.
type Address = (Option<Authority>, PathAndQuery);

/// Where `function` is called, and what runs it there.
fn address_of(snapshot: &Snapshot, function: FunctionName) -> Result<(Address, Platform), Refused> {
    let no_route = || {
        let message = format!(
            "no route leads to a function called {function}; add one to routes in the configuration"
        );
        Refused::new(StatusCode::NOT_FOUND, "no_route", message)
    };
    let (host, path, platform) = snapshot.routes.address_of(function).ok_or_else(no_route)?;
    let host = host.map(Authority::try_from).transpose().map_err(|_| no_route())?;
    let path = PathAndQuery::try_from(path).map_err(|_| no_route())?;
    Ok(((host, path), platform))
}

/// `uri` at that address; at the authority that it names, where the function has none of its own:
/// h2 has no Host beside it.
fn uri_at(uri: Uri, (host, path): Address) -> Uri {
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(path.clone());
    if host.is_some() {
        parts.authority = host;
        parts.scheme.get_or_insert(Scheme::HTTP);
    }
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(path))
}

/// The instant of a deadline in Unix seconds. One too far away to be reached is none.
fn instant_of(deadline: f64) -> Result<Option<Instant>, Refused> {
    let left = deadline - unix_seconds();
    if left <= 0.0 {
        return Err(explain::deadline_passed());
    }
    let left = Duration::try_from_secs_f64(left).ok();
    Ok(left.and_then(|left| Instant::now().checked_add(left)))
}

/// Seconds since 1970.
pub(super) fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// How long an answer that has begun may take to end.
fn time_left(snapshot: &Snapshot, decided: Instant, deadline: Option<Instant>) -> Duration {
    let left = snapshot.timeouts.answer.saturating_sub(decided.elapsed());
    deadline.map_or(left, |deadline| left.min(deadline.saturating_duration_since(Instant::now())))
}

/// `status`, or 200 for one whose answers have no body: the document is one.
fn with_body(status: StatusCode) -> StatusCode {
    match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            StatusCode::OK
        }
        status => status,
    }
}

fn pass_back(from: &HeaderMap, to: &mut HeaderMap, wants_report: bool) {
    let report = REPORT.iter().filter(|_| wants_report);
    for name in PASSED_BACK.iter().chain(report) {
        for value in from.get_all(name) {
            to.append(name, value.clone());
        }
    }
}

/// A function's answer, complete.
struct Ran<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    text: Bytes,
    arrived: Instant,
    decided: Instant,
}

impl Ran<'_> {
    fn document(&self, snapshot: &Snapshot, tag: Option<&str>) -> EntryDocument {
        let field = |name| self.headers.get(name).and_then(|value| value.to_str().ok());
        let here = snapshot.site.node();
        let target = field(peer::NODE).unwrap_or(here.id.as_str());
        let architecture = field(peer::ARCHITECTURE).unwrap_or_default();
        let is_remote = target != here.id.as_str();
        let failed = self.status.is_client_error() || self.status.is_server_error();
        EntryDocument {
            resp: String::from_utf8_lossy(&self.text).into_owned(),
            status: if failed { "failed" } else { "success" },
            target_node: target.to_owned(),
            execution_location: if is_remote { "remote" } else { "local" },
            total_time: self.arrived.elapsed().as_secs_f64(),
            hop: field(peer::HOP).and_then(|hop| hop.parse().ok()).unwrap_or_default(),
            architecture: architecture.to_owned(),
            architecture_time: self.decided.elapsed().as_secs_f64(),
            message: is_remote.then(|| offloaded(snapshot, target, architecture)),
            tag: tag.map(str::to_owned),
        }
    }
}

/// Where to, as the earlier scheduler put it: by zone between zone controllers, else by node.
fn offloaded(snapshot: &Snapshot, target: &str, architecture: &str) -> String {
    let topology = &snapshot.site.topology;
    let zone = topology.index_of(target).map(|index| &topology.node(index).zone);
    match zone {
        Some(zone) if architecture == "federated" && *zone != snapshot.site.node().zone => {
            format!("Offloaded to zone {zone}")
        }
        _ => format!("Offloaded to node {target}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offload_is_named_as_the_earlier_scheduler_did() {
        let yaml = "architecture: dynamic
node: { id: edge1 }
topology:
  - { id: edge1, role: edge-controller, zone: a, address: 192.0.2.1 }
  - { id: edge2, role: worker, zone: a, address: 192.0.2.2 }
  - { id: edge3, role: edge-controller, zone: b, address: 192.0.2.3 }
";
        let snapshot = Snapshot::from_yaml(yaml, None).unwrap();
        for (target, architecture, message) in [
            ("edge2", "federated", "Offloaded to node edge2"),
            ("edge3", "federated", "Offloaded to zone b"),
            ("edge3", "decentralized", "Offloaded to node edge3"),
            ("edge3", "centralized", "Offloaded to node edge3"),
            ("newcomer", "federated", "Offloaded to node newcomer"),
        ] {
            assert_eq!(offloaded(&snapshot, target, architecture), message);
        }
    }

    #[test]
    fn the_function_is_called_at_its_host_or_the_authority_of_the_client() {
        for (asked, host, called) in [
            ("/entry?x=1", None, "/function/echo"),
            ("http://edge1:31113/entry", None, "http://edge1:31113/function/echo"),
            ("edge1:31113", None, "/function/echo"),
            ("/entry", Some("echo.faas"), "http://echo.faas/function/echo"),
            ("https://edge1/entry", Some("echo.faas"), "https://echo.faas/function/echo"),
        ] {
            let host = host.map(Authority::from_static);
            let at = (host, PathAndQuery::from_static("/function/echo"));
            assert_eq!(uri_at(asked.parse().unwrap(), at).to_string(), called);
        }
    }

    #[test]
    fn deadlines_are_kept_or_out_of_reach_or_passed() {
        for passed in [0.0, -1e300, unix_seconds() - 0.001] {
            assert_eq!(instant_of(passed).unwrap_err().error, "deadline_passed");
        }
        let left = instant_of(unix_seconds() + 60.0).unwrap().unwrap() - Instant::now();
        assert!((55..=60).contains(&left.as_secs()), "{left:?}");
        assert_eq!(instant_of(1e300).unwrap(), None);
    }
}
