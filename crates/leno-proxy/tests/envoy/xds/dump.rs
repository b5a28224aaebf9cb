//! What a proxy says of resources that have come from elsewhere: in force, draining, on their way, and refused.

use std::fmt::Write as _;
use std::net::TcpStream;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_testkit::free_address;
use serde_json::{Value, json};

use super::files::{Files, comparable};
use super::proxy::{Proxy, serves};
use super::script::{assignment, backend, socket};

const LISTENER: &str = "envoy.config.listener.v3.Listener";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

pub(crate) fn dumped(start: impl FnOnce(&Bootstrap) -> Proxy) -> String {
    let (files, port, other) = (Files::new(), free_address(), free_address());
    let one = backend("one");
    let secret = |name: &str, file: &str| {
        let mut source = files.source(file);
        source["initial_fetch_timeout"] = json!("0.05s");
        json!({"name": name, "sds_config": source})
    };
    let tls = json!({
        "@type": TLS,
        "common_tls_context": {
            "validation_context_sds_secret_config": secret("trust", "sds"),
            "tls_certificate_sds_secret_configs": [secret("own", "nothing")],
        },
    });
    let eds = json!({"eds_config": files.source("eds")});
    let clusters = [
        json!({"name": "a", "type": "EDS", "eds_cluster_config": eds}),
        json!({"name": "b", "type": "STATIC", "transport_socket": {"name": "tls", "typed_config": tls}}),
    ];
    let pki = crate::config::Pki::new();
    let trust = json!({"trusted_ca": {"inline_string": pki.pem("ca.crt")}});
    files.put("nothing", "1", LISTENER, &[]);
    files.put("cds", "clusters-1", CLUSTER, &clusters);
    files.put(
        "eds",
        "endpoints-1",
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        &[assignment("a", one)],
    );
    files.put(
        "sds",
        "secrets-1",
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        &[json!({"name": "trust", "validation_context": trust})],
    );
    let host = json!({"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]});
    files.put(
        "rds",
        "routes-1",
        "envoy.config.route.v3.RouteConfiguration",
        &[json!({"name": "r", "virtual_hosts": [host]})],
    );
    let rds = json!({"rds": {"route_config_name": "r", "config_source": files.source("rds")}});
    let listener = |name: &str, port| Files::listener(name, port, rds.clone(), &[]);
    files.put(
        "lds",
        "listeners-1",
        LISTENER,
        &[listener("l", port), listener("m", other)],
    );
    let bootstrap = files.bootstrap(json!({
        "dynamic_resources": {"lds_config": files.source("lds"), "cds_config": files.source("cds")},
    }));
    let _proxy = start(&bootstrap);
    serves(port, "one");
    serves(other, "one");
    // One certificate never comes, and is not waited for for long.
    files.says("/config_dump?resource=dynamic_active_clusters", |body| {
        body.contains("\"b\"")
    });
    let mut text = String::new();
    let asked = [
        "/config_dump",
        "/config_dump?include_eds&name_regex=a",
        "/config_dump?resource=dynamic_listeners&name_regex=l&mask=active_state.version_info",
        "/config_dump?resource=dynamic_active_clusters&mask=cluster.name,version_info",
        "/config_dump?resource=dynamic_route_configs",
        "/config_dump?resource=dynamic_warming_secrets",
        "/config_dump?resource=dynamic_endpoint_configs&include_eds",
    ];
    for path in asked {
        tell(&mut text, &files, path, |body| !body.is_empty());
    }
    // One listener goes, and somebody is still there; another is no listener at all.
    let _connection = TcpStream::connect(other).unwrap();
    files.says("/stats?filter=listener.*downstream_cx_active", |body| {
        body.lines()
            .any(|line| line.ends_with(" 1") || line.ends_with(": 1"))
    });
    files.put(
        "lds",
        "listeners-2",
        LISTENER,
        &[
            listener("l", port),
            json!({"name": "bad", "address": socket(other)}),
        ],
    );
    tell(
        &mut text,
        &files,
        "/config_dump?resource=dynamic_listeners",
        |body| body.contains("draining_state") && body.contains("error_state"),
    );
    text
}

fn tell(text: &mut String, files: &Files, path: &str, wanted: impl Fn(&str) -> bool) {
    let body = files.says(path, wanted);
    let mut json: Value = serde_json::from_str(&body).unwrap();
    if let Some(Value::Array(configs)) = json.get_mut("configs") {
        configs.retain(|config| config["@type"] != "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump");
    }
    comparable(&mut json);
    let body = files.comparable(&serde_json::to_string_pretty(&json).unwrap());
    let _ = writeln!(text, "# {path}\n{body}\n");
}
