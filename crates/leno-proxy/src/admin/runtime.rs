//! `/runtime` and `/runtime_modify`: the layers, and what one of them is told here.

use std::collections::BTreeSet;

use leno_engine::runtime::{Layer, Value};
use serde_json::{Map, json};

use super::Own;
use super::answer::Answer;
use super::query::Query;

/// Every key with what each layer says of it.
pub(super) fn answer(own: &Own) -> Answer {
    let layers = own.proxy.runtime().loaded();
    let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    let keys: BTreeSet<&String> = layers.iter().flat_map(|layer| layer.values.keys()).collect();
    let entries = keys.into_iter().map(|key| {
        let said = |layer: &Layer| {
            layer
                .values
                .get(key)
                .map(Value::text)
                .unwrap_or_default()
                .to_owned()
        };
        let values: Vec<String> = layers.iter().map(said).collect();
        let last = layers.iter().rev().find_map(|layer| layer.values.get(key));
        let entry = json!({"layer_values": values, "final_value": last.map(Value::text)});
        (key.clone(), entry)
    });
    Answer::json_value(&json!({"layers": names, "entries": entries.collect::<Map<_, _>>()}))
}

pub(super) fn modify(own: &Own, query: &Query) -> Answer {
    let values: Vec<_> = query.pairs().collect();
    if values.is_empty() {
        let usage = "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       \
            or send the parameters as form values\n\
            use an empty value to remove a previously added override\n";
        return Answer::text(400, usage);
    }
    match own.proxy.modify_runtime(values) {
        true => Answer::ok(),
        false => Answer::text(503, "No admin layer specified"),
    }
}
