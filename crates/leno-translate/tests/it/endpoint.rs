//! Endpoints: who is behind a cluster.

use leno_model::service::TargetPort;
use leno_model::{LocalityLb, MtlsMode, OutlierDetection, Protocol, TrafficPolicy};
use leno_proto::envoy::config::core::v3::address::Address;
use leno_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use leno_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use leno_proto::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};

use crate::mesh::{Mesh, host, service, sidecar, workload};

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

fn address(endpoint: &LbEndpoint) -> String {
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
        panic!()
    };
    match endpoint.address.clone().unwrap().address.unwrap() {
        Address::SocketAddress(socket) => match socket.port_specifier.unwrap() {
            PortSpecifier::PortValue(port) => format!("{}:{port}", socket.address),
            PortSpecifier::NamedPort(name) => panic!("{name}"),
        },
        other => panic!("{other:?}"),
    }
}

fn addresses(assignment: &ClusterLoadAssignment) -> Vec<String> {
    let localities = assignment.endpoints.iter();
    localities.flat_map(|l| &l.lb_endpoints).map(address).collect()
}

fn tls_mode(endpoint: &LbEndpoint) -> bool {
    let metadata = &endpoint.metadata.as_ref().unwrap().filter_metadata;
    metadata.contains_key("envoy.transport_socket_match")
}

#[test]
fn only_the_healthy_take_part() {
    let mut mesh = Mesh::bookinfo();
    let mut ill = workload("reviews", "v3", 30, &[]);
    ill.healthy = false;
    mesh.join("reviews", ill);
    let assignment = mesh.endpoints(&sidecar("ratings-v1"), REVIEWS).unwrap();
    assert_eq!(assignment.cluster_name, REVIEWS);
    assert_eq!(addresses(&assignment), ["127.0.0.11:9080", "127.0.0.12:9080"]);
}

#[test]
fn a_subset_takes_those_with_its_labels() {
    let mut mesh = Mesh::bookinfo();
    mesh.policy("reviews", TrafficPolicy::default(), &["v2"]);
    let name = "outbound|9080|v2|reviews.default.svc.cluster.local";
    let assignment = mesh.endpoints(&sidecar("ratings-v1"), name).unwrap();
    assert_eq!(addresses(&assignment), ["127.0.0.12:9080"]);
}

#[test]
fn a_service_without_endpoints_has_an_empty_assignment_and_an_unknown_one_none() {
    let mut mesh = Mesh::bookinfo();
    mesh.add(service("new", 50, &[(80, Protocol::Http)]));
    let proxy = sidecar("ratings-v1");
    let empty = mesh
        .endpoints(&proxy, "outbound|80||new.default.svc.cluster.local")
        .unwrap();
    assert!(empty.endpoints.is_empty());
    assert!(
        mesh.endpoints(&proxy, "outbound|80||gone.default.svc.cluster.local")
            .is_none()
    );
    assert!(mesh.endpoints(&proxy, "PassthroughCluster").is_none());
}

#[test]
fn a_named_target_port_is_each_workloads_own() {
    let mut mesh = Mesh::bookinfo();
    let mut named = service("named", 60, &[(80, Protocol::Http)]);
    named.ports[0].target = TargetPort::Named("port-8080".into());
    mesh.add(named);
    mesh.join("named", workload("named", "v1", 61, &[(8080, Protocol::Http)]));
    mesh.join("named", workload("named", "v2", 62, &[(9090, Protocol::Http)]));
    let name = "outbound|80||named.default.svc.cluster.local";
    let assignment = mesh.endpoints(&sidecar("ratings-v1"), name).unwrap();
    assert_eq!(
        addresses(&assignment),
        ["127.0.0.61:8080"],
        "the other has no such port"
    );
}

#[test]
fn endpoints_say_who_they_are_and_whether_they_speak_mtls() {
    let mut mesh = Mesh::bookinfo();
    let mut bare = workload("reviews", "v3", 30, &[]);
    bare.mesh_tls = false;
    mesh.join("reviews", bare);
    mesh.mtls("reviews-v2", MtlsMode::Disable);
    let assignment = mesh.endpoints(&sidecar("ratings-v1"), REVIEWS).unwrap();
    let endpoints = &assignment.endpoints[0].lb_endpoints;
    let modes: Vec<_> = endpoints.iter().map(|e| (address(e), tls_mode(e))).collect();
    assert_eq!(
        modes,
        [
            ("127.0.0.11:9080".to_owned(), true),
            ("127.0.0.12:9080".to_owned(), false),
            ("127.0.0.30:9080".to_owned(), false)
        ]
    );
    let text = format!("{:?}", endpoints[0].metadata);
    assert!(text.contains("reviews-v1;default;reviews;v1;"), "{text}");
}

#[test]
fn near_ones_come_first_where_the_policy_wants_it_without_gaps() {
    let mut mesh = Mesh::bookinfo();
    mesh.add(service("far", 70, &[(80, Protocol::Http)]));
    for (last, locality) in [(71, "eu/a/1"), (72, "eu/b/1"), (73, "us/a/1")] {
        let mut workload = workload("far", &format!("v{last}"), last, &[]);
        workload.locality = locality.into();
        mesh.join("far", workload);
    }
    let mut client = workload("client", "v1", 80, &[]);
    client.locality = "eu/a/1".into();
    mesh.join("client", client);
    let name = "outbound|80||far.default.svc.cluster.local";
    let priorities = |mesh: &Mesh| -> Vec<u32> {
        let assignment = mesh.endpoints(&sidecar("client-v1"), name).unwrap();
        assignment.endpoints.iter().map(|l| l.priority).collect()
    };
    let preferring = |enabled: bool| {
        Some(LocalityLb {
            enabled,
            ..LocalityLb::default()
        })
    };
    let without = TrafficPolicy {
        locality: preferring(true),
        ..TrafficPolicy::default()
    };
    for policy in [TrafficPolicy::default(), without] {
        mesh.policy("far", policy, &[]);
        assert_eq!(
            priorities(&mesh),
            [0, 0, 0],
            "nothing would tell that the near ones failed"
        );
    }
    let outlier = OutlierDetection {
        consecutive_5xx: Some(5),
        ..OutlierDetection::default()
    };
    let policy = TrafficPolicy {
        outlier: Some(outlier),
        locality: None,
        ..TrafficPolicy::default()
    };
    mesh.policy("far", policy.clone(), &[]);
    assert_eq!(priorities(&mesh), [0, 1, 2], "the mesh's default");
    let policy = TrafficPolicy {
        locality: preferring(false),
        ..policy
    };
    mesh.policy("far", policy, &[]);
    assert_eq!(priorities(&mesh), [0, 0, 0]);
    assert!(mesh.0.endpoints.contains_key(&host("far")));
}
