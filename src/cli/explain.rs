//! `explain`: one call of a function, and what its answer tells of where it ran.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::client::{Answer, Client, Failed, token, wait_for};
use super::output::{plain, print, print_json, shown, table};
use super::secure::Files;

const EXPLAIN: HeaderName = HeaderName::from_static("hopwise-explain");
const PREFIX: &str = "hopwise-";
/// The field whose value is JSON: what was compared, and why this one. Each decider adds one.
const DECISION: &str = "decision";
/// What the process ends with where nothing is told.
const NOT_ALLOWED: u8 = 4;

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The function, with more of the path and a query where it takes any: /function/NAME is called.
    ///
    /// Where `routes` has other paths, write the whole path, beginning with a slash, and with it --host
    /// where a route has a host, as those of Knative have.
    #[arg(value_name = "NAME|/PATH")]
    function: String,
    /// The Host field, where a route is for a host; without it, that of --at.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
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
    /// Print it as JSON, the answer's body included; told.decision lists all who decided, in their order.
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
        if let Some(host) = &self.host {
            let host = HeaderValue::try_from(host).ok().filter(|host| !host.is_empty());
            let unusable = || Failed::Usage("--host: write a HOST, as function.example.com".into());
            fields.insert(HOST, host.ok_or_else(unusable)?);
        }
        let target = target(&self.function)?;
        let (address, secure) = self.tls.at(&self.at, "--at or HOPWISE_DATA")?;
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
        let answer = wait_for(client.call(method, &target, body))?;
        let took = started.elapsed();
        let told = told(&answer.fields);
        if self.json {
            print_json(&json!({
                "status": answer.status.as_u16(), "took_s": took.as_secs_f64(), "told": told,
                "body": String::from_utf8_lossy(&answer.body),
            }))?;
        } else {
            print(&explanation(&answer, took, &told))?;
        }
        Ok(match answer.status {
            _ if told.is_empty() => ExitCode::from(NOT_ALLOWED),
            status if status < StatusCode::BAD_REQUEST => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

/// The path that is called for `function`, which may be one itself.
fn target(function: &str) -> anyhow::Result<String> {
    if function.is_empty() {
        let remedy = "name a function, or write a path that begins with a slash";
        return Err(Failed::Usage(format!("NAME is empty; {remedy}")).into());
    }
    let is_path = function.starts_with('/');
    Ok(if is_path { function.to_owned() } else { format!("/function/{function}") })
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
            if name == DECISION {
                let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| text.into());
                if let Value::Array(deciders) = told.entry(name).or_insert_with(|| json!([])) {
                    deciders.push(value);
                }
            } else {
                told.insert(name.to_owned(), text.into());
            }
        }
    }
    told
}

fn explanation(answer: &Answer, took: Duration, told: &Map<String, Value>) -> String {
    let bytes = answer.body.len();
    let mut text =
        format!("{}, {bytes} bytes in {:.1} ms\n", answer.status, took.as_secs_f64() * 1e3);
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(message) = document["message"].as_str()
        && answer.status >= StatusCode::BAD_REQUEST
    {
        text += &format!("{}\n", plain(message));
    }
    if told.is_empty() {
        text += "nothing is told of where it ran: the answer is not of a hopwise, no route has this \
                 path and host, or it does not trust this caller; call from its host or show the \
                 admin token, and write the path and --host that `routes` has\n";
    }
    let simple = told.iter().filter(|(name, _)| *name != DECISION);
    text +=
        &table(&simple.map(|(name, value)| vec![name.clone(), shown(value)]).collect::<Vec<_>>());
    for decision in told.get(DECISION).and_then(Value::as_array).into_iter().flatten() {
        let of = decision["node"].as_str().map(|node| format!(" of {}", plain(node)));
        text += &format!("\n{DECISION}{}\n", of.unwrap_or_default());
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

    #[test]
    fn all_who_decide_are_told_the_first_first() {
        let mut fields = HeaderMap::new();
        for decision in [r#"{"node":"a","target":"b"}"#, r#"{"node":"b","why":"ordered"}"#] {
            fields.append("hopwise-decision", HeaderValue::from_static(decision));
        }
        let told = told(&fields);
        assert_eq!(told[DECISION].as_array().map(Vec::len), Some(2));
        let body = Bytes::from_static(br#"{"error":"full","message":"the queue is full"}"#);
        let answer = Answer { status: StatusCode::SERVICE_UNAVAILABLE, fields, body };
        let text = explanation(&answer, Duration::ZERO, &told);
        let expected = "the queue is full\n\ndecision of a\n  node: a\n  target: b\n\n\
                        decision of b\n  node: b\n  why: ordered\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_path_is_called_as_it_is() {
        assert_eq!(target("echo").unwrap(), "/function/echo");
        assert_eq!(target("/v1/echo/run?a=1").unwrap(), "/v1/echo/run?a=1");
        assert!(target("").is_err());
    }

    fn fields_that_are_no_json_are_told_as_they_are() {
        let mut fields = HeaderMap::new();
        fields.insert("hopwise-decision", HeaderValue::from_static("picked"));
        assert_eq!(told(&fields)[DECISION], json!(["picked"]));
    }
}
