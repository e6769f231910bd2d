//! Doors for `fuzz/`: each takes bytes that anybody may send, and panics where an invariant breaks.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::api;
use crate::config::{Change, Invoked, Routes, Secret, Snapshot};
use crate::proxy::signature::{self, Session};
use crate::proxy::{headers, peer};

/// A path that is called: what is taken for a function must lead nowhere else.
pub fn path(path: &str) {
    let routes = Routes::default();
    let Ok(Some(Invoked { function: name, .. })) = routes.at_path(path) else { return };
    let tail = path.splitn(4, '/').nth(3).unwrap_or_default().to_ascii_lowercase();
    let decoded = tail.replace("%2e", ".").replace("%5c", "\\").replace("%2f", "/");
    assert!(!tail.contains("%2f") && !tail.contains("%5c") && !tail.contains("%00"), "{path:?}");
    for segment in decoded.split(['/', '\\']).chain([name.as_str()]) {
        assert!(segment != "." && segment != "..", "{path:?}");
    }
    assert_eq!(path.split('/').nth(2), Some(name.as_str()));
}

/// The body of `/entry`.
pub fn entry(body: &[u8]) {
    if let Some(name) = api::entry_function(body) {
        assert!(!name.contains(['/', '\\', '%']) && name != "." && name != "..", "{name:?}");
    }
}

/// A configuration file: what is wrong with it is told, with a key and a remedy for each fault.
pub fn configuration(text: &str) {
    match Snapshot::from_yaml(text, None) {
        Ok(snapshot) => {
            // What was accepted can be taken for the next configuration.
            let change = Change::Text(text.to_owned());
            assert!(snapshot.with(&change).is_ok_and(|next| next.generation == 2));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in &problems {
                assert!(!problem.to_string().is_empty());
            }
        }
    }
}

/// The fields of a request, `name:value` on each line: no signature made without the key counts, no
/// greeting is answered that is none, and nothing internal is left of what a stranger sent.
pub fn fields(text: &[u8], snapshot: &Snapshot, key: &Secret) {
    let mut map = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 1..])) {
            map.append(name, value);
        }
    }
    if let Some(signature) = map.get(&peer::SIGNATURE) {
        let uri = Uri::from_static("/function/echo");
        let mut session = Session::new(key, "edge1", &[1; 16], &[2; 16]);
        assert!(
            !session.verify(&Method::POST, &uri, map.get(&peer::CALL), signature),
            "forged: {map:?}"
        );
        let answered = signature::answer(key, "edge1", signature).is_some();
        assert!(!answered || signature.as_bytes().starts_with(b"greeting "), "{signature:?}");
    }
    // What a peer says may make no sense either.
    let _ = peer::heard(snapshot, peer::Ours::of(&map));
    headers::remove_connection_fields(&mut map);
    for name in map.keys() {
        let plain = name.as_str().replace('_', "-");
        assert!(!plain.starts_with("hopwise-"), "{name} is left");
        assert!(!matches!(plain.as_str(), "connection" | "keep-alive"), "{name} is left");
    }
}
