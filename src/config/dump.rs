//! The whole configuration in force: what was written, and the default of all that was not.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::Snapshot;

/// Every key with its default; a test holds it against the code that reads them.
pub const REFERENCE: &str = include_str!("../../config/reference.yaml");

/// What of a node has no default.
const OF_EACH_NODE: [&str; 4] = ["id", "role", "zone", "address"];

/// Keys below which something stands for each of several names, as an example in the reference.
const TOPOLOGY: &str = "topology";
const FUNCTIONS: &str = "functions";
const ROUTES: &str = "routes";

impl Snapshot {
    /// Every key with the value in force, under the names of the file. Files with secrets are named
    /// as they are in the configuration; what is in them is not told.
    ///
    /// This reads the text again: it takes its time where the topology is large.
    pub fn effective(&self) -> Value {
        let mut effective = yaml(REFERENCE);
        let mut nodes = Value::Null;
        let mut functions = json!({});
        if let Value::Object(written) = yaml(&self.text) {
            for (key, value) in written {
                match key.as_str() {
                    TOPOLOGY => nodes = each_node(&effective[TOPOLOGY][0], value),
                    ROUTES if !value.is_null() => {
                        effective[ROUTES] = each_route(&effective[ROUTES][0], value)
                    }
                    FUNCTIONS => functions = each_named(&effective[FUNCTIONS], value),
                    _ => overlay(&mut effective[&key], value),
                }
            }
        }
        effective[TOPOLOGY] = nodes;
        effective[FUNCTIONS] = functions;
        self.overlay_what_is_known_better(&mut effective);
        effective
    }

    /// What was changed since the text was read, and defaults that depend on where this is.
    fn overlay_what_is_known_better(&self, effective: &mut Value) {
        let policy = &self.site.policy;
        let thresholds = &policy.tail_ratio.thresholds;
        let socket = |socket: SocketAddr| Value::String(socket.to_string());
        effective["architecture"] = policy.mode.as_str().into();
        effective["node"]["id"] = self.site.node().id.as_str().into();
        effective["gateway"] = self.gateway.to_string().into();
        effective["workers"] = self.workers.get().into();
        effective["cores"] = self.cores.get().into();
        effective["listen"]["data"] = socket(self.listen.data);
        effective["listen"]["admin"] = socket(self.listen.admin);
        effective["handover"]["socket"] =
            self.handover.as_deref().map(|path| path.display().to_string()).into();
        effective["interception"]["enabled"] = self.interception.is_some().into();
        if let Some(interception) = self.interception {
            effective["interception"]["mark"] = interception.mark.into();
        }
        let rule = &mut effective["tail_scheduler"];
        rule["soft_d2f_threshold"] = thresholds.soft_d2f.into();
        rule["hard_d2f_threshold"] = thresholds.hard_d2f.into();
        rule["soft_f2c_threshold"] = thresholds.soft_f2c.into();
        rule["hard_f2c_threshold"] = thresholds.hard_f2c.into();
    }
}

/// `text` as JSON. It was read before, so it can be read again.
fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text.trim_start_matches('\u{feff}')).unwrap_or_default()
}

/// Puts `written` in the place of what is in `value`, key by key; nothing changes nothing.
fn overlay(value: &mut Value, written: Value) {
    match (value, written) {
        (_, Value::Null) => {}
        (Value::Object(value), Value::Object(written)) => {
            for (key, written) in written {
                overlay(value.entry(key).or_insert(Value::Null), written);
            }
        }
        (value, written) => *value = written,
    }
}

fn each_node(example: &Value, written: Value) -> Value {
    let mut default = example.clone();
    if let Some(default) = default.as_object_mut() {
        OF_EACH_NODE.iter().for_each(|key| drop(default.remove(*key)));
    }
    let Value::Array(nodes) = written else { return written };
    nodes.into_iter().map(|node| over(&default, node)).collect()
}

/// Routes take the place of those that are there by default, unless there are none.
fn each_route(default: &Value, written: Value) -> Value {
    let Value::Array(routes) = written else { return written };
    routes.into_iter().map(|route| over(default, route)).collect()
}

fn each_named(example: &Value, written: Value) -> Value {
    let default = example.as_object().and_then(|named| named.values().next()).cloned();
    let Value::Object(named) = written else { return Value::Object(Map::new()) };
    let default = default.unwrap_or_default();
    named.into_iter().map(|(name, rule)| (name, over(&default, rule))).collect()
}

fn over(default: &Value, written: Value) -> Value {
    let mut value = default.clone();
    overlay(&mut value, written);
    value
}
