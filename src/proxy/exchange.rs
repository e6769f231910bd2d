//! One request and the head of its answer, over one connection.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use crate::config::{Authority, Timeouts};

use super::failure::{Failure, classify};
use super::headers::find;
use super::patience::Overdue;
use super::request_body::{Gate, Passage, Replay, RequestBody};
use super::saved::Saved;
use super::upstream::{Answered, Connection, Lease, Outbound};

/// How long a body is held back for a `100 Continue`.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// A request on its way over a connection.
struct Underway<F> {
    lease: Lease,
    saved: Rc<Saved>,
    sent: Option<Rc<Replay>>,
    answer: F,
}

/// What hyper makes of a request; the request itself, where nothing of it was sent.
type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Hands a request to its connection. Apart from waiting for the answer, so that what waits has no
/// room in it for all that a request is made of, and hyper none to move.
fn begin(
    mut lease: Lease,
    outbound: Box<Outbound>,
) -> Result<Underway<impl Future<Output = Sent>>, Failure> {
    let Outbound { mut head, mut body, expects_continue, idempotent, saved } = *outbound;
    name_host(&mut head.headers, lease.authority());
    let sent = body.replay();
    lease.sent = sent.clone();
    let saved = saved.unwrap_or_else(|| Saved::of(&head, expects_continue, idempotent));
    let gate = (expects_continue && sent.is_some()).then(Arc::<Gate>::default);
    if let Some(gate) = &gate {
        body = body.behind(Arc::clone(gate));
        lease.gate = Some(Arc::clone(gate));
    }
    if let Some(Connection { session: Some(session), .. }) = &mut lease.connection {
        session.sign(&head.method, &head.uri, &mut head.headers);
    }
    let mut request = Request::from_parts(head, body);
    if let Some(gate) = gate {
        open_later(&gate);
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == http::StatusCode::CONTINUE {
                gate.set(Passage::Open);
            }
        });
    }
    let Some(Connection { sender, .. }) = &mut lease.connection else {
        return Err(Failure::NothingRan(io::ErrorKind::NotConnected.into(), None));
    };
    let answer = sender.try_send_request(request);
    Ok(Underway { lease, saved, sent, answer })
}

/// One request and the head of its answer over one connection.
pub(super) async fn exchange(
    lease: Lease,
    outbound: Box<Outbound>,
    timeouts: &Timeouts,
) -> Result<Answered, Failure> {
    let Underway { mut lease, saved, sent, answer } = begin(lease, outbound)?;
    let Some(Connection { patience, unanswered, .. }) = &mut lease.connection else {
        return Err(Failure::NothingRan(io::ErrorKind::NotConnected.into(), None));
    };
    let answer = pin!(answer);
    match patience.wait_for(answer, timeouts, sent.as_deref()).await {
        Ok(Ok(response)) => {
            Ok(Answered { response, lease, sent_at: None, read: None, saved, sent })
        }
        Err(Overdue::Answer) => Err(Failure::TimedOut),
        Err(Overdue::RequestBody) => Err(Failure::ClientStalled),
        Ok(Err(mut failed)) => Err(match failed.take_message() {
            Some(request) => {
                let (head, body) = request.into_parts();
                let Saved { expects_continue, idempotent, .. } = *saved;
                let outbound =
                    Box::new(Outbound { head, body, expects_continue, idempotent, saved: None });
                Failure::NothingRan(io::Error::other(failed.into_error()), Some(outbound))
            }
            None => classify(failed.into_error(), &saved, &sent, unanswered),
        }),
    }
}

/// Sends the body after a while even where the server says nothing (RFC 9110, 10.1.1).
fn open_later(gate: &Arc<Gate>) {
    let gate = Arc::downgrade(gate);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(CONTINUE_WAIT).await;
        if let Some(gate) = gate.upgrade() {
            gate.set(Passage::Open);
        }
    });
}

/// A client of HTTP/1.0 may name no host, but we speak HTTP/1.1, which demands one.
fn name_host(headers: &mut http::HeaderMap, authority: &Authority) {
    if find(headers, &http::header::HOST).is_none()
        && let Ok(host) = http::HeaderValue::from_str(&authority.to_string())
    {
        headers.insert(http::header::HOST, host);
    }
}
