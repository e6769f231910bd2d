//! A gateway that does to each request what a test says, byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Does {
    /// It is answered with this status, fields (each with its line's end) and body.
    Answers(u16, &'static str, &'static str),
    /// The same with status 200, after a while.
    AnswersAfter(Duration, &'static str),
    /// It is read whole, and the connection closed.
    DiesOverIt,
    /// Its head is read, some of the body is not, and the connection is reset.
    DiesBeforeItHasReadTheBody,
}

/// A gateway and the number of requests it has begun.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    begun: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    does: Arc<Mutex<Does>>,
}

impl Scripted {
    /// A gateway that does the same to every request.
    pub(crate) fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&heads);
        let does = Arc::new(Mutex::new(does));
        let told = Arc::clone(&does);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (told, count, noted) =
                    (Arc::clone(&told), Arc::clone(&count), Arc::clone(&noted));
                std::thread::spawn(move || converse(stream.unwrap(), &told, &count, &noted));
            }
        });
        Self { address, begun, heads, does }
    }

    /// What is done from now on, also on connections that are open.
    pub(crate) fn turns_to(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    /// The value of the field `name`, in lower case, of the last request.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let heads = self.heads.lock().unwrap();
        let prefix = format!("{name}: ");
        heads.last()?.lines().find_map(|line| Some(line.strip_prefix(&prefix)?.to_owned()))
    }

    /// Requests begun so far.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

fn converse(
    mut stream: TcpStream,
    told: &Mutex<Does>,
    begun: &AtomicUsize,
    heads: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let end = loop {
            match received.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => read_some(&mut stream, &mut received)?,
            }
        };
        let does = *told.lock().unwrap();
        begun.fetch_add(1, Ordering::SeqCst);
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        heads.lock().unwrap().push(head);
        if let Does::DiesBeforeItHasReadTheBody = does {
            // Something has come and is not read, so the kernel resets the connection.
            while stream.peek(&mut [0]).ok()? == 0 {}
            return None;
        }
        while received.len() < end + length {
            read_some(&mut stream, &mut received)?;
        }
        received.drain(..end + length);
        let (status, fields, body) = match does {
            Does::Answers(status, fields, body) => (status, fields, body),
            Does::AnswersAfter(wait, body) => {
                std::thread::sleep(wait);
                (200, "", body)
            }
            Does::DiesOverIt | Does::DiesBeforeItHasReadTheBody => return None,
        };
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

fn read_some(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
    received.extend_from_slice(&buffer[..read]);
    Some(())
}
