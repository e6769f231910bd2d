//! What answers teach about functions and nodes, and what this node says of itself.

use rand::Rng;

use std::time::Duration;

use super::adaptive::Lesson;
use super::estimate::LoadReport;
use super::policy::Architecture;
use super::route::{Outcome, Run, Ticket};
use super::speed::{PACE_USUAL_MILLI, Service, Surprise};
use super::warmth::COLD_FACTOR;
use super::{FunctionName, FunctionRecord, Scheduler, Site, Time};
use crate::topology::{Role, Slot};

/// Weight of the last invocation in the shares that are shown of a function.
const SHARES_WEIGHT: f64 = 0.05;

impl<R: Rng> Scheduler<R> {
    /// What this node, the owner of `slot`, says of itself, to whoever sent it the invocation of
    /// `ticket`.
    pub fn report(&mut self, slot: Slot, ticket: Option<&Ticket>, now: Time) -> LoadReport {
        let received_s = self.advance_own(slot, now);
        let own = ticket.filter(|ticket| ticket.is_local() && ticket.timed);
        let service_s = own.and_then(|ticket| match ticket.run {
            Run::Here(before_s) => Some((received_s - before_s).max(0.0)),
            Run::Elsewhere | Run::Held => None,
        });
        let mut pace = self.pace;
        if let Some((ticket, service_s)) = own.zip(service_s) {
            // What this invocation says of this node is told with it, not with the next.
            let record = self.function_mut(ticket.function, now);
            let usual_s = record.service.mean_s();
            let cold = record.warmth.is_cold(slot, service_s, usual_s, ticket.started);
            if let Some(surprise) = record.own.surprise(service_s).filter(|_| !cold) {
                pace.record(surprise, now);
            }
        }
        LoadReport {
            in_flight: self.in_flight(slot),
            cores: self.meter.cores(),
            execution: own.map(|ticket| now.since(ticket.started)),
            service: service_s.map(Duration::from_secs_f64),
            pace_milli: pace.milli(now),
        }
    }

    /// The meter of this node, brought up to `now`.
    pub(super) fn advance_own(&mut self, slot: Slot, now: Time) -> f64 {
        let running = self.in_flight(slot).saturating_sub(self.held);
        self.meter.advance(running, now)
    }

    /// Notes that the invocation of `ticket`, which was to run here, has to wait for its turn: it
    /// is in flight, but takes nothing from those that run.
    pub fn hold(&mut self, ticket: &mut Ticket, now: Time) {
        if let Run::Here(_) = ticket.run {
            self.advance_own(ticket.slot, now);
            self.held += 1;
            ticket.run = Run::Held;
        }
    }

    /// Notes that its turn has come.
    pub fn resume(&mut self, ticket: &mut Ticket, now: Time) {
        if ticket.run == Run::Held {
            ticket.run = Run::Here(self.advance_own(ticket.slot, now));
            self.held -= 1;
        }
    }

    /// An invocation leaves this node: what it received says how fast this node is now.
    pub(super) fn leave_own(&mut self, ticket: &Ticket, outcome: Outcome, now: Time) {
        let before_s = match ticket.run {
            Run::Here(before_s) => before_s,
            Run::Held => {
                self.advance_own(ticket.slot, now);
                self.held -= 1;
                return;
            }
            Run::Elsewhere => return,
        };
        let sample_s = self.advance_own(ticket.slot, now) - before_s;
        if outcome == Outcome::Cancelled && ticket.timed {
            // It would have taken longer still, so it is a lesson only where that is long already.
            let usual = self.function_mut(ticket.function, now).own;
            if let Some(surprise) = usual.surprise(sample_s) {
                self.pace.record_at_least(surprise, now);
            }
        }
        if outcome != Outcome::Good || !ticket.timed {
            return;
        }
        if self.learn_warmth(ticket, ticket.slot, sample_s, now) {
            return;
        }
        let usual = &mut self.function_mut(ticket.function, now).own;
        let surprise = usual.surprise(sample_s);
        usual.record(sample_s, now);
        if let Some(surprise) = surprise {
            self.pace.record(surprise, now);
        }
        let pace = self.pace.milli(now);
        self.learn_from(ticket.function, ticket.slot, sample_s, pace, now);
    }

    /// An answer from another node: what it says of service there.
    pub(super) fn learn_service(
        &mut self,
        ticket: &Ticket,
        outcome: Outcome,
        said: Option<(Slot, LoadReport)>,
        now: Time,
    ) {
        let Some((slot, report)) = said.filter(|_| outcome == Outcome::Good && !ticket.is_local())
        else {
            return;
        };
        let Some(service) = report.service.filter(|_| ticket.timed) else { return };
        let service_s = service.as_secs_f64();
        if !self.learn_warmth(ticket, slot, service_s, now) {
            self.learn_from(ticket.function, slot, service_s, report.pace_milli, now);
        }
    }

    /// The architecture for an invocation that has come in here.
    pub(super) fn adapt(&mut self, site: &Site, function: FunctionName, now: Time) -> Architecture {
        let node = site.node();
        let free = self.in_flight(node.slot) < u32::from(self.meter.cores());
        let paced = self.pace.milli(now) < PACE_USUAL_MILLI;
        let topology = &site.topology;
        let has_zone_controller = !topology.controllers_of(node).is_empty();
        let has_cloud_controller = !topology.cloud_controllers().is_empty();
        let federated = node.role == Role::Worker && has_zone_controller;
        let centralized = node.role != Role::CloudController && has_cloud_controller;
        let possible = [centralized, federated, true];
        let record = self.functions.get_or_insert_mut(function, || FunctionRecord::new(now));
        let service_s = record.service.mean_s().unwrap_or_default();
        let warm = record.warmth.extra_s(node.slot, now) == 0.0;
        let contested = !(free && paced && warm);
        self.contested = contested;
        if let Some(explanation) = &mut self.explaining {
            explanation.contested = Some(contested);
        }
        self.adaptive.arrive(free);
        let rule = &site.policy.adaptive;
        let architecture = if contested {
            let first =
                [Architecture::Decentralized, Architecture::Federated][usize::from(federated)];
            let incumbent = record.incumbent.filter(|a| possible[a.index()]).unwrap_or(first);
            let choice = self.adaptive.choose(rule, possible, incumbent, service_s);
            record.switches += u64::from(choice.in_place != incumbent);
            record.incumbent = Some(choice.in_place);
            choice.now
        } else {
            let near = self.adaptive.near(rule, possible, service_s);
            near.unwrap_or(Architecture::Decentralized)
        };
        record.shares = record.shares.after(architecture, SHARES_WEIGHT);
        architecture
    }

    pub(super) fn learn_architecture(
        &mut self,
        ticket: &Ticket,
        outcome: Outcome,
        report: Option<LoadReport>,
        took: Duration,
        now: Time,
    ) {
        if !ticket.adaptive || outcome != Outcome::Good || !ticket.timed || !ticket.entry {
            return;
        }
        let execution =
            if ticket.is_local() { Some(took) } else { report.and_then(|r| r.execution) };
        let service = self.function_mut(ticket.function, now).service;
        let Some((execution, service_s)) = execution.zip(service.mean_s()) else { return };
        let lesson = Lesson {
            way_s: took.saturating_sub(execution).as_secs_f64(),
            stretch: execution.as_secs_f64() / service_s.max(1e-6),
        };
        self.adaptive.record(ticket.architecture, lesson, now);
    }

    /// Learns where the function is warm; answers whether this was a cold start, which says nothing
    /// of how long the function runs, nor of how fast the node is.
    fn learn_warmth(&mut self, ticket: &Ticket, slot: Slot, service_s: f64, now: Time) -> bool {
        let record = self.function_mut(ticket.function, now);
        record.absent.clear(slot);
        let usual_s = record.service.mean_s();
        let cold = record.warmth.is_cold(slot, service_s, usual_s, ticket.started);
        let first_warm = !record.warmth.is_new(slot) && record.service.is_provisional();
        record.warmth.learn(slot, service_s, usual_s, ticket.started, now);
        if first_warm && usual_s.is_some_and(|usual_s| usual_s > COLD_FACTOR * service_s) {
            // What was known came from the first call of all, which was a cold start itself.
            record.service = Service::default();
            record.own = Service::default();
        }
        cold
    }

    /// Takes one service apart: what of it is the function, what the node, what both together, what the
    /// moment.
    pub(super) fn learn_from(
        &mut self,
        function: FunctionName,
        slot: Slot,
        sample_s: f64,
        pace_milli: u16,
        now: Time,
    ) {
        let usual = self.function_mut(function, now).service;
        let Some(estimate) = self.estimate_mut(slot) else { return };
        let slowdown = if pace_milli == 0 { 1.0 } else { (f64::from(pace_milli) * 1e-3).exp() };
        let at_usual_pace_s = sample_s / slowdown;
        let surprise = usual.surprise(at_usual_pace_s).filter(|_| pace_milli < PACE_USUAL_MILLI);
        if let Some(surprise) = surprise {
            estimate.speed.learn(surprise);
        }
        let (factor, log_factor) = (estimate.speed.factor(), estimate.speed.log_factor());
        let record = self.function_mut(function, now);
        if let Some(Surprise { log, variance }) = surprise {
            let beyond = Surprise { log: log - log_factor, variance };
            record.warmth.learn_factor(slot, beyond);
        }
        let on_usual_node_s = at_usual_pace_s / (factor * record.warmth.factor(slot));
        record.service.record(on_usual_node_s, now);
    }
}
