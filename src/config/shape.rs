//! JSON Schemas of mappings, learned from the code that reads them.
//!
//! Nothing at a key means its default everywhere, so null fits everywhere.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

/// What may stand at the keys of one mapping.
#[derive(Default)]
pub(super) struct Shape {
    keys: Map<String, Value>,
    required: Vec<&'static str>,
}

impl Shape {
    /// What was learned first holds: a choice is read as text.
    fn add(&mut self, key: &str, shape: Value) {
        self.keys.entry(key).or_insert(shape);
    }

    pub(super) fn require(&mut self, key: &'static str) {
        self.required.push(key);
    }

    pub(super) fn flag(&mut self, key: &str, default: bool) {
        self.add(key, json!({ "type": ["boolean", "null"], "default": default }));
    }

    pub(super) fn text(&mut self, key: &str) {
        self.add(key, json!({ "type": ["string", "null"] }));
    }

    pub(super) fn choice(&mut self, key: &str, names: impl Iterator<Item = &'static str>) {
        let names: Vec<Value> = names.map(Value::from).chain([Value::Null]).collect();
        self.add(key, json!({ "enum": names }));
    }

    pub(super) fn number(&mut self, key: &str, default: f64, range: &RangeInclusive<f64>) {
        let (least, most) = (range.start(), range.end());
        self.add(
            key,
            json!({
                "type": ["number", "null"], "minimum": least, "maximum": most, "default": default,
            }),
        );
    }

    pub(super) fn whole<N: Display + PartialOrd>(
        &mut self,
        key: &str,
        default: N,
        range: &RangeInclusive<N>,
    ) {
        // Numbers print as JSON has them.
        let value =
            |number: &N| -> Value { serde_json::from_str(&number.to_string()).unwrap_or_default() };
        let (least, most) = (value(range.start()), value(range.end()));
        let mut shape = json!({ "type": ["integer", "null"], "minimum": least, "maximum": most });
        // A default out of range stands for none.
        if range.contains(&default) {
            shape["default"] = value(&default);
        }
        self.add(key, shape);
    }

    pub(super) fn section(&mut self, key: &str, shape: Self) {
        let mut schema = shape.into_schema();
        schema["type"] = json!(["object", "null"]);
        self.add(key, schema);
    }

    pub(super) fn list(&mut self, key: &str, item: Self) {
        self.add(key, json!({ "type": ["array", "null"], "items": item.into_schema() }));
    }

    pub(super) fn named(&mut self, key: &str, each: Self) {
        let mut schema = each.into_schema();
        schema["type"] = json!(["object", "null"]);
        self.add(key, json!({ "type": ["object", "null"], "additionalProperties": schema }));
    }

    pub(super) fn into_schema(self) -> Value {
        let mut schema = json!({
            "type": "object", "additionalProperties": false, "properties": self.keys,
        });
        if !self.required.is_empty() {
            schema["required"] = json!(self.required);
        }
        schema
    }
}
