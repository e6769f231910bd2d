//! What asks and steers a sidecar that runs.

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::{Value, json};

use super::client::{Admin, Client, Failed, wait_for};
use super::output::{bold, coloured, milliseconds, print, print_json, shown, table};
use crate::scheduling::policy;

#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Mode {
    /// The mode to change to; without it, the mode is shown.
    #[arg(value_parser = PossibleValuesParser::new(policy::Mode::ALL.map(|mode| mode.as_str())))]
    mode: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Thresholds {
    /// Decentralized starts to give way to federated.
    #[arg(long, allow_negative_numbers = true, value_parser = number)]
    soft_d2f: Option<f64>,
    /// And has given way.
    #[arg(long, allow_negative_numbers = true, value_parser = number)]
    hard_d2f: Option<f64>,
    /// Federated starts to give way to centralized.
    #[arg(long, allow_negative_numbers = true, value_parser = number)]
    soft_f2c: Option<f64>,
    /// And has given way.
    #[arg(long, allow_negative_numbers = true, value_parser = number)]
    hard_f2c: Option<f64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    /// The node; without it, the sidecar that is asked takes no more connections.
    node: Option<String>,
    /// Put the node back.
    #[arg(long, requires = "node")]
    undo: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Health {
    /// Make it say from now on that it is not ready, while all goes on: before it is stopped.
    #[arg(long, conflicts_with = "ok")]
    fail: bool,
    /// Undo that.
    #[arg(long)]
    ok: bool,
    /// Then wait so many seconds, so that whoever asks for its health has seen it.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=600))]
    wait: u64,
    #[command(flatten)]
    common: Common,
}

/// What all of these take.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) admin: Admin,
    /// Print what it answers as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Common {
    /// Makes one call, and prints what it answers: as JSON, or as `text` says it.
    fn ask(
        &self,
        method: Method,
        target: &str,
        body: &str,
        text: impl FnOnce(&Value) -> String,
    ) -> anyhow::Result<ExitCode> {
        let client = self.admin.client()?;
        let document = wait_for(client.json(method, target, body))?;
        self.print(&document, text)?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, document: &Value, text: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
        if self.json { print_json(document) } else { print(&text(document)) }
    }
}

impl Reload {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.common.ask(Method::POST, "/reload", "", reloaded)
    }
}

impl Mode {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Some(mode) = &self.mode else {
            let text = |document: &Value| format!("{}\n", shown(&document["mode"]));
            return self.common.ask(Method::GET, "/configuration", "", text);
        };
        let body = json!({ "architecture": mode }).to_string();
        let client = self.common.admin.client()?;
        let mut document = wait_for(client.json(Method::POST, "/reload", &body))?;
        // As the mode is called when it is asked for.
        let architecture = document["architecture"].clone();
        add(&mut document, "mode", architecture);
        self.common.print(&document, reloaded)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Adds `key` to what was answered, which whoever is no hopwise may have made no object.
fn add(document: &mut Value, key: &str, value: Value) {
    if let Some(document) = document.as_object_mut() {
        document.insert(key.to_owned(), value);
    }
}

fn reloaded(document: &Value) -> String {
    let lines = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let mut text = format!(
        "generation {}, mode {}\n",
        shown(&document["generation"]),
        shown(&document["architecture"])
    );
    for change in lines("changed") {
        text += &format!("  {}\n", shown(&change));
    }
    for key in lines("restart_needed") {
        text += &format!("  {} takes effect at the next start\n", shown(&key));
    }
    text
}

/// A number that JSON can say, which the sidecar then judges.
fn number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "write a number, as 1.5".to_owned())
}

impl Thresholds {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let asked = [
            ("soft_d2f", self.soft_d2f),
            ("hard_d2f", self.hard_d2f),
            ("soft_f2c", self.soft_f2c),
            ("hard_f2c", self.hard_f2c),
        ];
        let patch: serde_json::Map<String, Value> = asked
            .into_iter()
            .filter_map(|(name, number)| Some((name.to_owned(), number?.into())))
            .collect();
        let (method, target, body) = if patch.is_empty() {
            (Method::GET, "/configuration", String::new())
        } else {
            (Method::POST, "/update_threshold", Value::Object(patch).to_string())
        };
        let client = self.common.admin.client()?;
        let mut document = wait_for(client.json(method, target, &body))?;
        // Only a remark depends on it, so that it may fail.
        let dump = wait_for(client.json(Method::GET, "/config_dump", "")).unwrap_or_default();
        add(&mut document, "rule", dump["configuration"]["dynamic"]["rule"].clone());
        let text = |document: &Value| {
            let thresholds = document["thresholds"].as_object().cloned().unwrap_or_default();
            let rows: Vec<_> =
                thresholds.iter().map(|(name, value)| vec![name.clone(), shown(value)]).collect();
            let remark = match document["rule"].as_str() {
                Some("adaptive") => "they have no effect under dynamic.rule: adaptive\n",
                _ => "",
            };
            table(&rows) + remark
        };
        self.common.print(&document, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.common.admin.client()?;
        let status = wait_for(status(&client))?;
        self.common.print(&status, |status| screen(status, coloured()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// All that [`screen`] shows.
pub(super) async fn status(client: &Client) -> anyhow::Result<Value> {
    let get = |target: &'static str| client.json(Method::GET, target, "");
    Ok(json!({
        "server": get("/server_info").await?,
        "load": get("/load").await?,
        "clusters": get("/clusters").await?,
        "mode": get("/configuration").await?["mode"],
    }))
}

/// A sidecar and its nodes, on a screen.
pub(super) fn screen(status: &Value, coloured: bool) -> String {
    let (server, load, clusters) = (&status["server"], &status["load"], &status["clusters"]);
    let of = |document: &Value, key: &str| shown(&document[key]);
    let uptime = Duration::from_secs(server["uptime_s"].as_f64().unwrap_or_default() as u64);
    let text = format!(
        "{} {} ({}, zone {}), up {uptime:?}, version {}, generation {}\nmode {}, health check {}, \
         cpu {:.0} %, in flight {}, predictions for {}\n\n",
        bold(&of(server, "node"), coloured),
        of(server, "state"),
        of(server, "role"),
        of(server, "zone"),
        of(server, "version"),
        of(server, "generation"),
        of(status, "mode"),
        of(server, "health_check"),
        load["cpu_normalized"].as_f64().unwrap_or_default() * 100.0,
        of(load, "in_flight"),
        of(clusters, "function"),
    );
    let head = [
        "NODE",
        "ROLE",
        "ZONE",
        "ADDRESS",
        "HEALTH",
        "IN FLIGHT",
        "FROM HERE",
        "WAY ms",
        "SERVICE ms",
        "ANSWER ms",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for node in clusters["nodes"].as_array().into_iter().flatten() {
        let mark = if node["self"] == true { "*" } else { "" };
        rows.push(vec![
            format!("{}{mark}", of(node, "id")),
            of(node, "role"),
            of(node, "zone"),
            format!("{}:{}", of(node, "address"), of(node, "port")),
            of(node, "health"),
            of(node, "in_flight"),
            of(node, "outstanding"),
            milliseconds(&node["network_s"]),
            milliseconds(&node["service_s"]),
            milliseconds(&node["completion_s"]),
        ]);
    }
    text + &table(&rows)
}

impl Drain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Some(node) = &self.node else {
            return self.common.ask(Method::POST, "/drain_listeners", "", health);
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if node.is_empty() || !node.chars().all(allowed) {
            let remedy = "hopwise status lists those there are";
            return Err(Failed::Usage(format!("{node:?} is no name of a node; {remedy}")).into());
        }
        let what = if self.undo { "undrain" } else { "drain" };
        self.common.ask(Method::POST, &format!("/nodes/{node}/{what}"), "", |document| {
            let is = if document["drained"] == true { "drained" } else { "back" };
            format!("{} is {is}\n", shown(&document["node"]))
        })
    }
}

fn health(document: &Value) -> String {
    let [state, check] = ["state", "health_check"].map(|key| shown(&document[key]));
    format!("{state}, health check {check}\n")
}

impl Health {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let ended = match (self.fail, self.ok) {
            (true, _) => self.common.ask(Method::POST, "/healthcheck/fail", "", health)?,
            (_, true) => self.common.ask(Method::POST, "/healthcheck/ok", "", health)?,
            _ => self.ready()?,
        };
        std::thread::sleep(Duration::from_secs(self.wait));
        Ok(ended)
    }

    fn ready(&self) -> anyhow::Result<ExitCode> {
        let client = self.common.admin.client()?;
        let answer = wait_for(client.call(Method::GET, "/ready", Default::default()))?;
        if !answer.status.is_success() {
            let document = serde_json::from_slice(&answer.body).unwrap_or_default();
            let refused = client.refused(answer.status, &document);
            if !self.common.json {
                return Err(refused.into());
            }
            print_json(&json!({ "ready": false, "message": refused.to_string() }))?;
            return Ok(ExitCode::from(refused.exit_code()));
        }
        self.common.print(&json!({ "ready": true }), |_| "ready\n".to_owned())?;
        Ok(ExitCode::SUCCESS)
    }
}
