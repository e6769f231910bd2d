//! The field `hopwise-load`, in which a node tells others how busy it is:
//! `in-flight=3, cores=2, execution-ms=12.345, service-ms=8.230`, and `pace=1.099` where it is slower
//! than usual (a natural logarithm, so three times).

use std::time::Duration;

use http::HeaderValue;
use hyper::body::Bytes;

use crate::scheduling::estimate::LoadReport;

/// Bytes that most values have.
const BYTES_USUAL: usize = 96;

/// The field's value. Written digit by digit, since two are written for every hop.
pub(crate) fn value(report: &LoadReport) -> Option<HeaderValue> {
    let LoadReport { in_flight, cores, execution, service, pace_milli } = report;
    let mut digits = itoa::Buffer::new();
    let mut text = Vec::with_capacity(BYTES_USUAL);
    text.extend_from_slice(b"in-flight=");
    text.extend_from_slice(digits.format(*in_flight).as_bytes());
    text.extend_from_slice(b", cores=");
    text.extend_from_slice(digits.format(*cores).as_bytes());
    let times = [(", execution-ms=", execution), (", service-ms=", service)];
    for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, (*time)?))) {
        let micros = (time.as_nanos() + 500) / 1000;
        push_thousandths(&mut text, name, u64::try_from(micros).unwrap_or(u64::MAX));
    }
    if *pace_milli > 0 {
        push_thousandths(&mut text, ", pace=", u64::from(*pace_milli));
    }
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

fn push_thousandths(text: &mut Vec<u8>, name: &str, thousandths: u64) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(itoa::Buffer::new().format(thousandths / 1000).as_bytes());
    let rest = (thousandths % 1000) as u16;
    let digit = |place: u16| b'0' + (rest / place % 10) as u8;
    text.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

/// The report in a field; a part that makes no sense makes none of it count.
pub(super) fn read(value: &HeaderValue) -> Option<LoadReport> {
    let mut report = LoadReport::default();
    for part in value.to_str().ok()?.split(',') {
        let (name, value) = part.trim().split_once('=')?;
        match name {
            "in-flight" => report.in_flight = value.parse().ok()?,
            "cores" => report.cores = value.parse().ok()?,
            "execution-ms" => report.execution = Some(milliseconds(value)?),
            "service-ms" => report.service = Some(milliseconds(value)?),
            "pace" => {
                let pace: f64 = value.parse().ok()?;
                report.pace_milli = (pace * 1e3).round() as u16;
            }
            _ => {}
        }
    }
    Some(report)
}

fn milliseconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse::<f64>().ok()? / 1e3).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_header() {
        for execution in [None, Some(Duration::from_micros(12_345))] {
            let service = execution.map(|e| e / 3);
            let pace_milli = if execution.is_some() { 1099 } else { 0 };
            let report = LoadReport { in_flight: 3, cores: 2, execution, service, pace_milli };
            assert_eq!(read(&value(&report).unwrap()), Some(report));
        }
        for bad in
            ["", "in-flight", "in-flight=-1", "execution-ms=NaN", "execution-ms=-1", "pace=x"]
        {
            assert_eq!(read(&HeaderValue::from_static(bad)), None, "{bad}");
        }
        let unknown = HeaderValue::from_static("in-flight=1, weather=fine");
        assert_eq!(read(&unknown).unwrap().in_flight, 1);
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
