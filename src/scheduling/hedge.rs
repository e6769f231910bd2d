//! A second copy of an invocation that takes longer than almost all of its function.
//!
//! Most of a long tail is not the function but where it happened to run: a node that stalls, a
//! queue behind something large. A second copy elsewhere does not find the same. It is worth its
//! load only where few are sent, so each invocation earns a small part of one, and what is not
//! spent is not kept for long.
//!
//! The function's response times are those its callers see: from the invocation to the first
//! answer, whichever copy gave it. Were a second copy measured from its own start, the quantile
//! would fall with every one that wins, and more and more would be sent.

use std::time::Duration;

use rand::Rng;

use super::policy::Architecture;
use super::route::{Decision, Invocation, Invoked, Outcome, Step, Why};
use super::{FunctionName, Scheduler, Site, Time};

/// Most copies that can be saved up: as many as one stall of a node may need at once.
pub const BURST: f64 = 10.0;
/// What a quantile of a window may be too small by. Without it, a function that always takes the
/// same would seem late every time.
const ROUNDING: f64 = 1.01;

/// Second copies that have been earned and not yet spent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tokens(f64);

impl Tokens {
    pub(super) fn earn(&mut self, part: f64) {
        self.0 = (self.0 + part).min(BURST);
    }

    fn spend(&mut self) -> bool {
        let affordable = self.0 >= 1.0;
        if affordable {
            self.0 -= 1.0;
        }
        affordable
    }
}

impl<R: Rng> Scheduler<R> {
    /// After how long an invocation of `function` that comes in now takes long, if second copies
    /// are sent and enough is known. Asked once for each: it earns part of a copy.
    pub fn hedge_after(
        &mut self,
        site: &Site,
        function: FunctionName,
        now: Time,
    ) -> Option<Duration> {
        let rule = site.policy.hedge;
        // A node that may not offload sends no copies either.
        if !rule.enabled || !site.policy.offload.enabled {
            return None;
        }
        let record = self.functions.get_mut(&function)?;
        record.expire(now);
        let window = record.windows.iter().max_by_key(|window| window.len())?;
        if window.len() < rule.samples_min.max(1) {
            return None;
        }
        let after = window.quantile(rule.quantile)?;
        self.hedges.earn(rule.budget);
        Some(after.mul_f64(ROUNDING))
    }

    /// Whether a second copy can be paid for now; if so, it has been.
    pub fn may_hedge(&mut self) -> bool {
        self.hedges.spend()
    }

    /// Where the second copy of `first` goes, if there is one: `invocation.avoid` holds the node
    /// that the first went to. This node decides, since it alone knows where that was.
    pub fn hedge(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        first: Invoked,
        cpu_share: f64,
        now: Time,
    ) -> Option<Decision> {
        if !self.may_hedge() {
            return None;
        }
        let architecture = Some(Architecture::Decentralized);
        let invocation = Invocation { architecture, ..*invocation };
        let mut decision = self.decide(site, &invocation, cpu_share, now);
        let target = match decision.step {
            Step::RunHere => Some(site.here),
            Step::Offload(node) | Step::Delegate(node) => Some(node),
            Step::Refuse(_) => None,
        };
        let elsewhere = target.is_some_and(|target| !invocation.avoid.contains(&target));
        if elsewhere && decision.why != Why::LastResort {
            decision.ticket = decision.ticket.map(|ticket| ticket.second(first));
            return Some(decision);
        }
        self.hedges.earn(1.0);
        if let Some(ticket) = decision.ticket {
            self.record(ticket, Outcome::Cancelled, None, now);
        }
        None
    }
}
