//! `explain`: one call of a function, and what its answer tells of where it ran.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::client::{Answer, Client, token, wait_for};
use super::output::{print, print_json, shown, table};
use super::secure::Files;

const EXPLAIN: HeaderName = HeaderName::from_static("hopwise-explain");
const PREFIX: &str = "hopwise-";
/// The field whose value is JSON: what was compared, and why this one.
const DECISION: &str = "decision";

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The function, with more of the path and a query where it takes any.
    function: String,
    /// What it is sent; @FILE sends a file. With it the method is POST.
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// The data port of the sidecar; https://HOST:PORT to speak TLS.
    #[arg(long, value_name = "HOST:PORT", env = "HOPWISE_DATA", default_value = "127.0.0.1:31113")]
    at: String,
    /// A file with the admin token, for a sidecar on another host; without it HOPWISE_ADMIN_TOKEN counts.
    #[arg(long, value_name = "FILE", env = "HOPWISE_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// How long the answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    within: u64,
    #[command(flatten)]
    tls: Files,
    /// Print it as JSON, the answer's body included.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut fields = HeaderMap::from_iter([(EXPLAIN, HeaderValue::from_static("1"))]);
        if let Some(token) = token(self.token_file.as_ref())? {
            fields
                .insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {}", token.trim()))?);
        }
        let (address, secure) = self.tls.at(&self.at)?;
        let client = Client {
            address,
            secure,
            option: "--at or HOPWISE_DATA",
            fields,
            within: Duration::from_secs(self.within),
        };
        let (method, body) = match &self.data {
            None => (Method::GET, Bytes::new()),
            Some(data) => (Method::POST, read(data)?),
        };
        let started = Instant::now();
        let target = format!("/function/{}", self.function);
        let answer = wait_for(client.call(method, &target, body))?;
        let took = started.elapsed();
        let told = told(&answer.fields);
        if self.json {
            print_json(&json!({
                "status": answer.status.as_u16(), "took_s": took.as_secs_f64(), "told": told,
                "body": String::from_utf8_lossy(&answer.body),
            }));
        } else {
            print(&explanation(&answer, took, &told));
        }
        Ok(if answer.status < StatusCode::BAD_REQUEST {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn read(data: &str) -> anyhow::Result<Bytes> {
    match data.strip_prefix('@') {
        Some(file) => {
            let bytes =
                std::fs::read(file).with_context(|| format!("--data: cannot read {file}"))?;
            Ok(bytes.into())
        }
        None => Ok(Bytes::copy_from_slice(data.as_bytes())),
    }
}

/// The fields of an answer that tell of the sidecars, without what their names have in common.
fn told(fields: &HeaderMap) -> Map<String, Value> {
    let mut told = Map::new();
    for (name, value) in fields {
        if let Some(name) = name.as_str().strip_prefix(PREFIX) {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let value = (name == DECISION).then(|| serde_json::from_str(&text).ok()).flatten();
            told.insert(name.to_owned(), value.unwrap_or_else(|| text.into()));
        }
    }
    told
}

fn explanation(answer: &Answer, took: Duration, told: &Map<String, Value>) -> String {
    let bytes = answer.body.len();
    let mut text =
        format!("{}, {bytes} bytes in {:.1} ms\n", answer.status, took.as_secs_f64() * 1e3);
    if told.is_empty() {
        text += "nothing is told of where it ran: the answer is not of a hopwise, or it does not \
                 trust this caller; call from its host, or show the admin token\n";
    }
    let simple = told.iter().filter(|(name, _)| *name != DECISION);
    text +=
        &table(&simple.map(|(name, value)| vec![name.clone(), shown(value)]).collect::<Vec<_>>());
    if let Some(decision) = told.get(DECISION) {
        text += &format!("\n{DECISION}\n");
        text += &outline(decision, 1);
    }
    text
}

/// `value` in lines, a level of nesting further in each; lists of alike objects are tables.
fn outline(value: &Value, level: usize) -> String {
    let indent = "  ".repeat(level);
    let indented =
        |text: String| -> String { text.lines().map(|line| format!("{indent}{line}\n")).collect() };
    match value {
        Value::Object(map) => {
            let mut text = String::new();
            for (key, value) in map {
                if value.is_object()
                    || value.as_array().is_some_and(|a| a.iter().any(Value::is_object))
                {
                    text += &format!(
                        "{indent}{}\n{}",
                        shown(&key.as_str().into()),
                        outline(value, level + 1)
                    );
                } else {
                    text += &indented(format!("{}: {}", shown(&key.as_str().into()), shown(value)));
                }
            }
            text
        }
        Value::Array(rows) if rows.iter().all(Value::is_object) && !rows.is_empty() => {
            let keys = rows.iter().filter_map(Value::as_object).flat_map(Map::keys);
            let keys: BTreeSet<&String> = keys.collect();
            let mut cells = vec![keys.iter().map(|key| shown(&key.as_str().into())).collect()];
            for row in rows {
                cells.push(keys.iter().map(|key| shown(&row[key.as_str()])).collect::<Vec<_>>());
            }
            indented(table(&cells))
        }
        other => indented(shown(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_and_a_decision_is_laid_out() {
        let decision = r#"{"why":"picked","candidates":[{"node":"a","ms":1.5},{"node":"bb","ms":20,"why":"x"}]}"#;
        let mut fields = HeaderMap::new();
        for (name, value) in
            [("hopwise-node", "a"), ("hopwise-decision", decision), ("content-type", "x")]
        {
            fields.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let told = told(&fields);
        let body = Bytes::from_static(b"ok");
        let answer = Answer { status: StatusCode::OK, fields, body };
        let text = explanation(&answer, Duration::from_millis(12), &told);
        let expected = "200 OK, 2 bytes in 12.0 ms\nnode  a\n\ndecision\n  candidates\n    ms   node  why\n    1.5  a     -\n    20   bb    x\n  why: picked\n";
        assert_eq!(text, expected);
        fields_that_are_no_json_are_told_as_they_are();
    }

    fn fields_that_are_no_json_are_told_as_they_are() {
        let mut fields = HeaderMap::new();
        fields.insert("hopwise-decision", HeaderValue::from_static("picked"));
        assert_eq!(told(&fields)[DECISION], "picked");
    }
}
