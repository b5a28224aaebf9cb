//! Deltas: exactly what changed, and everything else shared.

use std::sync::Arc;

use leno_model::WorkloadId;
use leno_model::delta::Key;

use crate::{Mesh, host, http_route, istio, keys, service, workload};

fn two_services() -> String {
    service("reviews") + &service("ratings")
}

#[test]
fn an_instance_of_a_declared_service_changes_its_endpoints_and_nothing_else() {
    let (mut mesh, _) = Mesh::of(&two_services());
    let before = mesh.snapshot();
    let outcome = mesh.register(workload("a", "reviews", "v1"));
    let id = WorkloadId("a.default".into());
    assert_eq!(
        keys(&outcome),
        [Key::Endpoints(host("reviews")), Key::Workload(id.clone())]
    );
    assert!(!outcome.vips_changed);
    let after = mesh.snapshot();
    assert_eq!(after.version, before.version + 1);
    assert!(Arc::ptr_eq(
        &before.services[&host("reviews")],
        &after.services[&host("reviews")]
    ));

    let mut sick = workload("a", "reviews", "v1");
    sick.healthy = false;
    assert_eq!(
        keys(&mesh.register(sick.clone())),
        [Key::Endpoints(host("reviews")), Key::Workload(id.clone())]
    );
    assert_eq!(keys(&mesh.register(sick)), []);
    assert_eq!(
        keys(&mesh.leave("a.default")),
        [Key::Endpoints(host("reviews")), Key::Workload(id)]
    );
    assert!(mesh.snapshot().endpoints(&host("reviews")).is_empty());
}

#[test]
fn a_further_instance_of_an_undeclared_service_takes_the_short_way() {
    let mut mesh = Mesh::new();
    let first = mesh.register(workload("a", "web", "v1"));
    assert!(keys(&first).contains(&Key::ServiceList));
    let second = mesh.register(workload("b", "web", "v1"));
    let id = WorkloadId("b.default".into());
    assert_eq!(
        keys(&second),
        [Key::Endpoints(host("web")), Key::Workload(id.clone())]
    );
    assert_eq!(mesh.snapshot().endpoints(&host("web")).len(), 2);
    assert_eq!(
        keys(&mesh.leave("b.default")),
        [Key::Endpoints(host("web")), Key::Workload(id)]
    );
}

#[test]
fn weights_change_the_routes_of_their_host_only() {
    let route = |weight: u32| {
        http_route(
            "r",
            "reviews",
            &format!("[{{backendRefs: [{{name: ratings, port: 9080, weight: {weight}}}]}}]"),
        )
    };
    let (mut mesh, _) = Mesh::of(&two_services());
    mesh.file("r.yaml", &route(1));
    let before = mesh.snapshot();
    let outcome = mesh.file("r.yaml", &route(9));
    assert_eq!(keys(&outcome), [Key::Routes(host("reviews"))]);
    let after = mesh.snapshot();
    assert!(Arc::ptr_eq(
        &before.services[&host("ratings")],
        &after.services[&host("ratings")]
    ));
    assert_eq!(keys(&mesh.file("r.yaml", &route(9))), []);
    assert_eq!(mesh.snapshot().version, after.version);
    assert_eq!(keys(&mesh.file("r.yaml", "")), [Key::Routes(host("reviews"))]);
}

#[test]
fn a_policy_changes_its_host_only() {
    let (mut mesh, _) = Mesh::of(&two_services());
    let outcome = mesh.file(
        "d.yaml",
        &istio(
            "DestinationRule",
            "d",
            "{host: ratings, trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
        ),
    );
    let own = Key::PolicyOf(host("ratings"), "default".into());
    assert_eq!(keys(&outcome), [Key::Policy(host("ratings")), own]);
}

#[test]
fn a_mode_changes_the_workload_and_the_endpoints_that_callers_see() {
    let (mut mesh, _) = Mesh::of(&two_services());
    mesh.register(workload("a", "reviews", "v1"));
    mesh.register(workload("b", "ratings", "v1"));
    let text = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}}\n";
    let outcome = mesh.file("p.yaml", text);
    assert_eq!(
        keys(&outcome),
        [
            Key::Endpoints(host("reviews")),
            Key::Workload(WorkloadId("a.default".into()))
        ]
    );
}

#[test]
fn a_new_service_changes_the_list() {
    let (mut mesh, _) = Mesh::of(&two_services());
    let outcome = mesh.file("n.yaml", &service("new"));
    assert_eq!(keys(&outcome), [Key::Service(host("new")), Key::ServiceList]);
    assert!(outcome.vips_changed);
}

/// Whatever the order of changes, the short way and the long way agree.
#[test]
fn many_small_changes_end_where_one_large_change_does() {
    let (mut small, _) = Mesh::of(&two_services());
    for (i, service) in ["reviews", "ratings", "web", "web", "reviews"].iter().enumerate() {
        small.register(workload(&format!("w{i}"), service, "v1"));
    }
    small.leave("w0.default");
    small.leave("w2.default");
    let mut moved = workload("w1", "reviews", "v2");
    moved.healthy = false;
    small.register(moved.clone());

    let mut large = Mesh::new();
    large.register(moved);
    large.register(workload("w3", "web", "v1"));
    large.register(workload("w4", "reviews", "v1"));
    large.file("mesh.d.yaml", &two_services());
    let (small, large) = (small.snapshot(), large.snapshot());
    assert_eq!(small.endpoints, large.endpoints);
    assert_eq!(small.workloads, large.workloads);
    assert_eq!(small.mtls, large.mtls);
    assert_eq!(
        small.services.keys().collect::<Vec<_>>(),
        large.services.keys().collect::<Vec<_>>()
    );
}
