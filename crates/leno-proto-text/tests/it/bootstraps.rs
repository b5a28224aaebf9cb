//! Envoy's configurations as published and as our benchmark has them.

use std::path::{Path, PathBuf};
use std::{env, fs};

use leno_proto::FromAny;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use leno_proto::google::protobuf::Duration;
use leno_proto_text::{Schema, parse_bootstrap, to_json};

/// The public test data, which are not in the repository: `LENO_CASES`, else `../shared/cases` beside it. `None`,
/// with a word about it, on a machine that has neither; what `LENO_CASES` names must be there.
fn cases() -> Option<PathBuf> {
    if let Some(path) = env::var_os("LENO_CASES") {
        return Some(path.into());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases");
    if !path.is_dir() {
        leno_testkit::skip("public bootstraps are read", "LENO_CASES not found");
        return None;
    }
    Some(path)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}; set LENO_CASES", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_public_bootstrap_is_read_and_survives_a_round_trip() {
    let Some(cases) = cases() else { return };
    let schema = Schema::load();
    let mut wrong = Vec::new();
    let files = files(&cases.join("envoy-bootstraps"));
    assert!(files.len() > 100, "only {} cases", files.len());
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        match schema.from_text::<Bootstrap>(&text) {
            Ok(bootstrap) => {
                let json = schema.to_json(&bootstrap).unwrap();
                let again: Bootstrap = schema.from_text(&json.to_string()).unwrap();
                // Compared as text: maps inside an `Any` have no order on the wire.
                assert_eq!(schema.to_json(&again).unwrap(), json, "{name}");
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_read_is_what_was_written() {
    let bootstrap = parse_bootstrap(
        r#"
        static_resources:
          listeners:
          - name: web
            filterChains:
            - filters:
              - name: envoy.filters.network.http_connection_manager
                typed_config:
                  stat_prefix: ingress
                  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                  codecType: HTTP2
                  stream_idle_timeout: 1.25s
        "#,
    )
    .unwrap();
    let listener = &bootstrap.static_resources.unwrap().listeners[0];
    assert_eq!(listener.name, "web");
    let filter = &listener.filter_chains[0].filters[0];
    let Some(leno_proto::envoy::config::listener::v3::filter::ConfigType::TypedConfig(any)) =
        &filter.config_type
    else {
        panic!("no typed_config");
    };
    let manager: HttpConnectionManager = any.unpack().unwrap();
    assert_eq!(manager.stat_prefix, "ingress");
    assert_eq!(manager.codec_type, 2);
    assert_eq!(
        manager.stream_idle_timeout,
        Some(Duration {
            seconds: 1,
            nanos: 250_000_000
        })
    );
}

#[test]
fn json_is_read_too() {
    let bootstrap = parse_bootstrap(
        "{\n\t\"node\": {\"id\": \"caf\\u00e9\", \"metadata\": {\"a\": [1, null, true, {\"b\": \"c\"}]}}\n}",
    )
    .unwrap();
    let node = bootstrap.node.unwrap();
    assert_eq!(node.id, "café");
    let json = Schema::load().to_json(&node).unwrap();
    assert_eq!(
        json["metadata"],
        serde_json::json!({"a": [1, null, true, {"b": "c"}]})
    );
}

#[test]
fn what_only_looks_like_a_number_stays_as_written() {
    let bootstrap =
        parse_bootstrap("node: {id: 7069e67, cluster: 1.10, user_agent_name: 99999999999}").unwrap();
    let node = bootstrap.node.unwrap();
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("7069e67", "1.10"));
    assert_eq!(node.user_agent_name, "99999999999");
}

#[test]
fn our_own_and_istios_messages_are_known() {
    use leno_proto::istio::networking::nds::v1::NameTable;
    let table: NameTable = Schema::load()
        .from_text("table: {reviews.default.svc.cluster.local: {ips: [240.240.0.7], shortname: reviews}}")
        .unwrap();
    assert_eq!(
        table.table["reviews.default.svc.cluster.local"].shortname,
        "reviews"
    );
    let edge: leno_proto::control::Edge = Schema::load().from_text("{requests: \"7\", mtls: true}").unwrap();
    assert_eq!((edge.requests, edge.mtls), (7, true));
}

#[test]
fn an_any_that_is_not_known_is_shown_with_its_bytes() {
    use leno_proto::google::protobuf::Any;
    let schema = Schema::load();
    let any = Any {
        type_url: "a/b.C".into(),
        value: vec![1, 2, 3],
    };
    assert_eq!(
        schema.any_to_json(&any).unwrap(),
        serde_json::json!({"@type": "a/b.C", "value": "AQID"})
    );
    assert_eq!(to_json(&Any::default()).unwrap(), serde_json::json!({}));
}

#[test]
fn a_message_named_only_in_words_is_packed() {
    let schema = Schema::load();
    let any = schema
        .any_from_text("{name: a, type: EDS}", "envoy.config.cluster.v3.Cluster")
        .unwrap();
    assert_eq!(any.type_url, leno_proto::type_url::CLUSTER);
    assert_eq!(
        schema.any_to_json(&any).unwrap(),
        serde_json::json!({"@type": any.type_url, "name": "a", "type": "EDS"})
    );
    assert!(schema.any_from_text("{}", "no.such.Message").is_err());
}

#[test]
fn the_benchmarks_configurations_are_read() {
    let Some(cases) = cases() else { return };
    let directory = cases.join("../bench/configs");
    let schema = Schema::load();
    for path in files(&directory) {
        let mut text = fs::read_to_string(&path).unwrap();
        for (name, value) in [("CERTS", "/certs"), ("ADMIN_A", "1"), ("ADMIN_B", "2")] {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        for name in ["LISTEN_A", "LISTEN_B", "BACKEND_H1", "BACKEND_H2"] {
            text = text.replace(&format!("${{{name}}}"), "1000");
        }
        let bootstrap: Result<Bootstrap, _> = schema.from_text(&text);
        assert!(
            bootstrap.is_ok(),
            "{}: {}",
            path.display(),
            bootstrap.unwrap_err()
        );
    }
}
