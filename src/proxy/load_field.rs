//! What a node tells others of how busy it is, as parts of a field:
//! `in-flight=3, cores=2, execution-ms=12.345, service-ms=8.230`, and `pace=1.099` where it is slower
//! than usual (a natural logarithm, so three times).

use std::time::Duration;

use http::HeaderValue;

use crate::scheduling::estimate::LoadReport;

use super::parts::{self, Parts};

/// The value of the field `hopwise-load`.
pub(super) fn value(report: &LoadReport) -> Option<HeaderValue> {
    let mut parts = Parts::new();
    write(&mut parts, report);
    parts.value()
}

/// Adds the parts that tell `report`.
pub(super) fn write(parts: &mut Parts, report: &LoadReport) {
    let LoadReport { in_flight, cores, execution, service, pace_milli } = report;
    parts.begin("in-flight");
    parts.whole(u64::from(*in_flight));
    parts.begin("cores");
    parts.whole(u64::from(*cores));
    let times = [("execution-ms", execution), ("service-ms", service)];
    for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, (*time)?))) {
        let rounded = u64::from((time.subsec_nanos() + 500) / 1000);
        parts.begin(name);
        parts.thousandths(time.as_secs().saturating_mul(1_000_000).saturating_add(rounded));
    }
    if *pace_milli > 0 {
        parts.begin("pace");
        parts.thousandths(u64::from(*pace_milli));
    }
}

/// Takes the part `name` into `report`; none if its value makes no sense, false if it is no part of
/// a report.
pub(super) fn read(report: &mut LoadReport, name: &str, value: &str) -> Option<bool> {
    match name {
        "in-flight" => report.in_flight = parts::whole(value)?,
        "cores" => report.cores = parts::whole(value)?,
        "execution-ms" => report.execution = Some(milliseconds(value)?),
        "service-ms" => report.service = Some(milliseconds(value)?),
        "pace" => report.pace_milli = u16::try_from(parts::thousandths(value)?).unwrap_or(u16::MAX),
        _ => return Some(false),
    }
    Some(true)
}

fn milliseconds(text: &str) -> Option<Duration> {
    parts::thousandths(text).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Option<LoadReport> {
        let mut report = LoadReport::default();
        for part in parts::each(text) {
            let (name, value) = part?;
            read(&mut report, name, value)?;
        }
        Some(report)
    }

    #[test]
    fn a_report_survives_the_field() {
        for execution in [None, Some(Duration::from_micros(12_345))] {
            let service = execution.map(|e| e / 3);
            let pace_milli = if execution.is_some() { 1099 } else { 0 };
            let report = LoadReport { in_flight: 3, cores: 2, execution, service, pace_milli };
            assert_eq!(read_all(value(&report).unwrap().to_str().unwrap()), Some(report));
        }
        for bad in ["in-flight", "in-flight=-1", "execution-ms=NaN", "execution-ms=-1", "pace=x"] {
            assert_eq!(read_all(bad), None, "{bad}");
        }
        assert_eq!(read_all("in-flight=1, weather=fine").unwrap().in_flight, 1);
        assert_eq!(read_all("pace=99").unwrap().pace_milli, u16::MAX);
    }

    #[test]
    fn times_are_told_to_the_microsecond() {
        for (nanos, text) in [
            (0, "0.000"),
            (499, "0.000"),
            (500, "0.001"),
            (1_234_567, "1.235"),
            (60_000_000_000, "60000.000"),
        ] {
            let execution = Some(Duration::from_nanos(nanos));
            let report = LoadReport { execution, ..LoadReport::default() };
            let expected = format!("in-flight=0, cores={}, execution-ms={text}", report.cores);
            assert_eq!(value(&report).unwrap(), expected);
        }
    }
}
