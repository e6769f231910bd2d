//! A client's request made ready for the next server.

use http::Uri;
use http::header::{CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderValue, TE};
use http::request::Parts;
use hyper::body::Body;
use hyper::upgrade::OnUpgrade;

use super::client::Client;
use super::headers::{append_forwarded_for, remove_connection_fields, restore_upgrade};
use super::request_body::RequestBody;
use super::upstream::Outbound;

/// A request ready to be sent, and what was found while making it so.
pub(crate) struct Prepared {
    /// On the heap: it is handed from one future to the next, each of which would hold it.
    pub(super) outbound: Box<Outbound>,
    /// The client's side of the connection, where it asks for another protocol.
    pub(super) upgrade: Option<OnUpgrade>,
    /// Whether it carried internal fields.
    pub(super) internal: bool,
}

/// Changes what an intermediary must change (RFC 9110, 7.6), and nothing else.
pub(crate) fn prepare(mut head: Parts, body: RequestBody, client: &Client) -> Prepared {
    if head.version == http::Version::HTTP_2 {
        speak_http1(&mut head.headers);
    }
    let removed = remove_connection_fields(&mut head.headers);
    let mut upgrade = None;
    if let Some(protocol) = removed.upgrade
        && head.version == http::Version::HTTP_11
    {
        upgrade = head.extensions.remove::<OnUpgrade>();
        restore_upgrade(&mut head.headers, protocol);
    }
    let authority = head.uri.authority().cloned();
    if let Some(authority) = authority {
        // The authority of the target overrules Host (RFC 9112, 3.2.2); h2 has no Host at all.
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            head.headers.insert(HOST, host);
        }
        let target = head.uri.path_and_query().cloned();
        head.uri = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    append_forwarded_for(&mut head.headers, &client.forwarded_for);
    head.version = http::Version::HTTP_11;
    let expects_continue = !body.is_end_stream()
        && head
            .headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let idempotent = head.method.is_idempotent();
    let outbound = Box::new(Outbound { head, body, expects_continue, idempotent, saved: None });
    Prepared { outbound, upgrade, internal: removed.internal }
}

/// What HTTP/2 says otherwise than HTTP/1.1: crumbs of one cookie (RFC 9113, 8.2.3), and trailers
/// asked for without `Connection`, which HTTP/2 does not have.
fn speak_http1(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().count() > 1 {
        let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(|c| c.as_bytes()).collect();
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice())) {
            headers.insert(COOKIE, cookie);
        }
    }
    if headers.contains_key(TE) {
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http2_fields_become_http1_fields() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        speak_http1(&mut headers);
        assert_eq!(headers[COOKIE], "a=1; b=2");
        assert_eq!(headers.get_all(COOKIE).iter().count(), 1);
        remove_connection_fields(&mut headers);
        assert_eq!(headers[TE], "trailers");
    }
}
