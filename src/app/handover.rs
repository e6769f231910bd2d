//! A newer process takes the listening sockets over from the one that runs.
//!
//! The one that runs listens on a Unix socket. Whoever may open it, started by hand, by a service
//! manager or in another container, gets the TCP sockets themselves (SCM_RIGHTS), so that nobody who
//! waits in their queues is lost:
//!
//! ```text
//! running ──► newer    VERSION, then DATA or ADMIN for each socket, with it, then END
//! running ◄── newer    READY, once it serves
//! running ──► newer    GO, or LATE if it goes on itself
//! ```
//!
//! Until READY everything goes on as before, so a newer process that fails changes nothing.

use std::fs::Permissions;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::service_manager;
use super::sockets::Sockets;
use crate::config::WORKERS_MAX;

const VERSION: u8 = b'1';
const DATA: u8 = b'd';
const ADMIN: u8 = b'a';
const END: u8 = b'.';
const READY: u8 = b'r';
const GO: u8 = b'g';
const LATE: u8 = b'l';

/// How long the newer process has from asking for the sockets to serving.
const TAKEOVER_WITHIN: Duration = Duration::from_secs(30);

/// How long the newer process waits for each word of the one that runs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long to wait when the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Most sockets that are taken over; somebody else would go on for ever.
const SOCKETS_MAX: usize = 2 * WORKERS_MAX;

/// The process that runs, as the newer one sees it.
#[derive(Debug)]
pub(super) struct Predecessor {
    stream: StdUnixStream,
}

impl Predecessor {
    /// Asks whoever listens at `path` for its sockets; none if nobody does.
    pub(super) fn ask(path: &Path) -> anyhow::Result<Option<(Self, Sockets)>> {
        let stream = match StdUnixStream::connect(path) {
            Ok(stream) => stream,
            // Never there, or left behind by one that ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            Err(error) => {
                let path = path.display();
                return Err(error).with_context(|| {
                    format!("handover.socket: cannot connect to {path}; run as the same user")
                });
            }
        };
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let sockets = receive_all(&stream).with_context(|| {
            let path = path.display();
            format!("handover.socket: whoever listens at {path} hands nothing over; start again")
        })?;
        Ok(Some((Self { stream }, sockets)))
    }

    /// Says that this process serves, so that the other one goes.
    pub(super) fn dismiss(mut self) -> anyhow::Result<()> {
        // If this fails, what can still be read says why.
        let _ = self.stream.write_all(&[READY]);
        let mut word = [0];
        match self.stream.read(&mut word) {
            Ok(1) if word == [GO] => Ok(()),
            Ok(1) => bail!("the process before goes on, since this one took too long; start again"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bail!("the process before does not answer; see what it is at, and start again")
            }
            // It has ended by itself, so this one is alone.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn receive_all(stream: &StdUnixStream) -> anyhow::Result<Sockets> {
    let (version, _) = receive(stream)?;
    if version != VERSION {
        bail!("it speaks version {version} of the handover, this one {VERSION}");
    }
    let mut sockets = Sockets::default();
    for _ in 0..SOCKETS_MAX {
        match receive(stream)? {
            (DATA, Some(socket)) => sockets.data.push(socket),
            (ADMIN, Some(socket)) => sockets.admin.push(socket),
            (END, None) => return Ok(sockets),
            (word, _) => bail!("it said {word:#x}, which is not understood"),
        }
    }
    bail!("it has more than {SOCKETS_MAX} sockets")
}

/// One word, and the socket that comes with it.
fn receive(stream: &StdUnixStream) -> anyhow::Result<(u8, Option<TcpListener>)> {
    let mut word = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut word)], &mut control, flags)?;
    if received.bytes == 0 {
        bail!("it said no more");
    }
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok((word[0], descriptors.flatten().next().map(TcpListener::from)))
}

/// The end at which newer processes ask.
#[derive(Debug)]
pub(super) struct Handover {
    listener: UnixListener,
    path: PathBuf,
    /// Where it is bound until it is found at `path`.
    beside: Option<PathBuf>,
}

impl Handover {
    /// Prepares to listen at `path`, where somebody else may still be found.
    pub(super) fn prepare(path: &Path) -> anyhow::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        // Left behind by a process that had this number.
        let _ = std::fs::remove_file(&beside);
        let bound = || {
            let listener = UnixListener::bind(&beside)?;
            std::fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
            Ok::<_, io::Error>(listener)
        };
        let listener = bound().with_context(|| {
            format!("handover.socket: cannot listen at {}; is its directory there?", path.display())
        })?;
        Ok(Self { listener, path: path.to_owned(), beside: Some(beside) })
    }

    /// Takes the place of whoever listened before: newer processes find this one.
    pub(super) fn publish(&mut self) {
        let Some(beside) = self.beside.take() else { return };
        if let Err(error) = std::fs::rename(&beside, &self.path) {
            let path = self.path.display();
            tracing::error!(%path, %error, "handover.socket: nobody can take over from this process");
            self.beside = Some(beside);
        }
    }

    /// Hands `sockets` to whoever asks, until one of them serves.
    pub(super) async fn given(&self, sockets: &Sockets) {
        loop {
            let mut stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept whoever wants to take over");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let late = || io::Error::from(io::ErrorKind::TimedOut);
            let given = timeout(TAKEOVER_WITHIN, give(&mut stream, sockets)).await;
            match given.unwrap_or_else(|_| Err(late())) {
                Ok(()) => return,
                Err(error) => {
                    let _ = stream.write_u8(LATE).await;
                    tracing::warn!(%error, "a newer process did not take over; this one goes on");
                }
            }
        }
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = std::fs::remove_file(beside);
        }
    }
}

/// Hands `sockets` over, and waits until the other one serves.
async fn give(stream: &mut UnixStream, sockets: &Sockets) -> io::Result<()> {
    let other = stream.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    if other.uid() != own && other.uid() != 0 {
        let fault = format!("user {} may not take over from user {own}", other.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, fault));
    }
    send(stream, VERSION, None).await?;
    for (word, sockets) in [(DATA, &sockets.data), (ADMIN, &sockets.admin)] {
        for socket in sockets {
            send(stream, word, Some(socket)).await?;
        }
    }
    send(stream, END, None).await?;
    match stream.read_u8().await? {
        READY => {}
        word => {
            let fault = format!("it said {word:#x}, which is not understood");
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
        }
    }
    // Unknown (zero) where it runs in another container, and so under another manager.
    if let Some(process) = other.pid().filter(|process| *process > 0) {
        service_manager::succeeded_by(process);
    }
    // There is no way back, whether it hears this or not.
    let _ = stream.write_u8(GO).await;
    Ok(())
}

async fn send(stream: &UnixStream, word: u8, socket: Option<&TcpListener>) -> io::Result<()> {
    let sent = stream.async_io(Interest::WRITABLE, || {
        let descriptors = [socket.map_or(stream.as_fd(), TcpListener::as_fd)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if socket.is_some() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        sendmsg(stream, &[IoSlice::new(&[word])], &mut control, SendFlags::NOSIGNAL)
            .map_err(io::Error::from)
    });
    sent.await.map(drop)
}
