//! The policies that are compared, by name.

use std::fmt;
use std::str::FromStr;

use crate::scheduling::policy::{Architecture, DynamicRule, Mode, Selection};

/// Who decides, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Contender {
    /// Sees the true state of everything, requests on their way included, at the entry node.
    Clairvoyant,
    /// The earlier scheduler: a connection per hop, a load average of one minute, its thresholds.
    Reference(Mode),
    /// This scheduler.
    Hopwise(Mode, DynamicRule, Selection),
}

impl Contender {
    /// Every one of them.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Clairvoyant];
        all.extend(Mode::ALL.map(Self::Reference));
        for selection in Selection::ALL {
            for architecture in Architecture::ALL {
                let mode = Mode::Fixed(architecture);
                all.push(Self::Hopwise(mode, DynamicRule::default(), selection));
            }
            for rule in DynamicRule::ALL {
                all.push(Self::Hopwise(Mode::Dynamic, rule, selection));
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
            Self::Hopwise(Mode::Dynamic, rule, selection) => {
                write!(f, "dynamic-{}+{}", rule.as_str(), selection.as_str())
            }
            Self::Hopwise(mode, _, selection) => {
                write!(f, "{}+{}", mode.as_str(), selection.as_str())
            }
        }
    }
}

impl FromStr for Contender {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::all().into_iter().find(|contender| contender.to_string() == text).ok_or(())
    }
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
        for name in ["federated+predictive", "dynamic-adaptive+predictive", "reference-dynamic"] {
            assert!(name.parse::<Contender>().is_ok(), "{name}");
        }
    }
}
