//! Which format a scrape wants (RFC 9110, 12.5.1).

/// A format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4: what is answered where nothing is asked for.
    Text,
    /// OpenMetrics 1.0.0, with exemplars.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily`, each behind its length, with native histograms.
    Protobuf,
}

impl Format {
    /// The value of `Content-Type`.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        }
    }

    /// The format that `accept`, the value of `Accept`, likes best; of what it likes alike, the one
    /// it names first. What we do not have, it does not get: a scrape in text is better than none.
    pub fn accepted(accept: Option<&str>) -> Self {
        let mut best = (Self::Text, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            if let Some((format, quality)) = offered(range)
                && quality > best.1
            {
                best = (format, quality);
            }
        }
        best.0
    }
}

/// The format that one media range stands for, and its quality.
fn offered(range: &str) -> Option<(Format, f32)> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next()?.to_ascii_lowercase();
    let mut quality = 1.0;
    let mut version = None;
    let (mut proto, mut encoding) = (None, None);
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
            "version" => version = Some(value),
            "proto" => proto = Some(value),
            "encoding" => encoding = Some(value),
            _ => {}
        }
    }
    let format = match media_type.as_str() {
        "application/vnd.google.protobuf" => {
            let ours = proto == Some("io.prometheus.client.MetricFamily");
            (ours && encoding == Some("delimited")).then_some(Format::Protobuf)
        }
        "application/openmetrics-text" => {
            let ours = version.is_none_or(|version| version == "1.0.0");
            ours.then_some(Format::OpenMetrics)
        }
        "text/plain" => version.is_none_or(|version| version == "0.0.4").then_some(Format::Text),
        "text/*" | "*/*" => Some(Format::Text),
        _ => None,
    };
    Some((format?, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_what_it_likes_best() {
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                        encoding=delimited";
        let openmetrics = "application/openmetrics-text;version=1.0.0";
        for (accept, format) in [
            (None, Format::Text),
            (Some(""), Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/html, application/json"), Format::Text),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("Application/OpenMetrics-Text; Version=1.0.0"), Format::OpenMetrics),
            (Some("application/openmetrics-text;version=2.0.0,text/plain"), Format::Text),
            // What Prometheus sends, without and with native histograms.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                     version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            (Some(&format!("{protobuf},{openmetrics};q=0.8,*/*;q=0.1")), Format::Protobuf),
            (Some(&format!("{protobuf};q=0.5,{openmetrics};q=0.8")), Format::OpenMetrics),
            (Some(&format!("{protobuf};q=0,text/plain;q=0.1")), Format::Text),
            (Some("application/vnd.google.protobuf, text/plain;q=0.2"), Format::Text),
            (Some("application/openmetrics-text;q=2, text/plain;q=0.2"), Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept:?}");
        }
    }
}
