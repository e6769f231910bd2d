//! `GET /clusters`: every node as a candidate, the way this one sees it.

use http::{Response, StatusCode};
use serde::Serialize;

use crate::config::Snapshot;
use crate::proxy::answer::{Refused, json};
use crate::proxy::response_body::ResponseBody;
use crate::scheduling::FunctionName;
use crate::scheduling::health::Cause;
use crate::scheduling::prospects::Prospect;
use crate::state::State;

use super::wire::function_in_query;

/// What `/clusters` answers.
#[derive(Serialize)]
pub(super) struct ClustersDocument<'a> {
    node: &'a str,
    generation: u64,
    /// The function that is predicted; null before any was called.
    function: Option<String>,
    nodes: Vec<Row<'a>>,
}

/// One node. Times are seconds; unknown is null.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    #[serde(rename = "self")]
    here: bool,
    role: &'static str,
    zone: &'a str,
    address: &'a str,
    port: u16,
    gateway_port: u16,
    /// The worst that holds: lost, ejected, draining, or healthy.
    health: &'static str,
    draining: bool,
    in_flight: Option<u32>,
    reported_s_ago: Option<f64>,
    outstanding: u32,
    placing: u32,
    cores: Option<u16>,
    success_share: f64,
    slowdown: f64,
    network_s: Option<f64>,
    service_s: Option<f64>,
    completion_s: Option<f64>,
}

/// Every node, in the order of the topology; predictions are of the function that `query` names as
/// `fn_name`, or of the one called last.
pub(super) fn clusters(
    state: &State,
    snapshot: &Snapshot,
    query: Option<&str>,
) -> Result<Response<ResponseBody>, Refused> {
    Ok(json(StatusCode::OK, &document(state, snapshot, function_in_query(query)?)))
}

/// Every node, with predictions of `function`, or of the one called last.
pub(super) fn document<'a>(
    state: &State,
    snapshot: &'a Snapshot,
    function: Option<FunctionName>,
) -> ClustersDocument<'a> {
    let in_flight_here = state.in_flight(snapshot);
    let now = state.now();
    let (function, prospects) = state.scheduler().prospects(&snapshot.site, function, now);
    let site = &snapshot.site;
    let row = |prospect: &Prospect| {
        let here = (prospect.node == site.here).then_some(in_flight_here);
        Row::new(snapshot, prospect, here, function.is_some())
    };
    ClustersDocument {
        node: site.node().id.as_str(),
        generation: snapshot.generation,
        function: function.map(|name| name.to_string()),
        nodes: prospects.iter().map(row).collect(),
    }
}

impl<'a> Row<'a> {
    /// `in_flight_here` where it is this node, and known first-hand; `predicted` for some function.
    fn new(
        snapshot: &'a Snapshot,
        prospect: &Prospect,
        in_flight_here: Option<u32>,
        predicted: bool,
    ) -> Self {
        let node = snapshot.site.topology.node(prospect.node);
        let said = prospect.reported.filter(|_| in_flight_here.is_none());
        Self {
            id: node.id.as_str(),
            here: in_flight_here.is_some(),
            role: node.role.as_str(),
            zone: node.zone.as_str(),
            address: &node.address.host,
            port: node.address.port,
            gateway_port: node.address.gateway_port,
            health: match prospect.left_alone {
                Some(Cause::Lost) => "lost",
                Some(Cause::Failing) => "ejected",
                None if prospect.drained => "draining",
                None => "healthy",
            },
            draining: prospect.drained,
            in_flight: in_flight_here.or(said.map(|(in_flight, _)| in_flight)),
            reported_s_ago: said.map(|(_, ago)| ago.as_secs_f64()),
            outstanding: prospect.outstanding[0],
            placing: prospect.outstanding[1],
            cores: prospect.cores,
            success_share: prospect.success,
            slowdown: prospect.slowdown,
            network_s: prospect.network.map(|network| network.as_secs_f64()),
            service_s: predicted.then_some(prospect.service_s),
            completion_s: predicted.then_some(prospect.completion_s),
        }
    }
}
