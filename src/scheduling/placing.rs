//! The step that an architecture asks for.

use rand::Rng;

use super::policy::{Architecture, Selection};
use super::route::{Duty, Invocation, Step, Why, duty};
use super::target::{Beliefs, Purpose, choose};
use super::{Scheduler, Site, Time};
use crate::topology::NodeIndex;

impl<R: Rng> Scheduler<R> {
    /// The step under `wanted`, or under the first architecture after it that can be followed.
    pub(super) fn place(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        wanted: Architecture,
        cpu_share: f64,
        now: Time,
    ) -> (Architecture, Step, Why) {
        let (tried, most) = (invocation.avoid.len(), site.policy.retries.attempts as usize);
        // The last attempt is made where it cannot get lost on the way.
        let last = tried > 0 && tried + 1 >= most && !invocation.avoid.contains(&site.here);
        if tried < most && !last {
            for &architecture in &Architecture::ALL[wanted.index()..] {
                let step = self.place_under(site, invocation, architecture, cpu_share, now);
                if let Some((step, why)) = step {
                    return (architecture, step, why);
                }
            }
        }
        (Architecture::Decentralized, Step::RunHere, Why::LastResort)
    }

    fn place_under(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        architecture: Architecture,
        cpu_share: f64,
        now: Time,
    ) -> Option<(Step, Why)> {
        let topology = &site.topology;
        let node = site.node();
        let in_flight = self.in_flight(node.slot);
        let pressed = site.policy.offload.is_pressed(cpu_share, in_flight);
        let usable = self.is_usable(site, invocation, now);
        if site.policy.selection == Selection::Predictive {
            return self.place_by_prediction(site, invocation, architecture, usable, now);
        }
        match duty(architecture, node.role) {
            Duty::RunHereOrPickAmongAll if usable && !pressed => Some((Step::RunHere, Why::Room)),
            Duty::RunHereOrPickAmongAll | Duty::PickAmongAll => {
                self.pick_target(site, invocation, topology.everyone(), now)
            }
            Duty::PickInZoneOrAnotherZone if pressed => self
                .pick_other_zone(site, invocation, now)
                .or_else(|| self.pick_target(site, invocation, topology.zone_members(node), now)),
            Duty::PickInZone | Duty::PickInZoneOrAnotherZone => {
                self.pick_target(site, invocation, topology.zone_members(node), now)
            }
            Duty::AskZoneController => {
                self.pick_decider(site, invocation, topology.controllers_of(node), now)
            }
            Duty::AskCloudController => {
                self.pick_decider(site, invocation, topology.cloud_controllers(), now)
            }
        }
    }

    /// Whether this node's own gateway is worth a try for `invocation`.
    pub(super) fn is_usable(&self, site: &Site, invocation: &Invocation<'_>, now: Time) -> bool {
        let slot = site.node().slot;
        let down = self.estimate(slot).is_some_and(|e| e.is_closed(now));
        !down
            && !invocation.avoid.contains(&site.here)
            && !self.is_absent(invocation.function, slot, now)
    }

    fn pick_target(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        candidates: &[NodeIndex],
        now: Time,
    ) -> Option<(Step, Why)> {
        let record = self.functions.peek(&invocation.function);
        let absent = record.map(|record| &record.absent).filter(|_| now < self.absent_until);
        let target = choose(
            site.policy.selection,
            Purpose::Execute,
            candidates,
            Beliefs { topology: &site.topology, estimates: &self.estimates, now },
            |node, estimate| {
                let slot = site.topology.node(node).slot;
                !invocation.avoid.contains(&node)
                    && !estimate.is_some_and(|e| e.is_closed(now))
                    && !absent.is_some_and(|absent| absent.is_at(slot, now))
            },
            &mut self.rng,
            &mut self.explaining,
        )?;
        let step = if target == site.here { Step::RunHere } else { Step::Offload(target) };
        Some((step, Why::Picked))
    }

    fn pick_other_zone(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        now: Time,
    ) -> Option<(Step, Why)> {
        let zone = &site.node().zone;
        let elsewhere = |node: NodeIndex| site.topology.node(node).zone != *zone;
        self.delegate(site, invocation, site.topology.zone_controllers(), elsewhere, now)
            .map(|step| (step, Why::Picked))
    }

    fn pick_decider(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        candidates: &[NodeIndex],
        now: Time,
    ) -> Option<(Step, Why)> {
        self.delegate(site, invocation, candidates, |_| true, now).map(|step| (step, Why::Handed))
    }

    fn delegate(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        candidates: &[NodeIndex],
        wanted: impl Fn(NodeIndex) -> bool,
        now: Time,
    ) -> Option<Step> {
        choose(
            site.policy.selection,
            Purpose::Place,
            candidates,
            Beliefs { topology: &site.topology, estimates: &self.estimates, now },
            |node, estimate| {
                wanted(node)
                    && node != site.here
                    && !invocation.path.contains(&node)
                    && !invocation.avoid.contains(&node)
                    && !estimate.is_some_and(|e| e.is_closed(now))
            },
            &mut self.rng,
            &mut self.explaining,
        )
        .map(Step::Delegate)
    }

    /// The step under `architecture`, if it can be followed. Prediction stands in place of the
    /// thresholds of the offload rule, and of the difference between a zone and others: a
    /// controller that picks for its zone sends straight to a node of another when that is faster.
    fn place_by_prediction(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        architecture: Architecture,
        usable: bool,
        now: Time,
    ) -> Option<(Step, Why)> {
        let topology = &site.topology;
        let node = site.node();
        let stays = !site.policy.offload.enabled;
        match duty(architecture, node.role) {
            Duty::RunHereOrPickAmongAll if usable && stays => Some((Step::RunHere, Why::Room)),
            Duty::PickInZoneOrAnotherZone if stays => {
                self.pick_soonest(site, invocation, topology.zone_members(node), now)
            }
            Duty::RunHereOrPickAmongAll | Duty::PickAmongAll | Duty::PickInZoneOrAnotherZone => {
                self.pick_soonest(site, invocation, topology.everyone(), now)
            }
            Duty::PickInZone => {
                self.pick_soonest(site, invocation, topology.zone_members(node), now)
            }
            Duty::AskZoneController => {
                self.pick_decider(site, invocation, topology.controllers_of(node), now)
            }
            Duty::AskCloudController => {
                self.pick_decider(site, invocation, topology.cloud_controllers(), now)
            }
        }
    }
}
