//! The JSON Schema of the configuration, for editors.
//!
//! Types, ranges and names come from the code that reads the keys, what they mean from the comments
//! of the reference. What several keys must agree on is `hopwise check`'s matter.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::dump::REFERENCE;
use super::{lines, raw};

/// Names under which the reference shows an example of what may have any name.
const EXAMPLE: &str = "hello";

/// The schema, by the 2020-12 dialect.
pub fn schema() -> Value {
    let mut schema = raw::shape();
    describe(&mut schema, "", &lines::places(REFERENCE));
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "hopwise".into();
    schema["required"] = json!(["topology"]);
    schema
}

/// Tells of every key below `path` what the comment above it says.
fn describe(schema: &mut Value, path: &str, places: &HashMap<String, usize>) {
    if let Some(comment) = places.get(path).map(|line| comment_above(*line))
        && !comment.is_empty()
    {
        schema["description"] = comment.into();
    }
    if let Some(keys) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (key, schema) in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            describe(schema, &path, places);
        }
    }
    if let Some(items) = schema.get_mut("items") {
        describe(items, &format!("{path}[0]"), places);
    }
    if let Some(each) = schema.get_mut("additionalProperties").filter(|each| each.is_object()) {
        describe(each, &format!("{path}.{EXAMPLE}"), places);
    }
}

/// The comment that ends right above the `line` of the reference, counted from one.
fn comment_above(line: usize) -> String {
    let above: Vec<&str> = REFERENCE.lines().take(line - 1).map(str::trim).collect();
    let comment = above.rsplit(|line| !line.starts_with('#')).next().unwrap_or_default();
    let words = comment.iter().map(|line| line.trim_start_matches('#').trim());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_every_key_with_range_and_meaning() {
        let schema = schema();
        let at = |pointer: &str| schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        assert_eq!(at("/properties/hop_limit/maximum"), 8);
        assert_eq!(at("/properties/hop_limit/default"), 2);
        assert!(
            at("/properties/timeouts/properties/connect_ms/description")
                .as_str()
                .is_some_and(|told| told.starts_with("Connecting upstream"))
        );
        assert_eq!(
            at("/properties/topology/items/required"),
            &json!(["id", "role", "zone", "address"])
        );
        assert_eq!(at("/properties/topology/items/properties/role/enum/2"), "worker");
        assert_eq!(
            at("/properties/functions/additionalProperties/properties/idempotent/type/0"),
            "boolean"
        );
        assert!(schema.pointer("/properties/workers/default").is_none());
        let reference: Value = serde_yaml::from_str(REFERENCE).unwrap();
        for key in reference.as_object().unwrap().keys() {
            assert!(schema["properties"].get(key).is_some(), "{key}");
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
