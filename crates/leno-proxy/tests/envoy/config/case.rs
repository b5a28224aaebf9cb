//! A case's file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::backend::Backends;
use super::pki;
use super::request::Step;
use super::spans;

#[derive(Debug)]
pub(crate) struct Case {
    /// The file's, without its ending.
    pub(crate) name: String,
    pub(crate) intent: Option<String>,
    file: File,
    text: String,
}

/// Anywhere in it `{backend: a}` stands for that backend's address, `{backend: a, name: x}` for its port with that name, `{file: log}` for a path of the case's own, `{pem:
/// ca.crt}` for a certificate or key, `{sha256: client}` and `{spki: client}` for a certificate's hash and its key's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Fields of the HTTP connection manager.
    #[serde(default)]
    manager: Map<String, Value>,
    /// Fields of the route configuration besides its virtual hosts.
    #[serde(default)]
    table: Map<String, Value>,
    /// Of one virtual host for every name, where there are no `hosts`. `to: a` is `route: {cluster: a}`.
    #[serde(default)]
    routes: Vec<Value>,
    #[serde(default)]
    hosts: Vec<Value>,
    /// HTTP filters before the router.
    #[serde(default)]
    filters: Vec<Value>,
    /// Fields of the listener besides its filter chains.
    #[serde(default)]
    listener: Map<String, Value>,
    /// Filter chains in place of the one with the HTTP connection manager. A filter `{http: true}` is that manager.
    #[serde(default)]
    chains: Vec<Value>,
    /// Besides `a`, `b` and `c`; their names are of all cases of the category.
    #[serde(default)]
    clusters: Vec<Value>,
    /// Of the bootstrap; their names too.
    #[serde(default)]
    secrets: Vec<Value>,
    /// Listeners besides, as they are; their names are of the whole category.
    #[serde(default)]
    listeners: Vec<Value>,
    #[serde(default)]
    log: Option<Log>,
    /// How many records the collector has got in the end: the cluster `NAME-collector`, where NAME is the case's.
    #[serde(default)]
    collected: Option<usize>,
    /// Ids of requests, traces and spans are told by the order in which they occur first.
    #[serde(default)]
    ids: bool,
    /// What the authorizer was told is told: the cluster `NAME-authorizer`, where NAME is the case's.
    #[serde(default)]
    checked: bool,
    /// What the backend `names` was asked is told.
    #[serde(default)]
    asked: bool,
    requests: Vec<Step>,
    /// Names of statistics by their scope, told at the end, when all connections of `http.CASE` have ended.
    #[serde(default)]
    stats: BTreeMap<String, Vec<String>>,
    /// Why leno does otherwise than Envoy.
    #[serde(default)]
    intent: Option<String>,
}

/// An access log of the HTTP connection manager, shown behind the requests.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Log {
    Text(String),
    Full {
        #[serde(default)]
        text: Option<String>,
        #[serde(default)]
        json: Option<Value>,
        /// Fields of `SubstitutionFormatString` besides.
        #[serde(default)]
        format: Map<String, Value>,
        #[serde(default)]
        filter: Option<Value>,
        /// How many come in all; as many as there are requests if it is not said.
        #[serde(default)]
        lines: Option<usize>,
    },
}

/// Where a case runs: what the words in its file stand for.
#[derive(Clone, Copy)]
pub(crate) struct Place<'p> {
    pub(crate) backends: &'p Backends,
    /// For the files of all cases.
    pub(crate) directory: &'p Path,
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
            text,
        }
    }

    pub(crate) fn of(name: String, file: &Value) -> Self {
        Self {
            name,
            intent: None,
            file: serde_json::from_value(file.clone()).unwrap(),
            text: file.to_string(),
        }
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.file.requests
    }

    /// The file `{file: NAME}`.
    pub(crate) fn path(&self, place: Place<'_>, name: &str) -> PathBuf {
        place.directory.join(format!("{}.{name}", self.name))
    }

    /// Whole names of statistics to tell.
    pub(crate) fn stats(&self) -> Vec<String> {
        let scopes = self.file.stats.iter();
        let names = scopes.flat_map(|(scope, names)| names.iter().map(move |name| format!("{scope}.{name}")));
        names.collect()
    }

    /// How many lines the access log has in the end; None: there is no log.
    pub(crate) fn logged(&self) -> Option<usize> {
        let requests = self.file.requests.iter().map(Step::times).sum();
        match self.file.log.as_ref()? {
            Log::Text(_) => Some(requests),
            Log::Full { lines, .. } => Some(lines.unwrap_or(requests)),
        }
    }

    /// How many records the collector has in the end; None: there is no collector.
    pub(crate) fn collected(&self) -> Option<usize> {
        self.file.collected
    }

    pub(crate) fn tells_what_was_asked(&self) -> bool {
        self.file.asked
    }

    /// What it tells without ids that differ from run to run; those that the case says itself stay.
    pub(crate) fn without_ids(&self, told: String) -> String {
        match self.file.ids {
            true => spans::without_ids(&told, &self.text),
            false => told,
        }
    }

    /// The cluster of its collector, which is its `:authority` too.
    pub(crate) fn collector(&self) -> String {
        format!("{}-collector", self.name)
    }

    /// The cluster of its authorizer, and its `:authority`.
    pub(crate) fn authorizer(&self) -> String {
        format!("{}-authorizer", self.name)
    }

    pub(crate) fn tells_what_was_checked(&self) -> bool {
        self.file.checked
    }

    /// A cluster of HTTP/2 with this backend.
    fn beside(name: &str, backend: &str, place: Place<'_>) -> Value {
        let address = socket(place.backends.address(backend));
        json!({
            "name": name, "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
        })
    }

    pub(crate) fn clusters(&self, place: Place<'_>) -> Vec<Value> {
        let clusters = self.file.clusters.iter().cloned().map(|mut cluster| {
            complete_cluster(&mut cluster);
            self.filled(cluster, place)
        });
        let of_collector = self.file.collected;
        let of_collector = of_collector.map(|_| Self::beside(&self.collector(), "collector", place));
        let checked = self.file.checked;
        let of_authorizer = checked.then(|| Self::beside(&self.authorizer(), "authorizer", place));
        clusters.chain(of_collector).chain(of_authorizer).collect()
    }

    pub(crate) fn secrets(&self, place: Place<'_>) -> Vec<Value> {
        let secrets = self.file.secrets.iter().cloned();
        secrets.map(|secret| self.filled(secret, place)).collect()
    }

    /// A whole listener, on a free port.
    pub(crate) fn listener(&self, number: usize, place: Place<'_>) -> Value {
        let http = json!({
            "name": "envoy.filters.network.http_connection_manager", "typed_config": self.manager(place)
        });
        let chains = match self.file.chains.as_slice() {
            [] => vec![json!({"filters": [http]})],
            chains => chains.iter().map(|chain| with_http(chain, &http)).collect(),
        };
        let mut listener = json!({
            "name": number.to_string(), "address": socket(([127, 0, 0, 1], 0).into()),
            "filter_chains": chains,
        });
        extend(&mut listener, &self.file.listener);
        self.filled(listener, place)
    }

    /// Listeners besides the case's own.
    pub(crate) fn listeners(&self, place: Place<'_>) -> Vec<Value> {
        let listeners = self.file.listeners.iter().cloned();
        listeners.map(|listener| self.filled(listener, place)).collect()
    }

    fn manager(&self, place: Place<'_>) -> Value {
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
        let mut filters = self.file.filters.clone();
        filters.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }));
        let mut manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "test", "server_name": "proxy", "generate_request_id": false,
            "route_config": table, "http_filters": filters,
        });
        if let Some(log) = &self.file.log {
            manager["access_log"] = json!([log.config(&self.path(place, "log"))]);
        }
        extend(&mut manager, &self.file.manager);
        if manager.get("rds").or(manager.get("scoped_routes")).is_some() {
            manager.as_object_mut().unwrap().remove("route_config");
        }
        manager
    }

    fn filled(&self, mut value: Value, place: Place<'_>) -> Value {
        self.fill(&mut value, place);
        value
    }

    pub(crate) fn fill(&self, value: &mut Value, place: Place<'_>) {
        match value {
            Value::Object(fields) => {
                if let (2, Some(Value::String(backend)), Some(Value::String(name))) =
                    (fields.len(), fields.get("backend"), fields.get("name"))
                {
                    let port = place.backends.address(backend).port();
                    *value = json!({"socket_address": {"address": name, "port_value": port}});
                    return;
                }
                let only = (fields.len() == 1).then(|| fields.iter().next()).flatten();
                match only.map(|(name, value)| (name.as_str(), value)) {
                    Some(("backend", Value::String(name))) => *value = socket(place.backends.address(name)),
                    Some(("port", Value::String(name))) => {
                        *value = place.backends.address(name).port().into();
                    }
                    Some(("pem", Value::String(name))) => {
                        *value = json!({"inline_string": place.backends.pki.pem(name)});
                    }
                    Some(("ocsp", Value::String(name))) => {
                        *value = json!({"inline_bytes": pki::ocsp(name)});
                    }
                    Some(("sha256", Value::String(name))) => {
                        *value = place.backends.pki.hashes(name).0.clone().into();
                    }
                    Some(("spki", Value::String(name))) => {
                        *value = place.backends.pki.hashes(name).1.clone().into();
                    }
                    Some(("file", Value::String(name))) => {
                        *value = self.path(place, name).to_string_lossy().into();
                    }
                    _ => fields.values_mut().for_each(|value| self.fill(value, place)),
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill(item, place)),
            _ => {}
        }
    }
}

// === impl Log ===

impl Log {
    fn config(&self, path: &Path) -> Value {
        let (text, json, format, filter) = match self {
            Self::Text(text) => (Some(text), &None, &Map::new(), &None),
            Self::Full {
                text,
                json,
                format,
                filter,
                lines: _,
            } => (text.as_ref(), json, format, filter),
        };
        let mut written = Value::Object(format.clone());
        if let Some(text) = text {
            written["text_format_source"] = json!({"inline_string": format!("{text}\n")});
        }
        if let Some(json) = json {
            written["json_format"] = json.clone();
        }
        let mut config = json!({
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": path, "log_format": written,
            },
        });
        if let Some(filter) = filter {
            config["filter"] = filter.clone();
        }
        config
    }
}

fn extend(value: &mut Value, more: &Map<String, Value>) {
    if let Value::Object(fields) = value {
        fields.extend(more.clone());
    }
}

fn with_http(chain: &Value, http: &Value) -> Value {
    let mut chain = chain.clone();
    for filter in chain["filters"].as_array_mut().into_iter().flatten() {
        if filter.get("http").is_some() {
            *filter = http.clone();
        }
    }
    chain
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

/// `at: a` is short for that backend as the only endpoint, `http2: true` for HTTP/2 to it.
fn complete_cluster(cluster: &mut Value) {
    let Value::Object(fields) = cluster else { return };
    fields.entry("connect_timeout").or_insert_with(|| "5s".into());
    if let Some(backend) = fields.remove("at") {
        let endpoint = json!({"endpoint": {"address": {"backend": backend}}});
        let name = fields["name"].clone();
        fields.insert(
            "load_assignment".into(),
            json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}),
        );
    }
    if fields.remove("http2").is_some() {
        let options = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }});
        fields.insert("typed_extension_protocol_options".into(), options);
    }
}

pub(crate) fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
