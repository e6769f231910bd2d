//! Why a decision was what it was: what the scheduler looked at while it decided, noted on the way and
//! only where somebody asked. Nothing is worked out a second time, so nothing can differ.

use rand::Rng;

use super::policy::{Architecture, DynamicRule, Mode, Selection};
use super::predict::Completion;
use super::route::{Decision, Invocation};
use super::tail_ratio::Shares;
use super::{Scheduler, Site, Time};
use crate::topology::NodeIndex;

/// Most candidates that are noted. There are more only where architectures fell back to each other.
pub const CANDIDATES_NOTED_MAX: usize = 64;

/// What a decision went by.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What the node is configured to do.
    pub mode: Mode,
    /// How dynamic mode chooses.
    pub rule: DynamicRule,
    /// How targets are chosen.
    pub selection: Selection,
    /// The architecture that was to decide.
    pub wanted: Architecture,
    /// The function's shares of the architectures, where it is known.
    pub shares: Option<Shares>,
    /// Under the adaptive rule: whether the invocation found no core free at a node as fast as usual.
    pub contested: Option<bool>,
    /// Share of the cores of this node in use, 0 to 1.
    pub cpu_share: f64,
    /// Invocations in flight here before this one.
    pub in_flight: u32,
    /// Nodes that were looked at, in that order.
    pub candidates: Vec<Candidate>,
    /// Those for which there was no room in `candidates`.
    pub left_out: usize,
}

/// A node that was looked at.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Which.
    pub node: NodeIndex,
    /// What this node has from the decider and has not answered.
    pub outstanding: u32,
    /// What was found.
    pub standing: Standing,
}

/// What was found of a node.
#[derive(Debug, Clone, Copy)]
pub enum Standing {
    /// When it would answer.
    Predicted(Completion),
    /// That it would take at least so many seconds, and another was better already.
    AtLeast(f64),
    /// What the selections other than predictive compare.
    Compared {
        /// Inverse mean response time, scaled by the share of good answers.
        weight: Option<f64>,
        /// Invocations believed to be there.
        busy: f64,
        /// Peak response time times what it would have, in seconds.
        peak_s: f64,
    },
    /// It could not be chosen.
    Excluded(Exclusion),
}

/// Why a node could not be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclusion {
    /// An attempt at this invocation failed there.
    Avoided,
    /// It is left alone for now.
    Ejected,
    /// An operator has drained it.
    Drained,
    /// It does not have the function.
    Absent,
    /// It is not among those that the architecture allows, or the invocation has passed it.
    NotEligible,
}

impl Exclusion {
    /// The name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Avoided => "avoided",
            Self::Ejected => "ejected",
            Self::Drained => "drained",
            Self::Absent => "absent",
            Self::NotEligible => "not_eligible",
        }
    }
}

impl Explanation {
    pub(super) fn note(&mut self, node: NodeIndex, outstanding: u32, standing: Standing) {
        if self.candidates.len() < CANDIDATES_NOTED_MAX {
            self.candidates.push(Candidate { node, outstanding, standing });
        } else {
            self.left_out += 1;
        }
    }
}

impl<R: Rng> Scheduler<R> {
    /// The same as [`Scheduler::decide`], with what it went by.
    pub fn decide_explained(
        &mut self,
        site: &Site,
        invocation: &Invocation<'_>,
        cpu_share: f64,
        now: Time,
    ) -> (Decision, Option<Box<Explanation>>) {
        self.explaining = Some(Box::new(Explanation {
            mode: site.policy.mode,
            rule: site.policy.rule,
            selection: site.policy.selection,
            wanted: Architecture::Decentralized,
            shares: None,
            contested: None,
            cpu_share,
            in_flight: self.in_flight(site.node().slot),
            candidates: Vec::new(),
            left_out: 0,
        }));
        let decision = self.decide(site, invocation, cpu_share, now);
        let mut explanation = self.explaining.take();
        if let Some(explanation) = &mut explanation {
            explanation.wanted = decision.fallback_from.unwrap_or(decision.architecture);
            explanation.shares = self.functions.peek(&invocation.function).map(|r| r.shares);
        }
        (decision, explanation)
    }

    /// Notes what was found of a node, where somebody asked.
    pub(super) fn note(&mut self, node: NodeIndex, outstanding: u32, standing: Standing) {
        if let Some(explanation) = &mut self.explaining {
            explanation.note(node, outstanding, standing);
        }
    }
}
