//! Signatures between sidecars that share a key.
//!
//! A connection to a peer begins with a greeting: the caller sends a nonce, and the node that is
//! called answers with a nonce of its own and a proof, under the shared key, that it is the node that
//! is meant. Both then hold a session key that no other connection has, and number the requests on
//! it. A signature is an HMAC-SHA256 under that key over the number, the method, the target and what is
//! said in `hopwise-call`.
//!
//! So a request counts once, on the connection it was made for, at the node it was made for: sent
//! again, sent elsewhere or sent later it meets another session key or another number. There is no
//! cache of nonces that could be full, nothing that differs between workers, and no clock that could
//! be wrong: what a node remembers is one session per open connection, of which there are at most
//! [`Limits::connections`](crate::config::Limits::connections).

use std::io;

use hmac::digest::Output;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use hyper::client::conn::http1::SendRequest;
use sha2::Sha256;

use crate::config::{Authority, Secret};

use super::peer::{CALL, SIGNATURE};
use super::request_body::RequestBody;

/// What a greeting begins with; the caller's nonce follows.
const GREETING: &[u8] = b"greeting ";

const NONCE_BYTES: usize = 16;
const PROOF_BYTES: usize = 32;

/// Bytes of an HMAC-SHA256 that a signature shows: half, as RFC 2104 allows.
const SIGNATURE_BYTES: usize = 16;

/// Where a greeting is sent: a path of ours, so that no gateway ever sees one.
const GREETED: &str = "/schedule";

type Nonce = [u8; NONCE_BYTES];
type Code = Hmac<Sha256>;

/// One end of a connection between two sidecars: what signs the next request on it, or checks it.
#[derive(Debug)]
pub struct Session {
    /// Begun with the session key, so that its schedule is made once.
    code: Code,
    /// The number of the next request.
    next: u64,
    /// The shared key it came from.
    shared: Secret,
}

impl Session {
    /// The session of two ends that have told each other their nonces, at the node `id`.
    pub fn new(shared: &Secret, id: &str, greeting: &Nonce, answer: &Nonce) -> Self {
        let key = code_over(shared, b"hopwise/2 session", id, greeting, answer).finalize();
        Self { code: keyed(&key.into_bytes()), next: 0, shared: shared.clone() }
    }

    /// Signs the next request.
    pub fn sign(&mut self, method: &Method, uri: &Uri, headers: &mut HeaderMap) {
        let call = headers.get(CALL);
        let code = self.code_of_next(method, uri, call).finalize().into_bytes();
        let mut hex = [0; 2 * SIGNATURE_BYTES];
        write_hex(&code[..SIGNATURE_BYTES], &mut hex);
        // Hexadecimal digits are what a field value may have.
        if let Ok(value) = HeaderValue::from_bytes(&hex) {
            headers.insert(SIGNATURE, value);
        }
    }

    /// Whether `signature` is that of the next request, of which a peer says `call`. Right or wrong,
    /// its number is used up.
    pub fn verify(
        &mut self,
        method: &Method,
        uri: &Uri,
        call: Option<&HeaderValue>,
        signature: &HeaderValue,
    ) -> bool {
        let code = self.code_of_next(method, uri, call);
        let shown = read_hex::<SIGNATURE_BYTES>(signature.as_bytes());
        shown.is_some_and(|shown| code.verify_truncated_left(&shown).is_ok())
    }

    /// Whether it comes from the key `shared`, which may have been replaced since.
    pub(super) fn is_of(&self, shared: &Secret) -> bool {
        self.shared == *shared
    }

    fn code_of_next(&mut self, method: &Method, uri: &Uri, call: Option<&HeaderValue>) -> Code {
        let mut code = self.code.clone();
        code.update(&self.next.to_be_bytes());
        self.next += 1;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        // Neither a method nor a target nor a field value can have the line's end that parts them.
        for part in [method.as_str(), "\n", target, "\n"] {
            code.update(part.as_bytes());
        }
        code.update(call.map_or(b"".as_slice(), HeaderValue::as_bytes));
        code
    }
}

/// Whether a signature field is a greeting.
pub(super) fn is_greeting(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(GREETING)
}

/// The answer of the node `id` to a greeting, and the session that begins with it.
pub(crate) fn answer(
    shared: &Secret,
    id: &str,
    greeting: &HeaderValue,
) -> Option<(HeaderValue, Box<Session>)> {
    let greeting = read_hex(greeting.as_bytes().strip_prefix(GREETING)?)?;
    let answer = nonce().ok()?;
    let proof = proof(shared, id, &greeting, &answer).finalize().into_bytes();
    let mut hex = [0; 2 * (NONCE_BYTES + PROOF_BYTES)];
    let (nonce_hex, proof_hex) = hex.split_at_mut(2 * NONCE_BYTES);
    write_hex(&answer, nonce_hex);
    write_hex(&proof, proof_hex);
    let value = HeaderValue::from_bytes(&hex).ok()?;
    Some((value, Box::new(Session::new(shared, id, &greeting, &answer))))
}

/// Greets the node `id` on a new connection, and begins a session if it proves to be that node.
pub(super) async fn greet(
    sender: &mut SendRequest<RequestBody>,
    authority: &Authority,
    shared: &Secret,
    id: &str,
) -> io::Result<Box<Session>> {
    let greeting = nonce()?;
    let mut value = GREETING.to_vec();
    value.resize(GREETING.len() + 2 * NONCE_BYTES, 0);
    write_hex(&greeting, &mut value[GREETING.len()..]);
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri(GREETED)
        .header(HOST, authority.to_string())
        .header(SIGNATURE, value)
        .body(RequestBody::empty())
        .map_err(io::Error::other)?;
    let answered = sender.send_request(request).await.map_err(io::Error::other)?;
    let shown = answered.headers().get(SIGNATURE).map(HeaderValue::as_bytes);
    let (StatusCode::NO_CONTENT, Some(shown)) = (answered.status(), shown) else {
        return Err(unproven(authority, "does not answer a greeting: give it peers.key_file"));
    };
    let session = accept(shared, id, &greeting, shown).ok_or_else(|| {
        unproven(
            authority,
            "has another key or version, or is another node: compare peers.key_file",
        )
    })?;
    sender.ready().await.map_err(io::Error::other)?;
    Ok(session)
}

fn unproven(authority: &Authority, why: &'static str) -> io::Error {
    tracing::warn!(to = %authority, "{why}");
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// The session that begins with the answer `shown`, if it proves that the node `id` gave it.
fn accept(shared: &Secret, id: &str, greeting: &Nonce, shown: &[u8]) -> Option<Box<Session>> {
    let (answer, shown) = shown.split_at_checked(2 * NONCE_BYTES)?;
    let (answer, shown) = (read_hex(answer)?, read_hex::<PROOF_BYTES>(shown)?);
    proof(shared, id, greeting, &answer).verify(&Output::<Code>::from(shown)).ok()?;
    Some(Box::new(Session::new(shared, id, greeting, &answer)))
}

/// What only a holder of the key can say, for the node `id` in answer to `greeting`.
fn proof(shared: &Secret, id: &str, greeting: &Nonce, answer: &Nonce) -> Code {
    code_over(shared, b"hopwise/2 answer", id, greeting, answer)
}

fn code_over(shared: &Secret, label: &[u8], id: &str, greeting: &Nonce, answer: &Nonce) -> Code {
    let mut code = keyed(shared.as_bytes());
    for part in [label, b"\n", greeting, answer, id.as_bytes()] {
        code.update(part);
    }
    code
}

fn keyed(key: &[u8]) -> Code {
    // An HMAC takes keys of any length, so this key cannot be refused.
    Code::new_from_slice(key).unwrap_or_else(|_| Code::new(&Default::default()))
}

/// Bytes that nobody can foresee, and that do not come twice.
fn nonce() -> io::Result<Nonce> {
    let mut nonce = Nonce::default();
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut nonce);
    filled.map(|()| nonce).map_err(|_| io::Error::other("the system gives no random bytes"))
}

fn write_hex(bytes: &[u8], hex: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(hex.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
}

fn read_hex<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; N];
    if hex.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "/function/echo?a=1";

    fn key() -> Secret {
        Secret::new(b"0123456789abcdef")
    }

    /// Both ends of a connection to edge1.
    fn ends() -> (Session, Session) {
        let greeting = nonce().unwrap();
        let mut value = GREETING.to_vec();
        value.resize(GREETING.len() + 2 * NONCE_BYTES, 0);
        write_hex(&greeting, &mut value[GREETING.len()..]);
        let value = HeaderValue::from_bytes(&value).unwrap();
        assert!(is_greeting(&value));
        let (shown, server) = answer(&key(), "edge1", &value).unwrap();
        for (other, id) in [(key(), "edge2"), (Secret::new(b"another key 1234"), "edge1")] {
            assert!(accept(&other, id, &greeting, shown.as_bytes()).is_none(), "{id}");
        }
        assert!(accept(&key(), "edge1", &nonce().unwrap(), shown.as_bytes()).is_none());
        assert!(accept(&key(), "edge1", &greeting, &shown.as_bytes()[1..]).is_none());
        (*accept(&key(), "edge1", &greeting, shown.as_bytes()).unwrap(), *server)
    }

    fn fields() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CALL, HeaderValue::from_static("hop=1, via=edge2"));
        headers
    }

    fn signed(session: &mut Session) -> HeaderMap {
        let mut headers = fields();
        session.sign(&Method::POST, &Uri::from_static(TARGET), &mut headers);
        headers
    }

    fn verified(session: &mut Session, headers: &HeaderMap) -> bool {
        let uri = Uri::from_static(TARGET);
        session.verify(&Method::POST, &uri, headers.get(CALL), &headers[SIGNATURE])
    }

    #[test]
    fn requests_on_one_connection_count_in_their_order_and_once() {
        let (mut caller, mut called) = ends();
        for _ in 0..3 {
            assert!(verified(&mut called, &signed(&mut caller)));
        }
        let fourth = signed(&mut caller);
        assert!(verified(&mut called, &fourth));
        assert!(!verified(&mut called, &fourth), "the same again");
    }

    #[test]
    fn a_request_counts_on_its_connection_alone() {
        let ((mut caller, _), (_, mut another)) = (ends(), ends());
        assert!(!verified(&mut another, &signed(&mut caller)));
    }

    #[test]
    fn a_signature_covers_method_target_and_fields() {
        let uri = Uri::from_static(TARGET);
        let other_target = Uri::from_static("/function/echo?a=2");
        let changed = |name, value| {
            move |headers: &mut HeaderMap| {
                headers.insert(&name, HeaderValue::from_static(value));
            }
        };
        let same = |_: &mut HeaderMap| {};
        let check = |method: Method, uri: &Uri, change: &dyn Fn(&mut HeaderMap)| {
            let (mut caller, mut called) = ends();
            let mut headers = signed(&mut caller);
            change(&mut headers);
            called.verify(&method, uri, headers.get(CALL), &headers[SIGNATURE])
        };
        assert!(check(Method::POST, &uri, &same));
        assert!(!check(Method::GET, &uri, &same), "another method");
        assert!(!check(Method::POST, &other_target, &same), "another target");
        for said in ["hop=0, via=edge2", "hop=1, via=edge2, stage=execute", ""] {
            assert!(!check(Method::POST, &uri, &changed(CALL, said)), "{said:?}");
        }
        for bad in ["", "00", "t=1, mac=00", "greeting 00", "00112233445566778899aabbccddeeff"] {
            assert!(!check(Method::POST, &uri, &changed(SIGNATURE, bad)), "{bad:?}");
        }
    }

    #[test]
    fn hexadecimal_digits_survive() {
        let bytes: [u8; 16] = std::array::from_fn(|i| (i * 17) as u8);
        let mut hex = [0; 32];
        write_hex(&bytes, &mut hex);
        assert_eq!(&hex, b"00112233445566778899aabbccddeeff");
        assert_eq!(read_hex(&hex), Some(bytes));
        assert_eq!(read_hex::<16>(&hex[1..]), None);
        assert_eq!(read_hex::<1>(b"+1"), None);
    }
}
