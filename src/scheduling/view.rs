//! What the scheduler believes, for people: read on demand, never on the request path.

use std::time::Duration;

use rand::Rng;

use super::policy::Architecture;
use super::tail_ratio::Shares;
use super::window::Window;
use super::{FunctionName, Scheduler, Site, Time};
use crate::topology::Slot;

/// Count, mean and quantiles of the last minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Samples in the window.
    pub count: usize,
    /// Their mean.
    pub mean: Duration,
    /// Half of them were faster.
    pub p50: Duration,
    /// 95 % of them were faster.
    pub p95: Duration,
}

impl Summary {
    fn of(window: &Window) -> Option<Self> {
        Some(Self {
            count: window.len(),
            mean: window.mean()?,
            p50: window.quantile(0.50)?,
            p95: window.quantile(0.95)?,
        })
    }

    /// P95/P50.
    pub fn tail_ratio(&self) -> f64 {
        self.p95.as_secs_f64() / self.p50.as_secs_f64().max(1e-6)
    }
}

/// One function as this node sees it.
#[derive(Debug, Clone)]
pub struct FunctionView {
    /// Its name.
    pub name: FunctionName,
    /// Its shares of the architectures in dynamic mode.
    pub shares: Shares,
    /// Invocations per second that enter here.
    pub rate: f64,
    /// Response times, per [`Architecture::index`].
    pub summaries: [Option<Summary>; 3],
}

/// What metrics show of a function.
#[derive(Debug, Clone, Copy)]
pub struct FunctionGlance {
    /// Its shares of the architectures in dynamic mode.
    pub shares: Shares,
    /// P95/P50 of the last minute, per [`Architecture::index`].
    pub tail_ratios: [Option<f64>; 3],
    /// How often another architecture took over.
    pub switches: u64,
}

/// What metrics show of a node.
#[derive(Debug, Clone, Copy)]
pub struct NodeGlance {
    /// Invocations it has from us.
    pub in_flight: u32,
    /// Whether it is left alone for now.
    pub ejected: bool,
    /// Time on the way there and back.
    pub network: Option<Duration>,
    /// Share of good answers, 0 to 1.
    pub success: f64,
}

/// One node as this node sees it.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Its id.
    pub id: String,
    /// Response times of what it ran for us.
    pub executed: Option<Summary>,
    /// Response times of what it placed for us.
    pub placed: Option<Summary>,
    /// Time on the way there and back.
    pub network: Option<Duration>,
    /// Invocations it has from us.
    pub outstanding: u32,
    /// In flight at the node as it last reported, and how long ago.
    pub reported: Option<(u32, Duration)>,
    /// Share of good answers, 0 to 1.
    pub success: f64,
    /// Whether it is left alone for now.
    pub unreachable: bool,
}

impl<R: Rng> Scheduler<R> {
    /// How many functions are remembered.
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// One function, as it was left by the last [`Scheduler::tick`]: looking changes nothing.
    pub fn peek_function(&self, name: FunctionName) -> Option<FunctionGlance> {
        let record = self.functions.peek(&name)?;
        let ratio = |window: &Window| Summary::of(window).map(|summary| summary.tail_ratio());
        Some(FunctionGlance {
            shares: record.shares,
            tail_ratios: [0, 1, 2].map(|i| ratio(&record.windows[i])),
            switches: record.switches,
        })
    }

    /// One node, by the same rule.
    pub fn peek_node(&self, slot: Slot, now: Time) -> Option<NodeGlance> {
        let estimate = self.estimate(slot)?;
        Some(NodeGlance {
            in_flight: estimate.outstanding + estimate.placing,
            ejected: estimate.is_ejected(now),
            network: estimate.network,
            success: estimate.success,
        })
    }

    /// Every function seen, by name.
    pub fn view_functions(&mut self, now: Time) -> Vec<FunctionView> {
        self.tick(now);
        let mut views: Vec<FunctionView> = self
            .functions
            .iter()
            .map(|(name, record)| FunctionView {
                name: *name,
                shares: record.shares,
                rate: record.rate.clone().per_second(now),
                summaries: [0, 1, 2].map(|i| Summary::of(&record.windows[i])),
            })
            .collect();
        views.sort_unstable_by_key(|view| view.name);
        views
    }

    /// Every node of the topology, in its order.
    pub fn view_nodes(&mut self, site: &Site, now: Time) -> Vec<NodeView> {
        self.tick(now);
        let view = |node: &crate::topology::Node| {
            let estimate = self.estimate(node.slot)?;
            Some(NodeView {
                id: node.id.to_string(),
                executed: Summary::of(&estimate.history().executed),
                placed: Summary::of(&estimate.history().placed),
                network: estimate.network,
                outstanding: estimate.outstanding + estimate.placing,
                reported: estimate.load.in_flight().map(|(count, at)| (count, now.since(at))),
                success: estimate.success,
                unreachable: estimate.is_ejected(now),
            })
        };
        site.topology.nodes().iter().filter_map(view).collect()
    }

    /// The most recent `limit` response times of each architecture, oldest first, by function.
    pub fn view_durations(
        &mut self,
        function: Option<FunctionName>,
        limit: usize,
        now: Time,
    ) -> Vec<(FunctionName, [Vec<Duration>; 3])> {
        self.tick(now);
        let wanted = |name: &FunctionName| function.is_none_or(|f| f == *name);
        let mut views: Vec<_> = self
            .functions
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, record)| {
                let recent = |a: Architecture| record.windows[a.index()].recent(limit).collect();
                (*name, Architecture::ALL.map(recent))
            })
            .collect();
        views.sort_unstable_by_key(|(name, _)| *name);
        views
    }
}
