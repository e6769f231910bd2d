//! What Prometheus scrapes.

use http::header::ACCEPT;
use http::{Response, StatusCode};

use crate::config::Snapshot;
use crate::metrics::{Format, FunctionShown, NodeShown, Shown};
use crate::proxy::admit::Admitted;
use crate::proxy::answer::with_type;
use crate::proxy::response_body::ResponseBody;
use crate::scheduling::policy::Architecture;
use crate::state::State;

/// `GET /metrics`, in the format that its `Accept` likes best.
pub(super) fn metrics(state: &State, admitted: &Admitted) -> Response<ResponseBody> {
    let Admitted { request, snapshot, .. } = admitted;
    let ejections = state.scheduler().ejections();
    state.metrics.follow_ejections(ejections);
    state.metrics.follow_access_log(state.access_log.dropped());
    state.metrics.in_flight.set(i64::from(state.in_flight(snapshot)));
    let running_max = state.turns.running_max(&snapshot.site.policy.queue);
    state.metrics.running_max.set(i64::from(running_max));
    state.metrics.queued.set(i64::try_from(state.turns.counts().1).unwrap_or(i64::MAX));
    let accept = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(Some(&accept.collect::<Vec<_>>().join(",")));
    let text = state.metrics.render(&shown(state, snapshot), format);
    with_type(StatusCode::OK, format.media_type(), text)
}

/// What the scheduler knows of those that have metrics by their names. The scheduler is asked for
/// each anew, so that invocations need not wait for all of them.
fn shown(state: &State, snapshot: &Snapshot) -> Shown {
    let mut names = state.metrics.functions.names();
    names.sort_unstable();
    let functions = names.into_iter().filter_map(|name| {
        let known = state.scheduler().peek_function(name)?;
        let shares = Architecture::ALL.map(|architecture| known.shares.of(architecture));
        let (tail_ratios, switches) = (known.tail_ratios, known.switches);
        Some(FunctionShown { name, tail_ratios, shares, switches })
    });
    let topology = &snapshot.site.topology;
    let mut ids = state.metrics.nodes.names();
    ids.sort_unstable();
    let now = state.now();
    let nodes = ids.into_iter().filter_map(|id| {
        let slot = topology.node(topology.index_of(id.as_str())?).slot;
        let known = state.scheduler().peek_node(slot, now)?;
        Some(NodeShown {
            id,
            in_flight: known.in_flight,
            ejected: known.ejected,
            network_s: known.network.map(|network| network.as_secs_f64()),
            success: known.success,
        })
    });
    Shown { functions: functions.collect(), nodes: nodes.collect() }
}
