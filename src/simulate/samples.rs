//! Every invocation as a line of CSV.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;

use super::run::Outcome;
use crate::sim::{Sample, Trial};

const HEADING: [&str; 13] = [
    "scenario",
    "cell",
    "entry",
    "concurrency",
    "policy",
    "seed",
    "issued_s",
    "took_ms",
    "function",
    "entry_node",
    "target",
    "architecture",
    "good",
];

/// A file to write to.
pub(super) fn create(path: &Path) -> anyhow::Result<csv::Writer<File>> {
    csv::Writer::from_path(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes the samples of `outcomes`, which are those of `trials` in their order.
pub(super) fn write<W: std::io::Write>(
    mut writer: csv::Writer<W>,
    trials: &[Trial<'_>],
    outcomes: &[Outcome],
) -> anyhow::Result<()> {
    writer.write_record(HEADING)?;
    for (trial, outcome) in trials.iter().zip(outcomes) {
        let row = &outcome.row;
        let concurrency = row.concurrency.to_string();
        let seed = row.seed.to_string();
        for sample in &outcome.samples {
            let [issued_s, took_ms, function, node, target, architecture, good] =
                fields(trial, sample);
            writer.write_record([
                row.scenario.as_str(),
                &row.cell,
                &row.entry,
                &concurrency,
                &row.policy,
                &seed,
                &issued_s,
                &took_ms,
                &function,
                &node,
                &target,
                &architecture,
                &good,
            ])?;
        }
    }
    writer.flush()?;
    Ok(())
}

fn fields(trial: &Trial<'_>, sample: &Sample) -> [String; 7] {
    let topology = &trial.scenario.snapshot.site.topology;
    let id = |node| topology.node(node).id.to_string();
    let function = trial.cell.functions.get(usize::from(sample.function));
    [
        format!("{:.6}", sample.issued.as_secs_f64()),
        format!("{:.3}", sample.took.as_secs_f64() * 1e3),
        function.map_or_else(String::new, |function| function.name.to_string()),
        id(sample.entry),
        sample.target.map_or_else(String::new, id),
        sample.architecture.map_or("", |architecture| architecture.as_str()).to_owned(),
        sample.good.to_string(),
    ]
}
