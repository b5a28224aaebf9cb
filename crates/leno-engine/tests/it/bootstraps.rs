//! Envoy's own configurations: compiled, or refused with the place.

use std::path::PathBuf;

use leno_engine::compile::{self, Files, Rejection, Warnings};
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;

/// Every file is there and holds the same.
struct AnyFile;

impl Files for AnyFile {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(b"PEM".to_vec())
    }
}

fn rejections(bootstrap: &Bootstrap) -> Vec<Rejection> {
    let resources = bootstrap.static_resources.clone().unwrap_or_default();
    let mut warnings = Warnings::default();
    let listeners = resources
        .listeners
        .iter()
        .filter_map(|listener| compile::listener::compile(listener, &AnyFile, &mut warnings).err());
    let mut rejections: Vec<Rejection> = listeners.collect();
    rejections.extend(
        resources
            .clusters
            .iter()
            .filter_map(|cluster| compile::cluster::compile(cluster, &AnyFile, &mut warnings).err()),
    );
    rejections
}

const HTTP: &str = r#"
static_resources:
  listeners:
  - name: listener
    address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          codec_type: AUTO
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route: {cluster: backend, timeout: 15s}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            alpn_protocols: [h2]
            tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}
            tls_certificates:
            - certificate_chain: {filename: b.crt}
              private_key: {filename: b.key}
            validation_context:
              trusted_ca: {filename: ca.crt}
              match_typed_subject_alt_names:
              - {san_type: URI, matcher: {exact: "spiffe://bench/a"}}
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 1s
    lb_policy: ROUND_ROBIN
    circuit_breakers:
      thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9090}}}
"#;

#[test]
fn a_bootstrap_with_mutual_tls_and_http2_compiles() {
    let bootstrap: Bootstrap = Schema::load().from_text(HTTP).expect("reads");
    assert_eq!(rejections(&bootstrap), []);
}

/// As Envoy's `validate_clusters`, whose default for static routes is true.
#[test]
fn a_static_route_names_a_static_cluster_unless_nobody_validates_it() {
    let compiled = |text: &str| {
        let bootstrap = Schema::load().from_text::<Bootstrap>(text).expect("reads");
        compile::bootstrap::compile(&bootstrap, &AnyFile, &mut Warnings::default())
    };
    assert!(compiled(HTTP).is_ok());
    for missing in [
        HTTP.replace("cluster: backend,", "cluster: bakcend,"),
        HTTP.replace(
            "cluster: backend,",
            "cluster: backend, request_mirror_policies: [{cluster: bakcend}],",
        ),
        HTTP.replace(
            "cluster: backend,",
            "weighted_clusters: {clusters: [{name: backend, weight: 1}, {name: bakcend, weight: 1}]},",
        ),
    ] {
        let rejection = compiled(&missing).unwrap_err();
        assert_eq!(rejection.path.to_string(), "static_resources.listeners[0]");
        assert!(rejection.to_string().contains(r#""bakcend""#), "{rejection}");
        let unchecked = missing.replace(
            "name: local\n",
            "name: local\n            validate_clusters: false\n",
        );
        assert!(compiled(&unchecked).is_ok());
    }
}

/// Accepted by Envoy; of each, leno either has all that it asks for, or says which field it has not.
#[test]
fn envoys_bootstraps_compile_or_are_refused_with_a_place() {
    let cases = std::env::var("LENO_CASES").unwrap_or_else(|_| "../../../shared/cases".into());
    let folder = PathBuf::from(cases).join("envoy-bootstraps");
    let Ok(files) = std::fs::read_dir(&folder) else {
        leno_testkit::skip(
            "envoys_bootstraps_compile_or_are_refused_with_a_place",
            "LENO_CASES not found",
        );
        return;
    };
    let schema = Schema::load();
    let mut whole = 0;
    let mut refused = 0;
    for file in files.flatten() {
        let text = std::fs::read_to_string(file.path()).expect("a text file");
        let Ok(bootstrap) = schema.from_text::<Bootstrap>(&text) else {
            println!("{}: not read", file.path().display());
            continue;
        };
        let rejections = rejections(&bootstrap);
        for rejection in &rejections {
            assert!(!rejection.path.to_string().is_empty(), "{rejection}");
            println!("{}: {rejection}", file.file_name().display());
        }
        if rejections.is_empty() {
            whole += 1;
        } else {
            refused += 1;
        }
    }
    println!("{whole} compile, {refused} are refused");
    assert!(whole + refused > 0, "nothing was read");
}

/// One variable is set.
struct Environment;

impl Files for Environment {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("{path} is not asked for"))
    }

    fn environment(&self, name: &str) -> Option<String> {
        (name == "GREETING").then(|| "hello".to_owned())
    }
}

#[test]
fn data_may_come_from_the_environment() {
    let compiled = |name: &str| {
        let listener = serde_json::json!({
            "name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
            "filter_chains": [{"filters": [{"name": "direct", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config",
                "response": {"environment_variable": name},
            }}]}],
        });
        let listener = Schema::load().from_text(&listener.to_string()).unwrap();
        compile::listener::compile(&listener, &Environment, &mut Warnings::default())
    };
    let listener = compiled("GREETING").unwrap();
    let compile::listener::TerminalFilter::DirectResponse(said) = &listener.chains[0].terminal else {
        panic!("{listener:?}")
    };
    assert_eq!(said, "hello");
    let refused = compiled("NOTHING").unwrap_err().to_string();
    assert!(
        refused.contains("response.environment_variable") && refused.contains("not set"),
        "{refused}"
    );
}
