//! The page for people, and the events that keep it live.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::config::Snapshot;
use crate::proxy::response_body::ResponseBody;
use crate::state::State;

use super::clusters::{self, ClustersDocument};
use super::documents::{MetricsDocument, ThresholdsDocument};
use super::invoke::unix_seconds;
use super::manage::measured;

/// The page, with all it needs.
const PAGE: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<link rel=\"icon\" href=\"data:,\">\n<title>hopwise</title>\n<style>\n",
    include_str!("page/page.css"),
    "</style>\n",
    include_str!("page/page.html"),
    "<script>\n",
    include_str!("page/page.js"),
    "</script>\n",
);

/// What the page may do: show itself, and call the port that it came from.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Time from one event to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// Most functions in an event: the busiest.
const FUNCTIONS_MAX: usize = 50;

/// What the page is told.
#[derive(Serialize)]
struct Event<'a> {
    /// Unix seconds.
    timestamp: f64,
    node: &'a str,
    mode: &'static str,
    generation: u64,
    thresholds: ThresholdsDocument,
    /// As of `/arch_metrics`.
    metrics: Value,
    /// As of `/clusters`.
    clusters: ClustersDocument<'a>,
}

/// `GET /`: the page.
pub(super) fn page() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(Bytes::from_static(PAGE.as_bytes())));
    for (name, value) in [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer")),
    ] {
        response.headers_mut().insert(name, value);
    }
    response
}

/// `GET /events`: server-sent events, one a second, until this sidecar drains or the reader leaves.
pub(super) fn events(state: &Arc<State>) -> Response<ResponseBody> {
    let state = Arc::clone(state);
    let tell = move || {
        if state.is_draining() {
            return None;
        }
        let event = serde_json::to_string(&event(&state, &state.snapshot())).ok()?;
        Some(Bytes::from(format!("data: {event}\n\n")))
    };
    let mut response = Response::new(ResponseBody::told(PERIOD, tell));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn event<'a>(state: &State, snapshot: &'a Snapshot) -> Event<'a> {
    let site = &snapshot.site;
    let metrics =
        |document: &MetricsDocument<'_>| serde_json::to_value(document).unwrap_or_default();
    Event {
        timestamp: unix_seconds(),
        node: site.node().id.as_str(),
        mode: site.policy.mode.as_str(),
        generation: snapshot.generation,
        thresholds: ThresholdsDocument::new(&site.policy.tail_ratio.thresholds),
        metrics: measured(state, snapshot, FUNCTIONS_MAX, metrics),
        clusters: clusters::document(state, snapshot, None),
    }
}
