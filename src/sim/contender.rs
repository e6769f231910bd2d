//! The policies that are compared, by name.

use std::fmt;
use std::str::FromStr;

use crate::scheduling::policy::{Architecture, DynamicRule, Mode, Selection};

/// Endings of the names of policies with extras, in this order.
const HEDGE: &str = "+hedge";
const QUEUE: &str = "+queue";

/// Who decides, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Contender {
    /// Sees the true state of everything, requests on their way included, at the entry node.
    Clairvoyant,
    /// The earlier scheduler: a connection per hop, a load average of one minute, its thresholds.
    Reference(Mode),
    /// This scheduler.
    Hopwise(Mode, DynamicRule, Selection, Extras),
}

/// What is switched on beside the rules of the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extras {
    /// Second copies, for functions that may run twice.
    pub hedge: bool,
    /// Turns at each node.
    pub queue: bool,
}

impl Contender {
    /// Every one of them, without extras.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Clairvoyant];
        all.extend(Mode::ALL.map(Self::Reference));
        for selection in Selection::ALL {
            for architecture in Architecture::ALL {
                let mode = Mode::Fixed(architecture);
                all.push(Self::Hopwise(mode, DynamicRule::default(), selection, Extras::default()));
            }
            for rule in DynamicRule::ALL {
                all.push(Self::Hopwise(Mode::Dynamic, rule, selection, Extras::default()));
            }
        }
        all
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clairvoyant => f.write_str("clairvoyant"),
            Self::Reference(mode) => write!(f, "reference-{}", mode.as_str()),
            Self::Hopwise(mode, rule, selection, extras) => {
                f.write_str(mode.as_str())?;
                if *mode == Mode::Dynamic {
                    write!(f, "-{}", rule.as_str())?;
                }
                write!(f, "+{}", selection.as_str())?;
                f.write_str(if extras.hedge { HEDGE } else { "" })?;
                f.write_str(if extras.queue { QUEUE } else { "" })
            }
        }
    }
}

impl FromStr for Contender {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (rest, queue) = cut(text, QUEUE);
        let (rest, hedge) = cut(rest, HEDGE);
        let known = Self::all().into_iter().find(|contender| contender.to_string() == rest);
        match known.ok_or(())? {
            Self::Hopwise(mode, rule, selection, _) => {
                Ok(Self::Hopwise(mode, rule, selection, Extras { hedge, queue }))
            }
            other if !hedge && !queue => Ok(other),
            _ => Err(()),
        }
    }
}

/// `text` without the ending `extra`, and whether it had it.
fn cut<'t>(text: &'t str, extra: &str) -> (&'t str, bool) {
    text.strip_suffix(extra).map_or((text, false), |rest| (rest, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_differ() {
        let all = Contender::all();
        for contender in &all {
            assert_eq!(contender.to_string().parse(), Ok(*contender));
        }
        assert!("federated+best".parse::<Contender>().is_err());
        for name in [
            "federated+predictive",
            "dynamic-adaptive+predictive",
            "reference-dynamic",
            "federated+predictive+hedge",
            "federated+predictive+queue",
            "dynamic-adaptive+predictive+hedge+queue",
        ] {
            let contender: Contender = name.parse().unwrap();
            assert_eq!(contender.to_string(), name);
        }
        for name in ["clairvoyant+queue", "federated+predictive+queue+hedge", "federated+hedge"] {
            assert!(name.parse::<Contender>().is_err(), "{name}");
        }
    }
}
