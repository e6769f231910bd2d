//! The rules a decision follows, with every default as a named constant.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::health::HealthRule;
use super::queue::QueueRule;
use super::retry::RetryRule;

/// Who decides where an invocation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// A cloud controller decides for everyone.
    Centralized,
    /// Zone controllers decide for their zones.
    Federated,
    /// Each node decides for itself.
    Decentralized,
}

impl Architecture {
    /// Every architecture, in the order in which one falls back to the next.
    pub const ALL: [Self; 3] = [Self::Centralized, Self::Federated, Self::Decentralized];

    /// The name in configuration, headers and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Centralized => "centralized",
            Self::Federated => "federated",
            Self::Decentralized => "decentralized",
        }
    }

    /// Position in [`Self::ALL`], for tables kept per architecture.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Architecture {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|a| a.as_str() == text).ok_or(())
    }
}

/// What a node is configured to do: one architecture for all, or the best one per function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// This architecture, whatever is measured.
    Fixed(Architecture),
    /// An architecture drawn per function from shares that follow its tail latency.
    Dynamic,
}

impl Mode {
    /// Every mode, as configuration names them.
    pub const ALL: [Self; 4] = [
        Self::Fixed(Architecture::Centralized),
        Self::Fixed(Architecture::Federated),
        Self::Fixed(Architecture::Decentralized),
        Self::Dynamic,
    ];

    /// The name in configuration and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fixed(architecture) => architecture.as_str(),
            Self::Dynamic => "dynamic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or(())
    }
}

/// How many sidecar-to-sidecar offloads an invocation may have behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopLimit(pub u8);

impl HopLimit {
    /// Worker to zone controller to the node that runs it.
    pub const DEFAULT: Self = Self(2);
    /// More would only add delay: the deepest useful path is worker, controller, controller, node.
    pub const MAX: u8 = 8;
}

impl Default for HopLimit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// When a node sends its own work elsewhere instead of running it.
///
/// `load` is the number of invocations running here now. It is the unit of the Unix load average
/// without its lag of a minute, which made the earlier scheduler decide on the past.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OffloadRule {
    /// Whether this node may offload at all; placing the work of others is not offloading.
    pub enabled: bool,
    /// Share of all cores in use, 0 to 1, above which the node counts as pressed.
    pub cpu_thresh: f64,
    /// Invocations in flight above which the node counts as pressed.
    pub load_thresh: f64,
}

impl OffloadRule {
    /// Default of [`Self::cpu_thresh`].
    pub const CPU_THRESH: f64 = 0.9;
    /// Default of [`Self::load_thresh`].
    pub const LOAD_THRESH: f64 = 2.0;

    /// Whether a node with this CPU share and this many invocations in flight should offload.
    pub fn is_pressed(&self, cpu_share: f64, in_flight: u32) -> bool {
        self.enabled && (cpu_share > self.cpu_thresh || f64::from(in_flight) > self.load_thresh)
    }
}

impl Default for OffloadRule {
    fn default() -> Self {
        Self { enabled: true, cpu_thresh: Self::CPU_THRESH, load_thresh: Self::LOAD_THRESH }
    }
}

/// Tail ratios (P95/P50) between which an architecture hands on to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Decentralized starts to give way to federated.
    pub soft_d2f: f64,
    /// Decentralized has given way.
    pub hard_d2f: f64,
    /// Federated starts to give way to centralized.
    pub soft_f2c: f64,
    /// Federated has given way.
    pub hard_f2c: f64,
}

impl Thresholds {
    /// The documented defaults.
    pub const DEFAULT: Self = Self { soft_d2f: 1.5, hard_d2f: 2.5, soft_f2c: 1.7, hard_f2c: 2.7 };
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Numbers of the documented `tail_ratio` rule; see [`super::tail_ratio`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TailRatioRule {
    /// Where architectures give way to each other.
    pub thresholds: Thresholds,
    /// Fewest samples in the window from which a ratio is taken.
    pub min_samples: u32,
    /// Least time between two evaluations for one function.
    pub sample_interval: Duration,
    /// Invocations per second from which the decentralized ratio counts.
    pub min_rate_d2f: f64,
    /// Invocations per second from which the federated ratio counts.
    pub min_rate_f2c: f64,
    /// Least weight of new shares when they are smoothed into the old ones.
    pub smoothing_floor: f64,
    /// How much a change of the request rate can add to that weight.
    pub smoothing_range: f64,
    /// Steepness of that addition, per invocation per second.
    pub smoothing_slope: f64,
    /// Change of the rate, in invocations per second, at which half of it is added.
    pub smoothing_midpoint: f64,
}

impl Default for TailRatioRule {
    fn default() -> Self {
        Self {
            thresholds: Thresholds::DEFAULT,
            min_samples: 10,
            sample_interval: Duration::from_secs(2),
            min_rate_d2f: 0.5,
            min_rate_f2c: 1.2,
            smoothing_floor: 0.1,
            smoothing_range: 0.8,
            smoothing_slope: 0.5,
            smoothing_midpoint: 5.0,
        }
    }
}

/// How dynamic mode chooses an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DynamicRule {
    /// The documented rule: by how skewed response times are; see [`super::tail_ratio`].
    TailRatio,
    /// By which would be faster; see [`super::adaptive`].
    #[default]
    Adaptive,
}

impl DynamicRule {
    /// Every rule.
    pub const ALL: [Self; 2] = [Self::TailRatio, Self::Adaptive];

    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TailRatio => "tail_ratio",
            Self::Adaptive => "adaptive",
        }
    }
}

impl FromStr for DynamicRule {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == text).ok_or(())
    }
}

/// Numbers of [`DynamicRule::Adaptive`]; see [`super::adaptive`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveRule {
    /// Share of the invocations that find no core free which may be spent on trying another
    /// architecture. P95 feels what 5 % feel; a fifth of that is hidden in it.
    pub exploration: f64,
    /// By how much another architecture must be expected to be faster to take over. Less than the
    /// noise of a track record, and two that are alike would take turns.
    pub hysteresis: f64,
    /// What the exact view of a controller is worth, as a share of the service: if the way to it
    /// costs less, it is asked even where a core is free at the entry.
    pub exact_view: f64,
    /// Share of the invocations that come in here and find no core free, from which this node
    /// counts as busy. From 5 % on they are the tail, and what the others spend on the way is
    /// hidden behind them; the margin is for what is measured over 50 invocations.
    pub busy_share: f64,
    /// The same as `exact_view` for the zone controller of a busy node, whose view is worth more
    /// the more is left to it: what it has placed itself, it knows at once.
    pub exact_view_busy: f64,
    /// Answers without which nothing is said of an architecture.
    pub answers_min: u32,
    /// Standard errors by which two means must differ to be called different.
    pub errors_apart: f64,
    /// How long a track record counts. Long enough for a trial in each, short enough to follow a
    /// step in load.
    pub memory: Duration,
}

impl Default for AdaptiveRule {
    fn default() -> Self {
        Self {
            exploration: 0.01,
            hysteresis: 0.1,
            exact_view: 0.04,
            busy_share: 0.12,
            exact_view_busy: 0.2,
            answers_min: 8,
            errors_apart: 2.0,
            memory: Duration::from_secs(60),
        }
    }
}

/// How a target is chosen among candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Selection {
    /// Probability proportional to the inverse of the mean response time.
    Weighted,
    /// The least predicted completion time; see `predict.rs`.
    #[default]
    Predictive,
    /// The less busy of two drawn at random.
    LeastRequest,
    /// The better of two drawn at random by peak-sensitive response time times what is there.
    PeakEwma,
    /// Uniform.
    Random,
}

impl Selection {
    /// Every way of selecting.
    pub const ALL: [Self; 5] =
        [Self::Weighted, Self::Predictive, Self::LeastRequest, Self::PeakEwma, Self::Random];

    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::Predictive => "predictive",
            Self::LeastRequest => "least_request",
            Self::PeakEwma => "peak_ewma",
            Self::Random => "random",
        }
    }
}

impl FromStr for Selection {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or(())
    }
}

/// When an invocation that takes long is sent a second time; see [`super::hedge`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgeRule {
    /// Whether there are second copies at all.
    pub enabled: bool,
    /// Second copies per invocation, at most: what a shorter tail may cost in load.
    pub budget: f64,
    /// Quantile of the function's response times after which an invocation takes long. What exceeds
    /// it is about what the budget can pay for.
    pub quantile: f64,
    /// Fewest response times from which that is taken.
    pub samples_min: usize,
}

impl HedgeRule {
    /// Default of [`Self::budget`].
    pub const BUDGET: f64 = 0.05;
}

impl Default for HedgeRule {
    fn default() -> Self {
        Self { enabled: false, budget: Self::BUDGET, quantile: 0.95, samples_min: 20 }
    }
}

/// Everything about a decision that configuration says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Who decides.
    pub mode: Mode,
    /// How far an invocation may travel.
    pub hop_limit: HopLimit,
    /// When this node offloads.
    pub offload: OffloadRule,
    /// How a target is chosen.
    pub selection: Selection,
    /// How dynamic mode chooses.
    pub rule: DynamicRule,
    /// Numbers of [`DynamicRule::Adaptive`].
    pub adaptive: AdaptiveRule,
    /// Numbers of [`DynamicRule::TailRatio`].
    pub tail_ratio: TailRatioRule,
    /// When there is a second copy.
    pub hedge: HedgeRule,
    /// Who waits for whom at this node.
    pub queue: QueueRule,
    /// What further attempts there are.
    pub retries: RetryRule,
    /// When nodes are left alone.
    pub health: HealthRule,
}

impl Policy {
    /// The defaults, under `mode`.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            hop_limit: HopLimit::default(),
            offload: OffloadRule::default(),
            selection: Selection::default(),
            rule: DynamicRule::default(),
            adaptive: AdaptiveRule::default(),
            tail_ratio: TailRatioRule::default(),
            hedge: HedgeRule::default(),
            queue: QueueRule::default(),
            retries: RetryRule::default(),
            health: HealthRule::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for mode in Mode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
        for selection in Selection::ALL {
            assert_eq!(selection.as_str().parse(), Ok(selection));
        }
        assert_eq!("Dynamic".parse::<Mode>(), Err(()));
        for (i, architecture) in Architecture::ALL.into_iter().enumerate() {
            assert_eq!(architecture.index(), i);
        }
    }

    #[test]
    fn a_node_is_pressed_above_either_threshold_and_never_when_disabled() {
        let rule = OffloadRule { enabled: true, cpu_thresh: 0.9, load_thresh: 3.0 };
        let off = OffloadRule { enabled: false, ..rule };
        for (cpu, in_flight, pressed) in
            [(0.0, 0, false), (0.9, 3, false), (0.91, 0, true), (0.0, 4, true)]
        {
            assert_eq!(rule.is_pressed(cpu, in_flight), pressed, "{cpu} {in_flight}");
            assert!(!off.is_pressed(cpu, in_flight));
        }
    }
}
