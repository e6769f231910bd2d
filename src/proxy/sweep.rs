//! What each worker looks through now and then: its client connections, and those it keeps upstream.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::clients::Clients;

use super::{Context, watch};

/// How often idle upstream connections are looked through.
const UPSTREAM_SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// When less than this part of all connections is free, idle ones are closed until it is.
const SPARE_CONNECTIONS: usize = 16;

/// Ends what waits too long, until it is aborted. `connections_max` stands in place of
/// `limits.connections`.
pub(super) fn spawn(
    context: Rc<Context>,
    clients: Arc<Clients>,
    connections_max: Option<usize>,
) -> AbortHandle {
    let sweeping = tokio::task::spawn_local(async move {
        let mut interval = tokio::time::interval(watch::SWEEP_INTERVAL);
        let mut upstreams_swept = Instant::now();
        loop {
            let now = interval.tick().await.into_std();
            let snapshot = context.state.snapshot();
            let metrics = &context.state.metrics;
            context.watch.sweep(&snapshot.timeouts, metrics, now);
            let max = connections_max.unwrap_or(snapshot.limits.connections);
            let spare = max.div_ceil(SPARE_CONNECTIONS);
            let too_many = (clients.connections() + spare).saturating_sub(max);
            // The other workers do their part.
            let share = too_many.min(spare).div_ceil(snapshot.workers.get());
            context.watch.make_room(share, metrics, now);
            if now.saturating_duration_since(upstreams_swept) >= UPSTREAM_SWEEP_INTERVAL {
                upstreams_swept = now;
                context.upstreams.sweep(snapshot.timeouts.idle, now);
            }
        }
    });
    sweeping.abort_handle()
}
