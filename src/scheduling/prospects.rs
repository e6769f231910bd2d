//! What each node is believed to be good for, for people: read on demand, never on the request path.

use std::time::Duration;

use rand::Rng;

use super::health::Cause;
use super::predict::{Outlook, SERVICE_UNSEEN_S};
use super::{FunctionName, Scheduler, Site, Time};
use crate::topology::NodeIndex;

/// One node as a candidate for an invocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prospect {
    /// The node.
    pub node: NodeIndex,
    /// Whether an operator took it out.
    pub drained: bool,
    /// Why it is left alone, or will be until somebody has tried it.
    pub left_alone: Option<Cause>,
    /// In flight there as it last reported, and how long ago.
    pub reported: Option<(u32, Duration)>,
    /// What it has from us to run, and to place.
    pub outstanding: [u32; 2],
    /// Its cores, once it has said so.
    pub cores: Option<u16>,
    /// Time on the way there and back, once it was timed.
    pub network: Option<Duration>,
    /// How many times as long as on a usual node functions run there.
    pub service_factor: f64,
    /// How many times slower than usual it is now.
    pub slowdown: f64,
    /// Share of good answers, 0 to 1.
    pub success: f64,
    /// Seconds that the function would run there with a core to itself.
    pub service_s: f64,
    /// Seconds until the function would be answered, were it sent there now.
    pub completion_s: f64,
}

impl<R: Rng> Scheduler<R> {
    /// Every node of the topology, in its order, as a candidate for an invocation of `function`, or
    /// of the one that was called last; also which one that is.
    pub fn prospects(
        &self,
        site: &Site,
        function: Option<FunctionName>,
        now: Time,
    ) -> (Option<FunctionName>, Vec<Prospect>) {
        let function = function.or_else(|| self.functions.iter().next().map(|(name, _)| *name));
        let record = function.and_then(|name| self.functions.peek(&name));
        let outlook = Outlook {
            service_s: record.and_then(|r| r.service.mean_s()).unwrap_or(SERVICE_UNSEEN_S),
            warmth: record.map(|record| record.warmth).unwrap_or_default(),
            slow_life_s: self.gaps.slow_life_s(),
            now,
        };
        let everyone = site.topology.everyone().iter();
        let prospects = everyone.filter_map(|node| self.prospect(site, *node, &outlook)).collect();
        (function, prospects)
    }

    fn prospect(&self, site: &Site, node: NodeIndex, outlook: &Outlook) -> Option<Prospect> {
        let slot = site.topology.node(node).slot;
        let estimate = self.estimate(slot)?;
        let Outlook { now, slow_life_s, service_s, .. } = *outlook;
        let reported = estimate.load.in_flight().map(|(count, at)| (count, now.since(at)));
        let here = node == site.here;
        let service_s = service_s * estimate.speed.factor() * outlook.warmth.factor(slot);
        Some(Prospect {
            node,
            drained: estimate.drained,
            left_alone: estimate.health().cause(),
            reported,
            outstanding: [estimate.outstanding, estimate.placing],
            cores: reported.map(|_| estimate.load.cores()),
            network: estimate.network.filter(|_| !here),
            service_factor: estimate.speed.factor(),
            slowdown: estimate.load.slowdown(estimate.outstanding, slow_life_s, now),
            success: estimate.success,
            service_s,
            completion_s: outlook.completion(slot, estimate, here, f64::INFINITY).ok()?.total_s,
        })
    }
}
