//! The admin port's own calls, under the names that Envoy gave them where it has them.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::{Change, Snapshot};
use crate::logging;
use crate::problem::Problem;
use crate::proxy::admit::Admitted;
use crate::proxy::answer::{Refused, json};
use crate::proxy::response_body::ResponseBody;
use crate::state::{Order, State};

use super::body::read_request;
use super::clusters::clusters;
use super::dashboard;
use super::manage::refused_change;
use super::openapi;
use super::routes::segment_after;
use super::wire;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Page,
    Events,
    Openapi,
    ServerInfo,
    ConfigDump,
    Clusters,
    Logging,
    SetLogging,
    Drain,
    Undrain,
    FailHealthCheck,
    PassHealthCheck,
    DrainListeners,
    Quit,
}

type Answer = Result<Response<ResponseBody>, Refused>;

/// The answer to `ask`.
pub(super) async fn answer(ask: Ask, state: &Arc<State>, admitted: Admitted) -> Answer {
    let (snapshot, uri) = (&admitted.snapshot, admitted.request.uri().clone());
    match ask {
        Ask::Page => Ok(dashboard::page()),
        Ask::Events => Ok(dashboard::events(state)),
        Ask::Openapi => Ok(openapi::document()),
        Ask::ServerInfo => Ok(server_info(state, snapshot)),
        Ask::ConfigDump => Ok(config_dump(snapshot)),
        Ask::Clusters => clusters(state, snapshot, uri.query()),
        Ask::Logging => logging_in_force(),
        Ask::SetLogging => {
            let body = read_request(state, snapshot, admitted.request.into_body()).await?;
            logging::follow(&wire::parse_level(uri.query(), &body)?).map_err(bad_level)?;
            logging_in_force()
        }
        Ask::Drain | Ask::Undrain => {
            expect_nothing(state, admitted).await?;
            let id = segment_after(uri.path(), "/nodes/");
            drain_node(state, id, ask == Ask::Drain)
        }
        Ask::FailHealthCheck | Ask::PassHealthCheck | Ask::DrainListeners | Ask::Quit => {
            expect_nothing(state, admitted).await?;
            match ask {
                Ask::FailHealthCheck => state.fail_health_check(true),
                Ask::PassHealthCheck => state.fail_health_check(false),
                Ask::DrainListeners => state.order(Order::Drain),
                _ => state.order(Order::Quit),
            }
            Ok(health(state))
        }
    }
}

/// Reads a body that must say nothing: who sends something meant another call.
async fn expect_nothing(state: &State, admitted: Admitted) -> Result<(), Refused> {
    let path = admitted.request.uri().path().to_owned();
    let body = read_request(state, &admitted.snapshot, admitted.request.into_body()).await?;
    let said = body.trim_ascii();
    if said.is_empty() || said == b"{}" {
        return Ok(());
    }
    let path = wire::shortened(&path);
    let message = format!("{path} takes no body; send it without one, nothing was changed");
    Err(Refused::new(StatusCode::BAD_REQUEST, "bad_request", message))
}

#[derive(Serialize)]
struct ServerInfo<'a> {
    version: &'static str,
    /// As in Envoy's answer; this one knows no other states that answer.
    state: &'static str,
    health_check: &'static str,
    node: &'a str,
    zone: &'a str,
    role: &'static str,
    generation: u64,
    uptime_s: f64,
    process: u32,
    command_line: Vec<String>,
}

fn server_info(state: &State, snapshot: &Snapshot) -> Response<ResponseBody> {
    let node = snapshot.site.node();
    let document = ServerInfo {
        version: env!("CARGO_PKG_VERSION"),
        state: phase(state),
        health_check: health_check(state),
        node: node.id.as_str(),
        zone: node.zone.as_str(),
        role: node.role.as_str(),
        generation: snapshot.generation,
        uptime_s: state.now().since(crate::scheduling::Time::ZERO).as_secs_f64(),
        process: std::process::id(),
        command_line: without_secrets(
            std::env::args_os().map(|word| word.to_string_lossy().into_owned()),
        ),
    };
    json(StatusCode::OK, &document)
}

/// `words`, with what follows an option that may be a secret left out. No option takes one today.
fn without_secrets(words: impl Iterator<Item = String>) -> Vec<String> {
    const HINTS: [&str; 4] = ["token", "secret", "password", "key"];
    const HIDDEN: &str = "(hidden)";
    let mut hides = false;
    let shown = words.map(|word| {
        if std::mem::take(&mut hides) {
            return HIDDEN.to_owned();
        }
        let (option, value) = word.split_once('=').unzip();
        let option = option.unwrap_or(&word);
        let secret = option.starts_with("--")
            && !option.ends_with("file")
            && HINTS.iter().any(|hint| option.contains(hint));
        hides = secret && value.is_none();
        if secret && !hides { format!("{option}={HIDDEN}") } else { word }
    });
    shown.collect()
}

#[derive(Serialize)]
struct Health {
    state: &'static str,
    health_check: &'static str,
}

/// How this sidecar is after what it was just told.
fn health(state: &State) -> Response<ResponseBody> {
    json(StatusCode::OK, &Health { state: phase(state), health_check: health_check(state) })
}

fn phase(state: &State) -> &'static str {
    let leaves = state.is_draining() || *state.orders().borrow() > Order::Serve;
    if leaves { "DRAINING" } else { "LIVE" }
}

fn health_check(state: &State) -> &'static str {
    if state.is_failing_health_check() { "failed" } else { "ok" }
}

#[derive(Serialize)]
struct ConfigDump<'a> {
    generation: u64,
    configuration: Value,
    drained: Vec<&'a str>,
}

fn config_dump(snapshot: &Snapshot) -> Response<ResponseBody> {
    let document = ConfigDump {
        generation: snapshot.generation,
        configuration: snapshot.effective(),
        drained: snapshot.drained.iter().map(|id| id.as_str()).collect(),
    };
    json(StatusCode::OK, &document)
}

fn logging_in_force() -> Answer {
    match logging::filter() {
        Some(level) => {
            Ok(json(StatusCode::OK, &Map::from_iter([("level".to_owned(), level.into())])))
        }
        None => {
            let message = "this process has no log of its own; start one by hopwise run";
            Err(Refused::new(StatusCode::NOT_FOUND, "no_log", message))
        }
    }
}

fn bad_level(problem: Problem) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "bad_request", problem.to_string())
}

#[derive(Serialize)]
struct DrainDocument<'a> {
    node: &'a str,
    drained: bool,
    generation: u64,
}

/// Takes the node `id` out of the candidates of this one, or puts it back.
fn drain_node(state: &State, id: &str, out: bool) -> Answer {
    if state.snapshot().site.topology.index_of(id).is_none() {
        let shown = wire::shortened(id);
        let message = format!("there is no node {shown}; GET /clusters lists those there are");
        return Err(Refused::new(StatusCode::NOT_FOUND, "unknown_node", message));
    }
    match state.apply(&Change::Drain(id.into(), out)) {
        Ok(next) => {
            let document = DrainDocument { node: id, drained: out, generation: next.generation };
            Ok(json(StatusCode::OK, &document))
        }
        Err(problems) => Ok(refused_change(&problems)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_the_command_line_is_told() {
        let words = |line: &str| without_secrets(line.split(' ').map(str::to_owned)).join(" ");
        for (line, shown) in [
            ("hopwise run --config f.yaml --seed 1", "hopwise run --config f.yaml --seed 1"),
            ("hopwise --token abc run", "hopwise --token (hidden) run"),
            ("hopwise --admin-token=abc run", "hopwise --admin-token=(hidden) run"),
            ("hopwise --token-file /run/t --key k", "hopwise --token-file /run/t --key (hidden)"),
        ] {
            assert_eq!(words(line), shown);
        }
    }
}
