//! One connection to an HTTP/1.1 server: all that the load and the callbacks need of a client.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, ToSocketAddrs};

/// Why a call had no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody listens there, or it cannot be reached.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection broke, or what came was not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// A new connection to `address`. It lives for as long as the sender, and an answer given up on
/// closes it.
pub(super) async fn connect(
    address: impl ToSocketAddrs,
) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Whoever waits for an answer is told of the error there.
        let _ = connection.await;
    });
    Ok(sender)
}
