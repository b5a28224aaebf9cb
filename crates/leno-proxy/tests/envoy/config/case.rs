//! A case's file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug)]
pub(crate) struct Case {
    /// The file's, without its ending.
    pub(crate) name: String,
    pub(crate) intent: Option<String>,
    file: File,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Fields of the HTTP connection manager.
    #[serde(default)]
    manager: serde_json::Map<String, Value>,
    /// Fields of the route configuration besides its virtual hosts.
    #[serde(default)]
    table: serde_json::Map<String, Value>,
    /// Of one virtual host for every name, where there are no `hosts`. `to: a` is `route: {cluster: a}`.
    #[serde(default)]
    routes: Vec<Value>,
    #[serde(default)]
    hosts: Vec<Value>,
    requests: Vec<Request>,
    /// Why leno does otherwise than Envoy.
    #[serde(default)]
    intent: Option<String>,
}

/// `GET /path`, or with a host and headers.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Request {
    Line(String),
    Full {
        send: String,
        #[serde(default)]
        host: Option<String>,
        /// Values may be lists, for headers that come more than once.
        #[serde(default)]
        headers: BTreeMap<String, Value>,
    },
}

// === impl Case ===

impl Case {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut file: File =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            intent: file.intent.take(),
            file,
        }
    }

    pub(crate) fn requests(&self) -> &[Request] {
        &self.file.requests
    }

    /// A whole listener, on a free port.
    pub(crate) fn listener(&self, number: usize) -> Value {
        let mut hosts = self.file.hosts.clone();
        if hosts.is_empty() {
            hosts.push(json!({"domains": ["*"], "routes": self.file.routes}));
        }
        for (number, host) in hosts.iter_mut().enumerate() {
            named(host, number);
            for route in host["routes"].as_array_mut().into_iter().flatten() {
                complete(route);
            }
        }
        let mut table = self.file.table.clone();
        table.insert("virtual_hosts".into(), hosts.into());
        let mut manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "test", "server_name": "proxy", "generate_request_id": false,
            "route_config": table,
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }],
        });
        if let Value::Object(fields) = &mut manager {
            fields.extend(self.file.manager.clone());
        }
        let filter =
            json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
        json!({
            "name": number.to_string(), "address": socket(([127, 0, 0, 1], 0).into()),
            "filter_chains": [{"filters": [filter]}],
        })
    }
}

fn named(host: &mut Value, number: usize) {
    if let Value::Object(fields) = host {
        fields
            .entry("name")
            .or_insert_with(|| format!("host {number}").into());
    }
}

/// `{to: a}` is short for a route to cluster a; without a match it takes everything.
fn complete(route: &mut Value) {
    let Value::Object(fields) = route else { return };
    fields.entry("match").or_insert_with(|| json!({"prefix": "/"}));
    if let Some(cluster) = fields.remove("to") {
        let action = fields.entry("route").or_insert_with(|| json!({}));
        action["cluster"] = cluster;
    }
}

pub(crate) fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

// === impl Request ===

impl Request {
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::Full { send, host, headers } => {
                let host = host.iter().map(|host| format!(" | host: {host}"));
                let fields = fields(headers);
                let fields = fields.iter().map(|(name, value)| format!(" | {name}: {value}"));
                send.clone() + &host.chain(fields).collect::<String>()
            }
        }
    }

    pub(crate) fn bytes(&self) -> String {
        let (line, host, headers) = match self {
            Self::Line(line) => (line, None, Vec::new()),
            Self::Full { send, host, headers } => (send, host.as_deref(), fields(headers)),
        };
        let host = host.unwrap_or("a.example");
        let fields = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "{line} HTTP/1.1\r\nhost: {host}\r\n{}connection: close\r\n\r\n",
            fields.collect::<String>()
        )
    }
}

fn fields(headers: &BTreeMap<String, Value>) -> Vec<(&str, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut all = Vec::new();
    for (name, value) in headers {
        match value {
            Value::Array(values) => all.extend(values.iter().map(|value| (name.as_str(), text(value)))),
            one => all.push((name.as_str(), text(one))),
        }
    }
    all
}
