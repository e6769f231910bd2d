//! The node that is predicted to answer soonest.

use rand::{Rng, RngExt};

use super::explanation::{Exclusion, Standing};
use super::predict::{Outlook, SERVICE_UNSEEN_S};
use super::route::{Invocation, Step, Why};
use super::{Scheduler, Site, Time};
use crate::topology::NodeIndex;

/// Most candidates of which each is looked at.
pub(super) const EXHAUSTIVE_MAX: usize = 48;
/// Of more, so many are besides this node: half from its zone, the others drawn from all.
pub(super) const SAMPLED: usize = 16;

/// Share of a decider's invocations that may find out whether a slow node is still slow: a belief
/// in slowness lasts as many decisions as this is one part of.
const SLOW_LIFE_DECISIONS: f64 = 80.0;
/// Bounds of that in seconds: a node is given a second to recover, and not left for a minute.
const SLOW_LIFE_S: std::ops::RangeInclusive<f64> = 1.0..=6.0;
/// Weight of the last gap between two decisions in the mean of them.
const GAP_WEIGHT: f64 = 0.02;

/// The mean time between decisions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gaps {
    mean_s: f64,
    last: Time,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { mean_s: SLOW_LIFE_S.start() / SLOW_LIFE_DECISIONS, last: Time::ZERO }
    }
}

impl Gaps {
    fn record(&mut self, now: Time) {
        self.mean_s += GAP_WEIGHT * (now.since(self.last).as_secs_f64() - self.mean_s);
        self.last = self.last.max(now);
    }

    pub(super) fn slow_life_s(&self) -> f64 {
        (SLOW_LIFE_DECISIONS * self.mean_s).clamp(*SLOW_LIFE_S.start(), *SLOW_LIFE_S.end())
    }
}

impl<R: Rng> Scheduler<R> {
    /// The candidate with the least predicted completion.
    pub(super) fn pick_soonest(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        candidates: &[NodeIndex],
        now: Time,
    ) -> Option<(Step, Why)> {
        let here = site.node().slot;
        let own = self.report(here, None, now);
        let paced_at = self.pace.updated();
        if let Some(estimate) = self.estimate_mut(here) {
            estimate.load.take_in_own(own, paced_at, now);
        }
        self.gaps.record(now);
        let slow_life_s = self.gaps.slow_life_s();
        let record = self.function_mut(invocation.function, now);
        let outlook = Outlook {
            service_s: record.service.mean_s().unwrap_or(SERVICE_UNSEEN_S),
            warmth: record.warmth,
            slow_life_s,
            now,
        };
        // This node comes first: of what is alike, what needs no way is best.
        let usable = self.is_usable(site, invocation, now);
        let mut soonest = usable.then_some(site.here);
        let mut least_s = self.look_at_own(site, invocation, &outlook, usable);
        let sampled = candidates.len() > EXHAUSTIVE_MAX;
        let looked_at = if sampled { SAMPLED } else { candidates.len() };
        let zone = site.topology.zone_members(site.node());
        for step in 0..looked_at {
            let node = if sampled { self.sample(zone, candidates, step) } else { candidates[step] };
            if node == site.here {
                continue;
            }
            let slot = site.topology.node(node).slot;
            let Some(estimate) = self.estimate(slot) else { continue };
            let outstanding = estimate.outstanding;
            let excluded = if invocation.avoid.contains(&node) {
                Some(Exclusion::Avoided)
            } else if estimate.is_ejected(now) {
                Some(Exclusion::Ejected)
            } else if estimate.drained {
                Some(Exclusion::Drained)
            } else {
                self.is_absent(invocation.function, slot, now).then_some(Exclusion::Absent)
            };
            let standing = match excluded {
                Some(exclusion) => Standing::Excluded(exclusion),
                None => match outlook.completion(slot, estimate, false, least_s) {
                    Ok(completion) => {
                        if completion.price_s < least_s {
                            least_s = completion.price_s;
                            soonest = Some(node);
                        }
                        Standing::Predicted(completion)
                    }
                    Err(at_least_s) => Standing::AtLeast(at_least_s),
                },
            };
            self.note(node, outstanding, standing);
        }
        let target = soonest?;
        let step = if target == site.here { Step::RunHere } else { Step::Offload(target) };
        Some((step, Why::Picked))
    }

    /// What is predicted of this node, which is infinite where it cannot be chosen.
    fn look_at_own(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        outlook: &Outlook,
        usable: bool,
    ) -> f64 {
        let slot = site.node().slot;
        let Some(estimate) = self.estimate(slot) else { return f64::INFINITY };
        let outstanding = estimate.outstanding;
        let standing = if usable {
            match outlook.completion(slot, estimate, true, f64::INFINITY) {
                Ok(completion) => Standing::Predicted(completion),
                Err(at_least_s) => Standing::AtLeast(at_least_s),
            }
        } else if invocation.avoid.contains(&site.here) {
            Standing::Excluded(Exclusion::Avoided)
        } else if estimate.is_ejected(outlook.now) {
            Standing::Excluded(Exclusion::Ejected)
        } else {
            Standing::Excluded(Exclusion::Absent)
        };
        self.note(site.here, outstanding, standing);
        match standing {
            Standing::Predicted(completion) => completion.price_s,
            Standing::AtLeast(_) | Standing::Compared { .. } | Standing::Excluded(_) => {
                f64::INFINITY
            }
        }
    }

    /// One of many candidates: first its neighbours, then anyone.
    fn sample(&mut self, zone: &[NodeIndex], candidates: &[NodeIndex], step: usize) -> NodeIndex {
        if step < zone.len().min(SAMPLED / 2) && zone.len() <= SAMPLED / 2 {
            return zone[step];
        }
        let among = if step < SAMPLED / 2 && zone.len() > SAMPLED / 2 { zone } else { candidates };
        among[self.rng.random_range(0..among.len())]
    }
}
