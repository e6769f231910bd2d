//! What a scrape gathers, before it is written in one format or another.

use std::borrow::Cow;

use super::histogram::Taken;

/// What the samples of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Grows; the name ends in `_total`.
    Counter,
    Gauge,
    Histogram,
    /// Always 1, for the sake of its labels; the name ends in `_info`.
    Info,
    /// Named by somebody else against the rules.
    Unknown,
}

/// All samples of one name.
#[derive(Debug)]
pub(super) struct Family {
    /// Without what `kind` adds to it.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) series: Vec<Series>,
}

/// The name of a label, and its value.
pub(super) type Label = (&'static str, Cow<'static, str>);

/// One line, or one distribution.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Vec<Label>,
    pub(super) value: Value,
}

/// What was measured.
#[derive(Debug)]
pub(super) enum Value {
    Number(f64),
    Histogram(Box<Taken>),
    /// A distribution whose native buckets stand under another name.
    Classic(Box<Taken>),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Number(count as f64)
    }
}

impl From<i64> for Value {
    fn from(level: i64) -> Self {
        Self::Number(level as f64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<Taken> for Value {
    fn from(taken: Taken) -> Self {
        Self::Histogram(Box::new(taken))
    }
}

impl Family {
    /// A family without samples.
    pub(super) fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind, series: Vec::new() }
    }

    /// A family of one sample without labels.
    pub(super) fn of(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        value: impl Into<Value>,
    ) -> Self {
        let mut family = Self::new(kind, name, help);
        family.push(Vec::new(), value);
        family
    }

    /// A family with one sample per value of `label`.
    pub(super) fn by<'a>(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, &'a super::Count)>,
    ) -> Self {
        let mut family = Self::new(kind, name, help);
        for (value, count) in values {
            family.push(vec![(label, Cow::Borrowed(value))], count.get());
        }
        family
    }

    pub(super) fn push(&mut self, labels: Vec<Label>, value: impl Into<Value>) {
        self.series.push(Series { labels, value: value.into() });
    }

    /// The unit that the name ends with, where it is one of those that OpenMetrics knows.
    pub(super) fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| {
            let before = self.name.strip_suffix(unit);
            before.is_some_and(|before| before.ends_with('_'))
        })
    }

    /// What follows the name of each sample.
    pub(super) fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram | Kind::Unknown => "",
        }
    }
}
