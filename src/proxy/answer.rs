//! Answers of our own: JSON that says what is wrong and how to mend it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;

use super::peer;
use super::response_body::ResponseBody;

/// An error a caller can act on.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The status of the answer.
    pub status: StatusCode,
    /// A stable code for programs.
    pub error: &'static str,
    /// What is wrong and how to mend it, for people.
    pub message: String,
    /// For 405: what is allowed.
    pub allow: Option<&'static str>,
    /// For 503: when there may be room again, if that is known.
    pub retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: &'a str,
    message: &'a str,
    request_id: String,
}

impl Refused {
    /// A refusal with `status`, `error` code and `message`.
    pub fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), allow: None, retry_after: None }
    }

    /// The answer. `request_id` appears in the log beside whatever else is known.
    pub fn into_response(self) -> Response<ResponseBody> {
        let request_id = next_request_id();
        tracing::debug!(request_id, error = self.error, message = self.message, "refused");
        let document = ErrorDocument { error: self.error, message: &self.message, request_id };
        let mut response = json(self.status, &document);
        let headers = response.headers_mut();
        headers.insert(peer::REFUSAL, HeaderValue::from_static(self.error));
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            // Whole seconds, and rather too late than too early.
            let seconds = self.retry_after.map_or(1, |wait| wait.as_secs_f64().ceil() as u64);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// `value` as a JSON answer.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<ResponseBody> {
    // Our own documents have string keys and finite numbers only, which always serialize.
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    with_type(status, "application/json", body)
}

/// `text` as an answer of the media type `content_type`.
pub fn with_type(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<hyper::body::Bytes>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An id that no other answer of this process has, and hardly one of another.
pub(crate) fn next_request_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    format!("{now:x}-{:x}-{number:x}", std::process::id())
}
