//! Which trials there are.

use std::fmt::Display;

use super::read::{Study, policy};
use crate::problem::Problem;
use crate::sim::Trial;

/// Which trials were asked for; what says nothing asks for all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Names of cells.
    pub cells: Vec<String>,
    /// Names of ways of entry.
    pub entries: Vec<String>,
    /// Numbers of clients, or of invocations per second.
    pub concurrency: Vec<f64>,
    /// Policies in place of those of the scenario.
    pub policies: Vec<String>,
    /// Seeds in place of those of the scenario.
    pub seeds: Vec<u64>,
}

/// Cells × entries × loads × policies × seeds, in this order.
pub(super) fn trials<'a>(
    study: &'a Study,
    filter: &Filter,
) -> Result<Vec<Trial<'a>>, Vec<Problem>> {
    let scenario = &study.scenario;
    let mut problems = Vec::new();
    let cells = chosen(&scenario.cells, |c| c.name.clone(), &filter.cells, "cell", &mut problems);
    let entries =
        chosen(&scenario.entries, |e| e.name.clone(), &filter.entries, "entry", &mut problems);
    let wanted = &filter.concurrency;
    let loads = chosen(&scenario.loads, |l| l.concurrency, wanted, "concurrency", &mut problems);
    let mut policies = Vec::new();
    for name in &filter.policies {
        match policy(name) {
            Ok(contender) => policies.push(contender),
            Err(problem) => problems.push(Problem { key: "--policy".to_owned(), ..problem }),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let policies = if filter.policies.is_empty() { study.policies.clone() } else { policies };
    let seeds = if filter.seeds.is_empty() { &study.seeds } else { &filter.seeds };
    let mut trials = Vec::new();
    for &cell in &cells {
        for &entry in &entries {
            for &load in &loads {
                for &contender in &policies {
                    let trial = |&seed| Trial { scenario, cell, entry, load, contender, seed };
                    trials.extend(seeds.iter().map(trial));
                }
            }
        }
    }
    Ok(trials)
}

/// Those of `all` whose `key` is among `wanted`, in their own order.
fn chosen<'a, T, K: PartialEq + Display>(
    all: &'a [T],
    key: impl Fn(&T) -> K,
    wanted: &[K],
    flag: &str,
    problems: &mut Vec<Problem>,
) -> Vec<&'a T> {
    let known: Vec<K> = all.iter().map(&key).collect();
    for unknown in wanted.iter().filter(|wanted| !known.contains(wanted)) {
        let known: Vec<String> = known.iter().map(K::to_string).collect();
        let remedy = format!("write one of {}", known.join(", "));
        problems.push(Problem::new(
            format!("--{flag}"),
            unknown,
            "is not in this scenario",
            remedy,
        ));
    }
    all.iter().filter(|one| wanted.is_empty() || wanted.contains(&key(one))).collect()
}
