//! What a gRPC library gets: only what it understands, and the same meaning.

use leno_model::{MtlsMode, Protocol};
use leno_proto::envoy::config::cluster::v3::cluster::LbPolicy;
use leno_proto::envoy::config::route::v3::route::Action;
use leno_proto::envoy::config::route::v3::route_match::PathSpecifier;
use leno_translate::{Proxy, ProxyKind, ResourceType, names};

use crate::full::everything;
use crate::mesh::{Mesh, envoy, service, workload};

const REVIEWS: &str = "reviews.default.svc.cluster.local:9080";
const CLUSTER: &str = "outbound|9080||reviews.default.svc.cluster.local";

fn library(name: &str) -> Proxy {
    Proxy {
        kind: ProxyKind::Grpc,
        ..envoy(name)
    }
}

#[test]
fn a_client_gets_the_listener_it_dials_by_any_of_the_services_names_and_no_other() {
    let (mesh, client) = (Mesh::bookinfo(), library("client"));
    for target in [
        REVIEWS,
        "reviews:9080",
        "reviews.default:9080",
        "reviews.default.svc:9080",
    ] {
        let listener = mesh.listener(&client, target).unwrap();
        assert_eq!(listener.name, target);
        assert!(listener.api_listener.is_some() && listener.address.is_none());
    }
    for target in [
        "reviews:1",
        "reviews",
        "nobody:9080",
        "db:3306",
        "virtualInbound",
        ":9080",
    ] {
        assert!(mesh.listener(&client, target).is_none(), "{target}");
    }
    for kind in [ResourceType::Listener, ResourceType::Cluster] {
        assert!(names(&mesh.0, &client, kind).0.is_empty());
    }
}

#[test]
fn routes_say_nothing_that_grpc_would_reject() {
    let mesh = everything(MtlsMode::Permissive);
    let routes = mesh.routes(&library("client"), REVIEWS).unwrap();
    let all: Vec<_> = routes
        .virtual_hosts
        .iter()
        .flat_map(|host| &host.routes)
        .collect();
    assert!(!all.is_empty());
    for route in all {
        let path = route.r#match.as_ref().and_then(|m| m.path_specifier.clone());
        assert!(
            !matches!(path, Some(PathSpecifier::PathSeparatedPrefix(_)) | None),
            "{route:?}"
        );
        if let Some(Action::Route(action)) = &route.action {
            assert!(action.timeout.is_none());
            let attempts = action.retry_policy.as_ref().and_then(|policy| policy.num_retries);
            assert!(attempts.is_none_or(|attempts| attempts.value > 0));
        }
    }
}

#[test]
fn a_cluster_is_mtls_where_every_endpoint_takes_it_and_the_port_is_known_to_be_http() {
    let client = library("client");
    let secured = |mesh: &Mesh, name: &str| mesh.cluster(&client, name).unwrap().transport_socket.is_some();
    let mut mesh = Mesh::bookinfo();
    let cluster = mesh.cluster(&client, CLUSTER).unwrap();
    assert_eq!(cluster.lb_policy(), LbPolicy::RoundRobin);
    assert!(cluster.transport_socket_matches.is_empty() && secured(&mesh, CLUSTER));
    // A detected port: a sidecar would take the TLS for the application's own.
    assert!(!secured(
        &mesh,
        "outbound|9080||ratings.default.svc.cluster.local"
    ));
    mesh.add(service("greeter", 20, &[(5000, Protocol::Detect)]));
    mesh.join(
        "greeter",
        workload("greeter", "v1", 21, &[(5000, Protocol::Grpc)]),
    );
    assert!(secured(&mesh, "outbound|5000||greeter.default.svc.cluster.local"));
    mesh.mtls("reviews-v1", MtlsMode::Disable);
    assert!(!secured(&mesh, CLUSTER));
}

#[test]
fn a_server_takes_mtls_unless_it_is_disabled() {
    let mut mesh = Mesh::bookinfo();
    let server = library("reviews-v1");
    for (mode, secured) in [
        (MtlsMode::Permissive, true),
        (MtlsMode::Strict, true),
        (MtlsMode::Disable, false),
    ] {
        mesh.mtls("reviews-v1", mode);
        for address in ["0.0.0.0:9080", "[::]:9080"] {
            let name = format!("xds.istio.io/grpc/lds/inbound/{address}");
            let listener = mesh.listener(&server, &name).unwrap();
            assert_eq!(listener.name, name);
            let [chain] = listener.filter_chains.as_slice() else {
                panic!("{listener:?}");
            };
            assert_eq!(chain.transport_socket.is_some(), secured, "{mode:?}");
            assert!(listener.listener_filters.is_empty());
        }
    }
}
