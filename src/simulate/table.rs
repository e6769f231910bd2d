//! Rows as text: one line per policy, the median over its seeds. Pure: rows in, text out.

use std::fmt::Write as _;

use super::row::Row;

/// The rows of one policy under the same conditions, one per seed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Summary<'a> {
    pub(super) first: &'a Row,
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) failed: u64,
}

impl Summary<'_> {
    /// P95/P50: how long the tail is.
    pub(super) fn ratio(&self) -> Option<f64> {
        let p50 = self.p50_ms.filter(|p50| *p50 > 0.0)?;
        Some(self.p95_ms? / p50)
    }

    /// Which panel of a chart, or block of the table, this belongs to.
    pub(super) fn place(&self) -> (&str, &str) {
        (&self.first.cell, &self.first.entry)
    }
}

/// One summary for each run of rows that differ in their seed only.
pub(super) fn summaries(rows: &[Row]) -> Vec<Summary<'_>> {
    let same = |a: &Row, b: &Row| {
        (&a.cell, &a.entry, &a.policy) == (&b.cell, &b.entry, &b.policy)
            && a.concurrency == b.concurrency
    };
    let summary = |rows: &'_ [Row]| {
        let of = |pick: fn(&Row) -> Option<f64>| median(rows.iter().filter_map(pick).collect());
        (of(|r| r.p50_ms), of(|r| r.p95_ms), of(|r| r.p99_ms), rows.iter().map(|r| r.failed).sum())
    };
    let mut summaries = Vec::new();
    for rows in rows.chunk_by(same) {
        if let Some(first) = rows.first() {
            let (p50_ms, p95_ms, p99_ms, failed) = summary(rows);
            summaries.push(Summary { first, p50_ms, p95_ms, p99_ms, failed });
        }
    }
    summaries
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values[values.len() / 2 - 1] + upper) / 2.0)
}

/// The table.
pub(super) fn render(rows: &[Row]) -> String {
    let summaries = summaries(rows);
    let policy = summaries.iter().map(|s| s.first.policy.chars().count()).max().unwrap_or(0);
    let policy = policy.max("policy".len());
    let mut text = String::new();
    for block in summaries.chunk_by(|a, b| a.place() == b.place()) {
        let Some(Summary { first, .. }) = block.first() else { continue };
        let gap = if text.is_empty() { "" } else { "\n" };
        line(&mut text, &format!("{gap}{}, {}, {}", first.scenario, first.cell, first.entry));
        line(
            &mut text,
            &format!(
                "{:>11}  {:<policy$}{:>13}{:>13}{:>13}{:>9}{:>9}",
                "concurrency", "policy", "P50", "P95", "P99", "P95/P50", "failed"
            ),
        );
        for summary in block {
            let ratio = summary.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            let row = format!(
                "{:>11}  {:<policy$}{:>13}{:>13}{:>13}{ratio:>9}{:>9}",
                summary.first.concurrency,
                summary.first.policy,
                milliseconds(summary.p50_ms),
                milliseconds(summary.p95_ms),
                milliseconds(summary.p99_ms),
                summary.failed,
            );
            line(&mut text, &row);
        }
    }
    text
}

fn line(text: &mut String, content: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::simulate) fn row(policy: &str, seed: u64, p50_ms: Option<f64>) -> Row {
        Row {
            scenario: "testbed".into(),
            cell: "steady".into(),
            entry: "single".into(),
            concurrency: 2.0,
            policy: policy.into(),
            seed,
            p50_ms,
            p95_ms: p50_ms.map(|ms| ms * 1.5),
            p99_ms: p50_ms.map(|ms| ms * 3.0),
            total_s: 1.0,
            failed: seed,
            samples: 10,
            warm_up_p95_ms: None,
            trace_hash: "0".repeat(16),
            second_copies: 0,
            functions: Vec::new(),
            phases: Vec::new(),
        }
    }

    #[test]
    fn the_table_as_it_looks() {
        let mut rows = vec![
            row("federated+predictive", 1, Some(300.0)),
            row("federated+predictive", 2, Some(100.0)),
            row("federated+predictive", 3, Some(200.0)),
            row("clairvoyant", 1, None),
        ];
        rows.push(Row { entry: "distributed".into(), ..row("clairvoyant", 0, Some(1.0)) });
        let expected = "\
testbed, steady, single
concurrency  policy                        P50          P95          P99  P95/P50   failed
          2  federated+predictive     200.0 ms     300.0 ms     600.0 ms     1.50        6
          2  clairvoyant                     -            -            -        -        1

testbed, steady, distributed
concurrency  policy                        P50          P95          P99  P95/P50   failed
          2  clairvoyant                1.0 ms       1.5 ms       3.0 ms     1.50        0
";
        assert_eq!(render(&rows), expected);
        assert_eq!(render(&[]), "");
    }

    #[test]
    fn medians() {
        for (values, expected) in
            [(vec![], None), (vec![3.0], Some(3.0)), (vec![4.0, 1.0, 2.0, 3.0], Some(2.5))]
        {
            assert_eq!(median(values.clone()), expected, "{values:?}");
        }
    }
}
