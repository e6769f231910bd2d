//! The upstream side of a connection, which tells a close from a refusal.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP stream whose end of input is an error where the peer has refused what we sent.
///
/// When a server closes an idle connection just as a request is on its way, its kernel answers
/// that request with RST: nobody has read all of it, so it is sent elsewhere. But the FIN came
/// first, so a plain read reports an orderly end, which may as well mean that the server read the
/// request and died over it. The socket's pending error tells the two apart.
#[derive(Debug)]
pub(super) struct UpstreamIo(TcpStream);

impl UpstreamIo {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        if buf.filled().len() == before
            && buf.remaining() > 0
            && let Ok(Some(refused)) = SockRef::from(&self.0).take_error()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, refused)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
