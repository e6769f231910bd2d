use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::demo::client::connect;
use crate::demo::functions::Function;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Gateway {
    address: SocketAddr,
    activity: Arc<Activity>,
    shutdown: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

impl Gateway {
    async fn start(cores: usize, queue_max: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let activity = Arc::new(Activity::default());
        let drain_wait = Duration::from_millis(500);
        let options =
            Options { cores, queue_max, drain_wait, seed: 1, activity: Arc::clone(&activity) };
        let (shutdown, signal) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, options, async {
            let _ = signal.await;
        }));
        Self { address, activity, shutdown, served }
    }

    /// A call on a connection of its own.
    fn spawn_call(&self, path: &'static str) -> JoinHandle<Response<Bytes>> {
        let address = self.address;
        tokio::spawn(async move {
            let mut client = connect(address).await.unwrap();
            call(&mut client, Request::post(path).body("".into()).unwrap()).await
        })
    }

    async fn call(&self, path: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
        let mut client = connect(self.address).await.unwrap();
        let body = Full::new(body.into());
        call(&mut client, Request::post(path).body(body).unwrap()).await
    }

    async fn until(&self, condition: impl Fn(&Activity) -> bool) {
        let reached = async {
            while !condition(&self.activity) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }
}

async fn call(
    client: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Response<Bytes> {
    client.ready().await.unwrap();
    let (head, body) = client.send_request(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn echo_is_binary_safe_and_keeps_the_connection() {
    let gateway = Gateway::start(2, 10).await;
    let mut client = connect(gateway.address).await.unwrap();
    let body: Bytes = (0..=255).cycle().take(300_000).collect::<Vec<u8>>().into();
    let mut made = Vec::new();
    for id in [Some("mine"), None, None] {
        let mut request = Request::put("/function/echo/deeper?x=y").header("content-type", "a/b");
        if let Some(id) = id {
            request = request.header("X-Call-Id", id);
        }
        let request = request.body(Full::new(body.clone())).unwrap();
        let answer = call(&mut client, request).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.body(), &body);
        assert_eq!(header(&answer, "content-type"), "a/b");
        assert!(header(&answer, "x-start-time").parse::<u128>().unwrap() > 1 << 60);
        let (_, decimals) = header(&answer, "x-duration-seconds").split_once('.').unwrap();
        assert_eq!(decimals.len(), 6);
        match id {
            Some(id) => assert_eq!(header(&answer, "x-call-id"), id),
            None => made.push(header(&answer, "x-call-id").to_owned()),
        }
    }
    assert!(made.iter().all(|id| id.len() == 32 && u128::from_str_radix(id, 16).is_ok()));
    assert_ne!(made[0], made[1]);
}

#[tokio::test]
async fn everything_else_is_answered_too() {
    let gateway = Gateway::start(1, 10).await;
    let mut client = connect(gateway.address).await.unwrap();
    for (method, path, status, part) in [
        (Method::GET, "/healthz", 200, "OK"),
        (Method::GET, "/system/functions", 200, r#""name":"matrix-multiplication""#),
        (Method::GET, "/system/info", 200, r#""orchestration":"embedded""#),
        (Method::POST, "/system/functions", 405, "only GET"),
        (Method::GET, "/function/nothing", 404, "call one of matrix-multiplication"),
        (Method::GET, "/function/", 404, "call one of"),
        (Method::GET, "/function/..%2fsystem", 404, "call one of"),
        (Method::POST, "/async-function/nothing", 404, "call one of"),
        (Method::GET, "/", 404, "nothing here"),
        (Method::GET, "/function", 404, "nothing here"),
        (Method::POST, "/function/sleep?ms=x", 400, "send a whole number"),
        (Method::GET, "/function/matrix-multiplication?n=2", 200, r#""checksum":5.5"#),
    ] {
        let request = Request::builder().method(method).uri(path).body("".into()).unwrap();
        let answer = call(&mut client, request).await;
        let body = str::from_utf8(answer.body()).unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert!(body.contains(part), "{path}: {body}");
    }
}

#[tokio::test]
async fn one_core_runs_one_call_after_the_other() {
    let gateway = Gateway::start(1, 10).await;
    let first = gateway.spawn_call("/function/sleep?ms=500");
    gateway.until(|now| now.running() == 1).await;
    let second = gateway.spawn_call("/function/sleep?ms=1");
    gateway.until(|now| now.queued() == 1).await;
    let third = gateway.spawn_call("/function/echo");
    gateway.until(|now| now.queued() == 2).await;
    // The second is shorter by far, but has not begun.
    assert_eq!(gateway.activity.calls(Function::Sleep), 1);
    assert_eq!(gateway.activity.in_flight(), 3);
    assert!(!second.is_finished());

    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    assert_eq!(second.await.unwrap().status(), StatusCode::OK);
    assert_eq!(gateway.activity.calls(Function::Sleep), 2);
    assert_eq!(third.await.unwrap().status(), StatusCode::OK);
    assert_eq!(gateway.activity.calls(Function::Echo), 1);
    assert_eq!(gateway.activity.in_flight(), 0);
}

#[tokio::test]
async fn two_cores_run_two_at_once() {
    let gateway = Gateway::start(2, 0).await;
    let first = gateway.spawn_call("/function/sleep?ms=100");
    let second = gateway.spawn_call("/function/sleep?ms=100");
    gateway.until(|now| now.running() == 2).await;
    assert_eq!(gateway.activity.queued(), 0);
    for call in [first, second] {
        assert_eq!(call.await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_full_queue_is_told() {
    let gateway = Gateway::start(1, 1).await;
    let running = gateway.spawn_call("/function/sleep?ms=500");
    gateway.until(|now| now.running() == 1).await;
    let queued = gateway.spawn_call("/function/echo");
    gateway.until(|now| now.queued() == 1).await;
    let refused = gateway.call("/function/echo", "").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "retry-after"), "1");
    for call in [running, queued] {
        assert_eq!(call.await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn who_leaves_the_queue_is_not_computed() {
    let gateway = Gateway::start(1, 10).await;
    let running = gateway.spawn_call("/function/sleep?ms=500");
    gateway.until(|now| now.running() == 1).await;
    let stays = gateway.spawn_call("/function/floating-point?n=1");
    gateway.until(|now| now.queued() == 1).await;
    let leaves = gateway.spawn_call("/function/echo");
    gateway.until(|now| now.queued() == 2).await;
    leaves.abort();
    gateway.until(|now| now.queued() == 1).await;
    for call in [running, stays] {
        assert_eq!(call.await.unwrap().status(), StatusCode::OK);
    }
    gateway.until(|now| now.in_flight() == 0).await;
    assert_eq!(gateway.activity.calls(Function::Echo), 0);
    assert_eq!(gateway.activity.calls(Function::FloatingPoint), 1);
}

#[tokio::test]
async fn results_are_posted_to_the_callback() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(1, 10).await;
    let mut client = connect(gateway.address).await.unwrap();
    let url = format!("http://{}/result?a=b", receiver.local_addr().unwrap());
    for (path, status, body) in [
        ("/async-function/echo", 200, "hello"),
        ("/async-function/sleep", 400, "\"hello\" is no milliseconds"),
    ] {
        let request = Request::post(path).header("X-Callback-Url", &url).header("X-Call-Id", "7");
        let accepted = call(&mut client, request.body("hello".into()).unwrap()).await;
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
        assert_eq!(header(&accepted, "x-call-id"), "7");

        let (mut stream, _) = receiver.accept().await.unwrap();
        let mut posted = String::new();
        while !posted.contains(body) {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "{posted}");
            posted.push_str(str::from_utf8(&bytes[..count]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert!(posted.starts_with("POST /result?a=b HTTP/1.1\r\n"), "{posted}");
        let name = path.strip_prefix("/async-function/").unwrap();
        for line in [
            "x-call-id: 7\r\n".to_owned(),
            format!("x-function-name: {name}\r\n"),
            format!("x-function-status: {status}\r\n"),
            "x-duration-seconds: 0.0".to_owned(),
        ] {
            assert!(posted.contains(&line), "{line:?} in {posted}");
        }
    }
    let request = Request::post("/async-function/echo").header("X-Callback-Url", "https://a/");
    let refused = call(&mut client, request.body("".into()).unwrap()).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn asynchronous_calls_are_bounded() {
    let gateway = Gateway::start(1, 10 * ASYNC_MAX).await;
    let mut client = connect(gateway.address).await.unwrap();
    for _ in 0..ASYNC_MAX {
        let request = Request::post("/async-function/sleep?ms=10000").body("".into()).unwrap();
        assert_eq!(call(&mut client, request).await.status(), StatusCode::ACCEPTED);
    }
    let request = Request::post("/async-function/echo").body("".into()).unwrap();
    let refused = call(&mut client, request).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(gateway.activity.in_flight(), ASYNC_MAX, "the refused one left the queue");
    // All that is far from done, and still the end comes soon.
    gateway.shutdown.send(()).unwrap();
    let served = tokio::time::timeout(PATIENCE, gateway.served).await.unwrap();
    served.unwrap().unwrap();
}

#[tokio::test]
async fn pictures_go_in_and_out() {
    let gateway = Gateway::start(1, 10).await;
    let made = gateway.call("/function/image-resize", "").await;
    assert_eq!(header(&made, "content-type"), "image/png");
    let png = made.into_body();
    assert!(png.starts_with(b"\x89PNG"));
    let small = gateway.call("/function/image-resize?w=7&h=3", png).await;
    let picture = image::load_from_memory(small.body()).unwrap();
    assert_eq!((picture.width(), picture.height()), (7, 3));
    let broken = gateway.call("/function/image-resize", "no picture").await;
    assert_eq!(broken.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn bodies_are_bounded() {
    let gateway = Gateway::start(1, 10).await;
    let too_many = BODY_BYTES_MAX + 1;
    let declared = format!("Content-Length: {too_many}\r\n\r\n").into_bytes();
    let mut chunked = format!("Transfer-Encoding: chunked\r\n\r\n{too_many:x}\r\n").into_bytes();
    chunked.resize(chunked.len() + too_many, b'x');
    let asking = format!("Expect: 100-continue\r\nContent-Length: {too_many}\r\n\r\n").into_bytes();
    for rest in [declared, chunked, asking] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(b"POST /function/echo HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        stream.write_all(&rest).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
    }
    // A client that sends it all before it reads still learns why it was in vain.
    let refused = gateway.call("/function/echo", vec![b'x'; 3 * BODY_BYTES_MAX]).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let just_fits = gateway.call("/function/echo", vec![b'x'; BODY_BYTES_MAX]).await;
    assert_eq!(just_fits.body().len(), BODY_BYTES_MAX);
    assert_eq!(gateway.activity.calls(Function::Echo), 1);
}

#[tokio::test]
async fn the_end_waits_for_calls_but_not_for_ever() {
    let gateway = Gateway::start(2, 10).await;
    let idle = connect(gateway.address).await.unwrap();
    let short = gateway.spawn_call("/function/sleep?ms=50");
    let long = gateway.spawn_call("/function/sleep?ms=10000");
    gateway.until(|now| now.running() == 2).await;
    gateway.shutdown.send(()).unwrap();
    assert_eq!(short.await.unwrap().status(), StatusCode::OK);
    let served = tokio::time::timeout(PATIENCE, gateway.served).await.unwrap();
    served.unwrap().unwrap();
    assert!(long.await.is_err(), "the connection was dropped");
    assert_eq!(gateway.activity.in_flight(), 0, "the sleep was cut short");
    assert!(idle.is_closed());
    assert!(TcpStream::connect(gateway.address).await.is_err());
}
