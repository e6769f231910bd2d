//! As much of HTTP/1.1 as the load needs: heads with a length.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

/// Room for the largest head, and for much of a body at once.
pub(crate) const BUFFER_BYTES: usize = 128 * 1024;

/// A request, ready to be sent.
pub(crate) fn request(path: &str, to: SocketAddr, body_bytes: usize, close: bool) -> Vec<u8> {
    let method = if body_bytes > 0 { "POST" } else { "GET" };
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: hopwise-load\r\nAccept: */*\r\n"
    );
    if body_bytes > 0 {
        text += &format!("Content-Type: text/plain\r\nContent-Length: {body_bytes}\r\n");
    }
    if close {
        text += "Connection: close\r\n";
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len() + body_bytes, b'x');
    bytes
}

/// What a head says of its message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Bytes of the head and the body.
    pub(crate) message_bytes: usize,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
}

/// The head at the start of `bytes`, or none while it is not all there.
pub(crate) fn head(bytes: &[u8]) -> Option<Head> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let mut found = Head { message_bytes: end, closes: false };
    for line in bytes[..end].split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.iter().map(|digit| usize::from(digit.wrapping_sub(b'0')));
            found.message_bytes = end + digits.fold(0, |length, digit| length * 10 + digit);
        } else if name.eq_ignore_ascii_case(b"connection") {
            found.closes = value.eq_ignore_ascii_case(b"close");
        }
    }
    Some(found)
}

/// An answer as it comes in; its body is counted, not kept.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    head_bytes: Vec<u8>,
    left: Option<usize>,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
}

impl Answer {
    /// Takes in what was read, and tells whether the answer is complete.
    pub(crate) fn take_in(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        if bytes.is_empty() {
            return Err(Error::new(ErrorKind::UnexpectedEof, "closed before the answer"));
        }
        if let Some(left) = self.left {
            self.left = Some(left.saturating_sub(bytes.len()));
            return Ok(self.left == Some(0));
        }
        // Most answers come in one piece.
        let whole = if self.head_bytes.is_empty() {
            bytes
        } else {
            self.head_bytes.extend_from_slice(bytes);
            &self.head_bytes
        };
        let Some(found) = head(whole) else {
            if self.head_bytes.is_empty() {
                self.head_bytes.extend_from_slice(bytes);
            }
            return Ok(false);
        };
        if !whole.starts_with(b"HTTP/1.1 200") {
            let line = String::from_utf8_lossy(&whole[..whole.len().min(40)]).into_owned();
            return Err(Error::new(ErrorKind::InvalidData, line));
        }
        self.closes = found.closes;
        self.left = Some(found.message_bytes.saturating_sub(whole.len()));
        Ok(self.left == Some(0))
    }
}
