//! The numbers that callers ask for.

use serde_json::Value;

use super::{BadInput, Input};

/// A whole number that a caller may give: under which names, and within which bounds.
pub(super) struct Size {
    pub(super) keys: &'static [&'static str],
    pub(super) default: u64,
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Size {
    /// What the query says, or else the body, or else the default.
    pub(super) fn of_query_or_body(&self, input: &Input) -> Result<u64, BadInput> {
        if let Some(size) = self.of_query(&input.query)? {
            return Ok(size);
        }
        let body = input.body.trim_ascii();
        if body.is_empty() {
            return Ok(self.default);
        }
        let value = serde_json::from_slice(body).map_err(|_| self.bad(body))?;
        match self.of_json(&value) {
            Some(size) => self.bounded(size.ok_or_else(|| self.bad(body))?),
            None => Ok(self.default),
        }
    }

    /// What the query says.
    pub(super) fn of_query(&self, query: &str) -> Result<Option<u64>, BadInput> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut named = pairs.filter(|(key, _)| self.keys.contains(key));
        let Some((_, value)) = named.next() else { return Ok(None) };
        let size = value.parse().map_err(|_| self.bad(value.as_bytes()))?;
        self.bounded(size).map(Some)
    }

    /// What `value` asks for: nothing, or something that should be a number.
    fn of_json(&self, value: &Value) -> Option<Option<u64>> {
        match value {
            Value::Null => None,
            Value::Object(members) if members.is_empty() => None,
            Value::Object(members) => {
                let member = self.keys.iter().find_map(|key| members.get(*key));
                // One level only: what is nested deeper was not meant for us.
                Some(member.filter(|member| !member.is_object()).and_then(whole_number))
            }
            other => Some(whole_number(other)),
        }
    }

    fn bounded(&self, size: u64) -> Result<u64, BadInput> {
        if (self.min..=self.max).contains(&size) {
            return Ok(size);
        }
        Err(self.bad(size.to_string().as_bytes()))
    }

    fn bad(&self, written: &[u8]) -> BadInput {
        const SHOWN_BYTES_MAX: usize = 40;
        let shown = &written[..written.len().min(SHOWN_BYTES_MAX)];
        let Self { keys, default, min, max } = self;
        let key = keys[0];
        BadInput(format!(
            "\"{}\" is no {key}: send a whole number from {min} to {max}, as ?{key}={default}, as \
             the body {default} or as the body {{\"{key}\": {default}}}",
            shown.escape_ascii(),
        ))
    }
}

fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    }
}
