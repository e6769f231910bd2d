//! The way of spans to a collector: our own hyper, one connection for each batch.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A client of the collector, for the thread that exports.
pub(super) struct Collector {
    runtime: Runtime,
    /// How long sending a batch may take, the answer included.
    within: Duration,
    failing: AtomicBool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("within", &self.within).finish_non_exhaustive()
    }
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sending<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        // The thread that exports has no runtime, and nothing else to do meanwhile.
        let answer = self.runtime.block_on(async {
            timeout(self.within, exchange(request)).await.unwrap_or_else(|_| Err("too late".into()))
        });
        self.tell(&answer);
        Box::pin(std::future::ready(answer))
    }
}

impl Collector {
    /// A client whose batches may take so long.
    pub(super) fn new(within: Duration) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, within, failing: AtomicBool::new(false) })
    }

    /// Says once that spans get lost, and once that they do not any more.
    fn tell(&self, answer: &Result<Response<Bytes>, HttpError>) {
        let fault = match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let failed = self.failing.swap(fault.is_some(), Relaxed);
        match fault {
            Some(error) if !failed => {
                tracing::warn!(error, "the collector does not take spans; they are dropped");
            }
            None if failed => tracing::info!("the collector takes spans again"),
            _ => {}
        }
    }
}

async fn exchange(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().ok_or("no host")?;
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await?;
    let name = HeaderValue::from_str(authority.as_str())?;
    head.headers.insert(header::HOST, name);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let sent = sender.send_request(Request::from_parts(head, Full::new(body)));
    let answer = async {
        let (head, body) = sent.await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    // The connection is what moves the exchange; it ends with it.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}
