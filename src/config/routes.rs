//! Which requests are invocations, and of which function.

use crate::scheduling::{FunctionName, FunctionNameError};

use super::reader::{Fault, Section};
use super::template::{Fit, HostTemplate, PathTemplate, named_in_host};

/// Most routes of one configuration.
const ROUTES_MAX: usize = 32;

/// What runs the functions, which is what tells its own answers from theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Platform {
    /// OpenFaaS or faasd: `X-OpenFaaS-Internal`, `X-Duration-Seconds`, and its words for a 404.
    #[default]
    OpenFaas,
    /// Knative Serving behind an ingress that is Envoy; its probes are no invocations.
    Knative,
    /// Any HTTP server: what it answers is the function's answer.
    Http,
}

impl Platform {
    /// All of them, in the order documented.
    pub const ALL: [Self; 3] = [Self::OpenFaas, Self::Knative, Self::Http];

    /// The word for it in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenFaas => "openfaas",
            Self::Knative => "knative",
            Self::Http => "http",
        }
    }
}

/// What a route says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invoked {
    /// The function that is called.
    pub function: FunctionName,
    /// Whether it is only queued, so that the time to its answer says nothing.
    pub asynchronous: bool,
    /// What runs it.
    pub platform: Platform,
}

/// Why a request that fits a route is no invocation all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoInvocation<'a> {
    /// This names no function.
    Name(&'a str, FunctionNameError),
    /// What follows the template may lead elsewhere.
    Tail,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    host: Option<HostTemplate>,
    path: PathTemplate,
    fixed: Option<FunctionName>,
    asynchronous: bool,
    platform: Platform,
}

/// The routes in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    /// Those that name a host, which are asked before anything else.
    by_host: Box<[Route]>,
    by_path: Box<[Route]>,
}

impl Default for Routes {
    /// Those of OpenFaaS.
    fn default() -> Self {
        let route = |path, asynchronous| {
            let path = PathTemplate::parse(path).ok()?;
            let platform = Platform::OpenFaas;
            Some(Route { host: None, path, fixed: None, asynchronous, platform })
        };
        let both =
            [route("/function/{function}", false), route("/async-function/{function}", true)];
        Self::ordered(both.into_iter().flatten().collect())
    }
}

impl Routes {
    fn ordered(routes: Vec<Route>) -> Self {
        let (by_host, by_path): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|route| route.host.is_some());
        Self { by_host: by_host.into(), by_path: by_path.into() }
    }

    /// Whether any route asks for the host of a request.
    pub fn ask_for_host(&self) -> bool {
        !self.by_host.is_empty()
    }

    /// The invocation that a request for `path` at `host` is by a route that names a host.
    pub fn at_host<'a>(
        &self,
        host: &str,
        path: &'a str,
    ) -> Result<Option<Invoked>, NoInvocation<'a>> {
        for route in &self.by_host {
            let Some(named) = route.host.as_ref().and_then(|template| template.fit(host)) else {
                continue;
            };
            let in_host = match named.map(named_in_host) {
                // A host that names no function is some other host.
                Some(Err(_)) => continue,
                Some(Ok(name)) => Some(name),
                None => None,
            };
            if let Some(invoked) = route.invoked(in_host, path)? {
                return Ok(Some(invoked));
            }
        }
        Ok(None)
    }

    /// The invocation that a request for `path` is by any other route.
    pub fn at_path<'a>(&self, path: &'a str) -> Result<Option<Invoked>, NoInvocation<'a>> {
        for route in &self.by_path {
            if let Some(invoked) = route.invoked(None, path)? {
                return Ok(Some(invoked));
            }
        }
        Ok(None)
    }

    /// Where `function` is called: the host, if it has one of its own, the path, and by what it runs.
    pub fn address_of(&self, function: FunctionName) -> Option<(Option<String>, String, Platform)> {
        let routes = self.by_host.iter().chain(&self.by_path);
        routes.filter(|route| !route.asynchronous).find_map(|route| route.address_of(function))
    }
}

impl Route {
    fn invoked<'a>(
        &self,
        in_host: Option<FunctionName>,
        path: &'a str,
    ) -> Result<Option<Invoked>, NoInvocation<'a>> {
        let (in_path, tail) = match self.path.fit(path) {
            Fit::No => return Ok(None),
            Fit::Nameless => return Err(NoInvocation::Name("", FunctionNameError)),
            Fit::Yes(name, tail) => (name, tail),
        };
        let in_path = in_path
            .map(|name| FunctionName::new(name).map_err(|error| NoInvocation::Name(name, error)));
        let Some(function) = self.fixed.or(in_host).map(Ok).or(in_path).transpose()? else {
            return Ok(None);
        };
        if !self.path.is_any() && !is_plain(tail) {
            return Err(NoInvocation::Tail);
        }
        let Self { asynchronous, platform, .. } = *self;
        Ok(Some(Invoked { function, asynchronous, platform }))
    }

    fn address_of(&self, function: FunctionName) -> Option<(Option<String>, String, Platform)> {
        if self.fixed.is_some_and(|fixed| fixed != function) {
            return None;
        }
        let host = match &self.host {
            Some(template) => Some(template.host_of(function)?),
            None => None,
        };
        Some((host, self.path.path_of(function), self.platform))
    }
}

/// Whether no gateway can read `tail` as leading out of the function's own path.
fn is_plain(tail: &str) -> bool {
    if !tail.contains(['.', '%', '\\']) {
        return true;
    }
    let lower = tail.to_ascii_lowercase();
    if lower.contains("%2f") || lower.contains("%5c") || lower.contains("%00") {
        return false;
    }
    let decoded = lower.replace("%2e", ".");
    !decoded.split(['/', '\\']).any(|segment| matches!(segment, "." | ".."))
}

/// The routes at `routes`; those of OpenFaaS where there are none.
pub(super) fn read_routes(s: &mut Section<'_>) -> Routes {
    let read = s.list("routes", read_route);
    if read.len() > ROUTES_MAX {
        let remedy = format!("write at most {ROUTES_MAX}, with templates in place of names");
        s.note("routes", read.len(), Fault::new("are too many", remedy));
    }
    let routes: Vec<Route> = read.into_iter().flatten().collect();
    let twice = |(i, route): (usize, &Route)| {
        let same = |earlier: &Route| earlier.host == route.host && earlier.path == route.path;
        routes[..i].iter().any(same)
    };
    if let Some(i) = routes.iter().enumerate().position(twice) {
        let remedy = "remove it; an earlier one has the same host and path";
        s.note("routes", format!("(number {})", i + 1), Fault::new("is never asked", remedy));
    }
    if routes.is_empty() { Routes::default() } else { Routes::ordered(routes) }
}

fn read_route(s: &mut Section<'_>, _: usize) -> Option<Route> {
    let host = s.parsed("host", HostTemplate::parse);
    s.require("path", "write what the path begins with, as in /function/{function}, or /");
    let path = s.parsed("path", PathTemplate::parse);
    let fixed = s.parsed("function", |name| {
        let remedy = "use 1 to 63 characters of [-a-zA-Z0-9_.]";
        FunctionName::new(name).map_err(|_| Fault::new("is not a function's name", remedy))
    });
    let asynchronous = s.flag("asynchronous", false);
    let platform = s.choice("platform", &Platform::ALL, Platform::as_str).unwrap_or_default();
    let path = path?;
    let named = [host.as_ref().is_some_and(HostTemplate::names), path.names(), fixed.is_some()];
    let sound = s.is_sound("host") && s.is_sound("function");
    if sound && named.iter().filter(|named| **named).count() != 1 {
        let remedy = "say once which it is: {function} in the path or the host, \
                      {name}.{namespace} in the host, or a name at function";
        let fault = if named == [false; 3] { "leads to no function" } else { "says twice" };
        s.note(
            "function",
            fixed.map_or_else(String::new, |name| name.to_string()),
            Fault::new(fault, remedy),
        );
        return None;
    }
    Some(Route { host, path, fixed, asynchronous, platform })
}

#[cfg(test)]
mod tests;
