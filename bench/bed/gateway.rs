//! An OpenFaaS gateway as clients see it, and the store beside it.
//!
//! `{"slow": 3}` on standard input makes everything take three times as long, `{"stats": true}`
//! asks how late answers were.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::functions::{Demands, Functions, Kind, picture, store_at};
use crate::processor::Processor;

const BODY_BYTES_MAX: usize = 16 << 20;
const HEAD_WAIT: Duration = Duration::from_secs(120);

/// A gateway.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What answers say where they come from.
    #[arg(long)]
    node: String,
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Cores that its functions share.
    #[arg(long)]
    cores: u16,
    /// Where pictures are.
    #[arg(long)]
    store: SocketAddr,
    /// Serve pictures here, too.
    #[arg(long)]
    serve_store: Option<SocketAddr>,
    /// Demands are drawn from this and the number of the invocation.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Mean demand in seconds.
    #[arg(long, default_value_t = 0.2)]
    mean: f64,
    /// Standard deviation of its logarithm.
    #[arg(long, default_value_t = 0.15)]
    sigma: f64,
    /// Compute in earnest.
    #[arg(long)]
    compute: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Order {
    slow: Option<f64>,
    stats: bool,
}

struct Gateway {
    node: HeaderValue,
    functions: Functions,
    cores: u16,
    calls: Cell<u64>,
}

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let Options { cores, seed, mean, sigma, compute, .. } = options;
    let gateway = Rc::new(Gateway {
        node: HeaderValue::try_from(&options.node)?,
        functions: Functions {
            processor: Processor::start(cores),
            demands: Demands { seed, mean_s: mean, sigma },
            compute,
            store: store_at(options.store),
        },
        cores,
        calls: Cell::default(),
    });
    if let Some(address) = options.serve_store {
        let (listener, picture) = (TcpListener::bind(address).await?, picture()?);
        tokio::task::spawn_local(accept(listener, move |_| {
            let answer = Response::new(Full::new(picture.clone()));
            std::future::ready(Ok(answer))
        }));
    }
    let listener = TcpListener::bind(options.listen).await?;
    let same = Rc::clone(&gateway);
    tokio::task::spawn_local(accept(listener, move |request| Rc::clone(&same).handle(request)));
    let processor = gateway.functions.processor.clone();
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || ended.send(obey(&processor)));
    end.await?
}

async fn accept<H, F>(listener: TcpListener, handle: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + 'static,
{
    loop {
        // What is lacking, such as files, comes back with time only.
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::task::spawn_local(converse(stream, handle.clone()))),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse<H, F>(stream: TcpStream, handle: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<Full<Bytes>>, Infallible>>,
{
    let _ = stream.set_nodelay(true);
    // A client that goes away is no concern of ours.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(stream), service_fn(handle))
        .await;
}

/// Until standard input ends.
fn obey(processor: &Processor) -> anyhow::Result<()> {
    for line in std::io::stdin().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        if let Some(factor) = order.slow {
            processor.slow_down(factor);
        }
        if order.stats {
            println!("{}", json!({ "lateness": processor.take_lateness() }));
            std::io::stdout().flush()?;
        }
    }
    Ok(())
}

impl Gateway {
    async fn handle(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        if let Some(rest) = path.strip_prefix("/function/") {
            let name = rest.split('/').next().unwrap_or_default();
            return Ok(self.invoke(name, request).await);
        }
        Ok(match (request.method(), path.as_str()) {
            (_, "/healthz") => text(StatusCode::OK, "OK"),
            (&Method::GET, "/system/functions") => {
                let names = Kind::ALL.map(|kind| json!({ "name": kind.as_str(), "replicas": 1 }));
                text(StatusCode::OK, json!(names).to_string())
            }
            (&Method::GET, "/system/info") => {
                text(StatusCode::OK, json!({ "cores": self.cores }).to_string())
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        })
    }

    async fn invoke(&self, name: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (started, at) = (Instant::now(), SystemTime::now());
        let given = |name| request.headers().get(name).cloned();
        let (id, number) = (given("x-call-id"), given("bed-number"));
        self.calls.set(self.calls.get() + 1);
        let number = number
            .and_then(|n| n.to_str().ok()?.parse().ok())
            .unwrap_or(u64::MAX - self.calls.get());
        let id =
            id.unwrap_or_else(|| header(format!("{}-{}", std::process::id(), self.calls.get())));
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
        let mut answer = match (Kind::named(name), body) {
            (None, _) => {
                let message = format!("error finding function {name}.openfaas-fn: not found");
                text(StatusCode::NOT_FOUND, message)
            }
            (_, Err(error)) => text(StatusCode::BAD_REQUEST, error.to_string()),
            (Some(kind), Ok(_)) => match self.functions.run(kind, number).await {
                Ok(body) => Response::new(Full::new(body)),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
            },
        };
        let headers = answer.headers_mut();
        let started_at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        headers.insert("x-call-id", id);
        headers.insert("x-start-time", header(started_at.to_string()));
        headers.insert(
            "x-duration-seconds",
            header(format!("{:.6}", started.elapsed().as_secs_f64())),
        );
        headers.insert("bed-node", self.node.clone());
        answer
    }
}

fn text(status: StatusCode, message: impl Into<String>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(message.into() + "\n"));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn header(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""))
}
