//! What comes in: checked against RFC 9110 and 9112, and told apart by who calls and for what.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tower::{Layer, Service};

use crate::clients::{Kind, NoRoom};
use crate::config::{Invoked, NoInvocation, Snapshot};
use crate::state::State;

use super::answer::Refused;
use super::client::{Client, Port};
use super::explain;
use super::future::Either;
use super::host::names_a_host;
use super::peer::{self, Ours, PeerContext, Standing};
use super::request_body::drain;
use super::response_body::ResponseBody;
use super::trail::{Followed, Trail};

/// Who is calling.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The connection.
    pub client: Client,
    /// What a peer says of the invocation; none for anyone else.
    pub(crate) peer: Option<PeerContext>,
    /// Whether the caller is a sidecar of this topology.
    pub is_peer: bool,
    /// Whether the caller is on this host, or known as an operator.
    pub is_trusted: bool,
    /// Whether the caller shows the admin token, or an operator's certificate.
    pub is_operator: bool,
    /// Whether the answer says where the invocation ran, what was decided, and why.
    pub wants_decision: bool,
    /// When the request came in.
    pub(crate) came: Instant,
    /// What is noted of the request.
    pub(crate) trail: Trail,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// One of our own paths.
    Own,
    /// A call of a function.
    Function(Invoked),
    /// Anything else: for the gateway, unchanged.
    Gateway,
}

/// A request that may be served, with all that was found out about it.
#[derive(Debug)]
pub struct Admitted {
    /// The request, internal headers still in place.
    pub request: Request<Incoming>,
    /// The configuration it is served under, to its end.
    pub snapshot: Arc<Snapshot>,
    /// Who is calling.
    pub caller: Caller,
    /// What for.
    pub route: Route,
}

/// Our paths on the data port; the first two run functions.
pub const OWN_PATHS: [&str; 9] = [
    "/entry",
    "/schedule",
    "/load",
    "/arch_metrics",
    "/durations",
    "/decisions",
    "/configuration",
    "/reload",
    "/update_threshold",
];

/// The error of those who say that they are a peer, and are not.
pub(super) const PEER_REJECTED: &str = "peer_rejected";
/// Whether `path` is one of ours that runs no function.
fn manages(path: &str) -> bool {
    OWN_PATHS[2..].contains(&path)
}

/// The layer that admits requests of one client.
#[derive(Debug, Clone)]
pub struct Admit {
    pub(super) state: Arc<State>,
    pub(super) client: Client,
}

/// The service [`Admit`] makes.
#[derive(Debug, Clone)]
pub struct Admission<S> {
    admit: Admit,
    inner: S,
}

impl<S> Layer<S> for Admit {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission { admit: self.clone(), inner }
    }
}

impl<S> Service<Followed<Incoming>> for Admission<S>
where
    S: Service<Admitted, Response = Response<ResponseBody>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Either<S::Future, Refusing>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, followed: Followed<Incoming>) -> Self::Future {
        match self.admit.admit(followed) {
            Ok(admitted) => Either::One { future: self.inner.call(admitted) },
            Err((answer, body)) => Either::Other { future: refuse(answer, body) },
        }
    }
}

/// A refusal on its way; boxed, since refusals are rare.
type Refusing = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>>>>;

/// What is answered without being served.
enum Unserved {
    Refused(Refused),
    /// A greeting, with this signature.
    Greeted(HeaderValue),
}

impl From<Refused> for Unserved {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

fn refuse(unserved: Unserved, body: Incoming) -> Refusing {
    Box::pin(async move {
        drain(body).await;
        Ok(match unserved {
            Unserved::Refused(refused) => {
                // Whoever is a peer after all proves it anew on another connection, and what follows
                // a request that makes no sense may be part of it.
                let closes = refused.error == PEER_REJECTED
                    || matches!(
                        refused.status,
                        StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED
                    );
                let mut response = refused.into_response();
                if closes {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
            Unserved::Greeted(signature) => {
                let mut response = Response::new(ResponseBody::full(""));
                *response.status_mut() = StatusCode::NO_CONTENT;
                response.headers_mut().insert(peer::SIGNATURE, signature);
                response
            }
        })
    })
}

impl Admit {
    fn admit(&self, followed: Followed<Incoming>) -> Result<Admitted, (Unserved, Incoming)> {
        let Followed { mut request, came, trail } = followed;
        let snapshot = self.state.snapshot();
        trail.note(|notes| notes.snapshot = Some(Arc::clone(&snapshot)));
        match self.examine(&snapshot, &request, came) {
            Ok((route, mut caller)) => {
                trail.admitted(&route, &caller);
                caller.trail = trail;
                if shows_token(&snapshot, request.headers()) {
                    // It is meant for us; nobody behind us has business with it.
                    request.headers_mut().remove(AUTHORIZATION);
                }
                Ok(Admitted { request, snapshot, caller, route })
            }
            Err(unserved) => Err((unserved, request.into_body())),
        }
    }

    fn examine(
        &self,
        snapshot: &Snapshot,
        request: &Request<Incoming>,
        came: Instant,
    ) -> Result<(Route, Caller), Unserved> {
        // First, since every signed request on a connection has its number, whatever comes of it.
        let caller = self.identify(snapshot, request, came)?;
        check_message(request)?;
        let route = self.route(snapshot, request)?;
        self.check_room(snapshot, request, route, &caller)?;
        Ok((route, caller))
    }

    /// What a request is for. Paths are compared as they are, never normalised.
    fn route(&self, snapshot: &Snapshot, request: &Request<Incoming>) -> Result<Route, Refused> {
        if self.client.port == Port::Admin {
            return Ok(Route::Own);
        }
        let (routes, path) = (&snapshot.routes, request.uri().path());
        let mut found = None;
        if routes.ask_for_host() {
            found = routes.at_host(host_of(request), path).map_err(names_none)?;
        }
        if found.is_none() {
            if OWN_PATHS.contains(&path) {
                return Ok(Route::Own);
            }
            found = routes.at_path(path).map_err(names_none)?;
        }
        let called = found.filter(|invoked| !invoked.platform.probes(request.headers()));
        Ok(called.map_or(Route::Gateway, Route::Function))
    }

    /// Whether there is room for one more request, where it is one that takes any.
    fn check_room(
        &self,
        snapshot: &Snapshot,
        request: &Request<Incoming>,
        route: Route,
        caller: &Caller,
    ) -> Result<(), Refused> {
        let kind = if caller.is_peer { Kind::Peer } else { Kind::Client };
        let Err(why) = self.client.connection.check(kind, &snapshot.limits) else { return Ok(()) };
        if self.client.port == Port::Admin || (route == Route::Own && manages(request.uri().path()))
        {
            // Operators see and steer a node that is full.
            return Ok(());
        }
        let refusals = &self.state.metrics.refusals;
        let counted = match why {
            NoRoom::All => &refusals.in_flight,
            NoRoom::Client => &refusals.client_in_flight,
        };
        counted.inc();
        Err(explain::no_room(why))
    }

    fn identify(
        &self,
        snapshot: &Snapshot,
        request: &Request<Incoming>,
        came: Instant,
    ) -> Result<Caller, Unserved> {
        let headers = request.headers();
        let address = self.client.address.ip();
        let ours = Ours::of(headers);
        let asks = ours.explain;
        let standing = peer::standing(snapshot, request, &ours, &self.client);
        let is_peer = standing == Standing::Peer;
        let peer = match standing {
            Standing::Peer => peer::heard(snapshot, ours).map_err(bad_request)?,
            Standing::Stranger => None,
            Standing::Greets(signature) => return Err(Unserved::Greeted(signature)),
            Standing::Forged(why) => {
                self.state.metrics.peer_rejections.inc();
                tracing::debug!(from = %address, why, "not taken for a peer");
                return Err(Refused::new(StatusCode::FORBIDDEN, PEER_REJECTED, why).into());
            }
        };
        let is_operator =
            shows_token(snapshot, headers) || shows_certificate(snapshot, &self.client);
        let is_trusted = is_loopback(address) || is_operator;
        let wants_decision = asks && (is_trusted || is_peer);
        Ok(Caller {
            client: self.client.clone(),
            peer,
            is_peer,
            is_trusted,
            is_operator,
            wants_decision,
            came,
            trail: Trail::default(),
        })
    }
}

/// Whether an address is this host's own.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether the caller is known as an operator by its certificate.
fn shows_certificate(snapshot: &Snapshot, client: &Client) -> bool {
    let operators = snapshot.tls.operators.as_ref();
    client.port == Port::Admin && client.certified_for(operators).is_some()
}

/// Whether the request carries the admin token.
fn shows_token(snapshot: &Snapshot, headers: &HeaderMap) -> bool {
    let Some(token) = &snapshot.admin_token else { return false };
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    // The scheme's name has no case (RFC 9110, 11.1).
    let (scheme, shown) = shown.and_then(|value| value.split_at_checked(7)).unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"bearer ") && token.matches(shown)
}

fn bad_request(message: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

/// Fields that say where a message goes and where it ends, and how many there are of each.
#[derive(Debug, Default)]
struct Framing<'a> {
    host: Option<&'a HeaderValue>,
    hosts: usize,
    lengths: usize,
    coding: Option<&'a HeaderValue>,
    codings: usize,
}

impl<'a> Framing<'a> {
    /// That of a message with `headers`, each of which is looked at once.
    fn of(headers: &'a HeaderMap) -> Self {
        let mut framing = Self::default();
        for (name, value) in headers {
            if *name == HOST {
                framing.host.get_or_insert(value);
                framing.hosts += 1;
            } else if *name == CONTENT_LENGTH {
                framing.lengths += 1;
            } else if *name == TRANSFER_ENCODING {
                framing.coding.get_or_insert(value);
                framing.codings += 1;
            }
        }
        framing
    }
}

/// What hyper leaves to us: methods we do not serve, and the rules about Host.
fn check_message(request: &Request<Incoming>) -> Result<(), Refused> {
    if request.method() == Method::CONNECT {
        let message = "CONNECT is not served here; call the function by its path";
        let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        return Err(Refused {
            allow: Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            ..refused
        });
    }
    let Framing { host, hosts, lengths, coding, codings } = Framing::of(request.headers());
    if hosts > 1 {
        return Err(bad_request("the request has more than one Host; send one"));
    }
    if host.is_none() && request.version() == Version::HTTP_11 && request.uri().host().is_none() {
        return Err(bad_request("the request has no Host; HTTP/1.1 demands one"));
    }
    if host.is_some_and(|host| !host.is_empty() && !names_a_host(host.as_bytes())) {
        return Err(bad_request("the Host is neither a name nor an address; send one that is"));
    }
    if lengths > 1 {
        return Err(bad_request("the request has more than one Content-Length; send one"));
    }
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if coding.is_some_and(|coding| !is_chunked(coding)) || codings > 1 {
        let message = "the only transfer coding served is chunked, once; put others in \
                       Content-Encoding";
        return Err(Refused::new(StatusCode::NOT_IMPLEMENTED, "transfer_coding", message));
    }
    Ok(())
}

/// The host a request is for: its target's, which overrules `Host` (RFC 9112, 3.2.2).
fn host_of(request: &Request<Incoming>) -> &str {
    let named = || request.headers().get(HOST).and_then(|host| host.to_str().ok());
    request.uri().host().or_else(named).unwrap_or_default()
}

/// Why a request is refused whose path is a function's and yet calls none.
fn names_none(why: NoInvocation<'_>) -> Refused {
    bad_request(match why {
        NoInvocation::Name(name, error) => format!("{name:?} names no function: {error}"),
        NoInvocation::Tail => "the path after the function's name has a dot segment, an encoded \
                               slash or backslash, or NUL; send it in the query or the body"
            .to_owned(),
    })
}
