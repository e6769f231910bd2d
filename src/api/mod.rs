//! Our own paths, on the data port and on the admin port.
//!
//! The table `ROUTES` is the contract: which call is answered where, and to whom. Every handler takes an
//! admitted request apart, asks the state, and answers with one document.

mod admin;
mod body;
mod changes;
mod clusters;
mod dashboard;
mod decisions;
mod documents;
mod invoke;
mod manage;
mod metrics;
mod openapi;
mod routes;
mod wire;

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Response};
use hyper::body::Body;
use tower::Service;

use crate::proxy::Context;
use crate::proxy::admit::Admitted;
use crate::proxy::answer::Refused;
use crate::proxy::request_body::drain;
use crate::proxy::response_body::ResponseBody;

use admin::Ask;
use routes::permitted;

/// Every call we answer, in one table.
const ROUTES: &[Route] = &[
    route("/entry", Verb::Post, Ports::Both, Access::Client, Call::Entry),
    route("/schedule", Verb::Post, Ports::Both, Access::Peer, Call::Schedule),
    route("/load", Verb::Get, Ports::Both, Access::Operator, Call::Load),
    route("/arch_metrics", Verb::Get, Ports::Both, Access::Operator, Call::ArchMetrics),
    route("/durations", Verb::Get, Ports::Both, Access::Operator, Call::Durations),
    route("/decisions", Verb::Get, Ports::Both, Access::Operator, Call::Decisions),
    route("/configuration", Verb::Get, Ports::Both, Access::Operator, Call::Configuration),
    route("/reload", Verb::Post, Ports::Both, Access::Change, Call::Reload),
    route("/update_threshold", Verb::Post, Ports::Both, Access::Change, Call::UpdateThreshold),
    route("/metrics", Verb::Get, Ports::Admin, Access::Operator, Call::Metrics),
    route("/stats/prometheus", Verb::Get, Ports::Admin, Access::Operator, Call::Metrics),
    route("/live", Verb::Get, Ports::Admin, Access::Probe, Call::Live),
    route("/ready", Verb::Get, Ports::Admin, Access::Probe, Call::Ready),
    route("/healthz", Verb::Get, Ports::Admin, Access::Probe, Call::Ready),
    // The page itself shows nothing of this sidecar: a browser cannot show a token with its first call.
    route("/", Verb::Get, Ports::Admin, Access::Probe, Call::Admin(Ask::Page)),
    operator("/events", Verb::Get, Ask::Events),
    operator("/openapi.json", Verb::Get, Ask::Openapi),
    operator("/server_info", Verb::Get, Ask::ServerInfo),
    operator("/config_dump", Verb::Get, Ask::ConfigDump),
    operator("/clusters", Verb::Get, Ask::Clusters),
    operator("/logging", Verb::Get, Ask::Logging),
    operator("/logging", Verb::Post, Ask::SetLogging),
    operator("/nodes/{id}/drain", Verb::Post, Ask::Drain),
    operator("/nodes/{id}/undrain", Verb::Post, Ask::Undrain),
    operator("/healthcheck/fail", Verb::Post, Ask::FailHealthCheck),
    operator("/healthcheck/ok", Verb::Post, Ask::PassHealthCheck),
    operator("/drain_listeners", Verb::Post, Ask::DrainListeners),
    operator("/quitquitquit", Verb::Post, Ask::Quit),
];

/// One row of [`ROUTES`].
#[derive(Debug, Clone, Copy)]
struct Route {
    /// A segment in braces stands for any one segment.
    path: &'static str,
    verb: Verb,
    ports: Ports,
    access: Access,
    call: Call,
}

/// The methods a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// GET, and HEAD with it.
    Get,
    Post,
}

/// The ports a call is answered on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    Both,
    Admin,
}

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Whoever reaches the port: probes cannot show a token.
    Probe,
    /// Anyone on the data port; on the admin port like [`Self::Operator`].
    Client,
    /// Other sidecars, and whoever is an operator.
    Peer,
    /// Callers on this host, and those who show the admin token.
    Operator,
    /// Like [`Self::Operator`], and never a page in somebody's browser, but for our own.
    Change,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Entry,
    Schedule,
    Load,
    ArchMetrics,
    Durations,
    Decisions,
    Configuration,
    Reload,
    UpdateThreshold,
    Metrics,
    Live,
    Ready,
    Admin(Ask),
}

const fn route(path: &'static str, verb: Verb, ports: Ports, access: Access, call: Call) -> Route {
    Route { path, verb, ports, access, call }
}

/// A call of the admin port alone; what is posted changes something.
const fn operator(path: &'static str, verb: Verb, ask: Ask) -> Route {
    let access = match verb {
        Verb::Get => Access::Operator,
        Verb::Post => Access::Change,
    };
    route(path, verb, Ports::Admin, access, Call::Admin(ask))
}

/// The function that the body of an `/entry` calls, if it makes sense.
pub(crate) fn entry_function(body: &[u8]) -> Option<String> {
    wire::EntryRequest::parse(body).ok().map(|asked| asked.function.to_string())
}

/// Answers our own paths for one worker.
#[derive(Debug, Clone)]
pub struct Api {
    context: Rc<Context>,
}

impl Api {
    /// The API of the worker of `context`.
    pub fn new(context: Rc<Context>) -> Self {
        Self { context }
    }
}

impl Service<Admitted> for Api {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, admitted: Admitted) -> Self::Future {
        let context = Rc::clone(&self.context);
        Box::pin(async move {
            let arrived = Instant::now();
            let head_only = admitted.request.method() == Method::HEAD;
            let response = match answer(&context, admitted, arrived).await {
                Ok(response) => response,
                Err(refused) => refused.into_response(),
            };
            Ok(if head_only { without_body(response) } else { response })
        })
    }
}

async fn answer(
    context: &Rc<Context>,
    admitted: Admitted,
    arrived: Instant,
) -> Result<Response<ResponseBody>, Refused> {
    let call = match permitted(&admitted) {
        Ok(call) => call,
        Err(refused) => {
            drain(admitted.request.into_body()).await;
            return Err(refused);
        }
    };
    let state = &context.state;
    match call {
        Call::Entry => invoke::entry(context, admitted, arrived).await,
        Call::Schedule => invoke::schedule(context, admitted, arrived).await,
        Call::Load => Ok(manage::load(state, &admitted.snapshot)),
        Call::ArchMetrics => Ok(manage::arch_metrics(state, &admitted.snapshot)),
        Call::Durations => manage::durations(state, admitted.request.uri().query()),
        Call::Decisions => decisions::decisions(state, admitted.request.uri().query()),
        Call::Configuration => Ok(manage::configuration(&admitted.snapshot)),
        Call::Reload => manage::reload(state, admitted).await,
        Call::UpdateThreshold => manage::update_threshold(state, admitted).await,
        Call::Metrics => Ok(metrics::metrics(state, &admitted)),
        Call::Live => Ok(manage::live()),
        Call::Ready => manage::ready(state),
        Call::Admin(ask) => admin::answer(ask, state, admitted).await,
    }
}

/// The answer to HEAD: the head that GET would get.
fn without_body(response: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, ResponseBody::full(hyper::body::Bytes::new()))
}

#[cfg(test)]
mod tests {
    use super::routes::find;
    use super::*;
    use crate::proxy::admit::{Caller, OWN_PATHS};
    use crate::proxy::client::{Client, Port};

    #[test]
    fn the_data_port_admits_exactly_the_paths_of_the_table() {
        let ours: Vec<&str> =
            ROUTES.iter().filter(|route| route.is_on(Port::Data)).map(|route| route.path).collect();
        assert_eq!(ours, OWN_PATHS);
    }

    fn is_post(path: &str) -> bool {
        let posts = |route: &&Route| route.verb == Verb::Post && route.serves(path);
        ROUTES.iter().filter(|route| route.serves(path)).count() == 1
            && ROUTES.iter().any(|route| posts(&route))
    }

    #[test]
    fn what_changes_anything_is_posted_and_never_by_a_page() {
        for route in ROUTES {
            let changes = route.access == Access::Change;
            assert!(!changes || route.verb == Verb::Post, "{}", route.path);
            let reads = matches!(route.access, Access::Probe | Access::Operator);
            assert!(!reads || route.verb == Verb::Get, "{}", route.path);
        }
    }

    #[test]
    fn each_access_lets_in_whom_it_names() {
        use Port::{Admin, Data};
        // path, port, trusted, from a page: the error, if any
        for (path, port, is_trusted, from_page, error) in [
            ("/entry", Data, false, false, None),
            ("/entry", Data, false, true, None),
            ("/entry", Admin, false, false, Some("forbidden")),
            ("/entry", Admin, true, true, None),
            ("/schedule", Data, false, false, Some("forbidden")),
            ("/schedule", Data, true, false, None),
            ("/schedule", Admin, false, false, Some("forbidden")),
            ("/load", Data, true, true, None),
            ("/load", Data, false, false, Some("forbidden")),
            ("/arch_metrics", Data, false, false, Some("forbidden")),
            ("/durations", Data, false, false, Some("forbidden")),
            ("/decisions", Data, false, false, Some("forbidden")),
            ("/configuration", Admin, false, false, Some("forbidden")),
            ("/reload", Data, true, false, None),
            ("/reload", Data, true, true, Some("cross_origin")),
            ("/reload", Admin, false, true, Some("forbidden")),
            ("/update_threshold", Data, false, false, Some("forbidden")),
            ("/update_threshold", Admin, true, true, Some("cross_origin")),
            ("/metrics", Admin, false, false, Some("forbidden")),
            ("/live", Admin, false, false, None),
            ("/ready", Admin, false, true, None),
            ("/healthz", Admin, false, false, None),
            ("/clusters", Admin, false, false, Some("forbidden")),
            ("/logging", Admin, true, true, None),
            ("/nodes/edge1/drain", Admin, false, false, Some("forbidden")),
            ("/nodes/edge1/drain", Admin, true, true, Some("cross_origin")),
            ("/quitquitquit", Admin, true, true, Some("cross_origin")),
            ("/quitquitquit", Admin, true, false, None),
        ] {
            let method = if is_post(path) { Method::POST } else { Method::GET };
            let route = find(path, &method, port).unwrap();
            let client = Client::stranger(port);
            let caller = Caller {
                client,
                peer: None,
                is_peer: false,
                is_trusted,
                is_operator: false,
                wants_decision: false,
                came: std::time::Instant::now(),
                trail: Default::default(),
            };
            let refused = route.permit(&caller, from_page).err();
            let context = format!("{path} {port:?} trusted {is_trusted} page {from_page}");
            assert_eq!(refused.map(|refused| refused.error), error, "{context}");
        }
    }

    #[test]
    fn an_unknown_path_is_answered_with_those_there_are() {
        for (path, port) in [
            ("/metrics", Port::Data),
            ("/", Port::Data),
            ("", Port::Admin),
            ("/load/", Port::Admin),
            ("/Load", Port::Admin),
            ("/healthz", Port::Data),
            ("/nodes/edge1/drain", Port::Data),
            ("/nodes//drain", Port::Admin),
            ("/nodes/a/b/drain", Port::Admin),
            ("/nodes/edge1", Port::Admin),
        ] {
            let refused = find(path, &Method::GET, port).unwrap_err();
            assert_eq!(refused.error, "not_found");
            assert!(refused.message.contains("/update_threshold"), "{}", refused.message);
            assert_eq!(refused.message.contains("/ready"), port == Port::Admin);
        }
    }
}
