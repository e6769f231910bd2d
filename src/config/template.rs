//! Templates of hosts and paths, which say where in a request the name of a function stands.

use crate::scheduling::{FunctionName, FunctionNameError};

use super::reader::Fault;

/// Most bytes in a template: no host is longer (RFC 1035, 2.3.4), and no sensible path.
const BYTES_MAX: usize = 253;

const FUNCTION: &str = "{function}";
const NAME: &str = "{name}";
const NAMESPACE: &str = "{namespace}";

/// One label of a host, or one segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// Text of the function's name.
    Name,
}

/// What the path of a request begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathTemplate(Box<[Part]>);

/// What the host of a request is, without its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostTemplate(Box<[Part]>);

/// How a path fits a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit<'a> {
    /// Not at all.
    No,
    /// With this text in the place of the function, if there is one, and this after the template.
    Yes(Option<&'a str>, &'a str),
    /// All but that nothing stands in the place of the function, and something after it.
    Nameless,
}

impl PathTemplate {
    /// The template that `text` is: segments, one of which may be `{function}`.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        const REMEDY: &str = "begin it with / and leave out //, dot segments, %, ? and #";
        let fault = || Fault::new("is no template of a path", REMEDY);
        let inner = text.strip_prefix('/').filter(|_| text.len() <= BYTES_MAX).ok_or_else(fault)?;
        if inner.is_empty() {
            return Ok(Self(Box::default()));
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"%?#\\\"<>".contains(&byte);
        let part = |segment: &str| match segment {
            FUNCTION => Ok(Part::Name),
            "" | "." | ".." => Err(fault()),
            _ if segment.contains(['{', '}']) => Err(misplaced("segment of the path")),
            _ if !segment.bytes().all(plain) => Err(fault()),
            _ => Ok(Part::Literal(segment.into())),
        };
        let parts: Box<[Part]> = inner.split('/').map(part).collect::<Result<_, _>>()?;
        if places(&parts) > 1 { Err(twice()) } else { Ok(Self(parts)) }
    }

    /// Whether it says which function is called.
    pub(super) fn names(&self) -> bool {
        places(&self.0) > 0
    }

    /// Whether any path begins with it.
    pub(super) fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn fit<'a>(&self, path: &'a str) -> Fit<'a> {
        let (mut rest, mut name) = (path, None);
        for part in &self.0 {
            let Some(inner) = rest.strip_prefix('/') else { return Fit::No };
            let end = inner.bytes().position(|byte| byte == b'/').unwrap_or(inner.len());
            let (segment, after) = inner.split_at(end);
            match part {
                Part::Literal(literal) if **literal == *segment => {}
                Part::Name if !segment.is_empty() => name = Some(segment),
                Part::Name if after.len() > 1 => return Fit::Nameless,
                _ => return Fit::No,
            }
            rest = after;
        }
        Fit::Yes(name, rest)
    }

    /// The path by which `function` is called.
    pub(super) fn path_of(&self, function: FunctionName) -> String {
        if self.is_any() {
            return "/".to_owned();
        }
        let segment = |part: &Part| match part {
            Part::Literal(literal) => format!("/{literal}"),
            Part::Name => format!("/{function}"),
        };
        self.0.iter().map(segment).collect()
    }
}

impl HostTemplate {
    /// The template that `text` is: labels, among them `{function}`, `{name}.{namespace}` or neither.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || {
            let remedy = "write labels of letters, digits, - and _ with dots between them, no port";
            Fault::new("is no template of a host", remedy)
        };
        if text.len() > BYTES_MAX {
            return Err(fault());
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let labels: Vec<&str> = text.split('.').collect();
        let mut parts = Vec::with_capacity(labels.len());
        for (index, label) in labels.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|before| labels.get(before));
            parts.push(match *label {
                FUNCTION => Part::Name,
                NAME if labels.get(index + 1) == Some(&NAMESPACE) => Part::Name,
                NAMESPACE if before == Some(&NAME) => Part::Name,
                label if label.contains(['{', '}']) => return Err(misplaced("label of the host")),
                label if label.is_empty() || !label.bytes().all(plain) => return Err(fault()),
                label => Part::Literal(label.to_ascii_lowercase().into()),
            });
        }
        let names = labels.iter().filter(|label| [FUNCTION, NAME].contains(label)).count();
        if names > 1 { Err(twice()) } else { Ok(Self(parts.into())) }
    }

    /// Whether it says which function is called.
    pub(super) fn names(&self) -> bool {
        places(&self.0) > 0
    }

    /// Whether `host`, with or without port, fits, and the labels that name the function.
    pub(super) fn fit<'a>(&self, host: &'a str) -> Option<Option<&'a str>> {
        let name = host.split_once(':').map_or(host, |(name, _)| name);
        let name = name.strip_suffix('.').unwrap_or(name);
        let (mut start, mut found) = (0, None::<(usize, usize)>);
        let mut labels = name.split('.');
        for part in &self.0 {
            let label = labels.next()?;
            let end = start + label.len();
            match part {
                Part::Literal(literal) if literal.eq_ignore_ascii_case(label) => {}
                Part::Name if !label.is_empty() => {
                    found = Some((found.map_or(start, |(first, _)| first), end));
                }
                _ => return None,
            }
            start = end + 1;
        }
        let ends = labels.next().is_none();
        ends.then(|| found.and_then(|(first, end)| name.get(first..end)))
    }

    /// The host at which `function` is called, if it can have one.
    pub(super) fn host_of(&self, function: FunctionName) -> Option<String> {
        let mut labels = function.as_str().split('.');
        let mut host = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            host.push(match part {
                Part::Literal(literal) => &**literal,
                Part::Name => labels.next().filter(|label| !label.is_empty())?,
            });
        }
        (!self.names() || labels.next().is_none()).then(|| host.join("."))
    }
}

/// The function of a name that stands in a host: hosts have no case.
pub(super) fn named_in_host(name: &str) -> Result<FunctionName, FunctionNameError> {
    let mut bytes = [0; FunctionName::BYTES_MAX];
    let lower = bytes.get_mut(..name.len()).ok_or(FunctionNameError)?;
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    FunctionName::new(str::from_utf8(lower).map_err(|_| FunctionNameError)?)
}

fn places(parts: &[Part]) -> usize {
    parts.iter().filter(|part| **part == Part::Name).count()
}

fn misplaced(whole: &str) -> Fault {
    let remedy = format!(
        "let {{function}} be a whole {whole}; a host may have {{name}}.{{namespace}} in its place"
    );
    Fault::new("has a placeholder that is not known here", remedy)
}

fn twice() -> Fault {
    Fault::new("names the function twice", "leave one of the placeholders out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fit_or_do_not() {
        for (template, path, fit) in [
            ("/function/{function}", "/function/a.b/c/d", Fit::Yes(Some("a.b"), "/c/d")),
            ("/function/{function}", "/function/a", Fit::Yes(Some("a"), "")),
            ("/function/{function}", "/function/", Fit::No),
            ("/function/{function}", "/function//a", Fit::Nameless),
            ("/function/{function}", "/functions/a", Fit::No),
            ("/v1/{function}/run", "/v1/a/run/x", Fit::Yes(Some("a"), "/x")),
            ("/v1/{function}/run", "/v1/a/running", Fit::No),
            ("/", "/a", Fit::Yes(None, "/a")),
            ("/", "*", Fit::Yes(None, "*")),
        ] {
            assert_eq!(PathTemplate::parse(template).ok().unwrap().fit(path), fit, "{path}");
        }
    }

    #[test]
    fn hosts_fit_or_do_not() {
        let knative = "{name}.{namespace}.Example.com";
        for (template, host, fit) in [
            (knative, "A.b.example.COM:80", Some(Some("A.b"))),
            (knative, "a.b.example.com.", Some(Some("a.b"))),
            (knative, "x.a.b.example.com", None),
            (knative, "b.example.com", None),
            (knative, "a.b.example.com.evil.org", None),
            (knative, ".b.example.com", None),
            (knative, "", None),
            ("{function}.faas", "a.faas", Some(Some("a"))),
            ("api.faas", "API.faas:1", Some(None)),
        ] {
            assert_eq!(HostTemplate::parse(template).ok().unwrap().fit(host), fit, "{host}");
        }
    }

    #[test]
    fn a_function_is_found_again_at_its_address() {
        let function = |name| FunctionName::new(name).unwrap();
        for (template, name, host) in [
            ("{name}.{namespace}.faas", "a.b", Some("a.b.faas")),
            ("{name}.{namespace}.faas", "a", None),
            ("{name}.{namespace}.faas", "a.b.c", None),
            ("{function}.faas", "a", Some("a.faas")),
            ("{function}.faas", "a.b", None),
            ("api.faas", "a.b", Some("api.faas")),
        ] {
            let template = HostTemplate::parse(template).ok().unwrap();
            assert_eq!(template.host_of(function(name)).as_deref(), host, "{name}");
        }
        for (template, path) in [("/v1/{function}/run", "/v1/a/run"), ("/", "/"), ("/x", "/x")] {
            let template = PathTemplate::parse(template).ok().unwrap();
            assert_eq!(template.path_of(function("a")), path);
        }
        assert_eq!(named_in_host("A.b"), FunctionName::new("a.b"));
        assert!(named_in_host(&"x".repeat(64)).is_err());
    }

    #[test]
    fn bad_templates_are_refused() {
        let long = format!("/{}", "x".repeat(BYTES_MAX));
        for path in ["f", "/a//b", "/../{function}", "/%2e/b", "/a b", "/a-{function}", &long] {
            assert!(PathTemplate::parse(path).is_err(), "{path}");
        }
        for path in ["/{name}", "/{function}/{function}"] {
            assert!(PathTemplate::parse(path).is_err(), "{path}");
        }
        for host in ["a..b", "{function}.a:80", "{name}.a", "{namespace}.{name}", "", "a/b"] {
            assert!(HostTemplate::parse(host).is_err(), "{host}");
        }
        assert!(HostTemplate::parse("{function}.{name}.{namespace}").is_err());
    }
}
