//! A request kept in case it has to be sent once more.

use std::rc::Rc;

use http::request::Parts;
use http::{Method, Request};

use super::request_body::{Replay, RequestBody};
use super::upstream::Outbound;

/// What it takes to build a request once more. Header case is not kept, and fields are copied into
/// one piece of memory: only the rare second request would profit, and every first one would pay.
#[derive(Debug)]
pub(super) struct Saved {
    method: Method,
    uri: http::Uri,
    /// `name:value`, each on a line; neither can have a line's end, and a name no colon.
    fields: Vec<u8>,
    pub(super) expects_continue: bool,
    pub(super) idempotent: bool,
}

/// Bytes that the fields of most requests have.
const FIELDS_BYTES: usize = 512;

impl Saved {
    pub(super) fn of(head: &Parts, expects_continue: bool, idempotent: bool) -> Rc<Self> {
        let mut fields = Vec::with_capacity(FIELDS_BYTES);
        for (name, value) in &head.headers {
            fields.extend_from_slice(name.as_str().as_bytes());
            fields.push(b':');
            fields.extend_from_slice(value.as_bytes());
            fields.push(b'\n');
        }
        let (method, uri) = (head.method.clone(), head.uri.clone());
        Rc::new(Self { method, uri, fields, expects_continue, idempotent })
    }

    /// The request once more, if its body was kept.
    pub(super) fn again(&self, sent: &Option<Rc<Replay>>) -> Option<Box<Outbound>> {
        let body = match sent {
            None => RequestBody::empty(),
            Some(sent) => sent.again()?,
        };
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.method.clone();
        head.uri = self.uri.clone();
        for line in self.fields.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = http::HeaderName::from_bytes(&line[..colon]).ok()?;
            head.headers.append(name, http::HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
        }
        let Self { expects_continue, idempotent, .. } = *self;
        Some(Box::new(Outbound { head, body, expects_continue, idempotent, saved: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_can_be_built_once_more() {
        let request = Request::builder()
            .method("PUT")
            .uri("/function/echo?a=1")
            .header("x-empty", "")
            .header("x-colons", "a:b: c")
            .header("x-twice", "1")
            .header("x-twice", "2")
            .header("x-bytes", http::HeaderValue::from_bytes(b"\xff\t\x80").unwrap());
        let (head, ()) = request.body(()).unwrap().into_parts();
        let again = Saved::of(&head, true, true).again(&None).unwrap();
        assert_eq!((&again.head.method, &again.head.uri), (&head.method, &head.uri));
        assert_eq!(again.head.headers, head.headers);
        assert!(again.expects_continue && again.idempotent);
    }
}
