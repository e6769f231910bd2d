//! What operators ask and change.

use http::{Response, StatusCode};

use crate::config::{Change, Snapshot};
use crate::problem::Problem;
use crate::proxy::admit::Admitted;
use crate::proxy::answer::{Refused, json, next_request_id, with_type};
use crate::proxy::response_body::ResponseBody;
use crate::scheduling::policy::Architecture;
use crate::scheduling::view::NodeView;
use crate::state::State;

use super::body::read_request;
use super::changes::differences;
use super::documents::{
    ConfigurationDocument, FunctionDocument, LoadDocument, MetricsDocument, NodeDocument,
    ProblemRow, RefusedChange, ReloadDocument, ThresholdsDocument, UpdateDocument,
    durations_document,
};
use super::invoke::unix_seconds;
use super::wire::{ReloadRequest, function_in_query, parse_thresholds};

/// Most durations per function and architecture in an answer of `/durations`.
const DURATIONS_MAX: usize = 1000;

/// Most durations in the whole answer: with very many functions, each shows fewer.
const DURATIONS_TOTAL_MAX: usize = 100_000;

const PLAIN: &str = "text/plain; charset=utf-8";

/// `GET /load`: this host, and what runs here.
pub(super) fn load(state: &State, snapshot: &Snapshot) -> Response<ResponseBody> {
    let in_flight = state.in_flight(snapshot);
    let sample = state.host_load.latest();
    json(StatusCode::OK, &LoadDocument::new(&sample, in_flight, unix_seconds()))
}

/// `GET /arch_metrics`: what is measured of functions and nodes.
///
/// Bounded by `limits.functions` and the topology.
pub(super) fn arch_metrics(state: &State, snapshot: &Snapshot) -> Response<ResponseBody> {
    measured(state, snapshot, usize::MAX, |document| json(StatusCode::OK, document))
}

/// What `tell` makes of what is measured of the nodes, and of the `functions_max` busiest functions.
pub(super) fn measured<T>(
    state: &State,
    snapshot: &Snapshot,
    functions_max: usize,
    tell: impl FnOnce(&MetricsDocument<'_>) -> T,
) -> T {
    let site = &snapshot.site;
    let now = state.now();
    let (mut functions, nodes) = {
        let mut scheduler = state.scheduler();
        (scheduler.view_functions(now), scheduler.view_nodes(site, now))
    };
    if functions.len() > functions_max {
        functions.sort_unstable_by(|a, b| b.rate.total_cmp(&a.rate));
        functions.truncate(functions_max);
    }
    let here = site.node().id.as_str();
    let in_flight_here = state.in_flight(snapshot);
    let node =
        |view: &NodeView| NodeDocument::new(view, (view.id == here).then_some(in_flight_here));
    let document = MetricsDocument {
        mode: site.policy.mode.as_str(),
        functions: functions.iter().map(|f| (f.name.as_str(), FunctionDocument::new(f))).collect(),
        nodes: nodes.iter().map(|view| (view.id.as_str(), node(view))).collect(),
    };
    tell(&document)
}

/// `GET /durations`: recent response times.
///
/// A function that has not been called is answered with an empty document, not with 404: who polls
/// need not tell "not yet" from "no more".
pub(super) fn durations(
    state: &State,
    query: Option<&str>,
) -> Result<Response<ResponseBody>, Refused> {
    let function = function_in_query(query)?;
    let now = state.now();
    let mut scheduler = state.scheduler();
    let lists =
        Architecture::ALL.len() * if function.is_some() { 1 } else { scheduler.functions() };
    let limit = DURATIONS_MAX.min(DURATIONS_TOTAL_MAX / lists.max(1));
    let views = scheduler.view_durations(function, limit, now);
    // The document is written when nobody waits for the scheduler any more.
    drop(scheduler);
    Ok(json(StatusCode::OK, &durations_document(views)))
}

/// `GET /configuration`: what is in force.
pub(super) fn configuration(snapshot: &Snapshot) -> Response<ResponseBody> {
    json(StatusCode::OK, &ConfigurationDocument::new(snapshot))
}

/// `POST /reload`: another mode, or the file once more.
pub(super) async fn reload(
    state: &State,
    admitted: Admitted,
) -> Result<Response<ResponseBody>, Refused> {
    let query = admitted.request.uri().query().map(str::to_owned);
    let body = read_request(state, &admitted.snapshot, admitted.request.into_body()).await?;
    let request = ReloadRequest::parse(query.as_deref(), &body)?;
    let before = state.snapshot();
    let applied = match request {
        ReloadRequest::File => state.reload(),
        ReloadRequest::Mode(mode) => state.apply(&Change::Mode(mode)),
    };
    let next = match applied {
        Ok(next) => next,
        Err(problems) => return Ok(refused_change(&problems)),
    };
    let document = ReloadDocument {
        generation: next.generation,
        architecture: next.site.policy.mode.as_str(),
        changed: differences(&before, &next),
        restart_needed: next.restart_needed().to_vec(),
    };
    Ok(json(StatusCode::OK, &document))
}

/// `POST /update_threshold`: other thresholds; those left out stay.
pub(super) async fn update_threshold(
    state: &State,
    admitted: Admitted,
) -> Result<Response<ResponseBody>, Refused> {
    let body = read_request(state, &admitted.snapshot, admitted.request.into_body()).await?;
    let patch = parse_thresholds(&body)?;
    let next = match state.apply(&Change::Thresholds(patch)) {
        Ok(next) => next,
        Err(problems) => return Ok(refused_change(&problems)),
    };
    let document = UpdateDocument {
        thresholds: ThresholdsDocument::new(&next.site.policy.tail_ratio.thresholds),
        generation: next.generation,
    };
    Ok(json(StatusCode::OK, &document))
}

/// `GET /live`: whoever reads this is talking to a process that answers.
pub(super) fn live() -> Response<ResponseBody> {
    with_type(StatusCode::OK, PLAIN, "ok\n")
}

/// `GET /ready`: whether more invocations may be sent here.
pub(super) fn ready(state: &State) -> Result<Response<ResponseBody>, Refused> {
    if state.is_draining() {
        let message = "this sidecar is on its way out; send invocations to another node";
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message));
    }
    if state.is_failing_health_check() {
        let message = "an operator has failed this health check; POST /healthcheck/ok undoes that";
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "failing", message));
    }
    Ok(with_type(StatusCode::OK, PLAIN, "ok\n"))
}

/// 400 with all that stands against a change.
pub(super) fn refused_change(problems: &[Problem]) -> Response<ResponseBody> {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    let message = format!("nothing was changed: {}", lines.join(" | "));
    let problems = problems.iter().map(ProblemRow::new).collect();
    let request_id = next_request_id();
    let error = "configuration_refused";
    json(StatusCode::BAD_REQUEST, &RefusedChange { error, message, request_id, problems })
}
