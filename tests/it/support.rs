//! A gateway, a sidecar and a client to test with.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hopwise::app::Sidecar;
use hopwise::config::Snapshot;
use hopwise::record::Recorder;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rand::SeedableRng;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Longer than any answer takes, so that a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(30);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A sidecar that ends with its test.
pub(crate) struct Node {
    pub(crate) sidecar: Sidecar,
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Node {
    /// Starts the sidecar that `yaml` describes, re-reading `source` on demand.
    pub(crate) fn start(yaml: &str, source: Option<&Path>) -> Self {
        let snapshot = Snapshot::from_yaml(yaml, None)
            .unwrap_or_else(|problems| panic!("{}", hopwise::config::render(&problems, "yaml")));
        let rng = rand_pcg::Pcg64::seed_from_u64(1);
        Self::of(Sidecar::start(snapshot, source, rng).unwrap())
    }

    /// The same, with a record that was begun with the seed 1.
    pub(crate) fn start_recorded(yaml: &str, source: Option<&Path>, recorder: Recorder) -> Self {
        let snapshot = Snapshot::from_yaml(yaml, None).unwrap();
        let rng = rand_pcg::Pcg64::seed_from_u64(1);
        Self::of(Sidecar::start_recorded(snapshot, source, rng, Some(recorder)).unwrap())
    }

    fn of(sidecar: Sidecar) -> Self {
        Self { data: sidecar.data_address, admin: sidecar.admin_address, sidecar }
    }

    pub(crate) fn ports(&self) -> [SocketAddr; 2] {
        [self.data, self.admin]
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.sidecar.drain();
    }
}

/// A worker called edge1 in front of `gateway`, of whose topology no caller is a node.
pub(crate) fn worker(gateway: SocketAddr) -> String {
    format!(
        "architecture: decentralized
node: {{ id: edge1 }}
topology:
  - {{ id: edge1, role: worker, zone: a, address: 192.0.2.1 }}
  - {{ id: edge2, role: edge-controller, zone: a, address: 192.0.2.2 }}
listen: {{ data: '127.0.0.1:0', admin: '127.0.0.1:0' }}
gateway: '{gateway}'
workers: 2
"
    )
}

/// A file of its own for each caller, gone with its guard.
pub(crate) struct TempFile(pub(crate) PathBuf);

impl TempFile {
    pub(crate) fn new(text: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hopwise-it-{}-{number}.yaml", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of the header `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// Fails unless this is the JSON error `error` with `status`, whose message names `named`.
    pub(crate) fn assert_refused(&self, status: u16, error: &str, named: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let document = self.json();
        assert_eq!(document["error"], error, "{document}");
        let message = document["message"].as_str().unwrap();
        assert!(message.contains(named), "{named:?} is not in {message:?}");
        assert!(!document["request_id"].as_str().unwrap().is_empty());
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(to: SocketAddr, method: &str, path: &str, fields: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{fields}\r\n{body}"
    );
    send(to, request.as_bytes(), false)
}

pub(crate) fn get(to: SocketAddr, path: &str) -> Answer {
    ask(to, "GET", path, "", "")
}

pub(crate) fn post(to: SocketAddr, path: &str, body: &str) -> Answer {
    ask(to, "POST", path, "", body)
}

/// Sends `bytes`, says no more if `then_stop`, and reads to the end.
pub(crate) fn send(to: SocketAddr, bytes: &[u8], then_stop: bool) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    if then_stop {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let mut received = Vec::new();
    // Whoever refuses a body half-read may reset the connection behind the answer.
    let _ = stream.read_to_end(&mut received);
    let end = received.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&received)));
    let head = String::from_utf8(received[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: received[end + 4..].to_vec() }
}

/// Starts a gateway that serves a few functions, on a thread of its own.
pub(crate) fn gateway() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(run)),
                );
            }
        });
    });
    address
}

/// The functions.
async fn run(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(answer(400, "cut")) };
    let body = body.to_bytes();
    Ok(match head.uri.path() {
        "/function/echo" => answer(200, body),
        "/function/describe" => answer(200, describe(&head, &body).to_string()),
        "/function/binary" => answer(200, Bytes::from_static(b"a\xffb")),
        "/function/large" => answer(200, vec![b'x'; 4096]),
        "/function/twice" | "/function/once" => stall(body).await,
        "/function/held" | "/function/urgent" => hold(body).await,
        "/function/endless" => {
            Response::new(Unending(Some(Bytes::from_static(b"begun"))).boxed_unsync())
        }
        "/function/broken" => answer(500, "it broke"),
        "/function/teapot" => answer(418, "short and stout"),
        "/function/nothing" => answer(204, ""),
        path => answer(404, format!("no {path}")),
    })
}

/// Bodies of invocations that run and have not been let go, and how each is let go.
static HELD: Mutex<BTreeMap<Bytes, oneshot::Sender<()>>> = Mutex::new(BTreeMap::new());

/// A function that answers when the test says so.
async fn hold(body: Bytes) -> Response<Body> {
    let (let_go, gone) = oneshot::channel();
    HELD.lock().unwrap().insert(body.clone(), let_go);
    let _ = gone.await;
    answer(200, body)
}

/// Whether the invocation with `body` runs and is held.
pub(crate) fn is_held(body: &str) -> bool {
    HELD.lock().unwrap().contains_key(body.as_bytes())
}

/// Whether the invocation with `body` was held, and broken off.
pub(crate) fn is_broken_off(body: &str) -> bool {
    HELD.lock().unwrap().get(body.as_bytes()).is_some_and(oneshot::Sender::is_closed)
}

/// Lets the invocation with `body` end, once it runs.
pub(crate) fn let_go(body: &str) {
    wait_until(body, || is_held(body));
    HELD.lock().unwrap().remove(body.as_bytes());
}

/// Waits for what is bound to happen.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How long a body that begins with "slow" takes the first time.
pub(crate) const STALL: Duration = Duration::from_secs(2);
/// Invocations broken off while they stalled.
pub(crate) static BROKEN_OFF: AtomicU64 = AtomicU64::new(0);

/// A function that stalls when it gets a body for the first time.
async fn stall(body: Bytes) -> Response<Body> {
    struct Stalled(bool);
    impl Drop for Stalled {
        fn drop(&mut self) {
            BROKEN_OFF.fetch_add(u64::from(self.0), Ordering::SeqCst);
        }
    }
    static SEEN: Mutex<BTreeSet<Bytes>> = Mutex::new(BTreeSet::new());
    if body.starts_with(b"slow") && SEEN.lock().unwrap().insert(body.clone()) {
        let mut stalled = Stalled(true);
        tokio::time::sleep(STALL).await;
        stalled.0 = false;
    }
    answer(200, body)
}

fn answer(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    let response = Response::builder().status(status).header("x-call-id", "call-1");
    response.body(Full::new(body.into()).boxed_unsync()).unwrap()
}

/// The request as it arrived.
fn describe(head: &http::request::Parts, body: &Bytes) -> Value {
    let fields = head.headers.iter();
    let fields: serde_json::Map<String, Value> = fields
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "fields": fields,
        "body": String::from_utf8_lossy(body),
    })
}

/// A body of one frame that never ends.
struct Unending(Option<Bytes>);

impl hyper::body::Body for Unending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}
