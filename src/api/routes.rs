//! From a request to its row of the table, if its caller may make that call.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{Method, Request, StatusCode};

use crate::proxy::admit::{Admitted, Caller, is_loopback};
use crate::proxy::answer::Refused;
use crate::proxy::client::Port;

use super::{Access, Call, Ports, ROUTES, Route, Verb, invoke, wire};

/// The call that a request makes, if its caller may.
pub(super) fn permitted(admitted: &Admitted) -> Result<Call, Refused> {
    let Admitted { request, snapshot, caller, .. } = admitted;
    let route = find(request.uri().path(), request.method(), caller.client.port)?;
    let from_page = request.headers().contains_key(ORIGIN) && !is_own_page(request, caller);
    route.permit(caller, from_page)?;
    if route.access == Access::Operator && is_misled(admitted) {
        let message = format!(
            "{} was called by a name that is not this node's, as a web page does that has been led \
             here; call it by an address, localhost or the node's address in the topology, or show \
             the admin token",
            route.path
        );
        return Err(Refused::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    if route.call == Call::Schedule {
        invoke::check_role(snapshot)?;
    }
    Ok(route.call)
}

/// The row of `path` and `method` on `port`. Paths are compared as they are, never normalised.
pub(super) fn find(path: &str, method: &Method, port: Port) -> Result<Route, Refused> {
    let served = || ROUTES.iter().filter(|route| route.serves(path) && route.is_on(port));
    let Some(first) = served().next() else { return Err(not_found(path, port)) };
    served().find(|route| route.verb.takes(method)).copied().ok_or_else(|| {
        let allow = if served().count() > 1 { "GET, HEAD, POST" } else { first.verb.allow() };
        let message = format!("{} does not take {method}; use {allow}", first.path);
        let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        Refused { allow: Some(allow), ..refused }
    })
}

/// Whether the page that makes a call came from this admin port.
///
/// A page elsewhere can be called by a name that its owner lets point here, so that it seems to come
/// from where it calls. A caller on this host, who shows no token, therefore has to use a name that
/// nobody else can give: an address, or `localhost`.
fn is_own_page<B>(request: &Request<B>, caller: &Caller) -> bool {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST).or(request.uri().authority().map(Authority::as_str));
    let origin = text(ORIGIN).and_then(|origin| origin.split_once("://"));
    let (Some(host), Some((_, origin))) = (host, origin) else { return false };
    let Ok(authority) = origin.parse::<Authority>() else { return false };
    let is_ours = is_address_or_local(bare(authority.host()));
    let is_near = is_loopback(caller.client.address.ip());
    caller.client.port == Port::Admin && origin == host && (is_ours || !is_near)
}

/// Whether a caller on this host, who is known by nothing else, uses a name that somebody else may
/// have given this host: a browser here that was told so would pass on all it may read.
fn is_misled(admitted: &Admitted) -> bool {
    let Admitted { request, snapshot, caller, .. } = admitted;
    let is_near = is_loopback(caller.client.address.ip());
    // With TLS the browser has seen to it that the name is this node's.
    if !is_near || caller.is_operator || caller.client.scheme() == "https" {
        return false;
    }
    let text = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let host = request.uri().authority().map(Authority::as_str).or(text);
    let Some(host) = host.filter(|host| !host.is_empty()) else { return false };
    let Ok(authority) = host.parse::<Authority>() else { return true };
    let name = bare(authority.host());
    let own = &snapshot.site.node().address.host;
    !is_address_or_local(name) && !name.eq_ignore_ascii_case(own)
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_address_or_local(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// What stands in `path` after `start`, up to the next segment.
pub(super) fn segment_after<'a>(path: &'a str, start: &str) -> &'a str {
    path.strip_prefix(start).and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

impl Route {
    pub(super) fn is_on(&self, port: Port) -> bool {
        self.ports == Ports::Both || port == Port::Admin
    }

    /// Whether `path` is this route's.
    pub(super) fn serves(&self, path: &str) -> bool {
        if !self.path.contains('{') {
            return self.path == path;
        }
        let (mut wanted, mut shown) = (self.path.split('/'), path.split('/'));
        loop {
            match (wanted.next(), shown.next()) {
                (None, None) => return true,
                (Some(name), Some(segment)) if name.starts_with('{') && !segment.is_empty() => {}
                (Some(name), Some(segment)) if name == segment => {}
                _ => return false,
            }
        }
    }

    /// Whether a caller may make this call; `from_page` is one who shows an `Origin`.
    pub(super) fn permit(&self, caller: &Caller, from_page: bool) -> Result<(), Refused> {
        let open = match self.access {
            Access::Probe => true,
            Access::Client => caller.client.port == Port::Data,
            Access::Peer => caller.is_peer,
            Access::Operator | Access::Change => false,
        };
        if !open && !caller.is_trusted {
            let message = format!(
                "{} answers callers on this host only; from elsewhere, show the admin token as \
                 \"authorization: Bearer TOKEN\"",
                self.path
            );
            return Err(Refused::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
        if self.access == Access::Change && from_page {
            let message = format!(
                "{} is not for web pages: the request has an Origin; send it without one, as curl \
                 does",
                self.path
            );
            return Err(Refused::new(StatusCode::FORBIDDEN, "cross_origin", message));
        }
        Ok(())
    }
}

impl Verb {
    pub(super) fn takes(self, method: &Method) -> bool {
        match self {
            Self::Get => matches!(*method, Method::GET | Method::HEAD),
            Self::Post => *method == Method::POST,
        }
    }

    const fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
        }
    }
}

fn not_found(path: &str, port: Port) -> Refused {
    let mut message = format!("there is no {} here; there are:", wire::shortened(path));
    let mut told = "";
    for route in ROUTES.iter().filter(|route| route.is_on(port)) {
        if route.path != told {
            // Writing to a String cannot fail.
            let _ = write!(message, " {}", route.path);
        }
        told = route.path;
    }
    Refused::new(StatusCode::NOT_FOUND, "not_found", message)
}
