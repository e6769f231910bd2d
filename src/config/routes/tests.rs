use super::*;
use crate::config::Snapshot;

const BASE: &str = "node: { id: edge1 }
topology:
  - { id: edge1, role: worker, zone: a, address: 192.0.2.1 }
";

fn routes(text: &str) -> Routes {
    match Snapshot::from_yaml(&format!("{BASE}routes:\n{text}"), None) {
        Ok(snapshot) => snapshot.routes,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn named(invoked: Result<Option<Invoked>, NoInvocation<'_>>) -> Option<String> {
    invoked.unwrap().map(|invoked| invoked.function.to_string())
}

#[test]
fn those_of_openfaas_are_the_default() {
    let routes = Routes::default();
    let found = |path| {
        let invoked = routes.at_path(path).unwrap();
        invoked.map(|invoked| (invoked.function.to_string(), invoked.asynchronous))
    };
    let function = |name: &str, asynchronous| Some((name.to_owned(), asynchronous));
    for (path, invoked) in [
        ("/function/echo", function("echo", false)),
        ("/function/echo/", function("echo", false)),
        ("/function/echo/a/b", function("echo", false)),
        ("/function/echo//a", function("echo", false)),
        ("/function/a.b", function("a.b", false)),
        ("/function/echo/v1.2/...", function("echo", false)),
        ("/async-function/echo", function("echo", true)),
        ("/function", None),
        ("/function/", None),
        ("/functions/echo", None),
        ("//function/echo", None),
        ("/Function/echo", None),
        ("/system/functions", None),
        ("/", None),
        ("*", None),
    ] {
        assert_eq!(found(path), invoked, "{path}");
    }
    assert_eq!(routes.at_host("echo.example.com", "/").unwrap(), None);
}

#[test]
fn what_leads_elsewhere_is_refused() {
    for path in [
        "/function/../system/functions",
        "/function/./echo",
        "/function//echo",
        "/function/%2e%2e/system",
        "/function/echo/../../system/functions",
        "/function/echo/%2E%2e/x",
        "/function/echo/.%2e/x",
        "/function/echo/a%2Fb",
        "/function/echo/a%2fb",
        "/function/echo/a%5cb",
        "/function/echo/a%00",
        "/function/echo/a/..\\..\\b",
        "/function/a%20b",
        "/async-function/../x",
        &format!("/function/{}", "x".repeat(64)),
    ] {
        assert!(Routes::default().at_path(path).is_err(), "{path}");
    }
}

#[test]
fn hosts_are_asked_first_and_then_the_order_holds() {
    let routes = routes(
        "  - { path: '/api/{function}' }
  - { path: /, function: rest }
  - { host: '{name}.{namespace}.faas', path: /, platform: knative }
  - { host: api.faas, path: /orders, function: orders }
",
    );
    for (host, path, function) in [
        ("a.b.faas", "/load", Some("a.b")),
        ("API.faas:80", "/orders/1", Some("orders")),
        ("api.faas", "/others", None),
        ("x.faas", "/", None),
        // Longer than any name here, though a host may be called that.
        (&format!("{}.b.faas", "x".repeat(63)), "/", None),
    ] {
        assert_eq!(named(routes.at_host(host, path)).as_deref(), function, "{host}{path}");
    }
    assert_eq!(named(routes.at_path("/api/a/b")).as_deref(), Some("a"));
    assert_eq!(named(routes.at_path("/a/../b")).as_deref(), Some("rest"));
    assert_eq!(routes.at_path("/api/a/../b"), Err(NoInvocation::Tail));
}

#[test]
fn a_function_is_called_by_the_first_route_that_leads_to_it() {
    let routes = routes(
        "  - { path: '/queue/{function}', asynchronous: true }
  - { path: /single, function: single }
  - { host: '{name}.{namespace}.faas', path: /, platform: knative }
",
    );
    let address = |name| routes.address_of(FunctionName::new(name).unwrap());
    let knative = Some((Some("a.b.faas".to_owned()), "/".to_owned(), Platform::Knative));
    assert_eq!(address("a.b"), knative);
    assert_eq!(address("single"), Some((None, "/single".to_owned(), Platform::OpenFaas)));
    assert_eq!(address("other"), None);
}

#[test]
fn what_is_wrong_is_told_with_its_key() {
    for (text, key) in [
        ("  - { path: function }", "routes[0].path"),
        ("  - { path: /a }", "routes[0].function"),
        ("  - { path: '/{function}', function: a }", "routes[0].function"),
        ("  - { path: '/{function}', host: '{function}.a' }", "routes[0].function"),
        ("  - { path: /, host: '{function}-x.a' }", "routes[0].host"),
        ("  - { path: /, function: a/b }", "routes[0].function"),
        ("  - { host: '{function}.a' }", "routes[0].path"),
        ("  - { path: /, function: a, platform: lambda }", "routes[0].platform"),
        ("  - { path: /, function: a }\n  - { path: /, function: b }", "routes"),
    ] {
        let problems = Snapshot::from_yaml(&format!("{BASE}routes:\n{text}\n"), None).unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [key], "{text}");
    }
    let many = "  - { path: '/{function}' }\n".repeat(ROUTES_MAX + 1);
    assert!(Snapshot::from_yaml(&format!("{BASE}routes:\n{many}"), None).is_err());
}
