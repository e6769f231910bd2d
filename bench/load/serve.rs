//! A gateway whose functions answer at once.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::message::{BUFFER_BYTES, head};

const ANSWER_BYTES: usize = 100;
const LARGE_ANSWER_BYTES: usize = 64 * 1024;
/// Functions whose path begins so give the large answer.
const LARGE: &[u8] = b"/function/large";

pub(crate) fn run(listen: SocketAddr) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(listen)?;
        let listener = socket.listen(4096)?;
        let local = tokio::task::LocalSet::new();
        local.run_until(accept(listener)).await
    })
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A client that goes away is no concern of ours.
        tokio::task::spawn_local(async move { converse(stream).await.ok() });
    }
}

async fn converse(mut stream: TcpStream) -> io::Result<()> {
    let (small, large) = (answer(ANSWER_BYTES), answer(LARGE_ANSWER_BYTES));
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    loop {
        let found = loop {
            if let Some(found) = head(&buffer[..filled]) {
                break found;
            }
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                read => filled += read,
            }
        };
        let path = buffer[..filled].split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let answer = if path.starts_with(LARGE) { &large } else { &small };
        let mut left = found.message_bytes.saturating_sub(filled);
        let beyond = filled.saturating_sub(found.message_bytes);
        buffer.copy_within(filled - beyond..filled, 0);
        filled = beyond;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                read => left = left.saturating_sub(read),
            }
        }
        stream.write_all(answer).await?;
        if found.closes {
            return Ok(());
        }
    }
}

fn answer(body_bytes: usize) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Duration-Seconds: 0.001\r\n\
         Content-Length: {body_bytes}\r\n\r\n"
    )
    .into_bytes();
    bytes.resize(bytes.len() + body_bytes, b'x');
    bytes
}
