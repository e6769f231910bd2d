//! The two text formats: Prometheus 0.0.4, and OpenMetrics 1.0.0, which has exemplars.

use std::fmt::{self, Write};

use super::family::{Family, Kind, Label, Series, Value};
use super::histogram::{BOUNDS_S, Exemplar, Taken};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Prometheus,
    OpenMetrics,
}

/// `families` as text.
pub(super) fn encode(families: &[Family], dialect: Dialect) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut text, families, dialect);
    text
}

fn write_all(text: &mut String, families: &[Family], dialect: Dialect) -> fmt::Result {
    for family in families.iter().filter(|family| !family.series.is_empty()) {
        write_head(text, family, dialect)?;
        for series in &family.series {
            match &series.value {
                Value::Number(number) => {
                    text.write_str(family.name)?;
                    text.write_str(family.suffix())?;
                    write_labels(text, &series.labels, None)?;
                    writeln!(text, " {}", Number(*number))?;
                }
                Value::Histogram(taken) | Value::Classic(taken) => {
                    write_histogram(text, family.name, series, taken, dialect)?;
                }
            }
        }
    }
    if dialect == Dialect::OpenMetrics {
        text.write_str("# EOF\n")?;
    }
    Ok(())
}

fn write_head(text: &mut String, family: &Family, dialect: Dialect) -> fmt::Result {
    let (suffix, kind) = match (dialect, family.kind) {
        (_, Kind::Gauge) => ("", "gauge"),
        (_, Kind::Histogram) => ("", "histogram"),
        (Dialect::OpenMetrics, Kind::Counter) => ("", "counter"),
        (Dialect::OpenMetrics, Kind::Info) => ("", "info"),
        (Dialect::OpenMetrics, Kind::Unknown) => ("", "unknown"),
        (Dialect::Prometheus, Kind::Counter) => (family.suffix(), "counter"),
        (Dialect::Prometheus, Kind::Info) => (family.suffix(), "gauge"),
        (Dialect::Prometheus, Kind::Unknown) => ("", "untyped"),
    };
    let name = family.name;
    writeln!(text, "# HELP {name}{suffix} {}", family.help)?;
    writeln!(text, "# TYPE {name}{suffix} {kind}")?;
    match family.unit() {
        Some(unit) if dialect == Dialect::OpenMetrics => writeln!(text, "# UNIT {name} {unit}"),
        _ => Ok(()),
    }
}

fn write_histogram(
    text: &mut String,
    name: &str,
    series: &Series,
    taken: &Taken,
    dialect: Dialect,
) -> fmt::Result {
    let exemplars = &taken.exemplars;
    let mut count = 0;
    for (index, in_bucket) in taken.classic.iter().enumerate() {
        count += in_bucket;
        let bound = BOUNDS_S.get(index).copied().unwrap_or(f64::INFINITY);
        write!(text, "{name}_bucket")?;
        write_labels(text, &series.labels, Some(bound))?;
        write!(text, " {count}")?;
        let exemplar = exemplars.iter().find(|(bucket, _)| *bucket == index);
        match exemplar {
            Some((_, exemplar)) if dialect == Dialect::OpenMetrics => {
                write_exemplar(text, exemplar)?;
            }
            _ => {}
        }
        text.write_char('\n')?;
    }
    for (suffix, value) in [("_sum", taken.sum_s), ("_count", count as f64)] {
        write!(text, "{name}{suffix}")?;
        write_labels(text, &series.labels, None)?;
        writeln!(text, " {}", Number(value))?;
    }
    Ok(())
}

fn write_exemplar(text: &mut String, exemplar: &Exemplar) -> fmt::Result {
    let Exemplar { label, id, value_s, unix_s } = exemplar;
    write!(text, " # {{{label}=\"{}\"}} {value_s} {unix_s:.3}", Escaped(id))
}

fn write_labels(text: &mut String, labels: &[Label], bound: Option<f64>) -> fmt::Result {
    if labels.is_empty() && bound.is_none() {
        return Ok(());
    }
    let mut before = '{';
    for (name, value) in labels {
        write!(text, "{before}{name}=\"{}\"", Escaped(value))?;
        before = ',';
    }
    if let Some(bound) = bound {
        write!(text, "{before}le=\"{}\"", Bound(bound))?;
    }
    text.write_char('}')
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A value as both formats read it: whole ones without a point.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            infinite if infinite == f64::INFINITY => f.write_str("+Inf"),
            number => write!(f, "{number}"),
        }
    }
}

/// An upper bound, which OpenMetrics wants with a point.
struct Bound(f64);

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            infinite if infinite == f64::INFINITY => f.write_str("+Inf"),
            number => write!(f, "{number:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::histogram::Histogram;
    use super::*;

    fn families() -> [Family; 4] {
        let mut counted = Family::new(Kind::Counter, "answers", "Answers");
        counted.push(vec![("who", "a \"b\"\n\\".into()), ("code", "200".into())], 3_u64);
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(30));
        let exemplar = Exemplar::new("trace_id", "00ff");
        histogram.exemplify(Duration::from_millis(30), exemplar, 1);
        [
            counted,
            Family::new(Kind::Gauge, "nothing", "Without samples there is no family"),
            Family::of(Kind::Info, "build", "What this is", 1.0),
            Family::of(Kind::Histogram, "took_seconds", "How long", histogram.take()),
        ]
    }

    #[test]
    fn prometheus_text_names_the_samples() {
        let text = encode(&families(), Dialect::Prometheus);
        let expected = "# HELP answers_total Answers
# TYPE answers_total counter
answers_total{who=\"a \\\"b\\\"\\n\\\\\",code=\"200\"} 3
# HELP build_info What this is
# TYPE build_info gauge
build_info 1
# HELP took_seconds How long
# TYPE took_seconds histogram
took_seconds_bucket{le=\"0.005\"} 0
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("\ntook_seconds_bucket{le=\"0.05\"} 1\n"), "{text}");
        assert!(text.contains("\ntook_seconds_bucket{le=\"1.0\"} 1\n"), "{text}");
        assert!(text.contains("\ntook_seconds_bucket{le=\"+Inf\"} 1\n"), "{text}");
        assert!(text.ends_with("took_seconds_sum 0.03\ntook_seconds_count 1\n"), "{text}");
    }

    #[test]
    fn openmetrics_names_the_families_and_has_exemplars() {
        let text = encode(&families(), Dialect::OpenMetrics);
        for line in [
            "# TYPE answers counter",
            "# TYPE build info",
            "# UNIT took_seconds seconds",
            "took_seconds_bucket{le=\"0.025\"} 0",
            "took_seconds_count 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let exemplar = "took_seconds_bucket{le=\"0.05\"} 1 # {trace_id=\"00ff\"} 0.03 ";
        assert!(text.lines().any(|line| line.starts_with(exemplar)), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
