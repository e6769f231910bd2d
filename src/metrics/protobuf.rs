//! The protobuf format: `io.prometheus.client.MetricFamily`, each behind its length. It is the one
//! that carries native histograms.

use prost::Message;

use super::family::{Family, Kind, Value};
use super::histogram::{self, BOUNDS_S, SCHEMA, Taken, ZERO_S};

/// Empty native buckets that are written rather than skipped: a span costs more.
const GAP_MAX: i32 = 2;

/// Messages of Prometheus' `metrics.proto`, as far as we fill them.
mod message {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MetricFamily {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) help: String,
        #[prost(enumeration = "MetricType", tag = "3")]
        pub(super) kind: i32,
        #[prost(message, repeated, tag = "4")]
        pub(super) metric: Vec<Metric>,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    pub(super) enum MetricType {
        Counter = 0,
        Gauge = 1,
        Untyped = 3,
        Histogram = 4,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub(super) label: Vec<LabelPair>,
        #[prost(message, optional, tag = "2")]
        pub(super) gauge: Option<Number>,
        #[prost(message, optional, tag = "3")]
        pub(super) counter: Option<Number>,
        #[prost(message, optional, tag = "5")]
        pub(super) untyped: Option<Number>,
        #[prost(message, optional, tag = "7")]
        pub(super) histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct LabelPair {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }

    /// `Gauge`, `Counter` and `Untyped` alike.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Number {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, tag = "1")]
        pub(super) sample_count: u64,
        #[prost(double, tag = "2")]
        pub(super) sample_sum: f64,
        #[prost(message, repeated, tag = "3")]
        pub(super) bucket: Vec<Bucket>,
        #[prost(sint32, tag = "5")]
        pub(super) schema: i32,
        #[prost(double, tag = "6")]
        pub(super) zero_threshold: f64,
        #[prost(uint64, tag = "7")]
        pub(super) zero_count: u64,
        #[prost(message, repeated, tag = "12")]
        pub(super) positive_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "13")]
        pub(super) positive_delta: Vec<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Bucket {
        #[prost(uint64, tag = "1")]
        pub(super) cumulative_count: u64,
        #[prost(double, tag = "2")]
        pub(super) upper_bound: f64,
        #[prost(message, optional, tag = "3")]
        pub(super) exemplar: Option<Exemplar>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct BucketSpan {
        #[prost(sint32, tag = "1")]
        pub(super) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(super) length: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(super) label: Vec<LabelPair>,
        #[prost(double, tag = "2")]
        pub(super) value: f64,
        #[prost(message, optional, tag = "3")]
        pub(super) timestamp: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Timestamp {
        #[prost(int64, tag = "1")]
        pub(super) seconds: i64,
        #[prost(int32, tag = "2")]
        pub(super) nanos: i32,
    }
}

use message::{Bucket, BucketSpan, LabelPair, Metric, MetricFamily, MetricType, Number};

/// `families`, each behind its length.
pub(super) fn encode(families: &[Family]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for family in families.iter().filter(|family| !family.series.is_empty()) {
        bytes.extend(message(family).encode_length_delimited_to_vec());
    }
    bytes
}

fn message(family: &Family) -> MetricFamily {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge | Kind::Info => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Unknown => MetricType::Untyped,
    };
    let metric = |series: &super::family::Series| {
        let label = series.labels.iter().map(|(name, value)| pair(name, value)).collect();
        let metric = Metric { label, ..Metric::default() };
        match (&series.value, kind) {
            (Value::Histogram(taken), _) => {
                Metric { histogram: Some(histogram(taken, true)), ..metric }
            }
            (Value::Classic(taken), _) => {
                Metric { histogram: Some(histogram(taken, false)), ..metric }
            }
            (Value::Number(value), MetricType::Counter) => {
                Metric { counter: Some(Number { value: *value }), ..metric }
            }
            (Value::Number(value), MetricType::Untyped) => {
                Metric { untyped: Some(Number { value: *value }), ..metric }
            }
            (Value::Number(value), MetricType::Gauge | MetricType::Histogram) => {
                Metric { gauge: Some(Number { value: *value }), ..metric }
            }
        }
    };
    MetricFamily {
        name: format!("{}{}", family.name, family.suffix()),
        help: family.help.to_owned(),
        kind: kind.into(),
        metric: family.series.iter().map(metric).collect(),
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    LabelPair { name: name.to_owned(), value: value.to_owned() }
}

/// A histogram with classic buckets, and the native ones beside them where `native` says so.
///
/// Samples that come in while it is taken may be in one kind of buckets and not in the other. Here
/// there is one count for both, and Prometheus refuses native buckets that do not add up to it.
fn histogram(taken: &Taken, native: bool) -> message::Histogram {
    let in_native = taken.zero + taken.native.iter().map(|(_, count)| count).sum::<u64>();
    let count = if native { in_native } else { taken.classic.iter().sum() };
    let mut cumulative = 0_u64;
    let buckets = taken.classic.iter().enumerate().map(|(index, in_bucket)| {
        cumulative += in_bucket;
        let exemplar = taken.exemplars.iter().find(|(bucket, _)| *bucket == index);
        Bucket {
            cumulative_count: cumulative.min(count),
            upper_bound: BOUNDS_S.get(index).copied().unwrap_or(f64::INFINITY),
            exemplar: exemplar.map(|(_, exemplar)| exemplar_of(exemplar)),
        }
    });
    let classic = message::Histogram {
        sample_count: count,
        sample_sum: taken.sum_s,
        bucket: buckets.collect(),
        ..message::Histogram::default()
    };
    if !native {
        return classic;
    }
    let (positive_span, positive_delta) = sparse(&taken.native);
    message::Histogram {
        schema: SCHEMA,
        zero_threshold: ZERO_S,
        zero_count: taken.zero,
        positive_span,
        positive_delta,
        ..classic
    }
}

fn exemplar_of(exemplar: &histogram::Exemplar) -> message::Exemplar {
    let seconds = exemplar.unix_s.trunc();
    let nanos = ((exemplar.unix_s - seconds) * 1e9) as i32;
    message::Exemplar {
        label: vec![pair(exemplar.label, &exemplar.id)],
        value: exemplar.value_s,
        timestamp: Some(message::Timestamp { seconds: seconds as i64, nanos }),
    }
}

/// Buckets as runs of neighbours, each count as its difference from the one before.
///
/// A key is the end of its bucket, which is what an offset counts from.
fn sparse(buckets: &[(i32, u64)]) -> (Vec<BucketSpan>, Vec<i64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut deltas = Vec::new();
    let mut before = 0_i64;
    let mut next_key = 0;
    for &(key, count) in buckets {
        let gap = key - next_key;
        match spans.last_mut() {
            Some(span) if gap <= GAP_MAX => {
                for _ in 0..gap {
                    deltas.push(-before);
                    before = 0;
                }
                span.length += gap.unsigned_abs() + 1;
            }
            _ => spans.push(BucketSpan { offset: gap, length: 1 }),
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count - before);
        before = count;
        next_key = key + 1;
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::histogram::Histogram;
    use super::*;

    #[test]
    fn neighbours_are_one_span() {
        let buckets = [(-3, 5), (-2, 2), (1, 7), (9, 1)];
        let (spans, deltas) = sparse(&buckets);
        let spans: Vec<_> = spans.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!(spans, [(-3, 5), (7, 1)]);
        assert_eq!(deltas, [5, -3, -2, 0, 7, -6]);
    }

    #[test]
    fn both_kinds_of_buckets_add_up_to_one_count() {
        let recorded = Histogram::default();
        for micros in [1, 900, 1_000, 40_000, 20_000_000] {
            recorded.record(Duration::from_micros(micros));
        }
        let family = Family::of(Kind::Histogram, "took_seconds", "How long", recorded.take());
        let bytes = encode(&[family]);
        let read = MetricFamily::decode_length_delimited(bytes.as_slice()).unwrap();
        let histogram = read.metric[0].histogram.as_ref().unwrap();
        assert_eq!(histogram.sample_count, 5);
        assert_eq!(histogram.bucket.last().unwrap().cumulative_count, 5);
        assert_eq!(histogram.bucket.last().unwrap().upper_bound, f64::INFINITY);
        let mut count = 0;
        let in_buckets: i64 = histogram
            .positive_delta
            .iter()
            .map(|delta| {
                count += delta;
                count
            })
            .sum();
        assert_eq!(in_buckets as u64 + histogram.zero_count, 5);
        assert_eq!((histogram.schema, histogram.zero_count), (3, 1));
        assert_eq!(histogram.zero_threshold, ZERO_S);
    }
}
