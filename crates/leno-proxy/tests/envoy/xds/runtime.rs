//! A layer of the runtime that comes from elsewhere: it is waited for, counts before earlier layers, and changes what is
//! answered; a bad one changes nothing.

use std::fmt::Write as _;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_testkit::free_address;
use serde_json::{Value, json};

use super::files::Files;
use super::proxy::{Proxy, serves};

pub(crate) fn layered(start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
    let (files, port) = (Files::new(), free_address());
    let put = |version: &str, layer: Value| {
        let layer = json!({"name": "layer", "layer": layer});
        files.put("rtds", version, "envoy.service.runtime.v3.Runtime", &[layer]);
    };
    put("1", json!({"few": 0, "routes": {"kind": "numbers"}}));
    let direct = |body: &str| json!({"status": 200, "body": {"inline_string": body}});
    let some = json!({"default_value": {"numerator": 100}, "runtime_key": "few"});
    let routes = json!([
        {"match": {"prefix": "/", "runtime_fraction": some}, "direct_response": direct("few")},
        {"match": {"prefix": "/"}, "direct_response": direct("all")},
    ]);
    let table = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]});
    let listener = Files::listener("l", port, json!({"route_config": table}), &[]);
    let bootstrap = files.bootstrap(json!({
        "layered_runtime": {"layers": [
            {"name": "base", "static_layer": {"few": 100, "base": 1}},
            {"name": "discovered", "rtds_layer": {"name": "layer", "rtds_config": files.source("rtds")}},
            {"name": "admin", "admin_layer": {}},
        ]},
        "static_resources": {"listeners": [listener]},
    }));
    let _proxy = start(&bootstrap);
    serves(port, "all");
    let mut text = String::new();
    let mut tell = |wanted: &str| {
        let body = files.says("/runtime", |body| body.contains(wanted));
        let json: Value = serde_json::from_str(&body).unwrap();
        let _ = writeln!(text, "{}\n", serde_json::to_string_pretty(&json).unwrap());
    };
    tell("numbers");
    put("2", json!({"few": 100, "routes": {"kind": "letters"}}));
    serves(port, "few");
    tell("letters");
    put("3", json!({"few": [1]}));
    files.put(
        "rtds",
        "4",
        "envoy.service.runtime.v3.Runtime",
        &[json!({"name": "layer"})],
    );
    serves(port, "few");
    files.says("/runtime", |body| !body.contains("letters"));
    tell("base");
    text
}
