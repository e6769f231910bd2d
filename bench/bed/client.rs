//! An HTTP client that keeps its connections.

use std::cell::RefCell;
use std::net::SocketAddr;

use anyhow::Context;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const ANSWER_BYTES_MAX: usize = 16 << 20;
const IDLE_MAX: usize = 256;

type Connection = SendRequest<Full<Bytes>>;

/// Calls one server.
#[derive(Debug)]
pub(crate) struct Client {
    to: SocketAddr,
    idle: RefCell<Vec<Connection>>,
}

impl Client {
    /// Connects when it is first asked for something.
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, idle: RefCell::default() }
    }

    /// One request and its whole answer. To be called within a `LocalSet`.
    pub(crate) async fn call(
        &self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<Response<Bytes>> {
        let (mut connection, answer) = self.answer(request).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
        // It is kept once it is ready for another: after `Connection: close` it never is.
        if connection.ready().await.is_ok() && self.idle.borrow().len() < IDLE_MAX {
            self.idle.borrow_mut().push(connection);
        }
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn answer(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(Connection, Response<Incoming>)> {
        // One that the server has closed meanwhile gives the request back.
        loop {
            let kept = self.idle.borrow_mut().pop();
            let Some(mut connection) = kept else { break };
            match connection.try_send_request(request).await {
                Ok(answer) => return Ok((connection, answer)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let stream = TcpStream::connect(self.to).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let (mut connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(driver);
        let answer = connection.send_request(request).await?;
        Ok((connection, answer))
    }
}
