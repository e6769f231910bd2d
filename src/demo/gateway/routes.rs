//! What the gateway answers.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::callback::Callback;
use super::pool::{Activity, CallError, Submitter, Ticket};
use crate::demo::functions::{Function, Input, Output};

/// Most bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Most asynchronous invocations that have been accepted and have not ended.
pub const ASYNC_MAX: usize = 256;

/// How long a request's body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// How much longer, and how much more of, a body that is too large is read only to be thrown
/// away. Closing on a client that is still sending would reset the connection, and the client
/// might never see the answer.
const DISCARD_WAIT: Duration = Duration::from_secs(1);
const DISCARD_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;
/// A longer call id than this was not made to be one, and is replaced.
const CALL_ID_BYTES_MAX: usize = 128;

const CALL_ID: &str = "x-call-id";
const START_TIME: &str = "x-start-time";
const DURATION: &str = "x-duration-seconds";
const CALLBACK_URL: &str = "x-callback-url";
const FUNCTION_NAME: &str = "x-function-name";
const FUNCTION_STATUS: &str = "x-function-status";

type Answer = Response<Full<Bytes>>;

/// What the connections of a gateway share.
pub(super) struct Routes {
    pub(super) cores: usize,
    pub(super) submitter: Submitter,
    pub(super) activity: Arc<Activity>,
    pub(super) call_ids: Mutex<Pcg64>,
    /// Asynchronous invocations. They hold a submitter and not these routes: no cycle.
    pub(super) background: Mutex<JoinSet<()>>,
}

impl Routes {
    /// Answers one request.
    pub(super) async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Answer, Infallible> {
        let path = request.uri().path().to_owned();
        if let Some(rest) = path.strip_prefix("/function/") {
            return Ok(self.invoke(rest, request, Mode::Wait).await);
        }
        if let Some(rest) = path.strip_prefix("/async-function/") {
            return Ok(self.invoke(rest, request, Mode::Background).await);
        }
        let answer: fn(&Self) -> Answer = match path.as_str() {
            "/healthz" => |_| text(StatusCode::OK, "OK"),
            "/system/functions" => |routes| json_answer(&routes.functions()),
            "/system/info" => |routes| json_answer(&routes.info()),
            _ => |_| {
                text(
                    StatusCode::NOT_FOUND,
                    "nothing here: see /system/functions, and call /function/NAME",
                )
            },
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) && path != "/healthz" {
            // Deploying and the like: what an embedded gateway has is fixed.
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(refusal);
        }
        Ok(answer(&self))
    }

    async fn invoke(&self, rest: &str, request: Request<Incoming>, mode: Mode) -> Answer {
        let call = self.call(request.headers());
        let name = rest.split('/').next().unwrap_or_default();
        let mut answer = match name.parse() {
            Ok(function) => self.invoke_function(function, request, mode, &call).await,
            Err(()) => text(StatusCode::NOT_FOUND, unknown_function()),
        };
        let headers = answer.headers_mut();
        headers.insert(CALL_ID, call.id.clone());
        headers.insert(START_TIME, call.start_time());
        if mode == Mode::Wait {
            headers.insert(DURATION, call.duration());
        }
        answer
    }

    async fn invoke_function(
        &self,
        function: Function,
        request: Request<Incoming>,
        mode: Mode,
        call: &Call,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let callback = match head.headers.get(CALLBACK_URL).map(Callback::new).transpose() {
            Err(remedy) if mode == Mode::Background => {
                return text(StatusCode::BAD_REQUEST, remedy);
            }
            callback => callback.ok().flatten(),
        };
        let input = Input {
            query: head.uri.query().unwrap_or_default().to_owned(),
            content_type: head.headers.get(CONTENT_TYPE).cloned(),
            body: match whole(body, head.headers.contains_key(EXPECT)).await {
                Ok(body) => body,
                Err(refusal) => return refusal,
            },
        };
        let ticket = match self.submitter.submit(function, input) {
            Ok(ticket) => ticket,
            Err(full) => return try_later(full.to_string()),
        };
        match mode {
            Mode::Wait => outcome(ticket.wait().await),
            Mode::Background => self.in_background(function, ticket, callback, call.clone()),
        }
    }

    fn in_background(
        &self,
        function: Function,
        ticket: Ticket,
        callback: Option<Callback>,
        call: Call,
    ) -> Answer {
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        while background.try_join_next().is_some() {}
        if background.len() >= ASYNC_MAX {
            return try_later(format!(
                "{ASYNC_MAX} asynchronous invocations are under way: try again in a second"
            ));
        }
        background.spawn(async move {
            let (parts, body) = outcome(ticket.wait().await).into_parts();
            let Some(callback) = callback else { return };
            let mut headers = parts.headers;
            headers.insert(CALL_ID, call.id.clone());
            headers.insert(START_TIME, call.start_time());
            headers.insert(DURATION, call.duration());
            headers.insert(FUNCTION_NAME, HeaderValue::from_static(function.as_str()));
            headers.insert(FUNCTION_STATUS, parts.status.as_u16().into());
            // A whole body that is in memory cannot fail to be collected.
            let body = body.collect().await.map_or_else(|never| match never {}, |b| b.to_bytes());
            callback.post(headers, body).await;
        });
        let mut accepted = Answer::default();
        *accepted.status_mut() = StatusCode::ACCEPTED;
        accepted
    }

    fn call(&self, headers: &HeaderMap) -> Call {
        let given = headers.get(CALL_ID).filter(|id| (1..=CALL_ID_BYTES_MAX).contains(&id.len()));
        let id = given.cloned().unwrap_or_else(|| {
            let mut call_ids = self.call_ids.lock().unwrap_or_else(PoisonError::into_inner);
            header(format!("{:032x}", call_ids.random::<u128>()))
        });
        Call { id, at: SystemTime::now(), started: Instant::now() }
    }

    fn functions(&self) -> Value {
        let function = |function: Function| {
            json!({
                "name": function.as_str(),
                "image": concat!("embedded/hopwise-demo:", env!("CARGO_PKG_VERSION")),
                "namespace": "openfaas-fn",
                "envProcess": "",
                "labels": {},
                "annotations": {},
                "invocationCount": self.activity.calls(function),
                "replicas": 1,
                "availableReplicas": 1,
            })
        };
        Function::ALL.into_iter().map(function).collect()
    }

    fn info(&self) -> Value {
        let version = json!({ "release": env!("CARGO_PKG_VERSION"), "sha": "" });
        json!({
            "arch": std::env::consts::ARCH,
            "provider": {
                "provider": "hopwise-demo",
                "orchestration": "embedded",
                "version": version,
            },
            "version": version,
            "cores": self.cores,
            "running": self.activity.running(),
            "queued": self.activity.queued(),
        })
    }
}

/// Whether the client waits for the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Wait,
    Background,
}

/// One invocation: what it is called, and since when it is here.
#[derive(Debug, Clone)]
struct Call {
    id: HeaderValue,
    at: SystemTime,
    started: Instant,
}

impl Call {
    fn start_time(&self) -> HeaderValue {
        header(self.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string())
    }

    /// As OpenFaaS reckons it: all the time the invocation spent here, the queue included.
    fn duration(&self) -> HeaderValue {
        header(format!("{:.6}", self.started.elapsed().as_secs_f64()))
    }
}

async fn whole(mut body: Incoming, expects_leave: bool) -> Result<Bytes, Answer> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        // Who asks before sending is told now, and sends nothing.
        if !expects_leave {
            discard(body).await;
        }
        return Err(too_large());
    }
    let collected = Limited::new(&mut body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_WAIT, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(body).await;
            Err(too_large())
        }
        Ok(Err(error)) => {
            Err(closing(text(StatusCode::BAD_REQUEST, format!("the body is broken: {error}"))))
        }
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_WAIT.as_secs());
            Err(closing(text(StatusCode::REQUEST_TIMEOUT, message)))
        }
    }
}

async fn discard(mut body: Incoming) {
    let frames = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(size) else { return };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(DISCARD_WAIT, frames).await;
}

fn outcome(result: Result<Output, CallError>) -> Answer {
    let error = match result {
        Ok(Output { content_type, body }) => {
            let mut answer = Response::new(Full::new(body));
            answer.headers_mut().insert(CONTENT_TYPE, content_type);
            return answer;
        }
        Err(error) => error,
    };
    let status = match error {
        CallError::BadInput(_) => StatusCode::BAD_REQUEST,
        CallError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        CallError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, error.to_string())
}

fn unknown_function() -> String {
    let names = Function::ALL.map(Function::as_str).join(", ");
    format!("no such function here: call one of {names}")
}

fn too_large() -> Answer {
    let message = format!("the body is too large: send at most {BODY_BYTES_MAX} bytes");
    closing(text(StatusCode::PAYLOAD_TOO_LARGE, message))
}

fn try_later(message: String) -> Answer {
    let mut answer = text(StatusCode::TOO_MANY_REQUESTS, message);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// An answer after which nothing on the connection can be told apart from the unread body.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn text(status: StatusCode, message: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::from(message.into() + "\n"));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

fn json_answer(value: &Value) -> Answer {
    let mut answer = Response::new(Full::from(value.to_string()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A value made of digits and a point, which is always a good one.
fn header(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""))
}
