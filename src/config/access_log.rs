//! Which requests the access log tells of, how, and where.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::reader::{Fault, Section};

/// Longest `slow_ms`, in milliseconds: a day.
const SLOW_MS_MAX: u64 = 86_400_000;

/// What stands for standard output in place of a path.
const STANDARD_OUTPUT: &str = "-";

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// There are none.
    #[default]
    Off,
    /// A JSON document each.
    Json,
    /// Text for people.
    Text,
}

impl LogFormat {
    /// All, in the order documented.
    pub const ALL: [Self; 3] = [Self::Off, Self::Json, Self::Text];

    /// The word for it in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

/// Which requests the access log tells of, how, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLogRule {
    /// How lines are written.
    pub format: LogFormat,
    /// The file they are appended to; none is standard output.
    pub path: Option<Arc<Path>>,
    /// Share of the successful, fast requests that have a line.
    pub sample: f64,
    /// What takes longer always has one.
    pub slow: Duration,
}

impl Default for AccessLogRule {
    fn default() -> Self {
        let slow = Duration::from_secs(1);
        Self { format: LogFormat::Off, path: None, sample: 1.0, slow }
    }
}

pub(super) fn read_access_log(s: &mut Section<'_>) -> AccessLogRule {
    let default = AccessLogRule::default();
    let slow_ms = s.whole("slow_ms", default.slow.as_millis() as u64, 0..=SLOW_MS_MAX);
    let format = s.choice("format", &LogFormat::ALL, LogFormat::as_str).unwrap_or_default();
    AccessLogRule {
        format,
        path: s.parsed("path", |text| place(text, format != LogFormat::Off)).flatten(),
        sample: s.number("sample", default.sample, 0.0..=1.0),
        slow: Duration::from_millis(slow_ms),
    }
}

fn place(text: &str, is_wanted: bool) -> Result<Option<Arc<Path>>, Fault> {
    if text == STANDARD_OUTPUT {
        return Ok(None);
    }
    if text.is_empty() || text.ends_with('/') || text.contains('\0') {
        let remedy = "write one as in /var/log/hopwise/access.log, or - for standard output";
        return Err(Fault::new("is not the path of a file", remedy));
    }
    let path = Path::new(text);
    // What else stands against it is found when it is opened, by whoever runs.
    let is_nowhere = path.is_dir() || path.parent().is_some_and(|parent| !is_directory(parent));
    if is_wanted && is_nowhere {
        let remedy =
            "make the directory, which hopwise may write to, or write - for standard output";
        return Err(Fault::new("is not in a directory that is there", remedy));
    }
    Ok(Some(path.into()))
}

fn is_directory(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.is_dir()
}
