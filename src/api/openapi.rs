//! `GET /openapi.json`: these calls, for programs that make clients and tests.

use http::{Response, StatusCode};
use serde_json::Value;

use crate::proxy::answer::json;
use crate::proxy::response_body::ResponseBody;

/// The document, as people write it; a test holds it against the table of routes.
const OPENAPI: &str = include_str!("openapi.yaml");

/// The OpenAPI 3.1 document of both ports.
pub(super) fn document() -> Response<ResponseBody> {
    json(StatusCode::OK, &value())
}

fn value() -> Value {
    let mut document: Value = serde_yaml::from_str(OPENAPI).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Ports, ROUTES, Verb};
    use super::*;

    #[test]
    fn the_document_tells_exactly_the_calls_there_are() {
        let document = value();
        let mut told = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in ["get", "post", "put", "delete", "patch"] {
                if item.get(method).is_some() {
                    told.insert((path.as_str(), method));
                }
            }
        }
        let method = |verb| if verb == Verb::Get { "get" } else { "post" };
        let there: BTreeSet<_> = ROUTES.iter().map(|r| (r.path, method(r.verb))).collect();
        assert_eq!(told, there);
    }

    #[test]
    fn each_call_says_where_it_is_answered_and_what_may_come_of_it() {
        let document = value();
        let mut ids = BTreeSet::new();
        for route in ROUTES {
            let method = if route.verb == Verb::Get { "get" } else { "post" };
            let call = &document["paths"][route.path][method];
            let port = if route.ports == Ports::Admin { "admin" } else { "both ports" };
            assert_eq!(call["tags"], serde_json::json!([port]), "{}", route.path);
            assert!(call["responses"]["200"].is_object(), "{}", route.path);
            assert!(ids.insert(call["operationId"].to_string()), "{}", route.path);
        }
    }
}
