//! Taking connections, also when there are too many, or too few file descriptors for them.

use std::cell::Cell;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::clients::NoRoom;
use crate::state::State;

/// How long accepting pauses after an error, at first and at most; each error in a row doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(640);

/// Connections turned away between two pauses when there are no descriptors.
const TURNED_AWAY_MAX: usize = 64;

/// Connections of one worker that are being told that there is no room; others are just closed.
const TOLD_MAX: usize = 64;

/// How long it may take to tell one.
const TELL_WAIT: Duration = Duration::from_secs(1);

/// Most bytes of a request that is turned away which are read, so that its sender hears why.
const UNREAD_BYTES: usize = 16 * 1024;

/// Too many open files, in this process or in the system.
const NO_DESCRIPTORS: [i32; 2] = [24, 23];

/// What a client is told whose connection finds no room, by the JSON document of all refusals.
const REFUSAL_BODY: &str = "{\"error\":\"too_many_connections\",\"message\":\"there is no room for \
    another connection; try again later, or raise limits.connections or limits.client_share\"}\n";

/// Listening sockets with what it takes to go on without descriptors.
#[derive(Debug)]
pub(super) struct Acceptor {
    sockets: Vec<TcpListener>,
    /// The socket that is asked first.
    turn: usize,
    state: Arc<State>,
    /// A descriptor in reserve: given up to take a connection only to turn it away.
    reserve: Option<File>,
    pause: Duration,
    told: Rc<Cell<usize>>,
}

impl Acceptor {
    pub(super) fn new(sockets: Vec<TcpListener>, state: Arc<State>) -> Self {
        let (turn, told) = Default::default();
        Self { sockets, turn, state, reserve: reserve(), pause: PAUSE_MIN, told }
    }

    /// The sockets, to be asked no more.
    pub(super) fn into_sockets(self) -> Vec<TcpListener> {
        self.sockets
    }

    /// The next connection.
    pub(super) async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(accepted) => {
                    self.pause = PAUSE_MIN;
                    return accepted;
                }
                Err(error) => {
                    if error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code)) {
                        self.turn_away().await;
                    }
                    // One line per pause, however many fail.
                    tracing::warn!(%error, pause = ?self.pause, "cannot accept a connection");
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let first = self.turn;
        for index in (first..self.sockets.len()).chain(0..first) {
            if let Poll::Ready(accepted) = self.sockets[index].poll_accept(cx) {
                // The others come first next time, or a busy one would keep them waiting.
                self.turn = (index + 1) % self.sockets.len();
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    /// Answers some of those that wait with a refusal, by means of the descriptor in reserve: were
    /// they left to wait, they would wait in vain.
    async fn turn_away(&mut self) {
        for _ in 0..TURNED_AWAY_MAX {
            self.reserve = None;
            let accepted = poll_fn(|cx| Poll::Ready(self.poll_accept(cx))).await;
            if let Poll::Ready(Ok((stream, _))) = &accepted {
                self.state.metrics.refusals.no_descriptors.inc();
                // Best effort: what cannot be sent at once is not sent.
                let _ = refuse_at_once(stream);
            }
            let is_last = !matches!(accepted, Poll::Ready(Ok(_)));
            drop(accepted);
            self.reserve = reserve();
            if is_last {
                return;
            }
        }
    }

    /// Tells a client that there is no room for its connection.
    pub(super) fn refuse(&self, stream: TcpStream, why: NoRoom) {
        let refusals = &self.state.metrics.refusals;
        match why {
            NoRoom::All => refusals.connections.inc(),
            NoRoom::Client => refusals.client_connections.inc(),
        };
        if self.told.get() >= TOLD_MAX {
            return;
        }
        self.told.set(self.told.get() + 1);
        let told = Rc::clone(&self.told);
        tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout(TELL_WAIT, tell(stream)).await;
            told.set(told.get() - 1);
        });
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn refusal() -> String {
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
         hopwise-refusal: too_many_connections\r\nretry-after: 1\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{REFUSAL_BODY}",
        REFUSAL_BODY.len()
    )
}

/// Says no without waiting for anything.
pub(super) fn refuse_at_once(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    // A connection closed over what it has sent is reset, and the answer lost.
    let _ = (&*socket).read(&mut [0; UNREAD_BYTES]);
    (&*socket).write_all(refusal().as_bytes())?;
    socket.shutdown(Shutdown::Write)
}

/// Says no once the client has asked, and waits until it has heard.
async fn tell(mut stream: TcpStream) -> io::Result<()> {
    let mut unread = [0; 1024];
    let mut left = UNREAD_BYTES;
    left -= stream.read(&mut unread).await?;
    stream.write_all(refusal().as_bytes()).await?;
    stream.shutdown().await?;
    while left > unread.len() {
        match stream.read(&mut unread).await? {
            0 => break,
            read => left -= read,
        }
    }
    Ok(())
}
