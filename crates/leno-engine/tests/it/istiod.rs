//! What istiod sends a sidecar: none of it is refused, so that leno's proxy can be one.
//!
//! The files are in the form of Istio 1.28's `pilot/pkg/networking/core` and `pilot/pkg/xds/filters`: its own extensions
//! come partly as a `TypedStruct`.

use leno_engine::compile::cluster::Cluster;
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::compile::listener::{Listener, TerminalFilter};
use leno_engine::compile::{self, Files, Warnings};
use leno_engine::decide::filter::{Levels, Step};
use leno_engine::decide::notes::APPLICATION_PROTOCOLS;
use leno_engine::message::Version;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use leno_proto::envoy::config::route::v3::RouteConfiguration;
use leno_proto_text::Schema;

use crate::filter::Cx;
use crate::made::request;

struct NoFile;

impl Files for NoFile {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("{path} is not read here"))
    }
}

fn resources(text: &str) -> StaticResources {
    let bootstrap: Bootstrap = Schema::load().from_text(text).expect("reads");
    bootstrap.static_resources.expect("resources")
}

fn listeners() -> Vec<Listener> {
    let resources = resources(include_str!("istiod/listeners.yaml"));
    let compile = |listener| compile::listener::compile(listener, &NoFile, &mut Warnings::default());
    resources
        .listeners
        .iter()
        .map(|one| compile(one).expect("compiles"))
        .collect()
}

fn clusters() -> Vec<Cluster> {
    let resources = resources(include_str!("istiod/clusters.yaml"));
    let compile = |cluster| compile::cluster::compile(cluster, &NoFile, &mut Warnings::default());
    resources
        .clusters
        .iter()
        .map(|one| compile(one).expect("compiles"))
        .collect()
}

fn manager<'l>(listeners: &'l [Listener], listener: &str) -> &'l HttpConnectionManager {
    let listener = listeners
        .iter()
        .find(|one| one.name == listener)
        .expect("is there");
    let managers = listener.chains.iter().find_map(|chain| match &chain.terminal {
        TerminalFilter::Http(manager) => Some(manager),
        _ => None,
    });
    managers.expect("a chain with HTTP")
}

#[test]
fn listeners_are_taken_with_istios_filters() {
    let listeners = listeners();
    let names = |listener| {
        let filters = manager(&listeners, listener).filters.iter();
        filters.map(|filter| filter.name.as_str()).collect::<Vec<_>>()
    };
    // Istio's own statistics are left out: leno's are the same.
    assert_eq!(
        names("0.0.0.0_9080"),
        [
            "istio.metadata_exchange",
            "envoy.filters.http.grpc_stats",
            "istio.alpn",
            "envoy.filters.http.fault",
            "envoy.filters.http.cors",
        ]
    );
    assert_eq!(
        names("virtualInbound"),
        [
            "istio.metadata_exchange",
            "envoy.filters.http.rbac",
            "envoy.filters.http.fault",
            "envoy.filters.http.cors",
            "envoy.filters.http.grpc_stats",
        ]
    );
}

#[test]
fn clusters_and_routes_are_taken() {
    let clusters = clusters();
    let bound = |cluster: &&Cluster| cluster.bind.is_some();
    let inbound: Vec<&str> = clusters
        .iter()
        .filter(bound)
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(inbound, ["inbound|9080||", "InboundPassthroughCluster"]);
    let routes: RouteConfiguration = Schema::load()
        .from_text(include_str!("istiod/routes.yaml"))
        .expect("reads");
    compile::route::compile(&routes, &NoFile, &mut Warnings::default()).expect("compiles");
}

/// The peer is told, by the cluster's protocol, what is in the connection.
#[test]
fn alpn_is_as_the_request_is_sent() {
    let listeners = listeners();
    let clusters = clusters();
    let reviews = clusters.first().expect("a cluster");
    let manager = manager(&listeners, "0.0.0.0_9080");
    let filter = manager
        .filters
        .iter()
        .find(|filter| filter.name == "istio.alpn")
        .expect("is there");
    for (version, offered) in [
        (Version::Http10, "istio-http/1.0,istio,http/1.0"),
        (Version::Http11, "istio-http/1.1,istio,http/1.1"),
        (Version::Http2, "istio-h2,istio,h2"),
    ] {
        let mut head = request("reviews", "/");
        head.version = version;
        let mut cx = Cx::new(0);
        let mut one = filter.start_at(&Levels::default()).expect("something to do");
        let mut context = cx.context();
        context.upstream = Some(reviews);
        assert!(matches!(
            one.on_request_headers(&mut context, &mut head, true),
            Step::Continue
        ));
        let names = cx
            .notes
            .state(APPLICATION_PROTOCOLS, |object| object.value.clone());
        assert_eq!(names.as_deref(), Some(offered), "{version:?}");
    }
}
