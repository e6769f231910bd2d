//! The least that a proxy on hyper can do, as far as we know how to use it: what `bench/peers` measures
//! here no care of ours undercuts, as long as hyper reads and writes the messages.
//!
//! One thread, one gateway, its connections kept; heads moved and not copied, `Connection` taken out,
//! `X-Forwarded-…` put in, bodies passed on, as nginx and HAProxy are set up there. No limit, no
//! timeout, no measurement, no decision, nothing tried again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use clap::Parser;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The least that a proxy on hyper can do.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where to send everything.
    #[arg(long)]
    gateway: SocketAddr,
    /// Keeps the case of field names, which takes a second map for each head.
    #[arg(long)]
    preserve_header_case: bool,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(arguments.listen)?;
        let listener = socket.listen(4096)?;
        tokio::task::LocalSet::new().run_until(accept(listener, Floor::new(&arguments))).await
    })
}

/// What all connections share.
struct Floor {
    gateway: SocketAddr,
    preserve_header_case: bool,
    /// Connections, and first the one whose answer has been under way for longest.
    kept: RefCell<VecDeque<SendRequest<Incoming>>>,
}

impl Floor {
    fn new(arguments: &Arguments) -> Rc<Self> {
        let &Arguments { gateway, preserve_header_case, .. } = arguments;
        Rc::new(Self { gateway, preserve_header_case, kept: RefCell::default() })
    }

    async fn pass(
        &self,
        mut request: Request<Incoming>,
        client: HeaderValue,
    ) -> hyper::Result<Response<Incoming>> {
        let headers = request.headers_mut();
        headers.remove(CONNECTION);
        if let Some(host) = headers.get(HOST).cloned() {
            headers.insert(FORWARDED_HOST, host);
        }
        headers.insert(FORWARDED_FOR, client);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        let kept = self.kept.borrow_mut().pop_front();
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let mut answer = sender.send_request(request).await?;
        answer.headers_mut().remove(CONNECTION);
        self.kept.borrow_mut().push_back(sender);
        Ok(answer)
    }

    async fn connect(&self) -> hyper::Result<SendRequest<Incoming>> {
        let stream = connected(self.gateway).await;
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .writev(false)
            .preserve_header_case(self.preserve_header_case)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}

/// A connection to the gateway, without which there is nothing to measure.
async fn connected(gateway: SocketAddr) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect(gateway).await
            && stream.set_nodelay(true).is_ok()
        {
            return stream;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn accept(listener: TcpListener, floor: Rc<Floor>) -> io::Result<()> {
    loop {
        let (stream, address) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = HeaderValue::from_str(&address.ip().to_string()).map_err(io::Error::other)?;
        let floor = Rc::clone(&floor);
        let preserve_header_case = floor.preserve_header_case;
        let service = service_fn(move |request| {
            let (floor, client) = (Rc::clone(&floor), client.clone());
            async move { floor.pass(request, client).await }
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .auto_date_header(false)
            .writev(false)
            .preserve_header_case(preserve_header_case)
            .serve_connection(TokioIo::new(stream), service);
        tokio::task::spawn_local(serving);
    }
}
