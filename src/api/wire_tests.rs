//! Tables of requests, good and bad.

use super::*;

fn entry(body: &str) -> EntryRequest {
    EntryRequest::parse(body.as_bytes()).unwrap_or_else(|refused| panic!("{body}: {refused:?}"))
}

#[test]
fn a_payload_is_sent_as_it_was_written() {
    let text = |text: &'static str| Payload::Text(Bytes::from_static(text.as_bytes()));
    let json = |text: &'static str| Payload::Json(Bytes::from_static(text.as_bytes()));
    for (written, payload) in [
        (r#""hello""#, text("hello")),
        (r#""a\nb ü \u00e9""#, text("a\nb ü é")),
        (r#""{\"n\": 3}""#, text("{\"n\": 3}")),
        (r#""""#, Payload::Empty),
        ("null", Payload::Empty),
        ("0", json("0")),
        ("false", json("false")),
        (r#"{"b": 1,  "a": 2}"#, json(r#"{"b": 1,  "a": 2}"#)),
        ("[1.10, 123456789012345678901234567890]", json("[1.10, 123456789012345678901234567890]")),
    ] {
        let body = format!(r#"{{"fn_name": "echo", "payload": {written}}}"#);
        assert_eq!(entry(&body).payload, payload, "{written}");
    }
    assert_eq!(entry(r#"{"fn_name": "echo"}"#).payload, Payload::Empty);
}

#[test]
fn what_is_left_out_or_null_is_left_to_us() {
    for body in [
        r#"{"fn_name": "echo"}"#,
        r#"{"fn_name": "echo", "arch": null, "hop": null, "deadline": null, "tag": null}"#,
        r#"  {"fn_name": "echo", "arch": "dynamic", "earlier": {"clients": ["send", "more"]}} "#,
    ] {
        let request = entry(body);
        assert_eq!(request.function.as_str(), "echo");
        assert_eq!(request.architecture, None);
        assert_eq!((request.hop, request.deadline, request.tag), (None, None, None));
    }
    let body = r#"{"fn_name":"a.b_c-1","arch":"federated","hop":255,"deadline":-0.5,"tag":"t"}"#;
    let request = entry(body);
    assert_eq!(request.architecture, Some(Architecture::Federated));
    assert_eq!((request.hop, request.deadline), (Some(255), Some(-0.5)));
    assert_eq!(request.tag.as_deref(), Some("t"));
}

/// What is wrong with a body, and what the message must say.
#[test]
fn a_bad_entry_is_answered_with_field_value_and_remedy() {
    let long_name = format!(r#"{{"fn_name": "{}"}}"#, "a".repeat(90));
    let too_long_name = format!(r#"{{"fn_name": "{}"}}"#, "a".repeat(64));
    let long_tag = format!(r#"{{"fn_name": "echo", "tag": "{}"}}"#, "t".repeat(257));
    for (body, named) in [
        ("", "the body: is empty"),
        ("   \n", "the body: is empty"),
        ("hello", "is no JSON object"),
        ("null", "is no JSON object"),
        ("\"echo\"", "is no JSON object"),
        (r#"["echo", "hello"]"#, "is no JSON object"),
        ("fn_name=echo", "is no JSON object"),
        ("{", "is no valid JSON"),
        (r#"{"fn_name": "echo"} {}"#, "is no valid JSON"),
        (r#"{"fn_name": "echo", "fn_name": "b"}"#, "duplicate field"),
        (r#"{"fn_name": 'echo'}"#, "is no valid JSON"),
        ("{}", "fn_name: is missing; name a function"),
        (r#"{"fn_name": null}"#, "fn_name: is missing"),
        (r#"{"fn_name": 3}"#, "fn_name = 3: is no string"),
        (r#"{"fn_name": ["echo"]}"#, "fn_name = [\"echo\"]: is no string"),
        (r#"{"fn_name": ""}"#, "fn_name = \"\": a function name has 1 to 63"),
        (r#"{"fn_name": "../system/functions"}"#, "fn_name = \"../system/functions\": a function"),
        (r#"{"fn_name": ".."}"#, "neither"),
        (r#"{"fn_name": "a b"}"#, "fn_name = \"a b\""),
        (r#"{"fn_name": "a\u0000"}"#, "fn_name"),
        (r#"{"fn_name": "é"}"#, "fn_name"),
        (&too_long_name, "aaaa\": a function name has 1 to 63"),
        (&long_name, "…: a function name"),
        (r#"{"fn_name": "echo", "arch": "federate"}"#, "arch = \"federate\": is no architecture"),
        (r#"{"fn_name": "echo", "arch": ""}"#, "arch = \"\""),
        (r#"{"fn_name": "echo", "arch": "Centralized"}"#, "arch = \"Centralized\""),
        (r#"{"fn_name": "echo", "arch": 1}"#, "arch = 1"),
        (r#"{"fn_name": "echo", "hop": -1}"#, "hop = -1: is no count of offloads; send a whole"),
        (r#"{"fn_name": "echo", "hop": 1.5}"#, "hop = 1.5"),
        (r#"{"fn_name": "echo", "hop": 1.0}"#, "hop = 1.0"),
        (r#"{"fn_name": "echo", "hop": 256}"#, "hop = 256"),
        (r#"{"fn_name": "echo", "hop": "1"}"#, "hop = \"1\""),
        (r#"{"fn_name": "echo", "hop": true}"#, "hop = true"),
        (r#"{"fn_name": "echo", "hop": NaN}"#, "is no valid JSON"),
        (
            r#"{"fn_name": "echo", "deadline": "soon"}"#,
            "deadline = \"soon\": is no time; send Unix",
        ),
        (r#"{"fn_name": "echo", "deadline": 1e999}"#, "deadline"),
        (r#"{"fn_name": "echo", "deadline": Infinity}"#, "is no valid JSON"),
        (r#"{"fn_name": "echo", "deadline": {}}"#, "deadline = {}"),
        (r#"{"fn_name": "echo", "tag": 7}"#, "tag = 7: is no string of at most 256 bytes"),
        (&long_tag, "tag = \"ttt"),
        (r#"{"fn_name": "echo", "payload": "\ud800"}"#, "payload"),
        (r#"{"fn_name": "echo", "payload": }"#, "is no valid JSON"),
    ] {
        let refused = EntryRequest::parse(body.as_bytes()).expect_err(body);
        assert_eq!((refused.status, refused.error), (StatusCode::BAD_REQUEST, "bad_request"));
        assert!(refused.message.contains(named), "{body}: {}", refused.message);
        assert!(refused.message.contains("; "), "no remedy: {}", refused.message);
        assert!(refused.message.len() < 400, "{body}: {}", refused.message);
    }
    assert!(EntryRequest::parse(b"{\"fn_name\": \"\xff\"}").is_err(), "not UTF-8");
}

#[test]
fn a_reload_asks_for_the_file_or_for_a_mode() {
    for empty in ["", " \r\n", "{}", "{ }"] {
        assert_eq!(ReloadRequest::parse(None, empty.as_bytes()).unwrap(), ReloadRequest::File);
    }
    for mode in Mode::ALL {
        let body = format!(r#"{{"architecture": "{mode}"}}"#);
        assert_eq!(ReloadRequest::parse(None, body.as_bytes()).unwrap(), ReloadRequest::Mode(mode));
    }
    for (body, named) in [
        ("federated", "is no JSON object"),
        (r#""federated""#, "is no JSON object"),
        ("[]", "is no JSON object"),
        (r#"{"architecture": "federate"}"#, "architecture = \"federate\": is no architecture"),
        (r#"{"architecture": null}"#, "architecture = null"),
        (r#"{"architecture": 3}"#, "architecture = 3"),
        (r#"{"mode": "federated"}"#, "mode = \"federated\": is no field"),
        (r#"{"architecture": "federated", "zone": 1}"#, "zone = 1: is no field"),
    ] {
        let refused = ReloadRequest::parse(None, body.as_bytes()).expect_err(body);
        assert!(refused.message.contains(named), "{body}: {}", refused.message);
    }
}

#[test]
fn thresholds_are_numbers_under_known_names() {
    let patch = parse_thresholds(br#"{"soft_d2f": 1.2, "hard_f2c": 3}"#).unwrap();
    let expected =
        ThresholdsPatch { soft_d2f: Some(1.2), hard_f2c: Some(3.0), ..ThresholdsPatch::default() };
    assert_eq!(patch, expected);
    for (body, named) in [
        ("", "the body: is empty"),
        ("{}", "names no threshold"),
        ("1.2", "is no JSON object"),
        (r#"{"soft_d2f": "1.2"}"#, "soft_d2f = \"1.2\": is no number; send a JSON number"),
        (r#"{"soft_d2f": null}"#, "soft_d2f = null"),
        (r#"{"soft_d2f": true}"#, "soft_d2f = true"),
        (r#"{"soft_d2f": [1.2]}"#, "soft_d2f = [1.2]"),
        (r#"{"soft_d2f": 1.2, "hard_d2f": {}}"#, "hard_d2f = {}"),
        (r#"{"soft_d2f": NaN}"#, "is no valid JSON"),
        (r#"{"soft_d2f": 1e999}"#, "is no valid JSON"),
        (r#"{"soft": 1.2}"#, "soft = 1.2: is no threshold; there are soft_d2f, hard_d2f"),
    ] {
        let refused = parse_thresholds(body.as_bytes()).expect_err(body);
        assert!(refused.message.contains(named), "{body}: {}", refused.message);
    }
}

#[test]
fn a_level_stands_in_the_query_or_in_the_body() {
    let level = |query, body: &str| parse_level(query, body.as_bytes());
    assert_eq!(level(Some("level=debug"), " ").unwrap(), "debug");
    assert_eq!(level(Some("x=1&level=info,a=debug"), "").unwrap(), "info,a=debug");
    assert_eq!(level(None, r#"{"level": "warn"}"#).unwrap(), "warn");
    assert_eq!(
        level(Some("level=a%3a%3Ab%3Dinfo%"), r#"{"level": "warn"}"#).unwrap(),
        "a::b=info%"
    );
    for (query, body) in [
        (None, ""),
        (Some("debug"), ""),
        (Some("level=debug"), "debug"),
        (None, "debug"),
        (None, "{}"),
        (None, r#"{"level": 3}"#),
        (None, r#"{"level": "warn", "paths": "a"}"#),
    ] {
        let refused = level(query, body).expect_err(body);
        assert!(refused.message.contains("; send {"), "{}", refused.message);
    }
}

#[test]
fn the_query_may_name_a_function() {
    let name = |name| FunctionName::new(name).unwrap();
    for (query, found) in [
        (None, None),
        (Some(""), None),
        (Some("x=1"), None),
        (Some("fn_name=echo"), Some(name("echo"))),
        (Some("x=1&fn_name=a.b&y"), Some(name("a.b"))),
    ] {
        assert_eq!(function_in_query(query).unwrap(), found, "{query:?}");
    }
    for query in ["fn_name=", "fn_name=..", "fn_name=a%2Fb", "fn_name=a+b"] {
        assert!(function_in_query(Some(query)).is_err(), "{query}");
    }
}

#[test]
fn what_is_repeated_is_cut_between_characters() {
    assert_eq!(shortened("short"), "short");
    let cut = shortened(&"é".repeat(100));
    assert_eq!(cut.chars().count(), 41, "{cut}");
}
