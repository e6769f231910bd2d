//! Bodies that are read whole, bounded in size and in time.

use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use tokio::time::timeout;

use crate::config::Snapshot;
use crate::proxy::answer::Refused;
use crate::proxy::response_body::ResponseBody;
use crate::state::State;

/// A request's body, of at most `limits.entry_body_bytes`, sent within `timeouts.request_header`.
pub(super) async fn read_request(
    state: &State,
    snapshot: &Snapshot,
    body: Incoming,
) -> Result<Bytes, Refused> {
    let limit = snapshot.limits.entry_body_bytes;
    // A length that is announced is refused before a byte of it is asked for.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let within = snapshot.timeouts.request_header;
    match timeout(within, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(error)) => {
            state.metrics.client_aborts.inc();
            let message =
                format!("the request's body broke off ({error}); send all of it, well framed");
            Err(Refused::new(StatusCode::BAD_REQUEST, "client_aborted", message))
        }
        Err(_) => Err(Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            format!("the request's body did not arrive within {within:?}; send it faster"),
        )),
    }
}

/// A function's answer, of at most `limit` bytes, ended within `within`.
pub(super) async fn read_answer(
    body: ResponseBody,
    limit: usize,
    within: Duration,
) -> Result<Bytes, Refused> {
    let bad = |error, message| Refused::new(StatusCode::BAD_GATEWAY, error, message);
    match timeout(within, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!(
                "the function answered with more than {limit} bytes; raise \
                 limits.entry_body_bytes, or call /function/NAME, which streams"
            );
            Err(bad("answer_too_large", message))
        }
        Ok(Err(error)) => {
            let message = format!("the function's answer broke off ({error}); see its log");
            Err(bad("bad_gateway", message))
        }
        Err(_) => Err(Refused::new(
            StatusCode::GATEWAY_TIMEOUT,
            "gateway_timeout",
            format!(
                "the function's answer did not end within {within:?}; raise timeouts.answer_ms or \
                 the deadline, or call /function/NAME, which streams"
            ),
        )),
    }
}

fn too_large(limit: usize) -> Refused {
    let message = format!(
        "the body has more than {limit} bytes; raise limits.entry_body_bytes, or call \
         /function/NAME, which streams"
    );
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}
