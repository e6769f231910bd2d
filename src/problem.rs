//! A fault in what somebody wrote: where it stands, what stands there, and how to mend it.

use std::fmt;

/// One fault in a configuration or a topology. Constructors return all of them at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, as in `topology[2].offload.cpu_thresh`.
    pub key: String,
    /// The value that stands there, as written.
    pub value: String,
    /// What is wrong with it.
    pub fault: String,
    /// What to do about it.
    pub remedy: String,
    /// One-based line in the file, where one is known.
    pub line: Option<usize>,
    /// One-based column of that line, in characters.
    pub column: Option<u32>,
}

impl Problem {
    /// A problem with `value` at `key`; the line is added where the file is known.
    pub fn new(
        key: impl Into<String>,
        value: impl fmt::Display,
        fault: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            value: value.to_string(),
            fault: fault.into(),
            remedy: remedy.into(),
            line: None,
            column: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}", self.key)?;
        if !self.value.is_empty() {
            write!(f, " = {}", self.value)?;
        }
        write!(f, ": {}; {}", self.fault, self.remedy)
    }
}
